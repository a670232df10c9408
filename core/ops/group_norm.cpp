#include "core/ops/group_norm.h"

#include <cmath>

#include "core/base/half_types.h"
#include "core/ops/check.h"
#include "core/ops/reference.h"
#include "core/ops/support.h"

namespace ingot {

namespace {

// Operands `first` and on are of gamma's dtype, which is x's, or f32 beside a 16-bit x.
void check_parameters(const InferArgs& a, int x, int gamma) {
  const DType image = a.dtype(x), params = a.dtype(gamma);
  if (params != image && !(is_half(image) && params == DType::F32))
    throw ShapeError(cat(a.op, ": gamma must be ", name(image), is_half(image) ? " or f32" : "", " for x of ",
                         name(image), ", got ", name(params), "; convert with cast()"));
}

// Checks x and gamma; returns the statistics' shape.
Shape check_groups(const InferArgs& a, int x, int gamma) {
  const auto& at = a.attrs.as<GroupNormAttrs>();
  if (!(at.eps >= 0.0)) throw UsageError(cat(a.op, ": eps must not be negative, got ", at.eps));
  ops::check_floating(a, x, "x");
  const Shape& s = a.shape(x);
  if (s.rank() < 2)
    throw ShapeError(cat(a.op, ": x must have at least the axes [N, C], got shape ", to_string(s)));
  if (at.groups < 1 || s[1] % at.groups != 0)
    throw ShapeError(
        cat(a.op, ": groups ", at.groups, " must divide the ", s[1], " channels of x ", to_string(s)));
  for (int i = 1; i < s.rank(); ++i)
    if (s[i] == 0) throw ShapeError(cat(a.op, ": the groups of x ", to_string(s), " are empty"));
  check_parameters(a, x, gamma);
  ops::check_shape(a, gamma, "gamma (one number per channel)", Shape{s[1]});
  return {s[0], at.groups};
}

std::vector<TensorType> infer_group_norm(const InferArgs& a) {
  const Shape rows = check_groups(a, 0, 1);
  ops::check_dtype(a, 2, "beta", a.dtype(1));
  ops::check_shape(a, 2, "beta (one number per channel)", a.shape(1));
  const TensorType stat{a.dtype(1), rows};
  return {{a.dtype(0), a.shape(0)}, stat, stat};
}

std::vector<TensorType> infer_group_norm_grad(const InferArgs& a) {
  const Shape rows = check_groups(a, 1, 2);
  ops::check_dtype(a, 0, "dy", a.dtype(1));
  ops::check_shape(a, 0, "dy (as x)", a.shape(1));
  for (const int i : {3, 4}) {
    const std::string_view what = i == 3 ? "mean (one number per sample and group)" : "rstd (as mean)";
    ops::check_dtype(a, i, what, a.dtype(2));
    ops::check_shape(a, i, what, rows);
  }
  const TensorType param{a.dtype(2), a.shape(2)};
  return {{a.dtype(1), a.shape(1)}, param, param};
}

std::vector<Value> grad_group_norm(GradContext& c) {
  // Statistics reach the loss only through y: rules for them would hide mistakes.
  if (c.has_grad(1) || c.has_grad(2))
    throw UsageError("group_norm: no gradient flows through the statistics; use mean() and var()");
  if (!c.has_grad(0)) return std::vector<Value>(3);
  const Attrs attrs = c.node().attrs;
  const Value in[] = {c.grad(0), c.input(0), c.input(1), c.output(1), c.output(2)};
  return apply("group_norm_grad", in, attrs);
}

// x as samples of groups of channels of pixels; element i of group r is channel channel(r, i).
struct Groups {
  std::int64_t rows, cells, channels, pixels, groups;
  Groups(const Shape& x, std::int64_t count) : rows(x[0] * count), channels(x[1]), groups(count) {
    pixels = 1;
    for (int i = 2; i < x.rank(); ++i) pixels *= x[i];
    cells = channels / count * pixels;
  }
  std::size_t channel(std::int64_t r, std::int64_t i) const {
    return static_cast<std::size_t>(r % groups * (channels / groups) + i / pixels);
  }
};

void reference_group_norm(const RefArgs& r) {
  const auto& at = r.attrs.as<GroupNormAttrs>();
  const Groups g(r.inputs[0].shape(), at.groups);
  ops::visit_floating("group_norm", r.outputs[0].dtype(), [&]<class T>() {
    const T *gamma = r.inputs[1].data<T>(), *beta = r.inputs[2].data<T>();
    const auto count = static_cast<double>(g.cells);
    for (std::int64_t n = 0; n < g.rows; ++n) {
      const T* x = r.inputs[0].data<T>() + n * g.cells;
      double mean = 0.0, var = 0.0;
      for (std::int64_t i = 0; i < g.cells; ++i) mean += static_cast<double>(x[i]);
      mean /= count;
      for (std::int64_t i = 0; i < g.cells; ++i) {
        const double d = static_cast<double>(x[i]) - mean;
        var += d * d;
      }
      const double rstd = 1.0 / std::sqrt(var / count + at.eps);
      for (std::int64_t i = 0; i < g.cells; ++i) {
        const std::size_t c = g.channel(n, i);
        r.outputs[0].data<T>()[n * g.cells + i] =
            static_cast<T>((static_cast<double>(x[i]) - mean) * rstd * static_cast<double>(gamma[c]) +
                           static_cast<double>(beta[c]));
      }
      r.outputs[1].data<T>()[n] = static_cast<T>(mean);
      r.outputs[2].data<T>()[n] = static_cast<T>(rstd);
    }
  });
}

void reference_group_norm_grad(const RefArgs& r) {
  const Groups g(r.inputs[1].shape(), r.attrs.as<GroupNormAttrs>().groups);
  ops::visit_floating("group_norm_grad", r.outputs[0].dtype(), [&]<class T>() {
    const T* gamma = r.inputs[2].data<T>();
    std::vector<double> dgamma(static_cast<std::size_t>(g.channels)), dbeta(dgamma.size());
    const auto count = static_cast<double>(g.cells);
    for (std::int64_t n = 0; n < g.rows; ++n) {
      const T *dy = r.inputs[0].data<T>() + n * g.cells, *x = r.inputs[1].data<T>() + n * g.cells;
      const auto mean = static_cast<double>(r.inputs[3].data<T>()[n]);
      const auto rstd = static_cast<double>(r.inputs[4].data<T>()[n]);
      const auto normal = [&](std::int64_t i) { return (static_cast<double>(x[i]) - mean) * rstd; };
      double sum_d = 0.0, sum_dn = 0.0;  // of d = dy gamma, and of d times the normalised x
      for (std::int64_t i = 0; i < g.cells; ++i) {
        const std::size_t c = g.channel(n, i);
        const auto up = static_cast<double>(dy[i]);
        sum_d += up * static_cast<double>(gamma[c]);
        sum_dn += up * static_cast<double>(gamma[c]) * normal(i);
        dgamma[c] += up * normal(i);
        dbeta[c] += up;
      }
      for (std::int64_t i = 0; i < g.cells; ++i) {
        const double d = static_cast<double>(dy[i]) * static_cast<double>(gamma[g.channel(n, i)]);
        r.outputs[0].data<T>()[n * g.cells + i] =
            static_cast<T>(rstd * (d - sum_d / count - normal(i) * sum_dn / count));
      }
    }
    for (std::size_t c = 0; c < dgamma.size(); ++c) {
      r.outputs[1].data<T>()[c] = static_cast<T>(dgamma[c]);
      r.outputs[2].data<T>()[c] = static_cast<T>(dbeta[c]);
    }
  });
}

// The statistics need all of a group before its first y, and the sums before its first dx.
Cost cost_group_norm(const Attrs&, std::span<const TensorType> in, std::span<const TensorType> out) {
  return {8.0 * static_cast<double>(out[0].numel()),
          ops::operand_bytes(in, out) + static_cast<double>(in[0].bytes())};
}
Cost cost_group_norm_grad(const Attrs&, std::span<const TensorType> in, std::span<const TensorType> out) {
  return {11.0 * static_cast<double>(out[0].numel()),
          ops::operand_bytes(in, out) + 2.0 * static_cast<double>(in[1].bytes())};
}

}  // namespace

namespace ops {

OpDef def_group_norm() {
  OpDef d;
  d.full_inputs = {1, 2};
  d.name = "group_norm";
  d.doc = "Normalisation over groups of channels of each sample, and the statistics of each group";
  d.min_inputs = d.max_inputs = 3;
  d.attrs = GroupNormAttrs{};
  d.infer = infer_group_norm;
  d.gradient = grad_group_norm;
  d.reference = reference_group_norm;
  d.cost = cost_group_norm;
  d.in_place = [](const Attrs&, int) { return std::vector<std::array<int, 2>>{{0, 0}}; };
  return d;
}

OpDef def_group_norm_grad() {
  OpDef d;
  d.full_inputs = {2, 3, 4};
  d.name = "group_norm_grad";
  d.doc = "Gradient of group_norm";
  d.min_inputs = d.max_inputs = 5;
  d.attrs = GroupNormAttrs{};
  d.infer = infer_group_norm_grad;
  d.not_differentiable =
      "second derivatives of group_norm are not defined; compose the normalisation from mean, var and "
      "elementwise ops";
  d.reference = reference_group_norm_grad;
  d.cost = cost_group_norm_grad;
  d.in_place = [](const Attrs&, int) { return std::vector<std::array<int, 2>>{{0, 0}, {1, 0}}; };
  return d;
}

}  // namespace ops
}  // namespace ingot
