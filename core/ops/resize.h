// Images resized by nearest pixel or bilinear interpolation (torch.nn.functional.interpolate, ONNX Resize),
// and the gradient.
//
//   resize2d        x[N, C, H, W] -> y[N, C, OH, OW]
//   resize2d_grad   dy[N, C, OH, OW] -> dx[N, C, H, W]
//
// Floating, both axes alike. `scale` is how many input pixels one output pixel is wide; 0 stands for the
// sizes' quotient. Where output pixel o lies in the input, by `coordinates`:
//   half_pixel      (o + 0.5) scale - 0.5      pixels are areas; the corners' areas meet
//   align_corners   o (H - 1) / (OH - 1)       pixels are points; the corners' points meet
//   asymmetric      o scale
// nearest takes the pixel whose area holds that place: floor((o + 0.5) scale) for half_pixel (PyTorch's
// nearest-exact), floor(o scale) for asymmetric (PyTorch's nearest); it has no align_corners. bilinear weighs
// the two neighbours along each axis by their nearness, and a place beyond the first or last pixel is moved
// onto it.
//
// Both ops are linear and each is the other's gradient. Cost: nearest none, its gradient 1 flop per element
// of dy; bilinear 9 (three interpolations), its gradient 8 (four products and sums). Bytes: y, and of x what
// is read where fewer pixels are read than it has. Errors: ShapeError for ranks and dtypes, UsageError for
// sizes below 1, a negative scale and unknown names.
//
//   Value y = interpolate(x, {.scale_factor = {{2.0, 2.0}}, .mode = "bilinear"});
//   Value z = interpolate(x, {.size = {{224, 224}}});
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "core/op/builder.h"

namespace ingot {

struct Resize2dAttrs {
  std::array<std::int64_t, 2> output_size{1, 1};
  std::string mode = "nearest", coordinates = "asymmetric";
  double scale_h = 0.0, scale_w = 0.0;
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("output_size", s.output_size);
    v("mode", s.mode);
    v("coordinates", s.coordinates);
    v("scale_h", s.scale_h);
    v("scale_w", s.scale_w);
  }
};

struct Resize2dGradAttrs {
  Shape input_shape{};
  std::string mode = "nearest", coordinates = "asymmetric";
  double scale_h = 0.0, scale_w = 0.0;
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("input_shape", s.input_shape);
    v("mode", s.mode);
    v("coordinates", s.coordinates);
    v("scale_h", s.scale_h);
    v("scale_w", s.scale_w);
  }
};

Value resize2d(Value x, const Resize2dAttrs& attrs, SourceLoc loc = SourceLoc::current());
Value resize2d_grad(Value dy, const Resize2dGradAttrs& attrs, SourceLoc loc = SourceLoc::current());

// PyTorch's arguments: exactly one of size and scale_factor ({height, width}); of a factor the output has
// floor(H factor) pixels, and places follow from the factor itself. mode: "nearest", "nearest-exact",
// "bilinear"; align_corners is for "bilinear".
struct InterpolateArgs {
  std::optional<std::array<std::int64_t, 2>> size{};
  std::optional<std::array<double, 2>> scale_factor{};
  std::string mode = "nearest";
  bool align_corners = false;
};
Value interpolate(Value x, const InterpolateArgs& args, SourceLoc loc = SourceLoc::current());

// One axis of a resize, for all that computes it.
struct ResizeAxis {
  std::int64_t in = 1, out = 1;
  double scale = 1.0, offset = 0.0;  // output pixel o lies at (o + offset) * scale - offset
  bool nearest = false;

  // Output pixel o is (1 - weight) * x[first] + weight * x[last].
  struct Tap {
    std::int64_t first, last;
    double weight;
  };
  Tap tap(std::int64_t o) const;
};
// Of the image x and the resized one y.
std::array<ResizeAxis, 2> resize_axes(const Resize2dAttrs& attrs, const Shape& x, const Shape& y);
std::array<ResizeAxis, 2> resize_axes(const Resize2dGradAttrs& attrs, const Shape& x, const Shape& y);

}  // namespace ingot
