#include "core/ops/normalize.h"

#include <algorithm>
#include <cmath>

#include "core/ops/compose.h"
#include "core/ops/conv.h"
#include "core/ops/creation.h"
#include "core/ops/elementwise.h"
#include "core/ops/norm.h"
#include "core/ops/reduce.h"
#include "core/ops/view.h"

namespace ingot {

namespace {

using ops::Composed;

// One number per channel against x[N, C, ...].
Value along_channels(Value v, Value x) {
  Shape column{x.dim(1)};
  for (int i = 2; i < x.rank(); ++i) column.push_back(1);
  return reshape(v, column);
}

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
  if (x.shape().numel() == 0) return x;
  const std::int64_t length = x.shape().numel() / (x.dim(0) * groups);
  Graph& g = x.graph();
  const auto fill = [&](double v) {
    return full(g, v, {gamma.defined() ? gamma.dtype() : x.dtype(), {length}});
  };
  // With one group layer norm's own parameters are the channels', each over its pixels.
  const bool whole = groups == 1 && gamma.defined();
  const auto spread = [&](Value v) {
    const std::int64_t pixels = length / channels;
    return reshape(broadcast_to(reshape(v, {channels, 1}), {channels, pixels}), {length});
  };
  const Value rows = reshape(x, {x.dim(0) * groups, length});
  Value y = whole ? layer_norm(rows, spread(gamma), spread(beta), 1, eps).y
                  : layer_norm(rows, fill(1.0), fill(0.0), 1, eps).y;
  y = reshape(y, x.shape());
  if (!gamma.defined() || whole) return y;
  return add(mul(y, along_channels(cast(gamma, x.dtype()), x)), along_channels(cast(beta, x.dtype()), x));
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
