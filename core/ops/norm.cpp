#include "core/ops/norm.h"

#include <algorithm>
#include <cmath>

#include "core/ops/activation.h"
#include "core/ops/check.h"
#include "core/ops/elementwise.h"
#include "core/ops/reduce.h"
#include "core/ops/reference.h"
#include "core/ops/support.h"
#include "core/ops/view.h"

namespace ingot {

namespace {

void check_eps(const InferArgs& a, double eps) {
  if (!(eps >= 0.0)) throw UsageError(cat(a.op, ": eps must be 0 or more, got ", eps));
}

// A parameter or statistic of `x`: its dtype, or f32 beside a 16-bit x. `params` is the dtype that the first
// of them settled.
void check_parameter(const InferArgs& a, int i, std::string_view what, DType x, DType params,
                     const Shape& shape) {
  const bool half = x == DType::F16 || x == DType::BF16;
  if (params != x && !(half && params == DType::F32))
    throw ShapeError(cat(a.op, ": ", what, " must be ", name(x), half ? " or f32" : "", " for x of ", name(x),
                         ", got ", name(params), "; convert with cast()"));
  ops::check_dtype(a, i, what, params);
  ops::check_shape(a, i, what, shape);
}

void check_channels(const InferArgs& a, int x) {
  ops::check_floating(a, x, "x");
  if (a.shape(x).rank() < 2)
    throw ShapeError(cat(a.op, ": x must have at least the axes [N, C], got shape ", to_string(a.shape(x))));
}

void check_valid_rows(const InferArgs& a, int i) {
  ops::check_dtype(a, i, "valid_rows", DType::I32);
  ops::check_shape(a, i, "valid_rows (a scalar)", Shape{});
}

std::vector<TensorType> infer_batch_norm(const InferArgs& a) {
  const auto& at = a.attrs.as<BatchNormAttrs>();
  ops::check_count(a, 5u + at.has_valid + at.has_residual,
                   "(x, gamma, beta, running_mean, running_var, [valid_rows], [residual])");
  check_eps(a, at.eps);
  clip_of(a.op, at.activation);
  if (!(at.momentum >= 0.0 && at.momentum <= 1.0))
    throw UsageError(cat(a.op, ": momentum must be in [0, 1], got ", at.momentum));
  check_channels(a, 0);
  const Shape& x = a.shape(0);
  const Shape channels{x[1]};
  const DType params = a.dtype(1);
  constexpr std::string_view names[] = {"x", "gamma [C]", "beta [C]", "running_mean [C]", "running_var [C]"};
  for (int i = 1; i <= 4; ++i)
    check_parameter(a, i, names[static_cast<std::size_t>(i)], a.dtype(0), params, channels);
  if (x[1] > 0 && x.numel() == x[1])
    throw ShapeError(cat(a.op, ": training needs more than one value per channel, x ", to_string(x),
                         " has one; use a larger batch, or batch_norm_infer"));
  if (at.has_valid) check_valid_rows(a, 5);
  if (at.has_residual) {
    ops::check_dtype(a, 5 + at.has_valid, "residual", a.dtype(0));
    ops::check_shape(a, 5 + at.has_valid, "residual (as x)", x);
  }
  const TensorType stat{params, channels};
  return {{a.dtype(0), x}, stat, stat, stat, stat};
}

std::vector<TensorType> infer_batch_norm_grad(const InferArgs& a) {
  const auto& at = a.attrs.as<BatchNormGradAttrs>();
  const bool has_y = !at.activation.empty();
  ops::check_count(a, 5u + at.has_valid + has_y + at.has_dy2,
                   "(dy, x, gamma, save_mean, save_rstd, [valid_rows], [y | beta], [dy2])");
  check_eps(a, at.eps);
  clip_of(a.op, at.activation);
  check_channels(a, 1);
  const Shape& x = a.shape(1);
  const Shape channels{x[1]};
  ops::check_dtype(a, 0, "dy", a.dtype(1));
  ops::check_shape(a, 0, "dy (as x)", x);
  constexpr std::string_view names[] = {"", "", "gamma [C]", "save_mean [C]", "save_rstd [C]"};
  for (int i = 2; i <= 4; ++i)
    check_parameter(a, i, names[static_cast<std::size_t>(i)], a.dtype(1), a.dtype(2), channels);
  if (at.has_valid) check_valid_rows(a, 5);
  if (at.mask_from_x && !has_y)
    throw UsageError(cat(a.op, ": mask_from_x needs an activation whose mask it is"));
  if (has_y && at.mask_from_x) {
    check_parameter(a, 5 + at.has_valid, "beta [C]", a.dtype(1), a.dtype(2), channels);
  } else if (has_y) {
    ops::check_dtype(a, 5 + at.has_valid, "y", a.dtype(1));
    ops::check_shape(a, 5 + at.has_valid, "y (as x)", x);
  }
  if (at.has_dy2) {
    ops::check_dtype(a, 5 + at.has_valid + has_y, "dy2", a.dtype(1));
    ops::check_shape(a, 5 + at.has_valid + has_y, "dy2 (as x)", x);
  }
  const TensorType image{a.dtype(1), x}, stat{a.dtype(2), channels};
  std::vector<TensorType> out{image, stat, stat};
  if (at.has_residual) out.push_back(image);
  return out;
}

std::vector<TensorType> infer_batch_norm_apply(const InferArgs& a) {
  const auto& at = a.attrs.as<BatchNormApplyAttrs>();
  ops::check_count(a, 5u + at.has_valid + at.has_residual,
                   "(x, gamma, beta, save_mean, save_rstd, [valid_rows], [residual])");
  clip_of(a.op, at.activation);
  check_channels(a, 0);
  constexpr std::string_view names[] = {"x", "gamma [C]", "beta [C]", "save_mean [C]", "save_rstd [C]"};
  for (int i = 1; i <= 4; ++i)
    check_parameter(a, i, names[static_cast<std::size_t>(i)], a.dtype(0), a.dtype(1), Shape{a.shape(0)[1]});
  if (at.has_valid) check_valid_rows(a, 5);
  if (at.has_residual) {
    ops::check_dtype(a, 5 + at.has_valid, "residual", a.dtype(0));
    ops::check_shape(a, 5 + at.has_valid, "residual (as x)", a.shape(0));
  }
  return {a.inputs[0]};
}

std::vector<TensorType> infer_batch_norm_infer(const InferArgs& a) {
  check_eps(a, a.attrs.as<BatchNormInferAttrs>().eps);
  check_channels(a, 0);
  constexpr std::string_view names[] = {"x", "gamma [C]", "beta [C]", "mean [C]", "var [C]"};
  for (int i = 1; i <= 4; ++i)
    check_parameter(a, i, names[static_cast<std::size_t>(i)], a.dtype(0), a.dtype(1), Shape{a.shape(0)[1]});
  return {a.inputs[0]};
}

// The axes before `axis`, and those from it on.
struct Parts {
  Shape rows, cells;
};
Parts split(const Shape& x, int axis) {
  const auto n = static_cast<std::size_t>(axis);
  return {Shape(x.dims().first(n)), Shape(x.dims().subspan(n))};
}

std::vector<TensorType> infer_layer_norm(const InferArgs& a) {
  const auto& at = a.attrs.as<LayerNormAttrs>();
  check_eps(a, at.eps);
  ops::check_floating(a, 0, "x");
  const Parts p = split(a.shape(0), ops::check_axis(a, at.axis, a.shape(0)));
  if (p.cells.numel() == 0)
    throw ShapeError(cat(a.op, ": the normalised axes of x ", to_string(a.shape(0)), " are empty"));
  check_parameter(a, 1, "gamma (over the normalised axes)", a.dtype(0), a.dtype(1), p.cells);
  check_parameter(a, 2, "beta (over the normalised axes)", a.dtype(0), a.dtype(1), p.cells);
  const TensorType stat{a.dtype(1), p.rows};
  return {{a.dtype(0), a.shape(0)}, stat, stat};
}

std::vector<TensorType> infer_layer_norm_grad(const InferArgs& a) {
  const auto& at = a.attrs.as<LayerNormAttrs>();
  check_eps(a, at.eps);
  ops::check_floating(a, 1, "x");
  ops::check_dtype(a, 0, "dy", a.dtype(1));
  ops::check_shape(a, 0, "dy (as x)", a.shape(1));
  const Parts p = split(a.shape(1), ops::check_axis(a, at.axis, a.shape(1)));
  check_parameter(a, 2, "gamma (over the normalised axes)", a.dtype(1), a.dtype(2), p.cells);
  check_parameter(a, 3, "mean (over the axes before)", a.dtype(1), a.dtype(2), p.rows);
  check_parameter(a, 4, "rstd (over the axes before)", a.dtype(1), a.dtype(2), p.rows);
  const TensorType param{a.dtype(2), p.cells};
  return {{a.dtype(1), a.shape(1)}, param, param};
}

// Statistics reach the loss only through y: rules for them would hide mistakes.
void refuse_statistics(GradContext& c, std::string_view op) {
  for (int i = 1; i < static_cast<int>(c.node().outputs.size()); ++i)
    if (c.has_grad(i))
      throw UsageError(cat(op, ": output ", i, " is a statistic and has no gradient; use mean() and var()"));
}

std::vector<Value> grad_batch_norm(GradContext& c) {
  refuse_statistics(c, "batch_norm");
  const auto at = c.attrs<BatchNormAttrs>();
  std::vector<Value> out(static_cast<std::size_t>(c.num_inputs()));
  if (!c.has_grad(0)) return out;
  BatchNormGradAttrs to;
  to.eps = at.eps;
  to.has_valid = at.has_valid;
  to.activation = at.activation;
  to.has_residual = at.has_residual && !at.activation.empty();
  std::vector<Value> in{c.grad(0), c.input(0), c.input(1), c.output(1), c.output(2)};
  if (at.has_valid) in.push_back(c.input(5));
  if (!at.activation.empty()) in.push_back(c.output(0));
  const auto g = apply("batch_norm_grad", in, to);
  for (const std::size_t i : {0u, 1u, 2u}) out[i] = g[i];
  if (at.has_residual) out.back() = to.has_residual ? g[3] : c.grad(0);
  return out;
}

std::vector<Value> grad_batch_norm_infer(GradContext& c) {
  const double eps = c.attrs<BatchNormInferAttrs>().eps;
  const Value x = c.input(0), gamma = c.input(1), mean = c.input(3), var = c.input(4), dy = c.grad();
  Shape column{x.dim(1)};
  Axes others{0};
  for (int i = 2; i < x.rank(); ++i) {
    column.push_back(1);
    others.push_back(i);
  }
  // In the parameters' dtype, as the statistics are.
  const Value g = cast(dy, gamma.dtype()), rstd = rsqrt(add(var, eps));
  const Value scale = mul(gamma, rstd);
  std::vector<Value> out(5);
  if (c.needs(0)) out[0] = cast(mul(g, reshape(scale, column)), x.dtype());
  if (c.needs(1) || c.needs(4)) {
    const Value centred = sub(cast(x, gamma.dtype()), reshape(mean, column));
    const Value dscale = sum(mul(g, centred), others);  // of gamma * rstd
    if (c.needs(1)) out[1] = mul(dscale, rstd);
    // d rstd / d var = -rstd^3 / 2
    if (c.needs(4)) out[4] = mul(mul(mul(dscale, gamma), mul(square(rstd), rstd)), -0.5);
  }
  if (c.needs(2) || c.needs(3)) {
    const Value dbeta = sum(g, others);
    if (c.needs(2)) out[2] = dbeta;
    if (c.needs(3)) out[3] = neg(mul(dbeta, scale));
  }
  return out;
}

std::vector<Value> grad_layer_norm(GradContext& c) {
  refuse_statistics(c, "layer_norm");
  if (!c.has_grad(0)) return std::vector<Value>(3);
  const Attrs attrs = c.node().attrs;
  const Value in[] = {c.grad(0), c.input(0), c.input(1), c.output(1), c.output(2)};
  return apply("layer_norm_grad", in, attrs);
}

// x[N, C, ...] as rows x channels x pixels.
struct Channels {
  std::int64_t rows, channels, pixels;
  explicit Channels(const Shape& x) : rows(x[0]), channels(x[1]), pixels(1) {
    for (int i = 2; i < x.rank(); ++i) pixels *= x[i];
  }
  // Calls f(i) for each element of channel c in the rows [from, to).
  template <class F>
  void each(std::int64_t c, std::int64_t from, std::int64_t to, F&& f) const {
    for (std::int64_t n = from; n < to; ++n)
      for (std::int64_t p = 0; p < pixels; ++p) f((n * channels + c) * pixels + p);
  }
};

std::int64_t valid_rows(const RefArgs& r, bool has_valid, std::int64_t rows) {
  return has_valid ? std::clamp<std::int64_t>(r.inputs[5].data<std::int32_t>()[0], 0, rows) : rows;
}

void reference_batch_norm(const RefArgs& r) {
  const auto& at = r.attrs.as<BatchNormAttrs>();
  const LastFunction act = clip_of("batch_norm", at.activation);
  const Channels g(r.inputs[0].shape());
  const std::int64_t valid = valid_rows(r, at.has_valid, g.rows);
  ops::visit_floating("batch_norm", r.outputs[0].dtype(), [&]<class T>() {
    const auto in = [&](int i) { return r.inputs[static_cast<std::size_t>(i)].data<T>(); };
    const auto out = [&](int i) { return r.outputs[static_cast<std::size_t>(i)].data<T>(); };
    const T* residual = at.has_residual ? in(5 + at.has_valid) : nullptr;
    const auto count = static_cast<double>(valid * g.pixels);
    for (std::int64_t c = 0; c < g.channels; ++c) {
      double mean = 0.0, var = 0.0;
      g.each(c, 0, valid, [&](std::int64_t i) { mean += static_cast<double>(in(0)[i]); });
      if (valid > 0) mean /= count;
      g.each(c, 0, valid, [&](std::int64_t i) {
        const double d = static_cast<double>(in(0)[i]) - mean;
        var += d * d;
      });
      const double unbiased = var / std::max(count - 1.0, 1.0);
      if (valid > 0) var /= count;
      const double rstd = 1.0 / std::sqrt(var + at.eps);
      const double momentum = valid > 0 ? at.momentum : 0.0;
      const auto gamma = static_cast<double>(in(1)[c]), beta = static_cast<double>(in(2)[c]);
      const auto old_mean = static_cast<double>(in(3)[c]), old_var = static_cast<double>(in(4)[c]);
      out(1)[c] = static_cast<T>(mean);
      out(2)[c] = static_cast<T>(rstd);
      out(3)[c] = static_cast<T>((1.0 - momentum) * old_mean + momentum * mean);
      out(4)[c] = static_cast<T>((1.0 - momentum) * old_var + momentum * unbiased);
      g.each(c, 0, valid, [&](std::int64_t i) {
        double v = (static_cast<double>(in(0)[i]) - mean) * rstd * gamma + beta;
        if (residual != nullptr) v += static_cast<double>(residual[i]);
        out(0)[i] = static_cast<T>(activate(act, v));
      });
      g.each(c, valid, g.rows, [&](std::int64_t i) { out(0)[i] = T(0); });
    }
  });
}

void reference_batch_norm_grad(const RefArgs& r) {
  const auto& at = r.attrs.as<BatchNormGradAttrs>();
  const LastFunction act = clip_of("batch_norm_grad", at.activation);
  const Channels g(r.inputs[1].shape());
  const std::int64_t valid = valid_rows(r, at.has_valid, g.rows);
  ops::visit_floating("batch_norm_grad", r.outputs[0].dtype(), [&]<class T>() {
    const T *dy = r.inputs[0].data<T>(), *x = r.inputs[1].data<T>();
    const T* flat = at.activation.empty() ? nullptr : r.inputs[5u + at.has_valid].data<T>();
    const T *y = at.mask_from_x ? nullptr : flat, *beta = at.mask_from_x ? flat : nullptr;
    const T* dy2 = at.has_dy2 ? r.inputs.back().data<T>() : nullptr;
    T* dresidual = at.has_residual ? r.outputs[3].data<T>() : nullptr;
    const double count = std::max(static_cast<double>(valid * g.pixels), 1.0);
    for (std::int64_t c = 0; c < g.channels; ++c) {
      const auto gamma = static_cast<double>(r.inputs[2].data<T>()[c]);
      const auto mean = static_cast<double>(r.inputs[3].data<T>()[c]);
      const auto rstd = static_cast<double>(r.inputs[4].data<T>()[c]);
      // The gradient before the activation.
      const auto normal = [&](std::int64_t i) { return (static_cast<double>(x[i]) - mean) * rstd; };
      const auto up = [&](std::int64_t i) {
        if (y != nullptr && act.flat(static_cast<double>(y[i]))) return 0.0;
        if (beta != nullptr && act.flat(normal(i) * gamma + static_cast<double>(beta[c]))) return 0.0;
        if (dy2 == nullptr) return static_cast<double>(dy[i]);
        return static_cast<double>(dy[i]) + static_cast<double>(dy2[i]);
      };
      double dgamma = 0.0, dbeta = 0.0;
      g.each(c, 0, valid, [&](std::int64_t i) {
        dbeta += up(i);
        dgamma += up(i) * normal(i);
      });
      r.outputs[1].data<T>()[c] = static_cast<T>(dgamma);
      r.outputs[2].data<T>()[c] = static_cast<T>(dbeta);
      T* dx = r.outputs[0].data<T>();
      g.each(c, 0, valid, [&](std::int64_t i) {
        const double u = up(i);  // read before dx, which may lie where dy does
        dx[i] = static_cast<T>(gamma * rstd * (u - (dbeta + normal(i) * dgamma) / count));
        if (dresidual != nullptr) dresidual[i] = static_cast<T>(u);
      });
      g.each(c, valid, g.rows, [&](std::int64_t i) {
        dx[i] = T(0);
        if (dresidual != nullptr) dresidual[i] = T(0);
      });
    }
  });
}

void reference_batch_norm_apply(const RefArgs& r) {
  const auto& at = r.attrs.as<BatchNormApplyAttrs>();
  const LastFunction act = clip_of("batch_norm_apply", at.activation);
  const Channels g(r.inputs[0].shape());
  const std::int64_t valid = valid_rows(r, at.has_valid, g.rows);
  ops::visit_floating("batch_norm_apply", r.outputs[0].dtype(), [&]<class T>() {
    const auto in = [&](std::size_t i, std::int64_t k) {
      return static_cast<double>(r.inputs[i].data<T>()[k]);
    };
    for (std::int64_t c = 0; c < g.channels; ++c) {
      const double scale = in(1, c) * in(4, c);
      g.each(c, 0, valid, [&](std::int64_t i) {
        double v = (in(0, i) - in(3, c)) * scale + in(2, c);
        if (at.has_residual) v += in(5u + at.has_valid, i);
        r.outputs[0].data<T>()[i] = static_cast<T>(activate(act, v));
      });
      g.each(c, valid, g.rows, [&](std::int64_t i) { r.outputs[0].data<T>()[i] = T(0); });
    }
  });
}

void reference_batch_norm_infer(const RefArgs& r) {
  const double eps = r.attrs.as<BatchNormInferAttrs>().eps;
  const Channels g(r.inputs[0].shape());
  ops::visit_floating("batch_norm_infer", r.outputs[0].dtype(), [&]<class T>() {
    const auto at = [&](std::size_t i, std::int64_t c) {
      return static_cast<double>(r.inputs[i].data<T>()[c]);
    };
    for (std::int64_t c = 0; c < g.channels; ++c) {
      const double scale = at(1, c) / std::sqrt(at(4, c) + eps);
      g.each(c, 0, g.rows, [&](std::int64_t i) {
        r.outputs[0].data<T>()[i] = static_cast<T>((at(0, i) - at(3, c)) * scale + at(2, c));
      });
    }
  });
}

void reference_layer_norm(const RefArgs& r) {
  const auto& at = r.attrs.as<LayerNormAttrs>();
  const std::int64_t rows = r.outputs[1].numel(), cells = r.inputs[1].numel();
  ops::visit_floating("layer_norm", r.outputs[0].dtype(), [&]<class T>() {
    for (std::int64_t n = 0; n < rows; ++n) {
      const T* x = r.inputs[0].data<T>() + n * cells;
      double mean = 0.0, var = 0.0;
      for (std::int64_t i = 0; i < cells; ++i) mean += static_cast<double>(x[i]);
      mean /= static_cast<double>(cells);
      for (std::int64_t i = 0; i < cells; ++i) {
        const double d = static_cast<double>(x[i]) - mean;
        var += d * d;
      }
      const double rstd = 1.0 / std::sqrt(var / static_cast<double>(cells) + at.eps);
      for (std::int64_t i = 0; i < cells; ++i)
        r.outputs[0].data<T>()[n * cells + i] = static_cast<T>(
            (static_cast<double>(x[i]) - mean) * rstd * static_cast<double>(r.inputs[1].data<T>()[i]) +
            static_cast<double>(r.inputs[2].data<T>()[i]));
      r.outputs[1].data<T>()[n] = static_cast<T>(mean);
      r.outputs[2].data<T>()[n] = static_cast<T>(rstd);
    }
  });
}

void reference_layer_norm_grad(const RefArgs& r) {
  const std::int64_t rows = r.inputs[3].numel(), cells = r.inputs[2].numel();
  ops::visit_floating("layer_norm_grad", r.outputs[0].dtype(), [&]<class T>() {
    const T *dy = r.inputs[0].data<T>(), *x = r.inputs[1].data<T>(), *gamma = r.inputs[2].data<T>();
    std::vector<double> dgamma(static_cast<std::size_t>(cells)), dbeta(dgamma.size());
    for (std::int64_t n = 0; n < rows; ++n) {
      const auto mean = static_cast<double>(r.inputs[3].data<T>()[n]);
      const auto rstd = static_cast<double>(r.inputs[4].data<T>()[n]);
      const auto normal = [&](std::int64_t i) {
        return (static_cast<double>(x[n * cells + i]) - mean) * rstd;
      };
      double sum_d = 0.0, sum_dn = 0.0;  // of d = dy gamma, and of d times the normalised x
      for (std::int64_t i = 0; i < cells; ++i) {
        const auto up = static_cast<double>(dy[n * cells + i]);
        const double d = up * static_cast<double>(gamma[i]);
        sum_d += d;
        sum_dn += d * normal(i);
        dgamma[static_cast<std::size_t>(i)] += up * normal(i);
        dbeta[static_cast<std::size_t>(i)] += up;
      }
      const auto count = static_cast<double>(cells);
      for (std::int64_t i = 0; i < cells; ++i) {
        const double d = static_cast<double>(dy[n * cells + i]) * static_cast<double>(gamma[i]);
        r.outputs[0].data<T>()[n * cells + i] =
            static_cast<T>(rstd * (d - sum_d / count - normal(i) * sum_dn / count));
      }
    }
    for (std::int64_t i = 0; i < cells; ++i) {
      r.outputs[1].data<T>()[i] = static_cast<T>(dgamma[static_cast<std::size_t>(i)]);
      r.outputs[2].data<T>()[i] = static_cast<T>(dbeta[static_cast<std::size_t>(i)]);
    }
  });
}

template <int FlopsPerElement>
Cost cost_per_element(const Attrs&, std::span<const TensorType> in, std::span<const TensorType> out) {
  return {FlopsPerElement * static_cast<double>(out[0].numel()), ops::operand_bytes(in, out)};
}

// The statistics need all of x before the first y, so x is read twice.
Cost cost_batch_norm(const Attrs& attrs, std::span<const TensorType> in, std::span<const TensorType> out) {
  Cost c = cost_per_element<8>(attrs, in, out);
  c.bytes += static_cast<double>(in[0].bytes());
  return c;
}
// Sums need all of it before the first dx. The masked sum of the gradients, where it is a result, is stored
// with the sums and read again instead of what it was made of.
Cost cost_batch_norm_grad(const Attrs& attrs, std::span<const TensorType> in,
                          std::span<const TensorType> out) {
  const auto& at = attrs.as<BatchNormGradAttrs>();
  Cost c = cost_per_element<11>(attrs, in, out);
  const int images = 2 + (at.has_residual ? 0 : (!at.activation.empty() && !at.mask_from_x) + at.has_dy2);
  c.bytes += images * static_cast<double>(in[1].bytes());
  return c;
}

}  // namespace

BatchNormResult batch_norm(Value x, Value gamma, Value beta, Value running_mean, Value running_var,
                           const BatchNormArgs& options, SourceLoc loc) {
  BatchNormAttrs attrs;
  attrs.eps = options.eps;
  attrs.momentum = options.momentum;
  attrs.has_valid = options.valid_rows.defined();
  std::vector<Value> in{x, gamma, beta, running_mean, running_var};
  if (attrs.has_valid) in.push_back(options.valid_rows);
  const auto out = apply("batch_norm", in, attrs, std::move(loc));
  return {out[0], out[1], out[2], out[3], out[4]};
}

Value batch_norm_infer(Value x, Value gamma, Value beta, Value mean, Value var, double eps, SourceLoc loc) {
  return apply1("batch_norm_infer", {x, gamma, beta, mean, var}, BatchNormInferAttrs{eps}, std::move(loc));
}

LayerNormResult layer_norm(Value x, Value gamma, Value beta, std::int64_t axis, double eps, SourceLoc loc) {
  const Value in[] = {x, gamma, beta};
  const auto out = apply("layer_norm", in, LayerNormAttrs{axis, eps}, std::move(loc));
  return {out[0], out[1], out[2]};
}

namespace ops {

OpDef def_batch_norm() {
  OpDef d;
  d.full_inputs = {1, 2, 3, 4};
  d.name = "batch_norm";
  d.doc = "Batch normalisation in training: normalised x, batch statistics and moved running statistics";
  d.min_inputs = 5;
  d.max_inputs = 7;
  d.attrs = BatchNormAttrs{};
  d.infer = infer_batch_norm;
  d.gradient = grad_batch_norm;
  d.reference = reference_batch_norm;
  d.cost = cost_batch_norm;
  d.in_place = [](const Attrs& attrs, int num_inputs) {
    std::vector<std::array<int, 2>> pairs{{0, 0}};
    if (attrs.as<BatchNormAttrs>().has_residual) pairs.push_back({num_inputs - 1, 0});
    pairs.insert(pairs.end(), {{3, 3}, {4, 4}});
    return pairs;
  };
  return d;
}

OpDef def_batch_norm_grad() {
  OpDef d;
  d.full_inputs = {2, 3, 4};
  d.name = "batch_norm_grad";
  d.doc = "Gradient of batch_norm, with the mask of a fused activation";
  d.min_inputs = 5;
  d.max_inputs = 8;
  d.attrs = BatchNormGradAttrs{};
  d.infer = infer_batch_norm_grad;
  d.not_differentiable =
      "second derivatives of batch_norm are not defined; compose the normalisation from mean, var and "
      "elementwise ops";
  d.reference = reference_batch_norm_grad;
  d.cost = cost_batch_norm_grad;
  d.in_place = [](const Attrs& attrs, int num_inputs) {
    const auto& at = attrs.as<BatchNormGradAttrs>();
    std::vector<std::array<int, 2>> pairs;
    if (at.has_residual) pairs.push_back({0, 3});
    if (at.has_residual && at.has_dy2) pairs.push_back({num_inputs - 1, 3});
    pairs.push_back({1, 0});
    pairs.push_back({0, 0});
    if (at.has_dy2) pairs.push_back({num_inputs - 1, 0});
    return pairs;
  };
  return d;
}

OpDef def_batch_norm_apply() {
  OpDef d;
  d.full_inputs = {1, 2, 3, 4};
  d.name = "batch_norm_apply";
  d.doc = "The result of batch_norm once more, from its statistics";
  d.min_inputs = 5;
  d.max_inputs = 7;
  d.attrs = BatchNormApplyAttrs{};
  d.infer = infer_batch_norm_apply;
  d.not_differentiable =
      "it repeats what batch_norm computed and is made after differentiation; use batch_norm";
  d.reference = reference_batch_norm_apply;
  d.cost = cost_per_element<2>;
  d.in_place = [](const Attrs& attrs, int num_inputs) {
    std::vector<std::array<int, 2>> pairs{{0, 0}};
    if (attrs.as<BatchNormApplyAttrs>().has_residual) pairs.push_back({num_inputs - 1, 0});
    return pairs;
  };
  return d;
}

OpDef def_batch_norm_infer() {
  OpDef d;
  d.full_inputs = {1, 2, 3, 4};
  d.name = "batch_norm_infer";
  d.doc = "Batch normalisation with given statistics";
  d.min_inputs = d.max_inputs = 5;
  d.attrs = BatchNormInferAttrs{};
  d.infer = infer_batch_norm_infer;
  d.gradient = grad_batch_norm_infer;
  d.reference = reference_batch_norm_infer;
  d.cost = cost_per_element<2>;
  d.in_place = [](const Attrs&, int) { return std::vector<std::array<int, 2>>{{0, 0}}; };
  return d;
}

OpDef def_layer_norm() {
  OpDef d;
  d.full_inputs = {1, 2};
  d.name = "layer_norm";
  d.doc = "Layer normalisation over the last axes, and the statistics of each row";
  d.min_inputs = d.max_inputs = 3;
  d.attrs = LayerNormAttrs{};
  d.infer = infer_layer_norm;
  d.gradient = grad_layer_norm;
  d.reference = reference_layer_norm;
  d.cost = cost_per_element<8>;
  d.in_place = [](const Attrs&, int) { return std::vector<std::array<int, 2>>{{0, 0}}; };
  return d;
}

OpDef def_layer_norm_grad() {
  OpDef d;
  d.full_inputs = {2, 3, 4};
  d.name = "layer_norm_grad";
  d.doc = "Gradient of layer_norm";
  d.min_inputs = d.max_inputs = 5;
  d.attrs = LayerNormAttrs{};
  d.infer = infer_layer_norm_grad;
  d.not_differentiable =
      "second derivatives of layer_norm are not defined; compose the normalisation from mean, var and "
      "elementwise ops";
  d.reference = reference_layer_norm_grad;
  d.cost = cost_per_element<11>;
  return d;
}

}  // namespace ops
}  // namespace ingot
