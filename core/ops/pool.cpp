#include "core/ops/pool.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/ops/check.h"
#include "core/ops/reference.h"
#include "core/ops/support.h"

namespace ingot {

namespace {

using Pair = std::array<std::int64_t, 2>;

// One axis of a pooling: window `o` covers cells first(o) + k * dilation, k < kernel.
struct Axis {
  std::int64_t in = 0, out = 0, kernel = 1, stride = 1, padding = 0, dilation = 1;
  std::int64_t first(std::int64_t o) const { return o * stride - padding; }
};

template <class A>
Pair dilation_of(const A& at) {
  if constexpr (requires { at.dilation; })
    return at.dilation;
  else
    return {1, 1};
}

// The cells of one axis that average pooling adds up, and how many the divisor counts.
struct Range {
  std::int64_t begin, end, counted;
};
template <class A>
Range average_range(const A& at, const Axis& a, std::int64_t o) {
  const std::int64_t first = a.first(o), last = std::min(first + a.kernel, a.in + a.padding);
  const std::int64_t begin = std::max<std::int64_t>(first, 0), end = std::min(last, a.in);
  return {begin, end, at.count_include_pad ? last - first : end - begin};
}
template <class A>
requires requires(const A& at) {
  at.output_size;
}
Range average_range(const A&, const Axis& a, std::int64_t o) {
  const std::int64_t begin = o * a.in / a.out, end = ((o + 1) * a.in + a.out - 1) / a.out;
  return {begin, end, end - begin};
}

template <class A>
std::array<Axis, 2> axes_of(const A& at, const Shape& x, const Shape& y) {
  std::array<Axis, 2> axes;
  for (const std::size_t i : {0u, 1u}) {
    axes[i].in = x[static_cast<int>(i) + 2];
    axes[i].out = y[static_cast<int>(i) + 2];
    if constexpr (requires { at.kernel; }) {
      axes[i].kernel = at.kernel[i];
      axes[i].stride = at.stride[i];
      axes[i].padding = at.padding[i];
      axes[i].dilation = dilation_of(at)[i];
    }
  }
  return axes;
}

// The pooled shape of an image; checks the window.
template <class A>
Shape pooled_shape(const InferArgs& a, const A& at, const Shape& x) {
  Shape y = x;
  const Pair dilation = dilation_of(at);
  for (const std::size_t i : {0u, 1u}) {
    const std::string_view side = i == 0 ? "height" : "width";
    if (at.kernel[i] < 1 || at.stride[i] < 1 || dilation[i] < 1)
      throw UsageError(cat(a.op, ": kernel, stride and dilation must be 1 or more, got (", join(at.kernel),
                           "), (", join(at.stride), ") and (", join(dilation), ")"));
    const std::int64_t span = dilation[i] * (at.kernel[i] - 1) + 1;
    if (at.padding[i] < 0 || 2 * at.padding[i] > span)
      throw UsageError(cat(a.op, ": padding of the ", side, " must be between 0 and half the window, ",
                           span / 2, ", got ", at.padding[i]));
    const int axis = static_cast<int>(i) + 2;
    y[axis] = pool_output_size(x[axis], at.kernel[i], at.stride[i], at.padding[i], dilation[i], at.ceil_mode);
    if (y[axis] < 1)
      throw ShapeError(cat(a.op, ": the window spans ", span, " pixels of ", side, " but the padded input ",
                           to_string(x), " has ", x[axis] + 2 * at.padding[i],
                           "; use a smaller window or more padding"));
  }
  return y;
}

template <class A>
requires requires(const A& at) {
  at.output_size;
}
Shape pooled_shape(const InferArgs& a, const A& at, const Shape& x) {
  if (at.output_size[0] < 1 || at.output_size[1] < 1)
    throw UsageError(cat(a.op, ": output_size must be 1 or more, got (", join(at.output_size), ")"));
  if (x[2] < 1 || x[3] < 1) throw ShapeError(cat(a.op, ": the image of ", to_string(x), " is empty"));
  return Shape{x[0], x[1], at.output_size[0], at.output_size[1]};
}

DType offset_dtype(const Pair& kernel) {
  return kernel[0] * kernel[1] <= 256 ? DType::U8 : DType::I32;
}

void check_image(const InferArgs& a, std::string_view what) {
  ops::check_rank(a, 0, what, 4);
  ops::check_floating(a, 0, what);
}

// dy must have the shape that pooling input_shape yields, which it returns.
template <class A>
Shape check_dy(const InferArgs& a, const A& at) {
  check_image(a, "dy [N, C, OH, OW]");
  if (at.input_shape.rank() != 4)
    throw UsageError(cat(a.op, ": attribute input_shape must have rank 4, got ", to_string(at.input_shape)));
  const Shape y = pooled_shape(a, at, at.input_shape);
  ops::check_shape(a, 0, "dy (as the pooled image)", y);
  return y;
}

std::vector<TensorType> infer_max(const InferArgs& a) {
  const auto& at = a.attrs.as<MaxPool2dAttrs>();
  check_image(a, "x [N, C, H, W]");
  const Shape y = pooled_shape(a, at, a.shape(0));
  return {{a.dtype(0), y}, {offset_dtype(at.kernel), y}};
}

std::vector<TensorType> infer_max_grad(const InferArgs& a) {
  const auto& at = a.attrs.as<MaxPool2dGradAttrs>();
  const Shape y = check_dy(a, at);
  ops::check_dtype(a, 1, "offset", offset_dtype(at.kernel));
  ops::check_shape(a, 1, "offset (as dy)", y);
  return {{a.dtype(0), at.input_shape}};
}

template <class A>
std::vector<TensorType> infer_average(const InferArgs& a) {
  check_image(a, "x [N, C, H, W]");
  return {{a.dtype(0), pooled_shape(a, a.attrs.as<A>(), a.shape(0))}};
}

template <class A>
std::vector<TensorType> infer_average_grad(const InferArgs& a) {
  const auto& at = a.attrs.as<A>();
  check_dy(a, at);
  return {{a.dtype(0), at.input_shape}};
}

// Calls f(plane) for each image of each channel.
template <class F>
void for_each_plane(const Shape& x, F&& f) {
  for (std::int64_t p = 0; p < x[0] * x[1]; ++p) f(p);
}

void reference_max(const RefArgs& r) {
  const auto& at = r.attrs.as<MaxPool2dAttrs>();
  const auto [h, w] = axes_of(at, r.inputs[0].shape(), r.outputs[0].shape());
  ops::visit_floating("max_pool2d", r.outputs[0].dtype(), [&, h = h, w = w]<class T>() {
    for_each_plane(r.inputs[0].shape(), [&](std::int64_t p) {
      const T* x = r.inputs[0].data<T>() + p * h.in * w.in;
      for (std::int64_t i = 0; i < h.out; ++i)
        for (std::int64_t j = 0; j < w.out; ++j) {
          // A dilated window may lie in padding altogether: it yields -infinity at offset 0, as PyTorch's
          // does.
          T best = -std::numeric_limits<T>::infinity();
          std::int64_t offset = -1;
          for (std::int64_t k = 0; k < h.kernel; ++k) {
            const std::int64_t row = h.first(i) + k * h.dilation;
            if (row < 0 || row >= h.in) continue;
            for (std::int64_t l = 0; l < w.kernel; ++l) {
              const std::int64_t col = w.first(j) + l * w.dilation;
              if (col < 0 || col >= w.in) continue;
              const T v = x[row * w.in + col];
              if (offset < 0 || v > best || (std::isnan(v) && !std::isnan(best))) {
                best = v;
                offset = k * w.kernel + l;
              }
            }
          }
          const std::int64_t at_y = (p * h.out + i) * w.out + j;
          offset = std::max<std::int64_t>(offset, 0);
          r.outputs[0].data<T>()[at_y] = best;
          if (r.outputs[1].dtype() == DType::U8)
            r.outputs[1].data<std::uint8_t>()[at_y] = static_cast<std::uint8_t>(offset);
          else
            r.outputs[1].data<std::int32_t>()[at_y] = static_cast<std::int32_t>(offset);
        }
    });
  });
}

void reference_max_grad(const RefArgs& r) {
  const auto& at = r.attrs.as<MaxPool2dGradAttrs>();
  const auto [h, w] = axes_of(at, r.outputs[0].shape(), r.inputs[0].shape());
  ops::visit_floating("max_pool2d_grad", r.outputs[0].dtype(), [&, h = h, w = w]<class T>() {
    std::vector<double> sums(static_cast<std::size_t>(h.in * w.in));
    for_each_plane(r.outputs[0].shape(), [&](std::int64_t p) {
      std::fill(sums.begin(), sums.end(), 0.0);
      for (std::int64_t i = 0; i < h.out; ++i)
        for (std::int64_t j = 0; j < w.out; ++j) {
          const std::int64_t at_y = (p * h.out + i) * w.out + j;
          const std::int64_t offset = r.inputs[1].dtype() == DType::U8
                                          ? std::int64_t{r.inputs[1].data<std::uint8_t>()[at_y]}
                                          : std::int64_t{r.inputs[1].data<std::int32_t>()[at_y]};
          const std::int64_t row = h.first(i) + offset / w.kernel * h.dilation;
          const std::int64_t col = w.first(j) + offset % w.kernel * w.dilation;
          if (row < 0 || row >= h.in || col < 0 || col >= w.in) continue;  // a window all in padding
          sums[static_cast<std::size_t>(row * w.in + col)] +=
              static_cast<double>(r.inputs[0].data<T>()[at_y]);
        }
      T* dx = r.outputs[0].data<T>() + p * h.in * w.in;
      for (std::size_t i = 0; i < sums.size(); ++i) dx[i] = static_cast<T>(sums[i]);
    });
  });
}

template <class A>
void reference_average(const RefArgs& r) {
  const auto& at = r.attrs.as<A>();
  const auto [h, w] = axes_of(at, r.inputs[0].shape(), r.outputs[0].shape());
  ops::visit_floating("average pooling", r.outputs[0].dtype(), [&, h = h, w = w]<class T>() {
    for_each_plane(r.inputs[0].shape(), [&](std::int64_t p) {
      const T* x = r.inputs[0].data<T>() + p * h.in * w.in;
      for (std::int64_t i = 0; i < h.out; ++i)
        for (std::int64_t j = 0; j < w.out; ++j) {
          const Range rows = average_range(at, h, i), cols = average_range(at, w, j);
          double acc = 0.0;
          for (std::int64_t row = rows.begin; row < rows.end; ++row)
            for (std::int64_t col = cols.begin; col < cols.end; ++col)
              acc += static_cast<double>(x[row * w.in + col]);
          r.outputs[0].data<T>()[(p * h.out + i) * w.out + j] =
              static_cast<T>(acc / static_cast<double>(rows.counted * cols.counted));
        }
    });
  });
}

template <class A>
void reference_average_grad(const RefArgs& r) {
  const auto& at = r.attrs.as<A>();
  const auto [h, w] = axes_of(at, r.outputs[0].shape(), r.inputs[0].shape());
  ops::visit_floating("average pooling", r.outputs[0].dtype(), [&, h = h, w = w]<class T>() {
    std::vector<double> sums(static_cast<std::size_t>(h.in * w.in));
    for_each_plane(r.outputs[0].shape(), [&](std::int64_t p) {
      std::fill(sums.begin(), sums.end(), 0.0);
      for (std::int64_t i = 0; i < h.out; ++i)
        for (std::int64_t j = 0; j < w.out; ++j) {
          const Range rows = average_range(at, h, i), cols = average_range(at, w, j);
          const double share = static_cast<double>(r.inputs[0].data<T>()[(p * h.out + i) * w.out + j]) /
                               static_cast<double>(rows.counted * cols.counted);
          for (std::int64_t row = rows.begin; row < rows.end; ++row)
            for (std::int64_t col = cols.begin; col < cols.end; ++col)
              sums[static_cast<std::size_t>(row * w.in + col)] += share;
        }
      T* dx = r.outputs[0].data<T>() + p * h.in * w.in;
      for (std::size_t i = 0; i < sums.size(); ++i) dx[i] = static_cast<T>(sums[i]);
    });
  });
}

// The attributes of a gradient and back.
template <class To, class From>
To window_of(const From& from) {
  To to;
  to.kernel = from.kernel;
  to.stride = from.stride;
  to.padding = from.padding;
  to.ceil_mode = from.ceil_mode;
  if constexpr (requires { to.count_include_pad; }) to.count_include_pad = from.count_include_pad;
  if constexpr (requires { to.dilation; }) to.dilation = from.dilation;
  return to;
}

std::vector<Value> grad_max(GradContext& c) {
  if (!c.has_grad(0)) return {Value{}};
  auto at = window_of<MaxPool2dGradAttrs>(c.attrs<MaxPool2dAttrs>());
  at.input_shape = c.input(0).shape();
  return {max_pool2d_grad(c.grad(0), c.output(1), at)};
}

std::vector<Value> grad_avg(GradContext& c) {
  auto at = window_of<AvgPool2dGradAttrs>(c.attrs<AvgPool2dAttrs>());
  at.input_shape = c.input(0).shape();
  return {avg_pool2d_grad(c.grad(), at)};
}

std::vector<Value> grad_avg_grad(GradContext& c) {
  return {avg_pool2d(c.grad(), window_of<AvgPool2dAttrs>(c.attrs<AvgPool2dGradAttrs>()))};
}

std::vector<Value> grad_adaptive(GradContext& c) {
  const auto at = c.attrs<AdaptiveAvgPool2dAttrs>();
  return {adaptive_avg_pool2d_grad(c.grad(), {at.output_size, c.input(0).shape()})};
}

std::vector<Value> grad_adaptive_grad(GradContext& c) {
  return {adaptive_avg_pool2d(c.grad(), c.attrs<AdaptiveAvgPool2dGradAttrs>().output_size)};
}

Cost cost_max_grad(const Attrs&, std::span<const TensorType> in, std::span<const TensorType> out) {
  return {static_cast<double>(in[0].numel()), ops::operand_bytes(in, out)};
}

// Cells per window times windows; the pooled side is the one with fewer pixels given in y.
template <class A>
Cost cost_windows(const A& at, const Shape& x, const Shape& y, std::span<const TensorType> in,
                  std::span<const TensorType> out) {
  double cells = 0.0;
  if constexpr (requires { at.kernel; })
    cells = static_cast<double>(at.kernel[0] * at.kernel[1]);
  else
    cells = std::ceil(static_cast<double>(x[2]) / static_cast<double>(y[2])) *
            std::ceil(static_cast<double>(x[3]) / static_cast<double>(y[3]));
  return {cells * static_cast<double>(y.numel()), ops::operand_bytes(in, out)};
}
template <class A>
Cost cost_forward(const Attrs& attrs, std::span<const TensorType> in, std::span<const TensorType> out) {
  return cost_windows(attrs.as<A>(), in[0].shape, out[0].shape, in, out);
}
template <class A>
Cost cost_backward(const Attrs& attrs, std::span<const TensorType> in, std::span<const TensorType> out) {
  return cost_windows(attrs.as<A>(), out[0].shape, in[0].shape, in, out);
}

}  // namespace

std::int64_t pool_output_size(std::int64_t input, std::int64_t kernel, std::int64_t stride,
                              std::int64_t padding, std::int64_t dilation, bool ceil_mode) {
  const std::int64_t room = input + 2 * padding - dilation * (kernel - 1) - 1 + (ceil_mode ? stride - 1 : 0);
  if (room < 0) return 0;
  std::int64_t size = room / stride + 1;
  if (ceil_mode && (size - 1) * stride >= input + padding) --size;
  return size;
}

Value max_pool2d(Value x, const MaxPool2dAttrs& attrs, SourceLoc loc) {
  return apply1("max_pool2d", {x}, attrs, std::move(loc));
}
Value max_pool2d_grad(Value dy, Value offset, const MaxPool2dGradAttrs& attrs, SourceLoc loc) {
  return apply1("max_pool2d_grad", {dy, offset}, attrs, std::move(loc));
}
Value avg_pool2d(Value x, const AvgPool2dAttrs& attrs, SourceLoc loc) {
  return apply1("avg_pool2d", {x}, attrs, std::move(loc));
}
Value avg_pool2d_grad(Value dy, const AvgPool2dGradAttrs& attrs, SourceLoc loc) {
  return apply1("avg_pool2d_grad", {dy}, attrs, std::move(loc));
}
Value adaptive_avg_pool2d(Value x, std::array<std::int64_t, 2> output_size, SourceLoc loc) {
  return apply1("adaptive_avg_pool2d", {x}, AdaptiveAvgPool2dAttrs{output_size}, std::move(loc));
}
Value adaptive_avg_pool2d_grad(Value dy, const AdaptiveAvgPool2dGradAttrs& attrs, SourceLoc loc) {
  return apply1("adaptive_avg_pool2d_grad", {dy}, attrs, std::move(loc));
}

namespace ops {

OpDef def_max_pool2d() {
  OpDef d;
  d.name = "max_pool2d";
  d.doc = "Maximum over two-dimensional windows, and where in its window each maximum lies";
  d.attrs = MaxPool2dAttrs{};
  d.infer = infer_max;
  d.gradient = grad_max;
  d.reference = reference_max;
  d.cost = cost_forward<MaxPool2dAttrs>;
  return d;
}

OpDef def_max_pool2d_grad() {
  OpDef d;
  d.name = "max_pool2d_grad";
  d.doc = "Gradient of max_pool2d: each gradient goes to the cell that was the maximum";
  d.min_inputs = d.max_inputs = 2;
  d.attrs = MaxPool2dGradAttrs{};
  d.infer = infer_max_grad;
  d.not_differentiable = "second derivatives of max pooling would need an op that reads at the saved offsets";
  d.reference = reference_max_grad;
  d.cost = cost_max_grad;
  return d;
}

OpDef def_avg_pool2d() {
  OpDef d;
  d.name = "avg_pool2d";
  d.doc = "Average over two-dimensional windows";
  d.attrs = AvgPool2dAttrs{};
  d.infer = infer_average<AvgPool2dAttrs>;
  d.gradient = grad_avg;
  d.reference = reference_average<AvgPool2dAttrs>;
  d.cost = cost_forward<AvgPool2dAttrs>;
  return d;
}

OpDef def_avg_pool2d_grad() {
  OpDef d;
  d.name = "avg_pool2d_grad";
  d.doc = "Gradient of avg_pool2d";
  d.attrs = AvgPool2dGradAttrs{};
  d.infer = infer_average_grad<AvgPool2dGradAttrs>;
  d.gradient = grad_avg_grad;
  d.reference = reference_average_grad<AvgPool2dGradAttrs>;
  d.cost = cost_backward<AvgPool2dGradAttrs>;
  return d;
}

OpDef def_adaptive_avg_pool2d() {
  OpDef d;
  d.name = "adaptive_avg_pool2d";
  d.doc = "Average over windows that divide the image into a given number of rows and columns";
  d.attrs = AdaptiveAvgPool2dAttrs{};
  d.infer = infer_average<AdaptiveAvgPool2dAttrs>;
  d.gradient = grad_adaptive;
  d.reference = reference_average<AdaptiveAvgPool2dAttrs>;
  d.cost = cost_forward<AdaptiveAvgPool2dAttrs>;
  return d;
}

OpDef def_adaptive_avg_pool2d_grad() {
  OpDef d;
  d.name = "adaptive_avg_pool2d_grad";
  d.doc = "Gradient of adaptive_avg_pool2d";
  d.attrs = AdaptiveAvgPool2dGradAttrs{};
  d.infer = infer_average_grad<AdaptiveAvgPool2dGradAttrs>;
  d.gradient = grad_adaptive_grad;
  d.reference = reference_average_grad<AdaptiveAvgPool2dGradAttrs>;
  d.cost = cost_backward<AdaptiveAvgPool2dGradAttrs>;
  return d;
}

}  // namespace ops
}  // namespace ingot
