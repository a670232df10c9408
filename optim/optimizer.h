// Optimisers: they append the gradient, clipping, schedule and update nodes to a graph.
//
// One multi-tensor update node per parameter group, in place over the parameters. Learning rate and step
// number are computed in the graph from a counter that is part of the state, so a checkpoint holds
// everything. Formulas are PyTorch's.
//
//   auto opt = sgd({.lr = 0.1, .momentum = 0.9, .weight_decay = 5e-4});
//   opt->minimize(loss);                // loss: f32 scalar of the graph
//
// ema_decay keeps "optim/<parameter>/ema", the parameter after the first step and from then on ema' =
// ema_decay ema + (1 - ema_decay) p' (torch.optim.swa_utils.get_ema_multi_avg_fn); frozen parameters have
// none. It is read as any state is, session.state("optim/fc.weight/ema"), and put in the parameter's place
// where it is wanted.
//
// States: "optim/step", "optim/<parameter>/momentum", ... Outputs added: "lr", and "grad_norm" when clipping.
// Clipping by value comes before clipping by norm. With a loss scale (optim/loss_scale.h) both and the norm
// are those of the unscaled gradients, and a step whose gradients are not all finite changes nothing. That is
// one look at all gradients more, which clipping shares.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/op/builder.h"
#include "optim/loss_scale.h"
#include "optim/schedule.h"

namespace ingot {

// Parameters whose name matches `pattern` (core/base/glob.h: "*.bias", "layer4.*") get their own settings;
// the first group that matches wins. The rate of a group is lr_scale times that of the schedule.
struct ParameterGroup {
  std::string pattern;
  double lr_scale = 1.0;  // 0 freezes
  std::optional<double> weight_decay{};
};

struct OptimizerOptions {
  double lr = 1e-3;
  double weight_decay = 0.0;
  Schedule schedule{};
  double clip_norm = 0.0;  // > 0: gradients are scaled so that their global 2-norm is at most this
  std::vector<ParameterGroup> groups{};
  double clip_value = 0.0;  // > 0: every gradient's elements are held within [-clip_value, clip_value]
  double ema_decay = 0.0;   // > 0: a moving average of each parameter is kept, see above
};

struct SgdOptions {
  double lr = 1e-3, momentum = 0.0, dampening = 0.0, weight_decay = 0.0;
  bool nesterov = false;
  Schedule schedule{};
  double clip_norm = 0.0;
  std::vector<ParameterGroup> groups{};
  double clip_value = 0.0, ema_decay = 0.0;
};

// Kingma, Ba, arXiv 1412.6980; AdamW: Loshchilov, Hutter, arXiv 1711.05101.
struct AdamOptions {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0.0;
  Schedule schedule{};
  double clip_norm = 0.0;
  std::vector<ParameterGroup> groups{};
  double clip_value = 0.0, ema_decay = 0.0;
};

struct RmspropOptions {
  double lr = 1e-2, alpha = 0.99, eps = 1e-8, weight_decay = 0.0, momentum = 0.0;
  Schedule schedule{};
  double clip_norm = 0.0;
  std::vector<ParameterGroup> groups{};
  double clip_value = 0.0, ema_decay = 0.0;
};

// The four below are made of elementwise nodes, one a parameter, which join into few launches; lamb and lars
// also of two norms a parameter.
//
// sum' = sum + g^2, sum starting at initial_accumulator_value;  p' = p - lr / (1 + (step - 1) lr_decay) g /
// (sqrt(sum') + eps), with g += weight_decay p before (torch.optim.Adagrad; Duchi et al. 2011).
struct AdagradOptions {
  double lr = 1e-2, lr_decay = 0.0, eps = 1e-10, weight_decay = 0.0, initial_accumulator_value = 0.0;
  Schedule schedule{};
  double clip_norm = 0.0;
  std::vector<ParameterGroup> groups{};
  double clip_value = 0.0, ema_decay = 0.0;
};

// p' = (1 - lr weight_decay) p - lr sign(beta1 m + (1 - beta1) g);  m' = beta2 m + (1 - beta2) g (Chen et
// al., arXiv 2302.06675).
struct LionOptions {
  double lr = 1e-4, beta1 = 0.9, beta2 = 0.99, weight_decay = 0.0;
  Schedule schedule{};
  double clip_norm = 0.0;
  std::vector<ParameterGroup> groups{};
  double clip_value = 0.0, ema_decay = 0.0;
};

// Adam's step r = m^ / (sqrt(v^) + eps) + weight_decay p, as long as the parameter: p' = p - lr |p| / |r| r,
// the quotient being 1 where either norm is 0 (You et al., arXiv 1904.00962).
struct LambOptions {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-6, weight_decay = 0.0;
  Schedule schedule{};
  double clip_norm = 0.0;
  std::vector<ParameterGroup> groups{};
  double clip_value = 0.0, ema_decay = 0.0;
};

// u = trust_coefficient |p| / (|g| + weight_decay |p| + eps) (g + weight_decay p);  m' = momentum m + u;
// p' = p - lr m' (You et al., arXiv 1708.03888). Where either norm is 0, and for vectors and scalars (biases,
// scales of normalisations), u = g + weight_decay p.
struct LarsOptions {
  double lr = 1e-1, momentum = 0.9, weight_decay = 0.0, trust_coefficient = 1e-3, eps = 1e-8;
  Schedule schedule{};
  double clip_norm = 0.0;
  std::vector<ParameterGroup> groups{};
  double clip_value = 0.0, ema_decay = 0.0;
};

class Optimizer {
 public:
  virtual ~Optimizer() = default;
  // Differentiates `loss` with respect to every trainable parameter of its graph and appends the updates.
  void minimize(Value loss, SourceLoc loc = SourceLoc::current()) const;
  void minimize(Value loss, const LossScale& scaling, SourceLoc loc = SourceLoc::current()) const;

 protected:
  // `name` opens the errors about options, which may not be negative.
  Optimizer(std::string_view name, OptimizerOptions options);
  struct Update {
    Value lr, step, grad_scale;
    double weight_decay;
    std::vector<Value> params, grads;
  };
  // Appends the update node of one group, its states, and the graph updates.
  virtual void append(Graph& graph, const Update& update) const = 0;
  // One optimiser state per parameter, `start` at first, of the parameter's type.
  static std::vector<Value> states_for(const Update& update, std::string_view what, double start = 0.0);
  // Applies `op` to (lr, step, grad_scale, parameters, gradients, states...); its results are the new
  // parameters and states.
  static void apply_update(std::string_view op, const Attrs& attrs, const Update& update,
                           const std::vector<std::vector<Value>>& states);

 private:
  static void follow(const Update& update, double decay);
  OptimizerOptions options_;
};

using OptimizerPtr = std::shared_ptr<const Optimizer>;
OptimizerPtr sgd(const SgdOptions& options);
OptimizerPtr adam(const AdamOptions& options);
OptimizerPtr adamw(AdamOptions options);
OptimizerPtr rmsprop(const RmspropOptions& options);
OptimizerPtr adagrad(const AdagradOptions& options);
OptimizerPtr lion(const LionOptions& options);
OptimizerPtr lamb(const LambOptions& options);
OptimizerPtr lars(const LarsOptions& options);

// By name for command lines: "sgd" (momentum 0.9), "adam", "adamw", "rmsprop", "adagrad", "lion",
// "lamb", "lars"; throws UsageError.
OptimizerPtr optimizer_by_name(const std::string& name, const OptimizerOptions& options);

}  // namespace ingot
