// Softmax cross-entropy and its gradient, row-major.
//
// A GPU cannot throw from a kernel: a label that is no class makes its row NaN (cuda/kernels/loss.h).
#include "core/ops/loss.h"

#include "cuda/kernels/loss.h"
#include "cuda/ops/launch_step.h"
#include "cuda/ops/operands.h"

namespace ingot::cuda {

namespace {

// The configuration of a node whose logits are operand `logits`, their labels the next; false declines it.
bool config_of(const Problem& p, int logits, CrossEntropyConfig& config, CrossEntropyShape& s) {
  const TensorType& x = p.in(logits);
  if (!is_float(x.dtype) || !all_plain(p)) return false;
  const auto& at = p.attrs<SoftmaxCrossEntropyAttrs>();
  config = {x.dtype, p.in(logits + 1).dtype, at.label_smoothing, at.ignore_index};
  s = {x.shape[0], x.shape[1]};
  return true;
}

std::unique_ptr<Step> lower_loss(const Problem& p) {
  CrossEntropyConfig config;
  CrossEntropyShape s;
  if (!config_of(p, 0, config, s)) return nullptr;
  return launch_step("cross_entropy", [=](void* const* in, void* const* out, void*, const Stream& stream) {
    cross_entropy(config, s, in[0], in[1], out[0], out[1], stream);
  });
}

std::unique_ptr<Step> lower_loss_grad(const Problem& p) {
  CrossEntropyConfig config;
  CrossEntropyShape s;
  if (!config_of(p, 1, config, s)) return nullptr;
  return launch_step("cross_entropy",
                     [=](void* const* in, void* const* out, void*, const Stream& stream) {
                       cross_entropy_grad(config, s, in[0], in[1], in[2], in[3], out[0], stream);
                     },
                     0, {{1, 0}});
}

}  // namespace

void add_loss(LoweringTable& table) {
  table.add("softmax_cross_entropy", {.lower = lower_loss});
  table.add("softmax_cross_entropy_grad", {.lower = lower_loss_grad});
}

}  // namespace ingot::cuda
