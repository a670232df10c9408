#include "core/ops/conv_norm.h"

#include <algorithm>
#include <cmath>

#include "core/ops/activation.h"
#include "core/ops/check.h"
#include "core/ops/norm.h"
#include "core/ops/reference.h"
#include "core/ops/support.h"

namespace ingot {

namespace {

bool half(DType t) {
  return t == DType::F16 || t == DType::BF16;
}

// Operand i and those behind it up to `last` are [C] and of one type, which may be beside an image's `x`.
void check_channels(const InferArgs& a, int i, int last, DType x, std::int64_t channels) {
  const DType params = a.dtype(i);
  if (params != x && !(half(x) && params == DType::F32))
    throw ShapeError(cat(a.op, ": parameters must be ", name(x), half(x) ? " or f32" : "", " for images of ",
                         name(x), ", got ", name(params), "; convert with cast()"));
  for (; i <= last; ++i) {
    ops::check_dtype(a, i, cat("operand ", i), params);
    ops::check_shape(a, i, cat("operand ", i, " (a number per channel)"), Shape{channels});
  }
}

void check_valid(const InferArgs& a, int i) {
  ops::check_dtype(a, i, "valid_rows", DType::I32);
  ops::check_shape(a, i, "valid_rows (a scalar)", Shape{});
}

std::vector<TensorType> infer_conv2d_sums(const InferArgs& a) {
  const auto& at = a.attrs.as<Conv2dAttrs>();
  if (at.has_bias || at.has_residual || !at.activation.empty())
    throw UsageError(
        cat(a.op, ": it sums a plain convolution's result, without bias, residual or activation"));
  const TensorType y = infer(op("conv2d"), a.attrs, a.inputs)[0];
  const TensorType sum{half(y.dtype) ? DType::F32 : y.dtype, Shape{y.shape[1]}};
  return {y, sum, sum};
}

std::vector<TensorType> infer_statistics(const InferArgs& a) {
  const auto& at = a.attrs.as<BatchNormStatisticsAttrs>();
  ops::check_count(a, 4u + at.has_valid, "(sum, squares, running_mean, running_var, [valid_rows])");
  if (at.rows < 1 || at.pixels < 1 || at.rows * at.pixels < 2)
    throw UsageError(cat(a.op, ": rows and pixels must be the sizes of a channel of two values or more, got ",
                         at.rows, " and ", at.pixels));
  ops::check_rank(a, 0, "sum [C]", 1);
  ops::check_floating(a, 0, "sum");
  if (half(a.dtype(0)))
    throw ShapeError(
        cat(a.op, ": sums must be f32 or f64, got ", name(a.dtype(0)), "; conv2d_sums makes them so"));
  check_channels(a, 0, 1, a.dtype(0), a.shape(0)[0]);
  const TensorType stat{a.dtype(2), a.shape(0)};
  if (stat.dtype != a.dtype(0) && !(half(stat.dtype) && a.dtype(0) == DType::F32))
    throw ShapeError(cat(a.op, ": sums of ", name(a.dtype(0)), " do not fit running statistics of ",
                         name(stat.dtype), "; sums are f32, or of the statistics' type"));
  check_channels(a, 2, 3, stat.dtype, a.shape(0)[0]);
  if (at.has_valid) check_valid(a, 4);
  return {stat, stat, stat, stat};
}

std::vector<TensorType> infer_grad_input_sums(const InferArgs& a) {
  const auto& at = a.attrs.as<Conv2dGradInputSumsAttrs>();
  if (at.has_residual && at.has_second)
    throw UsageError(cat(a.op, ": the residual is given or a second batch norm's, not both"));
  ops::check_count(a, 7u + 2u * at.has_residual + 6u * at.has_second,
                   "(dy, w, x, gamma, beta, save_mean, save_rstd, [dy2, residual | x2 and its four])");
  const Attrs conv(static_cast<const Conv2dGradInputAttrs&>(at));
  const TensorType u = infer(op("conv2d_grad_input"), conv, a.inputs.first(2))[0];
  const auto image = [&](int i, std::string_view what) {
    ops::check_dtype(a, i, what, u.dtype);
    ops::check_shape(a, i, what, u.shape);
  };
  image(2, "x (as the gradient)");
  check_channels(a, 3, 6, u.dtype, u.shape[1]);
  if (at.has_residual || at.has_second) image(7, "dy2 (as x)"), image(8, "residual (as x)");
  if (at.has_second) check_channels(a, 9, 12, u.dtype, u.shape[1]);
  std::vector<TensorType> out(at.has_second ? 5 : 3, TensorType{a.dtype(3), Shape{u.shape[1]}});
  out[0] = u;
  return out;
}

std::vector<TensorType> infer_grad_apply(const InferArgs& a) {
  ops::check_floating(a, 1, "x");
  if (a.shape(1).rank() < 2)
    throw ShapeError(cat(a.op, ": x must have at least the axes [N, C], got shape ", to_string(a.shape(1))));
  ops::check_dtype(a, 0, "u", a.dtype(1));
  ops::check_shape(a, 0, "u (as x)", a.shape(1));
  check_channels(a, 2, 6, a.dtype(1), a.shape(1)[1]);
  const auto& at = a.attrs.as<BatchNormGradApplyAttrs>();
  ops::check_count(a, 7u + at.has_valid + 6u * at.has_second,
                   "(u, x, gamma, save_mean, save_rstd, dgamma, dbeta, [x2 and its five], [valid_rows])");
  if (at.has_valid) check_valid(a, 7 + 6 * at.has_second);
  if (!at.has_second) return {a.inputs[1]};
  ops::check_dtype(a, 7, "x2", a.dtype(1));
  ops::check_shape(a, 7, "x2 (as x)", a.shape(1));
  check_channels(a, 8, 12, a.dtype(1), a.shape(1)[1]);
  return {a.inputs[1], a.inputs[1]};
}

std::vector<TensorType> infer_apply_two(const InferArgs& a) {
  const auto& at = a.attrs.as<BatchNormApplyAttrs>();
  ops::check_count(a, 10u + at.has_valid,
                   "(x, gamma, beta, save_mean, save_rstd, the same of a second, [valid_rows])");
  if (at.has_residual) throw UsageError(cat(a.op, ": the second batch norm is the residual"));
  clip_of(a.op, at.activation);
  ops::check_floating(a, 0, "x");
  if (a.shape(0).rank() < 2)
    throw ShapeError(cat(a.op, ": x must have at least the axes [N, C], got shape ", to_string(a.shape(0))));
  ops::check_dtype(a, 5, "the second x", a.dtype(0));
  ops::check_shape(a, 5, "the second x (as the first)", a.shape(0));
  check_channels(a, 1, 4, a.dtype(0), a.shape(0)[1]);
  check_channels(a, 6, 9, a.dtype(0), a.shape(0)[1]);
  ops::check_dtype(a, 6, "operand 6", a.dtype(1));
  if (at.has_valid) check_valid(a, 10);
  return {a.inputs[0]};
}

// How many of the rows count; operand i says so where there is one.
std::int64_t counted(const RefArgs& r, bool has_valid, std::size_t i, std::int64_t rows) {
  return has_valid ? std::clamp<std::int64_t>(r.inputs[i].data<std::int32_t>()[0], 0, rows) : rows;
}

// f(c, i) for each element of an image, c its channel.
template <class F>
void each(const Shape& s, F f) {
  std::int64_t pixels = 1;
  for (int d = 2; d < s.rank(); ++d) pixels *= s[d];
  for (std::int64_t n = 0, i = 0; n < s[0]; ++n)
    for (std::int64_t c = 0; c < s[1]; ++c)
      for (std::int64_t p = 0; p < pixels; ++p, ++i) f(c, i);
}

// Element i of operand k, whichever type the reference runs in.
template <class T>
auto reader(const RefArgs& r) {
  return [&r](std::size_t k, std::int64_t i) { return static_cast<double>(r.inputs[k].data<T>()[i]); };
}

template <class T>
void put(const RefArgs& r, std::size_t output, const std::vector<double>& v) {
  for (std::size_t c = 0; c < v.size(); ++c) r.outputs[output].data<T>()[c] = static_cast<T>(v[c]);
}

void reference_conv2d_sums(const RefArgs& r) {
  op("conv2d").reference({r.attrs, r.inputs, r.outputs.first(1)});
  ops::visit_floating("conv2d_sums", r.outputs[0].dtype(), [&]<class T>() {
    std::vector<double> sum(static_cast<std::size_t>(r.outputs[1].numel())), squares(sum.size());
    each(r.outputs[0].shape(), [&](std::int64_t c, std::int64_t i) {
      const auto y = static_cast<double>(r.outputs[0].data<T>()[i]);
      sum[static_cast<std::size_t>(c)] += y;
      squares[static_cast<std::size_t>(c)] += y * y;
    });
    put<T>(r, 1, sum), put<T>(r, 2, squares);
  });
}

void reference_statistics(const RefArgs& r) {
  const auto& at = r.attrs.as<BatchNormStatisticsAttrs>();
  ops::visit_floating("batch_norm_statistics", r.outputs[0].dtype(), [&]<class T>() {
    const auto in = reader<T>(r);
    const std::int64_t rows = counted(r, at.has_valid, 4, at.rows);
    const auto count = static_cast<double>(rows > 0 ? rows * at.pixels : 1);
    const double some = rows > 0 ? 1.0 : 0.0;  // sums of no rows are 0
    const double momentum = rows > 0 ? at.momentum : 0.0;
    for (std::int64_t c = 0; c < r.outputs[0].numel(); ++c) {
      const double mean = some * in(0, c) / count;
      const double var = std::max(some * in(1, c) / count - mean * mean, 0.0);
      const double unbiased = var * count / std::max(count - 1.0, 1.0);
      const double moved[] = {mean, 1.0 / std::sqrt(var + at.eps),
                              (1.0 - momentum) * in(2, c) + momentum * mean,
                              (1.0 - momentum) * in(3, c) + momentum * unbiased};
      for (std::size_t k = 0; k < 4; ++k) r.outputs[k].data<T>()[c] = static_cast<T>(moved[k]);
    }
  });
}

void reference_grad_input_sums(const RefArgs& r) {
  const auto& at = r.attrs.as<Conv2dGradInputSumsAttrs>();
  const Attrs conv(static_cast<const Conv2dGradInputAttrs&>(at));
  op("conv2d_grad_input").reference({conv, r.inputs.first(2), r.outputs.first(1)});
  ops::visit_floating("conv2d_grad_input_sums", r.outputs[0].dtype(), [&]<class T>() {
    const auto in = reader<T>(r);
    std::vector<double> dgamma(static_cast<std::size_t>(r.outputs[1].numel())), dbeta(dgamma.size()),
        dgamma2(dgamma.size());
    each(r.outputs[0].shape(), [&](std::int64_t c, std::int64_t i) {
      T& u = r.outputs[0].data<T>()[i];
      const double h = (in(2, i) - in(5, c)) * in(6, c);
      double y = in(3, c) * h + in(4, c);
      const double h2 = at.has_second ? (in(8, i) - in(11, c)) * in(12, c) : 0.0;
      if (at.has_second) y += in(9, c) * h2 + in(10, c);
      if (at.has_residual) y += in(8, i);
      if (at.has_residual || at.has_second) u = static_cast<T>(static_cast<double>(u) + in(7, i));
      if (y <= 0.0) u = T(0);
      dgamma[static_cast<std::size_t>(c)] += static_cast<double>(u) * h;
      dgamma2[static_cast<std::size_t>(c)] += static_cast<double>(u) * h2;
      dbeta[static_cast<std::size_t>(c)] += static_cast<double>(u);
    });
    put<T>(r, 1, dgamma), put<T>(r, 2, dbeta);
    if (at.has_second) put<T>(r, 3, dgamma2), put<T>(r, 4, dbeta);
  });
}

void reference_grad_apply(const RefArgs& r) {
  const Shape& x = r.inputs[1].shape();
  const auto& at = r.attrs.as<BatchNormGradApplyAttrs>();
  const std::int64_t rows = counted(r, at.has_valid, at.has_second ? 13 : 7, x[0]);
  const std::int64_t end = x[0] == 0 ? 0 : x.numel() / x[0] * rows;
  const double count = static_cast<double>(end) / static_cast<double>(std::max<std::int64_t>(x[1], 1));
  ops::visit_floating("batch_norm_grad_apply", r.outputs[0].dtype(), [&]<class T>() {
    const auto in = reader<T>(r);
    // x, gamma, mean, rstd, dgamma and dbeta are operands k, k + 1, ...
    const auto dx = [&](std::size_t k, std::int64_t c, std::int64_t i) {
      const double rstd = in(k + 3, c), h = (in(k, i) - in(k + 2, c)) * rstd;
      const double u = in(0, i), mean = (in(k + 5, c) + h * in(k + 4, c)) / count;
      return i < end ? static_cast<T>(in(k + 1, c) * rstd * (u - mean)) : T(0);
    };
    each(x, [&](std::int64_t c, std::int64_t i) {
      const T first = dx(1, c, i);  // both before either is stored: a result may lie over u
      if (at.has_second) r.outputs[1].data<T>()[i] = dx(7, c, i);
      r.outputs[0].data<T>()[i] = first;
    });
  });
}

void reference_apply_two(const RefArgs& r) {
  const auto& at = r.attrs.as<BatchNormApplyAttrs>();
  const LastFunction act = clip_of("batch_norm_apply_two", at.activation);
  const Shape& x = r.inputs[0].shape();
  const std::int64_t rows = counted(r, at.has_valid, 10, x[0]);
  const std::int64_t end = x[0] == 0 ? 0 : x.numel() / x[0] * rows;
  ops::visit_floating("batch_norm_apply_two", r.outputs[0].dtype(), [&]<class T>() {
    const auto in = reader<T>(r);
    each(x, [&](std::int64_t c, std::int64_t i) {
      double v = 0.0;
      for (const std::size_t k : {0u, 5u})
        v += (in(k, i) - in(k + 3, c)) * in(k + 1, c) * in(k + 4, c) + in(k + 2, c);
      r.outputs[0].data<T>()[i] = i < end ? static_cast<T>(activate(act, v)) : T(0);
    });
  });
}

// The flops of the convolution that makes an image of `y`'s elements.
Cost products(const Shape& weight, const TensorType& y, std::span<const TensorType> in,
              std::span<const TensorType> out) {
  return {2.0 * static_cast<double>(y.numel()) * static_cast<double>(weight[1] * weight[2] * weight[3]),
          ops::operand_bytes(in, out)};
}
Cost cost_conv2d_sums(const Attrs&, std::span<const TensorType> in, std::span<const TensorType> out) {
  return products(in[1].shape, out[0], in, out);
}
Cost cost_grad_input_sums(const Attrs&, std::span<const TensorType> in, std::span<const TensorType> out) {
  return products(in[1].shape, in[0], in, out);
}
Cost cost_grad_apply(const Attrs&, std::span<const TensorType> in, std::span<const TensorType> out) {
  return {5.0 * static_cast<double>(out[0].numel()) * static_cast<double>(out.size()),
          ops::operand_bytes(in, out)};
}

OpDef fused(std::string_view name, std::string_view doc, int inputs, InferFn infer, RefFn reference,
            CostFn cost) {
  OpDef d = ops::made_by_pass("fuse-sums", "conv2d and batch_norm", name, doc, infer, reference, cost);
  d.min_inputs = d.max_inputs = inputs;
  return d;
}

}  // namespace

namespace ops {

OpDef def_conv2d_sums() {
  OpDef d = fused("conv2d_sums", "conv2d, and the sums of its result and of its squares per channel", 2,
                  infer_conv2d_sums, reference_conv2d_sums, cost_conv2d_sums);
  d.precision = Precision::Compute;
  d.attrs = Conv2dAttrs{};
  return d;
}

OpDef def_batch_norm_statistics() {
  OpDef d = fused("batch_norm_statistics",
                  "Batch statistics and moved running statistics from the sums of conv2d_sums", 4,
                  infer_statistics, reference_statistics, nullptr);
  d.max_inputs = 5;
  d.full_inputs = {0, 1, 2, 3};
  d.attrs = BatchNormStatisticsAttrs{};
  d.in_place = [](const Attrs&, int) { return std::vector<std::array<int, 2>>{{2, 2}, {3, 3}}; };
  return d;
}

OpDef def_conv2d_grad_input_sums() {
  OpDef d = fused("conv2d_grad_input_sums",
                  "conv2d_grad_input behind a ReLU and a batch norm, and the latter's gradients", 7,
                  infer_grad_input_sums, reference_grad_input_sums, cost_grad_input_sums);
  d.max_inputs = 13;
  d.precision = Precision::Compute;
  d.full_inputs = {3, 4, 5, 6, 9, 10, 11, 12};
  d.attrs = Conv2dGradInputSumsAttrs{};
  return d;
}

OpDef def_batch_norm_grad_apply() {
  OpDef d = fused("batch_norm_grad_apply", "The gradient of batch_norm's operand, from its sums", 7,
                  infer_grad_apply, reference_grad_apply, cost_grad_apply);
  d.max_inputs = 14;
  d.full_inputs = {2, 3, 4, 5, 6, 8, 9, 10, 11, 12};
  d.attrs = BatchNormGradApplyAttrs{};
  d.in_place = [](const Attrs& attrs, int) {
    std::vector<std::array<int, 2>> pairs{{1, 0}, {0, 0}};
    if (attrs.as<BatchNormGradApplyAttrs>().has_second) pairs.push_back({7, 1});
    return pairs;
  };
  return d;
}

OpDef def_batch_norm_apply_two() {
  OpDef d = fused("batch_norm_apply_two", "The sum of two batch norms' results, from their statistics", 10,
                  infer_apply_two, reference_apply_two, cost_grad_apply);
  d.max_inputs = 11;
  d.full_inputs = {1, 2, 3, 4, 6, 7, 8, 9};
  d.attrs = BatchNormApplyAttrs{};
  d.in_place = [](const Attrs&, int) { return std::vector<std::array<int, 2>>{{0, 0}, {5, 0}}; };
  return d;
}

}  // namespace ops
}  // namespace ingot
