#include "train/heat_map.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "core/base/error.h"

namespace ingot {

Tensor heat_map(const Tensor& attribution, HeatSign sign) {
  if (attribution.shape().rank() != 3 || attribution.numel() == 0)
    throw ShapeError(
        cat("a heat map is made of [channels, height, width], got ", to_string(attribution.shape())));
  const std::int64_t channels = attribution.shape()[0], h = attribution.shape()[1],
                     w = attribution.shape()[2];
  const Tensor from = attribution.to(DType::F32).contiguous(), heat(TensorType{DType::F32, {h, w}});
  float* const out = heat.data<float>();
  for (std::int64_t p = 0; p < h * w; ++p) {
    double sum = 0.0;
    for (std::int64_t c = 0; c < channels; ++c) sum += static_cast<double>(from.data<float>()[c * h * w + p]);
    if (!std::isfinite(sum)) throw NumericError("a heat map cannot show attributions that are not finite");
    out[p] = static_cast<float>(sign == HeatSign::Absolute ? std::abs(sum) : std::max(sum, 0.0));
  }
  std::vector<float> sorted(out, out + h * w);
  std::sort(sorted.begin(), sorted.end());
  float most = sorted[static_cast<std::size_t>(0.98 * static_cast<double>(h * w - 1))];
  if (most == 0.0f) most = sorted.back();
  if (most > 0.0f)
    for (std::int64_t p = 0; p < h * w; ++p) out[p] = std::min(1.0f, out[p] / most);
  return heat;
}

Tensor heat_overlay(const Tensor& pixels, const Tensor& heat, double opacity) {
  const Shape& s = pixels.shape();
  if (s.rank() != 3 || (s[0] != 1 && s[0] != 3) || pixels.dtype() != DType::U8 ||
      heat.shape() != Shape({s[1], s[2]}))
    throw ShapeError(cat("a heat map lies over u8[3, H, W] or u8[1, H, W] of its own size, got ",
                         to_string(pixels.type()), " and ", to_string(heat.shape())));
  if (!(opacity >= 0.0 && opacity <= 1.0)) throw UsageError(cat("opacity is 0 to 1, got ", opacity));
  const Tensor from = pixels.contiguous(), hot = heat.contiguous();
  const std::int64_t plane = s[1] * s[2];
  const Tensor out(TensorType{DType::U8, {3, s[1], s[2]}});
  for (std::int64_t p = 0; p < plane; ++p) {
    double grey = 0.0;  // ITU-R BT.601
    for (std::int64_t c = 0; c < 3; ++c)
      grey += std::array{0.299, 0.587, 0.114}[static_cast<std::size_t>(c)] *
              static_cast<double>(from.data<std::uint8_t>()[(s[0] == 1 ? 0 : c) * plane + p]);
    const double v = static_cast<double>(hot.data<float>()[p]), cover = opacity * v;
    for (std::int64_t c = 0; c < 3; ++c) {
      const double colour = std::clamp(1.5 - std::abs(4.0 * v - static_cast<double>(3 - c)), 0.0, 1.0);
      out.data<std::uint8_t>()[c * plane + p] =
          static_cast<std::uint8_t>(std::lround((1.0 - cover) * grey + cover * 255.0 * colour));
    }
  }
  return out;
}

}  // namespace ingot
