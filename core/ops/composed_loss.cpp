// The losses of core/ops/loss.h that are made of other ops.
#include <algorithm>

#include "core/ops/compose.h"
#include "core/ops/creation.h"
#include "core/ops/elementwise.h"
#include "core/ops/gather.h"
#include "core/ops/loss.h"
#include "core/ops/reduce.h"
#include "core/ops/view.h"

namespace ingot {

namespace {

using ops::Composed;

void check_pair(const Composed& call, Value a, std::string_view a_name, Value b,
                std::string_view b_name = "target") {
  if (!(a.shape() == b.shape()) || a.dtype() != b.dtype())
    call.refuse(cat(a_name, " and ", b_name, " must have one type, got ", to_string(a.type()), " and ",
                    to_string(b.type()), "; reshape or cast one of them"));
  call.require_floating(a, std::string(a_name));
}

void check_weights(const Composed& call, Value weights, const TensorType& expected,
                   std::string_view per = "row") {
  if (!weights.defined() || weights.type() == expected) return;
  call.refuse(cat(per == "row" ? "weights" : "weight", " must be ", to_string(expected), ", one per ", per,
                  ", got ", to_string(weights.type())));
}

void check_not_negative(const Composed& call, std::string_view what, double v) {
  if (!(v >= 0.0)) call.refuse_use(cat(what, " must not be negative, got ", v));
}

// Reduces an elementwise loss whose rows lie along axis 0.
Value reduce_rows(const Composed& call, Value each, Reduction reduction, Value w) {
  if (!w.defined()) {
    if (reduction == Reduction::None) return each;
    return reduction == Reduction::Sum ? sum(each) : mean(each);
  }
  if (each.rank() == 0) call.refuse("weights need rows, the loss is a scalar");
  check_weights(call, w, {each.dtype(), Shape{each.dim(0)}});
  Shape column{each.dim(0)};
  for (int i = 1; i < each.rank(); ++i) column.push_back(1);
  const Value weighted = mul(each, reshape(w, column));
  if (reduction == Reduction::None) return weighted;
  const Value total = sum(weighted);
  if (reduction == Reduction::Sum) return total;
  const double per_row =
      static_cast<double>(each.shape().numel()) / static_cast<double>(std::max<std::int64_t>(1, each.dim(0)));
  return div(total, mul(sum(w), per_row));
}
template <class Options>
Value reduce_rows(const Composed& call, Value each, const Options& options) {
  return reduce_rows(call, each, options.reduction, options.weights);
}

// One loss per label of `rows`; `counted` is what a mean divides by the sum of.
Value reduce_labels(Value each, Value counted, Reduction reduction, const Shape& rows) {
  if (reduction == Reduction::None) return reshape(each, rows);
  return reduction == Reduction::Sum ? sum(each) : div(sum(each), sum(counted));
}

// The shape of the labels that belong to x[N, C, ...]; checks them and both kinds of weights.
template <class Options>
Shape label_shape(const Composed& call, Value x, std::string_view what, Value labels, const Options& o) {
  if (x.rank() < 2) call.refuse(cat(what, " must have a row and a class axis, got ", to_string(x.type())));
  Shape rows = x.shape();
  rows.erase(1);
  if (!(labels.shape() == rows))
    call.refuse(cat("labels must have shape ", to_string(rows), " for ", what, " ", to_string(x.shape()),
                    ", got ", to_string(labels.shape()), "; labels are class numbers, not one-hot rows"));
  check_weights(call, o.weights, {x.dtype(), rows});
  check_weights(call, o.weight, {x.dtype(), Shape{x.dim(1)}}, "class");
  return rows;
}

Value ignored_label(Value labels, std::int64_t ignore_index) {
  return full(labels.graph(), static_cast<double>(ignore_index), {labels.dtype(), Shape{}});
}

// The class's weight for each label; that of class 0 where the label is ignored.
Value weight_of_class(Value weight, Value labels, Value ignored) {
  return gather(weight, where(ignored, 0.0, labels));
}

// d for |a - b|, cut at `most`: m = min(d, most).
struct Bent {
  Value d, m;
};
Bent bent_distance(Value a, Value b, double most) {
  const Value d = abs(sub(a, b));
  return {d, minimum(d, most)};
}

Value distance(Value a, Value b, double eps) {
  return sqrt(sum(square(add(sub(a, b), eps)), {-1}));
}

}  // namespace

Value cross_entropy(Value logits, Value labels, const CrossEntropyOptions& o, SourceLoc loc) {
  const Composed call(logits, "cross_entropy", loc);
  const Shape rows = label_shape(call, logits, "logits", labels, o);
  const std::int64_t classes = logits.dim(1);
  Value x = logits;
  if (x.rank() > 2) {  // classes last, then one row per label
    std::vector<std::int64_t> perm{0};
    for (std::int64_t i = 2; i < x.rank(); ++i) perm.push_back(i);
    perm.push_back(1);
    x = reshape(transpose(x, perm), Shape{rows.numel(), classes});
  }
  const Value flat = reshape(labels, Shape{rows.numel()});
  const bool by_class = o.weight.defined();
  const auto ce = softmax_cross_entropy(x, flat, {by_class ? 0.0 : o.label_smoothing, o.ignore_index});
  Value each = ce.loss, of_class;
  if (by_class) {
    const Value ignored = eq(flat, ignored_label(flat, o.ignore_index));
    of_class = where(ignored, 0.0, weight_of_class(o.weight, flat, ignored));
    each = mul(each, of_class);
    if (o.label_smoothing != 0.0) {
      // The share of the other classes: - w_c log p_c = w_c (lse - x_c), each with its own weight.
      const Value spread = sub(mul(ce.lse, sum(o.weight)), sum(mul(x, o.weight), {1}));
      each = add(mul(each, 1.0 - o.label_smoothing),
                 where(ignored, 0.0, mul(spread, o.label_smoothing / static_cast<double>(classes))));
    }
  }
  Value w = o.weights;
  if (w.defined()) {
    w = reshape(w, Shape{rows.numel()});
    each = mul(each, w);
  }
  if (o.reduction != Reduction::Mean) return reduce_labels(each, {}, o.reduction, rows);
  Value counted = by_class ? of_class : cast(ne(flat, ignored_label(flat, o.ignore_index)), logits.dtype());
  if (w.defined()) counted = mul(counted, w);
  return reduce_labels(each, counted, o.reduction, rows);
}

Value nll_loss(Value x, Value labels, const NllLossOptions& o, SourceLoc loc) {
  const Composed call(x, "nll_loss", loc);
  call.require_floating(x, "log probabilities");
  const Shape rows = label_shape(call, x, "log probabilities", labels, o);
  Shape classes{x.dim(1)};
  for (int i = 2; i < x.rank(); ++i) classes.push_back(1);
  const Value ignored = eq(labels, ignored_label(labels, o.ignore_index));
  // A comparison for each class instead of a look-up: it fuses, and so does its gradient.
  const Value chosen = eq(unsqueeze(labels, 1), reshape(iota(x.graph(), x.dim(1), labels.dtype()), classes));
  const Value known =
      logical_or(ignored, logical_and(ge(labels, 0.0), lt(labels, static_cast<double>(x.dim(1)))));
  // 0 / 0 where the label is no class.
  Value each = div(neg(sum(where(chosen, x, 0.0), {1})), cast(known, x.dtype()));
  each = where(ignored, 0.0, each);
  Value counted = cast(logical_not(ignored), x.dtype());
  if (o.weight.defined()) {
    const Value none = logical_or(ignored, logical_not(known));
    const Value w = weight_of_class(o.weight, labels, none);
    each = mul(each, w);
    counted = mul(counted, w);
  }
  if (o.weights.defined()) {
    each = mul(each, o.weights);
    counted = mul(counted, o.weights);
  }
  return reduce_labels(each, counted, o.reduction, rows);
}

Value mse_loss(Value prediction, Value target, const LossOptions& options, SourceLoc loc) {
  const Composed call(prediction, "mse_loss", loc);
  check_pair(call, prediction, "prediction", target);
  return reduce_rows(call, square(sub(prediction, target)), options);
}

Value l1_loss(Value prediction, Value target, const LossOptions& options, SourceLoc loc) {
  const Composed call(prediction, "l1_loss", loc);
  check_pair(call, prediction, "prediction", target);
  return reduce_rows(call, abs(sub(prediction, target)), options);
}

Value smooth_l1_loss(Value prediction, Value target, const SmoothL1Options& o, SourceLoc loc) {
  const Composed call(prediction, "smooth_l1_loss", loc);
  check_pair(call, prediction, "prediction", target);
  check_not_negative(call, "beta", o.beta);
  if (o.beta == 0.0) return reduce_rows(call, abs(sub(prediction, target)), o);
  const auto [d, m] = bent_distance(prediction, target, o.beta);
  return reduce_rows(call, add(mul(square(m), 0.5 / o.beta), sub(d, m)), o);
}

Value huber_loss(Value prediction, Value target, const HuberOptions& o, SourceLoc loc) {
  const Composed call(prediction, "huber_loss", loc);
  check_pair(call, prediction, "prediction", target);
  if (!(o.delta > 0.0)) call.refuse_use(cat("delta must be greater than 0, got ", o.delta));
  const auto [d, m] = bent_distance(prediction, target, o.delta);
  return reduce_rows(call, add(mul(square(m), 0.5), mul(sub(d, m), o.delta)), o);
}

Value bce_with_logits(Value logits, Value target, const LossOptions& options, SourceLoc loc) {
  const Composed call(logits, "bce_with_logits", loc);
  check_pair(call, logits, "logits", target);
  // t log(1 + e^-x) + (1 - t) log(1 + e^x): nothing cancels, so a small loss keeps its digits on either side.
  const Value each = add(mul(target, softplus(neg(logits))), mul(sub(1.0, target), softplus(logits)));
  return reduce_rows(call, each, options);
}

Value sigmoid_focal_loss(Value logits, Value target, const FocalLossOptions& o, SourceLoc loc) {
  const Composed call(logits, "sigmoid_focal_loss", loc);
  check_pair(call, logits, "logits", target);
  if (!(o.gamma == 0.0 || o.gamma >= 1.0))
    call.refuse_use(cat("gamma must be 0, or 1 and more, got ", o.gamma,
                        "; between them the gradient of a sure answer is not finite"));
  const Value away = sub(1.0, target);
  Value each = add(mul(target, softplus(neg(logits))), mul(away, softplus(logits)));
  if (o.gamma != 0.0) {
    // 1 - p_t without the difference, which would lose the digits of sure answers.
    const Value miss = add(mul(target, sigmoid(neg(logits))), mul(away, sigmoid(logits)));
    each = mul(each, o.gamma == 1.0 ? miss : o.gamma == 2.0 ? square(miss) : pow(miss, o.gamma));
  }
  if (o.alpha >= 0.0) each = mul(each, add(mul(target, o.alpha), mul(away, 1.0 - o.alpha)));
  return reduce_rows(call, each, o);
}

Value kl_div(Value x, Value target, const KlDivOptions& o, SourceLoc loc) {
  const Composed call(x, "kl_div", loc);
  check_pair(call, x, "input", target);
  Value each;
  if (o.log_target) {
    each = mul(exp(target), sub(target, x));
  } else {
    const Value some = gt(target, 0.0);
    each = where(some, mul(target, sub(log(where(some, target, 1.0)), x)), 0.0);
  }
  if (!o.batchmean) return reduce_rows(call, each, o);
  if (x.rank() == 0) call.refuse("batchmean needs rows, the input is a scalar");
  Axes rest;
  for (int i = 1; i < x.rank(); ++i) rest.push_back(i);
  if (!rest.empty()) each = sum(each, rest);
  return reduce_rows(call, each, Reduction::Mean, o.weights);
}

Value dice_loss(Value p, Value target, const DiceLossOptions& o, SourceLoc loc) {
  const Composed call(p, "dice_loss", loc);
  check_pair(call, p, "probabilities", target);
  check_not_negative(call, "smooth", o.smooth);
  if (p.rank() < 2)
    call.refuse(cat("probabilities must have a row axis and more, got ", to_string(p.type())));
  Axes rest;
  for (int i = 1; i < p.rank(); ++i) rest.push_back(i);
  const Value both = add(mul(sum(mul(p, target), rest), 2.0), o.smooth);
  const Value all = add(sum(add(p, target), rest), o.smooth);
  return reduce_rows(call, sub(1.0, div(both, all)), o);
}

Value triplet_margin_loss(Value anchor, Value positive, Value negative, const TripletMarginOptions& o,
                          SourceLoc loc) {
  const Composed call(anchor, "triplet_margin_loss", loc);
  check_pair(call, anchor, "anchor", positive, "positive");
  check_pair(call, anchor, "anchor", negative, "negative");
  if (anchor.rank() < 1) call.refuse("the anchor is a scalar; its last axis is what distances are over");
  Value away = distance(anchor, negative, o.eps);
  if (o.swap) away = minimum(away, distance(positive, negative, o.eps));
  return reduce_rows(call, relu(add(sub(distance(anchor, positive, o.eps), away), o.margin)), o);
}

Value hinge_loss(Value prediction, Value target, const HingeOptions& o, SourceLoc loc) {
  const Composed call(prediction, "hinge_loss", loc);
  check_pair(call, prediction, "prediction", target);
  return reduce_rows(call, relu(sub(o.margin, mul(target, prediction))), o);
}

Value hinge_embedding_loss(Value x, Value target, const HingeOptions& o, SourceLoc loc) {
  const Composed call(x, "hinge_embedding_loss", loc);
  check_pair(call, x, "input", target);
  return reduce_rows(call, where(gt(target, 0.0), x, relu(sub(o.margin, x))), o);
}

Value valid_row_weights(Graph& graph, std::int64_t rows, DType dtype, SourceLoc loc) {
  if (!graph.build.valid_rows.valid()) return {};
  const Scope scope(graph, "valid_rows", std::move(loc));
  const Value valid(graph, graph.build.valid_rows);
  return cast(lt(iota(graph, rows, valid.dtype()), valid), dtype);
}

}  // namespace ingot
