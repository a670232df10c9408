// Loss scaling: small gradients of half precision kept above the smallest number of their type.
//
// The backward pass starts from a factor instead of 1, and the update divides it out again in f32. Where a
// gradient overflows, the step is skipped: parameters, optimiser states, the step counter (and with it the
// learning rate) and the running statistics of normalisations stay as they are. A dynamic scale then backs
// off, and grows again after growth_interval steps without an overflow; names, defaults and rules are those
// of torch.amp.GradScaler. All of it is nodes and states of the graph, so a step asks the host nothing.
//
// Scales that are powers of two change no bit of an f32 training, but where it under- or overflows.
//
//   opt->minimize(loss, dynamic_loss_scale());
//
// States: "optim/loss_scale", "optim/skipped_steps", and "optim/growth_tracker" of a dynamic scale. Outputs
// added: "loss_scale" (what the step leaves, as GradScaler.get_scale() after update()) and "skipped_steps".
//
// Source: Micikevicius et al. 2018, "Mixed Precision Training" (arXiv 1710.03740), section 3.2.
#pragma once

#include <cstdint>
#include <string>

#include "core/op/builder.h"

namespace ingot {

struct DynamicLossScale {
  double init_scale = 65536.0;
  double growth_factor = 2.0;
  double backoff_factor = 0.5;
  std::int64_t growth_interval = 2000;
};

// What an optimiser makes of it: the nodes of one step.
struct LossScaleStep {
  Value loss;     // the scaled loss, to be differentiated
  Value inverse;  // turns its gradients into those of the loss; undefined where nothing is scaled
  Value finite;   // bool scalar, after look_at()
};

class LossScale {
 public:
  LossScale() = default;  // none: nothing is scaled and nothing skipped
  bool enabled() const { return enabled_; }
  bool is_dynamic() const { return dynamic_; }

  // Appends the state of the scale and the scaled loss, or nothing.
  LossScaleStep begin(Value loss) const;
  // Appends what follows from the 2-norm of all gradients of the scaled loss, which is finite when they are
  // (and below 1.8e19, where squares end): whether the step counts, and the next scale. The graph's updates
  // of buffers are held back where it does not.
  void look_at(LossScaleStep& step, Value norm) const;

 private:
  friend LossScale dynamic_loss_scale(const DynamicLossScale& options);
  friend LossScale fixed_loss_scale(double scale);
  bool enabled_ = false, dynamic_ = false;
  DynamicLossScale options_;
};

// Throws UsageError unless scale > 0 (and finite), growth_factor > 1, 0 < backoff_factor < 1 and
// growth_interval >= 1.
LossScale dynamic_loss_scale(const DynamicLossScale& options = {});
LossScale fixed_loss_scale(double scale);
// Dynamic for f16, whose smallest number is 6e-8; none for others: bf16 has the range of f32.
LossScale default_loss_scale(DType compute);
// For command lines: "dynamic", "none", or the number of a fixed scale; throws UsageError.
LossScale loss_scale_by_name(const std::string& name);

}  // namespace ingot
