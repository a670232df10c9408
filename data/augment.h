// From a stored sample to what the model reads: random crop, horizontal flip, scaling and normalisation.
//
// The random choices are a pure function of (seed, epoch, sample index), so they depend neither on the order
// in which samples are read nor on the number of threads. u8 samples are scaled to [0, 1] and become f32, f32
// samples stay f32, both normalised when `mean` is given; samples of other types pass unchanged and allow no
// augmentation. The operations and their order are torchvision's RandomCrop(size, padding),
// RandomHorizontalFlip, ToTensor, Normalize: the padding is black before normalisation, and the arithmetic
// gives the same bits.
//
//   Augment augment;
//   augment.crop_padding = 2;  augment.horizontal_flip = true;
//   augment.mean = {0.286f};   augment.stddev = {0.353f};
//   SampleTransform transform({DType::U8, {1, 28, 28}}, augment, false);
//   transform.apply(stored, out, transform.choose(seed, epoch, index));
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "core/ir/type.h"
#include "data/dataset.h"

namespace ingot {

// torchvision's ColorJitter: factors between 1 - x and 1 + x, and a turn of the hue between -hue and hue (at
// most 0.5), in random order.
struct ColorJitter {
  double brightness = 0.0, contrast = 0.0, saturation = 0.0, hue = 0.0;
};

// torchvision's RandAugment (Cubuk et al. 2019): so many of fourteen operations, at a strength of 0 to 30.
struct RandAugment {
  int num_ops = 2, magnitude = 9;
};

struct Augment {
  // Pads each side by as many pixels and cuts the original size out of a random place; 0 leaves out the step.
  std::int64_t crop_padding = 0;
  // Mirrors every second sample, on average.
  bool horizontal_flip = false;
  // Reads random parts of images; for data sets that have them (Dataset::has_crops), such as folders of
  // images.
  std::optional<RandomResizedCrop> random_resized_crop = {};
  // Of u8 images, before they are cropped and flipped.
  std::optional<RandAugment> rand_augment = {};
  std::optional<ColorJitter> color_jitter = {};
  // Beta(alpha, alpha) of the share that each sample of a batch keeps against its neighbour: all of its
  // pixels (MixUp, Zhang et al. 2017), or a box of them (CutMix, Yun et al. 2019). 0: neither; with both each
  // batch gets one at random.
  double mixup = 0.0, cutmix = 0.0;
  // One figure per channel, or one for all; empty leaves out the step. In units of the scaled sample.
  std::vector<float> mean = {}, stddev = {};
};

class SampleTransform {
 public:
  struct Choice {
    std::int64_t top = 0, left = 0;  // corner of the crop in the unpadded sample, may be negative
    bool flip = false;
  };

  // Throws UsageError when the augmentation does not suit samples of type `input`.
  SampleTransform(const TensorType& input, const Augment& augment, bool channels_last);

  // Type of one sample; its physical layout is channels-last where that was asked for.
  const TensorType& output_type() const { return output_; }
  // Samples pass unchanged, so that they may be read straight into the batch.
  bool identity() const { return identity_; }
  Choice choose(std::uint64_t seed, std::uint64_t epoch, std::int64_t index) const;
  void apply(const std::byte* input, std::byte* output, const Choice& choice) const;

 private:
  template <class In, class Map>
  void apply_channel(const In* input, float* output, const Choice& choice, const Map& map) const;

  void apply_rgb(const std::uint8_t* input, float* output, bool flip) const;

  TensorType input_, output_;
  bool identity_ = false, flip_ = false;
  std::int64_t crop_padding_ = 0;
  std::int64_t channels_ = 1, height_ = 1, width_ = 1;
  std::ptrdiff_t in_pixel_stride_ = 1, in_channel_stride_ = 0;  // in elements
  std::ptrdiff_t pixel_stride_ = 1, channel_stride_ = 0;        // of the output
  std::vector<float> mean_, stddev_;                            // one per channel, or empty
  std::vector<float> table_;                                    // 256 results per channel, for u8
};

}  // namespace ingot
