#include "core/ops/loss.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/ops/check.h"
#include "core/ops/elementwise.h"
#include "core/ops/reference.h"
#include "core/ops/support.h"
#include "core/ops/view.h"

namespace ingot {

namespace {

void check_logits(const InferArgs& a, int logits) {
  const auto& at = a.attrs.as<SoftmaxCrossEntropyAttrs>();
  if (!(at.label_smoothing >= 0.0 && at.label_smoothing < 1.0))
    throw UsageError(cat(a.op, ": label_smoothing must be in [0, 1), got ", at.label_smoothing));
  ops::check_floating(a, logits, "logits");
  ops::check_rank(a, logits, "logits [N, C]", 2);
  if (a.shape(logits)[1] < 1)
    throw ShapeError(cat(a.op, ": logits ", to_string(a.shape(logits)), " have no class"));
  ops::check_index(a, logits + 1, "labels");
  ops::check_shape(a, logits + 1, "labels (one class number per row of logits)", Shape{a.shape(logits)[0]});
}

std::vector<TensorType> infer_forward(const InferArgs& a) {
  check_logits(a, 0);
  const TensorType row{a.dtype(0), Shape{a.shape(0)[0]}};
  return {row, row};
}

std::vector<TensorType> infer_grad(const InferArgs& a) {
  check_logits(a, 1);
  for (const int i : {0, 3}) {
    const std::string_view what = i == 0 ? "dloss (one number per row)" : "lse (one number per row)";
    ops::check_dtype(a, i, what, a.dtype(1));
    ops::check_shape(a, i, what, Shape{a.shape(1)[0]});
  }
  return {{a.dtype(1), a.shape(1)}};
}

std::vector<Value> grad_forward(GradContext& c) {
  std::vector<Value> out(2);
  const Value logits = c.input(0), labels = c.input(1), lse = c.output(1);
  const Attrs attrs = c.node().attrs;
  if (c.has_grad(0)) out[0] = apply1("softmax_cross_entropy_grad", {c.grad(0), logits, labels, lse}, attrs);
  if (c.has_grad(1)) {
    // d lse / d logits = softmax(logits).
    const Value p = exp(sub(logits, unsqueeze(lse, 1)));
    const Value d = mul(p, unsqueeze(c.grad(1), 1));
    out[0] = out[0].defined() ? add(out[0], d) : d;
  }
  return out;
}

// The class of row n, or -1 when the row is ignored.
std::int64_t label_of(const Tensor& labels, std::int64_t n, std::int64_t classes,
                      const SoftmaxCrossEntropyAttrs& at) {
  const std::int64_t label = ops::index_at(labels, n);
  if (label == at.ignore_index) return -1;
  if (label < 0 || label >= classes) throw UsageError(bad_label_message(label, n, classes, at.ignore_index));
  return label;
}

void reference_forward(const RefArgs& r) {
  const auto& at = r.attrs.as<SoftmaxCrossEntropyAttrs>();
  const std::int64_t rows = r.inputs[0].shape()[0], classes = r.inputs[0].shape()[1];
  ops::visit_floating("softmax_cross_entropy", r.outputs[0].dtype(), [&]<class T>() {
    for (std::int64_t n = 0; n < rows; ++n) {
      const T* x = r.inputs[0].data<T>() + n * classes;
      double top = -std::numeric_limits<double>::infinity(), total = 0.0, sum_x = 0.0;
      for (std::int64_t c = 0; c < classes; ++c) top = std::max(top, static_cast<double>(x[c]));
      for (std::int64_t c = 0; c < classes; ++c) {
        total += std::exp(static_cast<double>(x[c]) - top);
        sum_x += static_cast<double>(x[c]);
      }
      const double lse = top + std::log(total);
      const std::int64_t label = label_of(r.inputs[1], n, classes, at);
      double loss = 0.0;
      if (label >= 0) {
        loss = lse - (1.0 - at.label_smoothing) * static_cast<double>(x[label]);
        if (at.label_smoothing != 0.0) loss -= at.label_smoothing / static_cast<double>(classes) * sum_x;
      }
      r.outputs[0].data<T>()[n] = static_cast<T>(loss);
      r.outputs[1].data<T>()[n] = static_cast<T>(lse);
    }
  });
}

void reference_grad(const RefArgs& r) {
  const auto& at = r.attrs.as<SoftmaxCrossEntropyAttrs>();
  const std::int64_t rows = r.inputs[1].shape()[0], classes = r.inputs[1].shape()[1];
  ops::visit_floating("softmax_cross_entropy_grad", r.outputs[0].dtype(), [&]<class T>() {
    const double spread = at.label_smoothing / static_cast<double>(classes);
    for (std::int64_t n = 0; n < rows; ++n) {
      const T* x = r.inputs[1].data<T>() + n * classes;
      T* dx = r.outputs[0].data<T>() + n * classes;
      const std::int64_t label = label_of(r.inputs[2], n, classes, at);
      const auto up = static_cast<double>(r.inputs[0].data<T>()[n]);
      const auto lse = static_cast<double>(r.inputs[3].data<T>()[n]);
      for (std::int64_t c = 0; c < classes; ++c) {
        const double target = spread + (c == label ? 1.0 - at.label_smoothing : 0.0);
        dx[c] = label < 0 ? T(0) : static_cast<T>(up * (std::exp(static_cast<double>(x[c]) - lse) - target));
      }
    }
  });
}

// Maximum, subtraction, exponential, sum; backward subtraction, exponential, subtraction, product.
Cost cost_rows(const Attrs&, std::span<const TensorType> in, std::span<const TensorType> out) {
  const bool backward = in.size() == 4;
  return {4.0 * static_cast<double>(in[backward ? 1 : 0].numel()), ops::operand_bytes(in, out)};
}

}  // namespace

std::string bad_label_message(std::int64_t label, std::int64_t row, std::int64_t classes,
                              std::int64_t ignore_index) {
  return cat("softmax_cross_entropy: label ", label, " of row ", row, " is outside of [0, ", classes,
             ") and is not ignore_index (", ignore_index,
             "); check the labels and the number of classes of the model");
}

SoftmaxCrossEntropy softmax_cross_entropy(Value logits, Value labels, const SoftmaxCrossEntropyAttrs& attrs,
                                          SourceLoc loc) {
  const Value in[] = {logits, labels};
  const auto out = apply("softmax_cross_entropy", in, attrs, std::move(loc));
  return {out[0], out[1]};
}

namespace ops {

OpDef def_softmax_cross_entropy() {
  OpDef d;
  d.precision = Precision::Full;
  d.name = "softmax_cross_entropy";
  d.doc = "Cross-entropy of each row of logits with its label, and the row's log-sum-exp";
  d.min_inputs = d.max_inputs = 2;
  d.attrs = SoftmaxCrossEntropyAttrs{};
  d.infer = infer_forward;
  d.gradient = grad_forward;
  d.reference = reference_forward;
  d.cost = cost_rows;
  return d;
}

OpDef def_softmax_cross_entropy_grad() {
  OpDef d;
  d.precision = Precision::Full;
  d.name = "softmax_cross_entropy_grad";
  d.doc = "Gradient of softmax_cross_entropy with respect to the logits";
  d.min_inputs = d.max_inputs = 4;
  d.attrs = SoftmaxCrossEntropyAttrs{};
  d.infer = infer_grad;
  d.not_differentiable =
      "second derivatives of the fused cross-entropy are not defined; build the loss from log_softmax and "
      "one_hot";
  d.reference = reference_grad;
  d.cost = cost_rows;
  d.in_place = [](const Attrs&, int) { return std::vector<std::array<int, 2>>{{1, 0}}; };
  return d;
}

}  // namespace ops
}  // namespace ingot
