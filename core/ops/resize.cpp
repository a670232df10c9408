#include "core/ops/resize.h"

#include <algorithm>
#include <cmath>

#include "core/ops/check.h"
#include "core/ops/compose.h"
#include "core/ops/reference.h"
#include "core/ops/support.h"

namespace ingot {

namespace {

template <class A>
void check_resize(const InferArgs& a, const A& at, const Shape& x, const Shape& y, std::string_view what) {
  ops::check_rank(a, 0, what, 4);
  ops::check_floating(a, 0, what);
  const bool nearest = at.mode == "nearest";
  if (!nearest && at.mode != "bilinear")
    throw UsageError(cat(a.op, ": mode must be 'nearest' or 'bilinear', got '", at.mode, "'"));
  if (at.coordinates != "half_pixel" && at.coordinates != "asymmetric" &&
      (nearest || at.coordinates != "align_corners"))
    throw UsageError(cat(a.op,
                         ": coordinates must be 'half_pixel', 'asymmetric' or, for bilinear, "
                         "'align_corners', got '",
                         at.coordinates, "'"));
  for (const double s : {at.scale_h, at.scale_w})
    if (!(s >= 0.0 && std::isfinite(s)))
      throw UsageError(cat(a.op, ": a scale must be 0 (the sizes' quotient) or more, got ", s));
  for (const int i : {2, 3}) {
    if (y[i] < 1) throw UsageError(cat(a.op, ": output_size must be 1 or more, got ", y[2], " x ", y[3]));
    if (x[i] < 1) throw ShapeError(cat(a.op, ": the image of ", to_string(x), " is empty"));
  }
}

std::vector<TensorType> infer_resize(const InferArgs& a) {
  const auto& at = a.attrs.as<Resize2dAttrs>();
  Shape y = a.shape(0);
  if (y.rank() == 4) y[2] = at.output_size[0], y[3] = at.output_size[1];
  check_resize(a, at, a.shape(0), y, "x [N, C, H, W]");
  return {{a.dtype(0), y}};
}

std::vector<TensorType> infer_resize_grad(const InferArgs& a) {
  const auto& at = a.attrs.as<Resize2dGradAttrs>();
  if (at.input_shape.rank() != 4)
    throw UsageError(cat(a.op, ": attribute input_shape must have rank 4, got ", to_string(at.input_shape)));
  check_resize(a, at, at.input_shape, a.shape(0), "dy [N, C, OH, OW]");
  if (a.shape(0)[0] != at.input_shape[0] || a.shape(0)[1] != at.input_shape[1])
    throw ShapeError(cat(a.op, ": dy ", to_string(a.shape(0)),
                         " must have the images and channels of input_shape ", to_string(at.input_shape)));
  return {{a.dtype(0), at.input_shape}};
}

// Calls f(i, j, row tap, column tap) for each pixel of the resized image.
template <class F>
void each_pixel(const std::array<ResizeAxis, 2>& axes, F&& f) {
  for (std::int64_t i = 0; i < axes[0].out; ++i)
    for (std::int64_t j = 0; j < axes[1].out; ++j) f(i * axes[1].out + j, axes[0].tap(i), axes[1].tap(j));
}
// Calls f(pixel of the input, weight) for the up to four that a pixel is made of.
template <class F>
void each_source(std::int64_t width, const ResizeAxis::Tap& r, const ResizeAxis::Tap& c, F&& f) {
  f(r.first * width + c.first, (1.0 - r.weight) * (1.0 - c.weight));
  f(r.first * width + c.last, (1.0 - r.weight) * c.weight);
  f(r.last * width + c.first, r.weight * (1.0 - c.weight));
  f(r.last * width + c.last, r.weight * c.weight);
}

void reference_resize(const RefArgs& r) {
  const Shape &x = r.inputs[0].shape(), &y = r.outputs[0].shape();
  const auto axes = resize_axes(r.attrs.as<Resize2dAttrs>(), x, y);
  ops::visit_floating("resize2d", r.outputs[0].dtype(), [&]<class T>() {
    for (std::int64_t plane = 0; plane < x[0] * x[1]; ++plane) {
      const T* from = r.inputs[0].data<T>() + plane * x[2] * x[3];
      T* to = r.outputs[0].data<T>() + plane * y[2] * y[3];
      each_pixel(axes, [&](std::int64_t pixel, const auto& row, const auto& column) {
        double sum = 0.0;
        each_source(x[3], row, column, [&](std::int64_t at, double weight) {
          if (weight != 0.0) sum += weight * static_cast<double>(from[at]);
        });
        to[pixel] = static_cast<T>(sum);
      });
    }
  });
}

void reference_resize_grad(const RefArgs& r) {
  const Shape &x = r.outputs[0].shape(), &y = r.inputs[0].shape();
  const auto axes = resize_axes(r.attrs.as<Resize2dGradAttrs>(), x, y);
  ops::visit_floating("resize2d_grad", r.outputs[0].dtype(), [&]<class T>() {
    std::vector<double> sums(static_cast<std::size_t>(x[2] * x[3]));
    for (std::int64_t plane = 0; plane < x[0] * x[1]; ++plane) {
      std::fill(sums.begin(), sums.end(), 0.0);
      const T* from = r.inputs[0].data<T>() + plane * y[2] * y[3];
      each_pixel(axes, [&](std::int64_t pixel, const auto& row, const auto& column) {
        each_source(x[3], row, column, [&](std::int64_t at, double weight) {
          if (weight != 0.0) sums[static_cast<std::size_t>(at)] += weight * static_cast<double>(from[pixel]);
        });
      });
      T* to = r.outputs[0].data<T>() + plane * x[2] * x[3];
      for (std::size_t i = 0; i < sums.size(); ++i) to[i] = static_cast<T>(sums[i]);
    }
  });
}

template <class A>
std::array<ResizeAxis, 2> axes_of(const A& at, const Shape& x, const Shape& y) {
  std::array<ResizeAxis, 2> axes;
  for (const int i : {0, 1}) {
    ResizeAxis& a = axes[static_cast<std::size_t>(i)];
    a.in = x[i + 2];
    a.out = y[i + 2];
    a.nearest = at.mode == "nearest";
    a.offset = at.coordinates == "half_pixel" ? 0.5 : 0.0;
    const double given = i == 0 ? at.scale_h : at.scale_w;
    if (at.coordinates == "align_corners")
      a.scale = a.out > 1 ? static_cast<double>(a.in - 1) / static_cast<double>(a.out - 1) : 0.0;
    else
      a.scale = given != 0.0 ? given : static_cast<double>(a.in) / static_cast<double>(a.out);
  }
  return axes;
}

template <class To, class From>
To like(const From& from) {
  To to;
  to.mode = from.mode;
  to.coordinates = from.coordinates;
  to.scale_h = from.scale_h;
  to.scale_w = from.scale_w;
  return to;
}

std::vector<Value> grad_resize(GradContext& c) {
  auto at = like<Resize2dGradAttrs>(c.attrs<Resize2dAttrs>());
  at.input_shape = c.input(0).shape();
  return {resize2d_grad(c.grad(), at)};
}

std::vector<Value> grad_resize_grad(GradContext& c) {
  auto at = like<Resize2dAttrs>(c.attrs<Resize2dGradAttrs>());
  at.output_size = {c.input(0).dim(2), c.input(0).dim(3)};
  return {resize2d(c.grad(), at)};
}

Cost cost_resize(const Attrs& attrs, std::span<const TensorType> in, std::span<const TensorType> out) {
  const bool nearest = attrs.as<Resize2dAttrs>().mode == "nearest";
  const auto read = static_cast<double>(out[0].bytes()) * (nearest ? 1.0 : 4.0);
  return {nearest ? 0.0 : 9.0 * static_cast<double>(out[0].numel()),
          static_cast<double>(out[0].bytes()) + std::min(static_cast<double>(in[0].bytes()), read)};
}

Cost cost_resize_grad(const Attrs& attrs, std::span<const TensorType> in, std::span<const TensorType> out) {
  const bool nearest = attrs.as<Resize2dGradAttrs>().mode == "nearest";
  return {(nearest ? 1.0 : 8.0) * static_cast<double>(in[0].numel()), ops::operand_bytes(in, out)};
}

}  // namespace

ResizeAxis::Tap ResizeAxis::tap(std::int64_t o) const {
  const double top = static_cast<double>(in - 1), place = (static_cast<double>(o) + offset) * scale;
  if (nearest) {
    const auto at = static_cast<std::int64_t>(std::min(std::floor(place), top));
    return {at, at, 0.0};
  }
  const double inside = std::clamp(place - offset, 0.0, top);
  const auto first = static_cast<std::int64_t>(std::floor(inside));
  return {first, std::min(first + 1, in - 1), inside - static_cast<double>(first)};
}

std::array<ResizeAxis, 2> resize_axes(const Resize2dAttrs& attrs, const Shape& x, const Shape& y) {
  return axes_of(attrs, x, y);
}
std::array<ResizeAxis, 2> resize_axes(const Resize2dGradAttrs& attrs, const Shape& x, const Shape& y) {
  return axes_of(attrs, x, y);
}

Value resize2d(Value x, const Resize2dAttrs& attrs, SourceLoc loc) {
  return apply1("resize2d", {x}, attrs, std::move(loc));
}
Value resize2d_grad(Value dy, const Resize2dGradAttrs& attrs, SourceLoc loc) {
  return apply1("resize2d_grad", {dy}, attrs, std::move(loc));
}

Value interpolate(Value x, const InterpolateArgs& a, SourceLoc loc) {
  const ops::Composed call(x, "interpolate", loc);
  if (x.rank() != 4) call.refuse(cat("x [N, C, H, W] must have rank 4, got ", to_string(x.type())));
  if (a.size.has_value() == a.scale_factor.has_value()) call.refuse_use("give either size or scale_factor");
  if (a.mode != "nearest" && a.mode != "nearest-exact" && a.mode != "bilinear")
    call.refuse_use(cat("mode must be 'nearest', 'nearest-exact' or 'bilinear', got '", a.mode, "'"));
  if (a.align_corners && a.mode != "bilinear")
    call.refuse_use(cat("align_corners is for mode 'bilinear', the mode is '", a.mode, "'"));
  Resize2dAttrs at;
  at.mode = a.mode == "bilinear" ? "bilinear" : "nearest";
  at.coordinates = a.align_corners ? "align_corners" : a.mode == "nearest" ? "asymmetric" : "half_pixel";
  if (a.size) {
    at.output_size = *a.size;
  } else {
    for (const std::size_t i : {0u, 1u}) {
      const double factor = (*a.scale_factor)[i];
      if (!(factor > 0.0 && std::isfinite(factor)))
        call.refuse_use(cat("scale_factor must be greater than 0, got (", join(*a.scale_factor), ")"));
      at.output_size[i] =
          static_cast<std::int64_t>(std::floor(static_cast<double>(x.dim(static_cast<int>(i) + 2)) * factor));
      (i == 0 ? at.scale_h : at.scale_w) = a.align_corners ? 0.0 : 1.0 / factor;
    }
  }
  return resize2d(x, at);
}

namespace ops {

OpDef def_resize2d() {
  OpDef d;
  d.name = "resize2d";
  d.doc = "Images of another size, by nearest pixel or bilinear interpolation";
  d.attrs = Resize2dAttrs{};
  d.infer = infer_resize;
  d.gradient = grad_resize;
  d.reference = reference_resize;
  d.cost = cost_resize;
  return d;
}

OpDef def_resize2d_grad() {
  OpDef d;
  d.name = "resize2d_grad";
  d.doc = "Gradient of resize2d: each pixel's gradient goes to the pixels it was made of";
  d.attrs = Resize2dGradAttrs{};
  d.infer = infer_resize_grad;
  d.gradient = grad_resize_grad;
  d.reference = reference_resize_grad;
  d.cost = cost_resize_grad;
  return d;
}

}  // namespace ops
}  // namespace ingot
