// Losses.
//
//   softmax_cross_entropy       (logits[N, C], labels[N]) -> loss[N], lse[N]
//   softmax_cross_entropy_grad  (dloss[N], logits, labels, lse) -> dlogits[N, C]
//
// lse[n] = log sum_c exp(logits[n, c]). With s = label_smoothing (Szegedy et al. 2015, arXiv 1512.00567,
// section 7; 0 <= s < 1) the loss of a row with label l is lse - (1 - s) logits[l] - s/C sum_c logits[c], in
// nats. A row whose label is ignore_index has loss 0 and gradient 0. Labels are i32 or i64 in [0, C); another
// label is a UsageError when the step runs. logits are floating; loss, lse and dlogits have their dtype.
//
// mse_loss, cross_entropy and bce_with_logits are functions composed from ops, with PyTorch's semantics and
// reductions. `weights`, when given, holds one weight per row (axis 0; for cross_entropy one per label): the
// mean is then sum(w l) / sum(w), which is exact for a batch whose last rows are padding of weight 0. The
// mean of cross_entropy divides by the weight (or number) of the rows that are not ignored. A mean over no
// row is NaN, as in PyTorch.
//
//   Value loss = cross_entropy(logits, labels, {.label_smoothing = 0.1});
//   Value masked = mse_loss(y, target, {.weights = valid_row_weights(g, 32, DType::F32)});
#pragma once

#include <cstdint>
#include <string>

#include "core/op/builder.h"

namespace ingot {

struct SoftmaxCrossEntropyAttrs {
  double label_smoothing = 0.0;
  std::int64_t ignore_index = -100;
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("label_smoothing", s.label_smoothing);
    v("ignore_index", s.ignore_index);
  }
};

// What every backend says of a label that is no class.
std::string bad_label_message(std::int64_t label, std::int64_t row, std::int64_t classes,
                              std::int64_t ignore_index);

enum class Reduction : std::uint8_t { Mean, Sum, None };

struct LossOptions {
  Reduction reduction = Reduction::Mean;
  Value weights{};  // [rows], floating, not differentiated
};

struct CrossEntropyOptions {
  double label_smoothing = 0.0;
  std::int64_t ignore_index = -100;
  Reduction reduction = Reduction::Mean;
  Value weights{};  // of the labels' shape
};

struct SoftmaxCrossEntropy {
  Value loss, lse;
};
SoftmaxCrossEntropy softmax_cross_entropy(Value logits, Value labels,
                                          const SoftmaxCrossEntropyAttrs& attrs = {},
                                          SourceLoc loc = SourceLoc::current());

// logits[N, C, ...] and labels[N, ...]: the classes lie on axis 1 when there are more than two axes.
Value cross_entropy(Value logits, Value labels, const CrossEntropyOptions& options = {},
                    SourceLoc loc = SourceLoc::current());
// (prediction - target)^2; both of one shape.
Value mse_loss(Value prediction, Value target, const LossOptions& options = {},
               SourceLoc loc = SourceLoc::current());
// -(t log sigmoid(x) + (1 - t) log(1 - sigmoid(x))), stable for large |x|; both of one shape.
Value bce_with_logits(Value logits, Value target, const LossOptions& options = {},
                      SourceLoc loc = SourceLoc::current());

// Weight 1 for the rows of the batch that are real and 0 for the padding, [rows]; an empty Value when the
// graph has no input that says how many are real (BuildContext::valid_rows).
Value valid_row_weights(Graph& graph, std::int64_t rows, DType dtype, SourceLoc loc = SourceLoc::current());

}  // namespace ingot
