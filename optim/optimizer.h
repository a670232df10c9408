// Optimisers: they append the gradient, clipping, schedule and update nodes to a graph.
//
// One multi-tensor update node per parameter group, in place over the parameters. Learning rate and step
// number are computed in the graph from a counter that is part of the state, so a checkpoint holds
// everything. Formulas are PyTorch's.
//
//   auto opt = sgd({.lr = 0.1, .momentum = 0.9, .weight_decay = 5e-4});
//   opt->minimize(loss);                // loss: f32 scalar of the graph
//
// States: "optim/step", "optim/<parameter>/momentum", ... Outputs added: "lr", and "grad_norm" when clipping.
// With a loss scale (optim/loss_scale.h) clipping and its norm are those of the unscaled gradients, and a
// step whose gradients are not all finite changes nothing. That is one look at all gradients more, which
// clipping shares.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/op/builder.h"
#include "optim/loss_scale.h"
#include "optim/schedule.h"

namespace ingot {

// Parameters whose name matches `pattern` (a glob: "*.bias", "layer4.*") get their own settings; the first
// group that matches wins.
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
};

struct SgdOptions {
  double lr = 1e-3, momentum = 0.0, dampening = 0.0, weight_decay = 0.0;
  bool nesterov = false;
  Schedule schedule{};
  double clip_norm = 0.0;
  std::vector<ParameterGroup> groups{};
};

// Kingma, Ba, arXiv 1412.6980; AdamW: Loshchilov, Hutter, arXiv 1711.05101.
struct AdamOptions {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0.0;
  Schedule schedule{};
  double clip_norm = 0.0;
  std::vector<ParameterGroup> groups{};
};

struct RmspropOptions {
  double lr = 1e-2, alpha = 0.99, eps = 1e-8, weight_decay = 0.0, momentum = 0.0;
  Schedule schedule{};
  double clip_norm = 0.0;
  std::vector<ParameterGroup> groups{};
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
  // One optimiser state per parameter, zero at first, of the parameter's type.
  static std::vector<Value> states_for(const Update& update, std::string_view what);
  // Applies `op` to (lr, step, grad_scale, parameters, gradients, states...); its results are the new
  // parameters and states.
  static void apply_update(std::string_view op, const Attrs& attrs, const Update& update,
                           const std::vector<std::vector<Value>>& states);

 private:
  OptimizerOptions options_;
};

using OptimizerPtr = std::shared_ptr<const Optimizer>;
OptimizerPtr sgd(const SgdOptions& options);
OptimizerPtr adam(const AdamOptions& options);
OptimizerPtr adamw(AdamOptions options);
OptimizerPtr rmsprop(const RmspropOptions& options);

// By name for command lines: "sgd" (momentum 0.9), "adam", "adamw", "rmsprop"; throws UsageError.
OptimizerPtr optimizer_by_name(const std::string& name, const OptimizerOptions& options);

}  // namespace ingot
