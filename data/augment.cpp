#include "data/augment.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/base/error.h"
#include "core/base/hash.h"
#include "core/base/philox.h"

namespace ingot {

namespace {

// `out` walks with `stride`, which is negative for a mirrored row, `in` with `in_stride`. The two strides
// that matter get a loop of their own, so that the compiler sees contiguous stores.
template <class In, class Map>
void map_row(const In* in, std::ptrdiff_t in_stride, float* out, std::int64_t n, std::ptrdiff_t stride,
             const Map& map) {
  if (stride == 1 && in_stride == 1) {
    for (std::int64_t i = 0; i < n; ++i) out[i] = map(in[i]);
  } else if (stride == -1 && in_stride == 1) {
    for (std::int64_t i = 0; i < n; ++i) out[-i] = map(in[i]);
  } else {
    for (std::int64_t i = 0; i < n; ++i, in += in_stride, out += stride) *out = map(*in);
  }
}

void fill_row(float* out, std::int64_t n, std::ptrdiff_t stride, float value) {
  for (std::int64_t i = 0; i < n; ++i, out += stride) *out = value;
}

std::vector<float> per_channel(const std::vector<float>& given, std::int64_t channels, const char* what) {
  if (given.size() == 1) return std::vector<float>(static_cast<std::size_t>(channels), given[0]);
  if (std::ssize(given) != channels && !given.empty())
    throw UsageError(
        cat("normalisation: expected 1 or ", channels, " figures of ", what, ", got ", given.size()));
  return given;
}

}  // namespace

SampleTransform::SampleTransform(const TensorType& input, const Augment& augment, bool channels_last)
    : input_(input), flip_(augment.horizontal_flip), crop_padding_(augment.crop_padding) {
  const bool image = input.shape.rank() == 3;
  const bool pixels = input.dtype == DType::U8 || input.dtype == DType::F32;
  output_ = {pixels ? DType::F32 : input.dtype, input.shape};
  if (image) {
    channels_ = input.shape[0];
    height_ = input.shape[1];
    width_ = input.shape[2];
  } else {
    width_ = input.numel();
  }
  if (crop_padding_ < 0) throw UsageError(cat("crop_padding is never negative, got ", crop_padding_));
  if ((crop_padding_ != 0 || flip_) && !(image && pixels))
    throw UsageError(
        cat("crop and flip need images [channels, height, width] of type u8 or f32, the samples are ",
            to_string(input)));
  if (augment.mean.empty() != augment.stddev.empty())
    throw UsageError("normalisation needs both mean and stddev");
  if (!augment.mean.empty() && !pixels)
    throw UsageError(cat("normalisation needs samples of type u8 or f32, they are ", to_string(input)));
  mean_ = per_channel(augment.mean, channels_, "mean");
  stddev_ = per_channel(augment.stddev, channels_, "stddev");
  for (const float s : stddev_)
    if (!(s > 0.0f) || !std::isfinite(s))
      throw UsageError(cat("normalisation: stddev must be positive, got ", s));

  channel_stride_ = in_channel_stride_ = height_ * width_;
  if (!input.layout.is_row_major()) {
    if (!image || !pixels || input.layout.is_blocked() || input.layout.order[2] != 0 ||
        input.layout.order[0] != 1)
      throw UsageError(
          cat("samples are row-major, or images [channels, height, width] of type u8 or f32 that are ",
              "channels-last; they are ", to_string(input)));
    in_pixel_stride_ = channels_;
    in_channel_stride_ = 1;
  }
  if (channels_last && image) {
    if (!pixels)
      throw UsageError(cat("channels-last batches need u8 or f32 samples, they are ", to_string(input)));
    // One sample is [C, H, W]; seen as a batch of one, axis 1 goes innermost.
    pixel_stride_ = channels_;
    channel_stride_ = 1;
    output_.layout.rank = 3;
    output_.layout.order = {1, 2, 0};
  }
  identity_ = input_.dtype == output_.dtype && output_.layout == input_.layout && mean_.empty() && !flip_ &&
              crop_padding_ == 0;

  if (input.dtype != DType::U8) return;
  for (std::size_t c = 0; c < static_cast<std::size_t>(channels_); ++c)
    for (int v = 0; v < 256; ++v) {
      const float x = static_cast<float>(v) / 255.0f;
      table_.push_back(mean_.empty() ? x : (x - mean_[c]) / stddev_[c]);
    }
}

SampleTransform::Choice SampleTransform::choose(std::uint64_t seed, std::uint64_t epoch,
                                                std::int64_t index) const {
  Choice choice;
  if (crop_padding_ == 0 && !flip_) return choice;
  Hasher key;  // keeps these draws apart from the shuffle and from the graph's dropout under the same seed
  key.add(seed);
  key.add(std::string_view("augment"));
  const Philox4 r = philox4x32(key.value(), static_cast<std::uint64_t>(index), epoch);
  const auto places = static_cast<std::uint64_t>(2 * crop_padding_ + 1);
  choice.top = static_cast<std::int64_t>((r.v[0] * places) >> 32) - crop_padding_;
  choice.left = static_cast<std::int64_t>((r.v[1] * places) >> 32) - crop_padding_;
  choice.flip = flip_ && (r.v[2] >> 31) != 0;
  return choice;
}

template <class In, class Map>
void SampleTransform::apply_channel(const In* input, float* output, const Choice& choice,
                                    const Map& map) const {
  const float border = map(In{0});
  // Columns [first, last) of the crop lie inside the sample.
  const std::int64_t first = std::clamp<std::int64_t>(-choice.left, 0, width_);
  const std::int64_t last = std::clamp<std::int64_t>(width_ - choice.left, first, width_);
  const std::ptrdiff_t step = choice.flip ? -pixel_stride_ : pixel_stride_;
  for (std::int64_t y = 0; y < height_; ++y) {
    float* row = output + y * width_ * pixel_stride_;
    if (choice.flip) row += (width_ - 1) * pixel_stride_;
    const std::int64_t source = y + choice.top;
    if (source < 0 || source >= height_) {
      fill_row(row, width_, step, border);
      continue;
    }
    if (first > 0) fill_row(row, first, step, border);
    if (last > first)
      map_row(input + (source * width_ + first + choice.left) * in_pixel_stride_, in_pixel_stride_,
              row + first * step, last - first, step, map);
    if (last < width_) fill_row(row + last * step, width_ - last, step, border);
  }
}

// What folders of images give, in one pass instead of three.
void SampleTransform::apply_rgb(const std::uint8_t* input, float* output, bool flip) const {
  const float *const red = table_.data(), *const green = red + 256, *const blue = green + 256;
  const std::ptrdiff_t step = flip ? -pixel_stride_ : pixel_stride_, next = channel_stride_;
  for (std::int64_t y = 0; y < height_; ++y) {
    float* out = output + (y * width_ + (flip ? width_ - 1 : 0)) * pixel_stride_;
    for (std::int64_t x = 0; x < width_; ++x, input += 3, out += step) {
      out[0] = red[input[0]];
      out[next] = green[input[1]];
      out[2 * next] = blue[input[2]];
    }
  }
}

void SampleTransform::apply(const std::byte* input, std::byte* output, const Choice& choice) const {
  if (identity_) {
    std::memcpy(output, input, input_.bytes());
    return;
  }
  float* const out = reinterpret_cast<float*>(output);
  const bool whole = choice.top == 0 && choice.left == 0;
  if (whole && channels_ == 3 && in_channel_stride_ == 1 && input_.dtype == DType::U8) {
    apply_rgb(reinterpret_cast<const std::uint8_t*>(input), out, choice.flip);
    return;
  }
  for (std::int64_t c = 0; c < channels_; ++c) {
    float* const plane = out + c * channel_stride_;
    const std::ptrdiff_t offset = c * in_channel_stride_;
    if (input_.dtype == DType::U8) {
      const float* const table = table_.data() + c * 256;
      apply_channel(reinterpret_cast<const std::uint8_t*>(input) + offset, plane, choice,
                    [table](std::uint8_t v) { return table[v]; });
    } else if (mean_.empty()) {
      apply_channel(reinterpret_cast<const float*>(input) + offset, plane, choice, [](float v) { return v; });
    } else {
      const float mean = mean_[static_cast<std::size_t>(c)], stddev = stddev_[static_cast<std::size_t>(c)];
      apply_channel(reinterpret_cast<const float*>(input) + offset, plane, choice,
                    [mean, stddev](float v) { return (v - mean) / stddev; });
    }
  }
}

}  // namespace ingot
