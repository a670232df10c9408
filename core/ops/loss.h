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
// All other losses are functions composed from ops, with PyTorch's semantics and reductions. `weights`, when
// given, holds one weight per row (axis 0; where there are labels one per label): the mean is then sum(w l) /
// sum(w), which is exact for a batch whose last rows are padding of weight 0. `weight`, where there are
// labels, holds one weight per class, PyTorch's `weight`; it multiplies the loss of its class. The mean of
// cross_entropy and nll_loss divides by the weights (or number) of the rows that are not ignored. A mean over
// no row is NaN, as in PyTorch.
//
//   Value loss = cross_entropy(logits, labels, {.label_smoothing = 0.1});
//   Value masked = mse_loss(y, target, {.weights = valid_row_weights(g, 32, DType::F32)});
//   Value robust = smooth_l1_loss(boxes, target, {.beta = 0.1});
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
  Value weight{};   // [C]: of the classes, of the logits' dtype, not differentiated
};

struct NllLossOptions {
  std::int64_t ignore_index = -100;
  Reduction reduction = Reduction::Mean;
  Value weights{};  // as in CrossEntropyOptions
  Value weight{};
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

// |prediction - target|; both of one shape.
Value l1_loss(Value prediction, Value target, const LossOptions& options = {},
              SourceLoc loc = SourceLoc::current());

// With d = |prediction - target|: d^2 / (2 beta) below beta, d - beta / 2 from there on (Girshick 2015, arXiv
// 1504.08083). beta 0 is l1_loss.
struct SmoothL1Options {
  double beta = 1.0;
  Reduction reduction = Reduction::Mean;
  Value weights{};
};
Value smooth_l1_loss(Value prediction, Value target, const SmoothL1Options& options = {},
                     SourceLoc loc = SourceLoc::current());
// d^2 / 2 below delta, delta (d - delta / 2) from there on.
struct HuberOptions {
  double delta = 1.0;
  Reduction reduction = Reduction::Mean;
  Value weights{};
};
Value huber_loss(Value prediction, Value target, const HuberOptions& options = {},
                 SourceLoc loc = SourceLoc::current());

// -log_probabilities[n, label, ...], classes on axis 1; labels i32 or i64 of the other axes' shape. A label
// that is no class and not ignore_index makes its loss NaN.
Value nll_loss(Value log_probabilities, Value labels, const NllLossOptions& options = {},
               SourceLoc loc = SourceLoc::current());

// target (log target - input), the input being logarithms of probabilities, and the target too with
// log_target; 0 where the target is 0. `batchmean` divides the sum by the number of rows, which is the
// divergence's definition, in the place of `reduction`.
struct KlDivOptions {
  bool log_target = false, batchmean = false;
  Reduction reduction = Reduction::Mean;
  Value weights{};
};
Value kl_div(Value input, Value target, const KlDivOptions& options = {},
             SourceLoc loc = SourceLoc::current());

// alpha_t (1 - p_t)^gamma bce, where p_t is the probability that sigmoid(logits) gives what the target says
// and alpha_t is alpha for target 1 and 1 - alpha for 0; a negative alpha leaves it out (Lin et al. 2017,
// arXiv 1708.02002; torchvision.ops.sigmoid_focal_loss). gamma is 0, or 1 and more.
struct FocalLossOptions {
  double alpha = 0.25, gamma = 2.0;
  Reduction reduction = Reduction::None;
  Value weights{};
};
Value sigmoid_focal_loss(Value logits, Value target, const FocalLossOptions& options = {},
                         SourceLoc loc = SourceLoc::current());

// 1 - (2 sum p t + smooth) / (sum p + sum t + smooth), sums over all axes of a row: one loss per row
// (Milletari et al. 2016, arXiv 1606.04797, with sums in the place of sums of squares). p are probabilities.
struct DiceLossOptions {
  double smooth = 1.0;
  Reduction reduction = Reduction::Mean;
  Value weights{};
};
Value dice_loss(Value probabilities, Value target, const DiceLossOptions& options = {},
                SourceLoc loc = SourceLoc::current());

// max(0, d(anchor, positive) - d(anchor, negative) + margin), d(a, b) the 2-norm of a - b + eps over the last
// axis; `swap` takes d(positive, negative) in the place of the second where that is less.
struct TripletMarginOptions {
  double margin = 1.0, eps = 1e-6;
  bool swap = false;
  Reduction reduction = Reduction::Mean;
  Value weights{};
};
Value triplet_margin_loss(Value anchor, Value positive, Value negative,
                          const TripletMarginOptions& options = {}, SourceLoc loc = SourceLoc::current());

// Targets are 1 and -1. hinge_loss is max(0, margin - target prediction); hinge_embedding_loss the input
// itself where the target is 1, and max(0, margin - input) elsewhere.
struct HingeOptions {
  double margin = 1.0;
  Reduction reduction = Reduction::Mean;
  Value weights{};
};
Value hinge_loss(Value prediction, Value target, const HingeOptions& options = {},
                 SourceLoc loc = SourceLoc::current());
Value hinge_embedding_loss(Value input, Value target, const HingeOptions& options = {},
                           SourceLoc loc = SourceLoc::current());

// Weight 1 for the rows of the batch that are real and 0 for the padding, [rows]; an empty Value when the
// graph has no input that says how many are real (BuildContext::valid_rows).
Value valid_row_weights(Graph& graph, std::int64_t rows, DType dtype, SourceLoc loc = SourceLoc::current());

}  // namespace ingot
