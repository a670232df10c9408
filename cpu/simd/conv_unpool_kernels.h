// Vector kernels of a max pooled convolution's gradients (core/ops/unpooled_conv.h). Serial, f32,
// channels-last images, convolutions of stride 1 without dilation or groups; threads are the callers' matter.
//
// A window's gradient g of channel o lies at one pixel of the convolution's result. It adds g times the
// kw * c floats of a row of the image to each row of the weight's gradient, and g times the rows of o's
// weight to the image's gradient: runs of neighbouring floats, kh of them, which are the vectors' lanes.
//
//   const UnpoolKernels& k = unpool_kernels(cpu_level());
//   k.grad_weight(shape, x, dy, offset, unpool_places(shape), sums, scratch);
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cpu/simd/level.h"

namespace ingot::cpu {

// One image. Each window must lie inside the convolution's result (oh x ow pixels).
struct UnpoolConv {
  static constexpr std::int64_t kMaxWidth = 16;      // lanes of the widest vector
  static constexpr std::int64_t kMaxChannels = 256;  // of dy, for grad_input
  std::int64_t o = 0, ph = 0, pw = 0;                // dy and offset
  std::int64_t oh = 0, ow = 0;                       // the convolution's result
  std::int64_t c = 0, h = 0, w = 0;                  // x or dx
  std::int64_t kh = 0, kw = 0, top = 0, left = 0;
  std::int64_t window_h = 0, window_w = 0, step_h = 0, step_w = 0;  // of the pooling
  // A run is so many vectors of so many lanes; grad_input adds up `together` of them at a time, 0: it is not
  // made for this height of the weight.
  std::int64_t lanes = 0, vectors = 0, together = 0;

  std::int64_t run() const { return kw * c; }
  std::int64_t run_floats() const { return lanes * vectors; }
  // The image with its padding; a vector that starts inside it ends inside it.
  std::int64_t padded_rows() const { return oh + kh - 1; }
  std::int64_t pitch() const { return (ow + kw - 1) * c; }
  std::int64_t padded_floats() const { return padded_rows() * pitch() + run_floats() + kMaxWidth; }
};

struct UnpoolKernels {
  // Sets lanes, vectors and together.
  void (*choose)(UnpoolConv& p);
  // sums[o][kh][run_floats] += the image's part of the weight's gradient. `places` as unpool_places() yields;
  // scratch: unpool_grad_weight_scratch() floats.
  void (*grad_weight)(const UnpoolConv& p, const float* x, const float* dy, const std::uint8_t* offset,
                      std::span<const std::int32_t> places, float* sums, float* scratch);
  // dx from dy and the weight, whose runs, filled up with zeros, are cut into pieces of `together` vectors
  // and packed as [piece][o][kh][floats of the piece]. Scratch: padded_floats().
  bool (*has_grad_input)(const UnpoolConv& p);
  void (*grad_input)(const UnpoolConv& p, const float* dy, const std::uint8_t* offset, const float* weight,
                     float* dx, float* scratch);
};

// Floats of scratch: the padded image and a list of one channel's gradients.
inline std::int64_t unpool_grad_weight_scratch(const UnpoolConv& p) {
  return p.padded_floats() + 2 * (p.ph * p.pw + 1);
}

// Where in the padded image the runs begin: of each window's first pixel, then, to be added, of each offset.
inline std::vector<std::int32_t> unpool_places(const UnpoolConv& p) {
  std::vector<std::int32_t> at;
  for (std::int64_t i = 0; i < p.ph; ++i)
    for (std::int64_t j = 0; j < p.pw; ++j)
      at.push_back(static_cast<std::int32_t>(i * p.step_h * p.pitch() + j * p.step_w * p.c));
  for (std::int64_t k = 0; k < 256; ++k)  // of u8, even those that no window has
    at.push_back(static_cast<std::int32_t>(k / p.window_w * p.pitch() + k % p.window_w * p.c));
  return at;
}

const UnpoolKernels& unpool_kernels(CpuLevel level);

}  // namespace ingot::cpu
