// Vector kernels of max pooling and its gradient. Serial, f32, channels-last images; threads are the callers'
// matter.
//
//   const PoolKernels& k = pool_kernels(cpu_level());
//   k.max_row_u8(shape, image, image_end, i, y, offset);
#pragma once

#include <cstdint>

#include "cpu/simd/level.h"

namespace ingot::cpu {

// Window i along an axis starts at start[i] (which may lie in the padding) and covers the pixels [begin[i],
// end[i]); pixel h lies in the windows [first[h], last[h]).
struct WindowAxis {
  const std::int64_t *start = nullptr, *begin = nullptr, *end = nullptr, *first = nullptr, *last = nullptr;
};
// A row of the result as one run of floats, for channels that would leave lanes empty: its vector k starts at
// start[k], and for tap t (a cell of the window's row, or a window over the pixel) lane l takes element
// base[k, t] + lane[k, t, l] of the other side's row, which is column cell[k, t, l] of the window.
struct FlatRow {
  static constexpr std::int64_t kSpread = 3;  // vectors within which the lanes of a tap of the maximum lie
  static constexpr std::int32_t kNoCell = -(1 << 30);
  std::int64_t vectors = 0, taps = 0;  // 0: not used
  const std::int64_t *start = nullptr, *base = nullptr;
  const std::int32_t *lane = nullptr, *cell = nullptr;
};
struct MaxPooling {
  std::int64_t c = 0, w = 0, ow = 0, kw = 0;  // channels, columns in and out, columns of the window
  WindowAxis rows, columns;
  bool columns_apart = false;  // no column lies in two windows
  FlatRow flat{};
};

// Row i of the output: y and offset, the cell of the window that was taken. Larger wins, then the first; the
// first NaN wins over all. [image, image_end) is what may be read, the image first.
template <class Offset>
using MaxRow = void (*)(const MaxPooling& p, const void* image, const void* image_end, std::int64_t i,
                        void* y, Offset* offset);
// Row h of the gradient of the input, from the gradient and the offsets of one image; `readable` elements of
// each may be read.
template <class Offset>
using MaxGradRow = void (*)(const MaxPooling& p, const void* dy, const Offset* offset, std::int64_t readable,
                            std::int64_t h, void* dx);

// For images of one element type.
struct MaxKernels {
  MaxRow<std::uint8_t> row_u8;
  MaxRow<std::int32_t> row_i32;
  MaxGradRow<std::uint8_t> grad_row_u8;
  MaxGradRow<std::int32_t> grad_row_i32;
};

struct PoolKernels {
  std::int64_t width;  // floats of a vector
  MaxKernels f32;
  MaxKernels bf16;  // null below AVX-512, and where an offset does not fit a byte
};

const PoolKernels& pool_kernels(CpuLevel level);

}  // namespace ingot::cpu
