#include "core/ops/normalize.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/ops/compose.h"
#include "core/ops/conv.h"
#include "core/ops/creation.h"
#include "core/ops/elementwise.h"
#include "core/ops/group_norm.h"
#include "core/ops/reduce.h"
#include "core/ops/view.h"

namespace ingot {

namespace {

using ops::Composed;

Value by_groups(const Composed& call, Value x, std::int64_t groups, Value gamma, Value beta, double eps) {
  call.require_floating(x, "x [N, C, ...]");
  if (x.rank() < 2) call.refuse(cat("x [N, C, ...] must have rank 2 or more, got ", to_string(x.type())));
  const std::int64_t channels = x.dim(1);
  if (groups < 1 || channels % groups != 0)
    call.refuse(
        cat("num_groups ", groups, " must divide the ", channels, " channels of ", to_string(x.type())));
  for (const Value& v : {gamma, beta})
    if (v.defined() &&
        (!(v.shape() == Shape{channels}) || (v.dtype() != x.dtype() && v.dtype() != DType::F32)))
      call.refuse(cat("gamma and beta must be ", to_string(TensorType{x.dtype(), {channels}}),
                      " or f32, one number per channel, got ", to_string(v.type())));
  if (gamma.defined() != beta.defined()) call.refuse("gamma and beta are given together or not at all");
  const auto per_channel = [&](Value given, double otherwise) {
    return given.defined() ? given : full(x.graph(), otherwise, {x.dtype(), {channels}});
  };
  const Value operands[] = {x, per_channel(gamma, 1.0), per_channel(beta, 0.0)};
  return apply("group_norm", operands, GroupNormAttrs{groups, eps})[0];
}

}  // namespace

Value group_norm(Value x, std::int64_t num_groups, Value gamma, Value beta, double eps, SourceLoc loc) {
  const Composed call(x, "group_norm", loc);
  return by_groups(call, x, num_groups, gamma, beta, eps);
}

Value instance_norm(Value x, Value gamma, Value beta, double eps, SourceLoc loc) {
  const Composed call(x, "instance_norm", loc);
  if (x.rank() < 3 || x.shape().numel() == x.dim(0) * x.dim(1))
    call.refuse(cat("x [N, C, ...] must have more than one pixel, got ", to_string(x.type()),
                    "; of one the mean is the value itself"));
  return by_groups(call, x, x.dim(1), gamma, beta, eps);
}

Value rms_norm(Value x, const Shape& normalized_shape, Value weight, std::optional<double> eps,
               SourceLoc loc) {
  const Composed call(x, "rms_norm", loc);
  call.require_floating(x, "x");
  const int first = x.rank() - normalized_shape.rank();
  Axes axes;
  bool fits = first >= 0 && normalized_shape.rank() > 0;
  for (int i = 0; fits && i < normalized_shape.rank(); ++i) {
    fits = x.dim(first + i) == normalized_shape[i];
    axes.push_back(first + i);
  }
  if (!fits)
    call.refuse(
        cat("the last axes of x must be ", to_string(normalized_shape), ", got ", to_string(x.type())));
  if (weight.defined() && (!(weight.shape() == normalized_shape) ||
                           (weight.dtype() != x.dtype() && weight.dtype() != DType::F32)))
    call.refuse(cat("weight must be ", to_string(TensorType{x.dtype(), normalized_shape}), " or f32, got ",
                    to_string(weight.type())));
  if (eps && !(*eps >= 0.0)) call.refuse_use(cat("eps must not be negative, got ", *eps));
  const auto smallest = [&] {
    switch (x.dtype()) {
      case DType::F64:
        return std::numeric_limits<double>::epsilon();
      case DType::F16:
        return 0x1p-10;
      case DType::BF16:
        return 0x1p-7;
      default:
        return 0x1p-23;
    }
  };
  const Value y = mul(x, rsqrt(add(mean(square(x), axes, true), eps ? *eps : smallest())));
  if (!weight.defined()) return y;
  return mul(y, weight.dtype() == x.dtype() ? weight : cast(weight, x.dtype()));
}

Value local_response_norm(Value x, std::int64_t size, const LocalResponseNormArgs& a, SourceLoc loc) {
  const Composed call(x, "local_response_norm", loc);
  call.require_floating(x, "x [N, C, ...]");
  if (x.rank() < 3) call.refuse(cat("x [N, C, ...] must have rank 3 or more, got ", to_string(x.type())));
  if (size < 1) call.refuse_use(cat("size must be 1 or more, got ", size));
  const std::int64_t c = x.dim(1);
  const std::int64_t first = size / 2, last = (size - 1) / 2;  // channels before and behind
  // [output channel, input channel]: by how many channels the second lies behind the first.
  const Value channel = iota(x.graph(), c);
  const Value behind = sub(reshape(channel, {1, c}), reshape(channel, {c, 1}));
  const Value near =
      logical_and(ge(behind, static_cast<double>(-first)), le(behind, static_cast<double>(last)));
  const Value band = reshape(cast(near, x.dtype()), {c, c, 1, 1});
  Value squares = square(x);
  if (x.rank() != 4)
    squares = reshape(squares, {x.dim(0), c, x.shape().numel() / std::max<std::int64_t>(1, x.dim(0) * c), 1});
  const Value sums = reshape(conv2d(squares, band), x.shape());
  return div(x, pow(add(mul(sums, a.alpha / static_cast<double>(size)), a.k), a.beta));
}

Value normalize(Value x, double p, std::int64_t axis, double eps, SourceLoc loc) {
  const Composed call(x, "normalize", loc);
  call.require_floating(x, "x");
  const Axes along{call.axis_of(x, axis)};
  if (!(p >= 1.0)) call.refuse_use(cat("p must be 1 or more, got ", p));
  if (!(eps > 0.0)) call.refuse_use(cat("eps must be greater than 0, got ", eps));
  // The root's derivative at 0 is infinite; it never sees less than eps.
  if (p == 2.0) return mul(x, rsqrt(maximum(sum(square(x), along, true), eps * eps)));
  const Value size = abs(x);
  if (p == 1.0) return div(x, maximum(sum(size, along, true), eps));
  if (std::isinf(p)) return div(x, maximum(max(size, along, true), eps));
  return div(x, pow(maximum(sum(pow(size, p), along, true), std::pow(eps, p)), 1.0 / p));
}

}  // namespace ingot
