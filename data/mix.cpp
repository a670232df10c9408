#include "data/detail/mix.h"

#include <algorithm>
#include <cmath>

#include "core/base/error.h"

namespace ingot::detail {

void check_mixing(const Augment& augment, const TensorType& sample, const TensorType& target) {
  for (const double alpha : {augment.mixup, augment.cutmix})
    if (!(alpha >= 0.0) || !std::isfinite(alpha))
      throw UsageError(cat("mixup and cutmix expect an alpha of at least 0, got ", alpha));
  if (!mixes(augment)) return;
  if (sample.dtype != DType::F32 || sample.shape.rank() != 3 || target.dtype != DType::I64 ||
      target.numel() != 1)
    throw UsageError(
        cat("mixup and cutmix mix images [channels, height, width] of type u8 or f32 whose targets are ",
            "classes; the samples are ", to_string(sample), ", the targets ", to_string(target)));
}

double mix_rows(float* rows, const TensorType& sample, std::int64_t count, const Augment& augment,
                Draws& draws, std::vector<float>& spare) {
  if (count < 1) return 1.0;
  const bool both = augment.mixup > 0.0 && augment.cutmix > 0.0;
  const bool boxes = both ? draws.coin() : augment.cutmix > 0.0;
  double share = draws.beta(boxes ? augment.cutmix : augment.mixup);
  const std::int64_t channels = sample.shape[0], height = sample.shape[1], width = sample.shape[2];
  const std::int64_t size = channels * height * width;
  // Rows and columns of the box that comes from the other sample.
  std::int64_t top = 0, bottom = height, left = 0, right = width;
  if (boxes) {
    const double half = 0.5 * std::sqrt(1.0 - share);
    const std::int64_t y = draws.below(height), x = draws.below(width);
    const auto half_height = static_cast<std::int64_t>(half * static_cast<double>(height));
    const auto half_width = static_cast<std::int64_t>(half * static_cast<double>(width));
    top = std::max<std::int64_t>(0, y - half_height);
    bottom = std::min(height, y + half_height);
    left = std::max<std::int64_t>(0, x - half_width);
    right = std::min(width, x + half_width);
    share = 1.0 - static_cast<double>((bottom - top) * (right - left)) / static_cast<double>(height * width);
  }

  const bool last = !sample.layout.is_row_major();  // one run of pixels holds all channels
  const std::int64_t planes = last ? 1 : channels, pixel = last ? channels : 1;
  const auto own = static_cast<float>(share);
  const auto mix = [&](float* to, const float* from) {
    if (!boxes) {
      for (std::int64_t i = 0; i < size; ++i) to[i] = own * to[i] + (1.0f - own) * from[i];
      return;
    }
    for (std::int64_t p = 0; p < planes; ++p)
      for (std::int64_t y = top; y < bottom; ++y) {
        const std::int64_t at = ((p * height + y) * width + left) * pixel;
        std::copy_n(from + at, (right - left) * pixel, to + at);
      }
  };
  spare.assign(rows + (count - 1) * size, rows + count * size);
  for (std::int64_t i = count - 1; i > 0; --i) mix(rows + i * size, rows + (i - 1) * size);
  mix(rows, spare.data());
  return share;
}

}  // namespace ingot::detail
