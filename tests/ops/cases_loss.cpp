#include "core/ops/loss.h"
#include "tests/support/op_case.h"

namespace ingot {

INGOT_OP_CASES(loss) {
  const auto labels = [](DType dtype) { return values({5}, {0, 3, 1, 1, 2}, dtype); };
  const auto add_both = [&](std::string name, const SoftmaxCrossEntropyAttrs& at,
                            const test::InputSpec& label) {
    add({.op = "softmax_cross_entropy",
         .name = name,
         .attrs = at,
         .inputs = {uniform({5, 4}), label},
         .shapes = {{5}, {5}}});
    add({.op = "softmax_cross_entropy_grad",
         .name = name,
         .attrs = at,
         .inputs = {uniform({5}), uniform({5, 4}), label, positive({5})},
         .shapes = {{5, 4}}});
  };
  add_both("plain", {}, labels(DType::I64));
  add_both("i32_labels", {}, labels(DType::I32));
  add_both("smoothing", {0.1, -100}, labels(DType::I64));
  add_both("ignored", {0.0, 1}, labels(DType::I64));
  add_both("ignored_smoothing", {0.2, -1}, values({5}, {0, -1, 3, -1, 2}, DType::I32));
  // Two equal logits: log 2; the second row is ignored but still has its log-sum-exp.
  add({.op = "softmax_cross_entropy",
       .name = "by_hand",
       .inputs = {values({2, 2}, {3, 3, 1000, 0}), values({2}, {1, -100}, DType::I64)},
       .shapes = {{2}, {2}},
       .expected = {{0.6931471805599453, 0}, {3.6931471805599453, 1000}}});

  add_error({.op = "softmax_cross_entropy",
             .name = "one_hot",
             .inputs = {f32({5, 4}), f32({5, 4})},
             .message = "labels must be i32 or i64"});
  add_error({.op = "softmax_cross_entropy",
             .name = "rows",
             .inputs = {f32({5, 4}), i64({4})},
             .message = "must have shape [5], got [4]"});
  add_error({.op = "softmax_cross_entropy",
             .name = "rank",
             .inputs = {f32({5}), i64({5})},
             .message = "logits [N, C] must have rank 2"});
  add_error({.op = "softmax_cross_entropy",
             .name = "smoothing",
             .attrs = SoftmaxCrossEntropyAttrs{1.0, -100},
             .inputs = {f32({5, 4}), i64({5})},
             .message = "label_smoothing must be in [0, 1), got 1"});
  add_error({.op = "softmax_cross_entropy_grad",
             .name = "dloss",
             .inputs = {f32({4}), f32({5, 4}), i64({5}), f32({5})},
             .message = "dloss (one number per row) must have shape [5]"});
}

}  // namespace ingot
