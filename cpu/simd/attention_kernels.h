// Vector kernels of attention: a block of rows through all keys, and a block of keys through all rows for the
// gradient. Serial, f32; threads are the callers' matter.
//
// Tiles of scores (kRows x kKeys) stay in the caches. All products run in one microkernel whose lanes are the
// columns of its second factor: keys, which `pack` brings there, or the elements of a row of values. Rows of
// a second factor are whole vectors long: `padded` floats.
//
//   const AttentionKernels& kernels = attention_kernels(cpu_level());
//   kernels.pack(k, keys, depth, panels);
//   kernels.forward(block);
#pragma once

#include <cstdint>

#include "cpu/simd/level.h"

namespace ingot::cpu {

struct AttentionTiles {
  static constexpr std::int64_t kRows = 96, kKeys = 128;
  static constexpr std::int64_t kPanel = 64;     // keys that lie side by side after `pack`
  static constexpr std::int64_t kStrip = 6;      // rows that are multiplied together
  static constexpr std::int64_t kMaxWidth = 16;  // floats of the widest vector

  static constexpr std::int64_t padded(std::int64_t n) { return (n + kMaxWidth - 1) / kMaxWidth * kMaxWidth; }
  static constexpr std::int64_t strips(std::int64_t rows) { return (rows + kStrip - 1) / kStrip * kStrip; }
  // Floats of packed keys.
  static constexpr std::int64_t packed(std::int64_t keys, std::int64_t depth) {
    return (keys + kPanel - 1) / kPanel * kPanel * depth;
  }
};

// At most kRows rows of one head.
struct AttentionBlock {
  std::int64_t first = 0, rows = 0;  // the number of the first row, which decides what it sees where causal
  std::int64_t keys = 0;             // those that count
  std::int64_t depth = 0, v_depth = 0, v_row = 0;  // v_row: floats from one row of v to the next, padded
  float scale = 1.0f;
  bool causal = false;
  const float *q = nullptr, *k_panels = nullptr, *v = nullptr;
  float *y = nullptr, *lse = nullptr, *scratch = nullptr;

  static std::int64_t scratch_floats(std::int64_t v_row) {
    return AttentionTiles::kRows * (AttentionTiles::kKeys + v_row + 2);
  }
};

// At most kKeys keys against all rows of the heads that read them. Rows of k_rows, q_rows and dy_rows are
// padded.
struct AttentionGradBlock {
  std::int64_t first = 0, keys = 0;  // the number of the first key; how many of them count
  std::int64_t heads = 0, rows = 0, depth = 0, v_depth = 0;
  float scale = 1.0f;
  bool causal = false;
  const float *q = nullptr, *dy = nullptr, *lse = nullptr,
              *delta = nullptr;                       // [heads][rows]...; delta: sum dy y
  const float *q_rows = nullptr, *dy_rows = nullptr;  // the same as q and dy, padded
  const float *k_panels = nullptr, *v_panels = nullptr, *k_rows = nullptr;  // of these keys
  float* dq = nullptr;                 // added to: [heads][whole kRows][padded depth]
  float *dk = nullptr, *dv = nullptr;  // overwritten: [strips(keys)][padded]
  float* scratch = nullptr;

  static constexpr std::int64_t kScratch = 2 * AttentionTiles::kRows * AttentionTiles::kKeys;
};

struct AttentionKernels {
  // to[panel][d][key] of x[keys][depth]; zeros behind the last key.
  void (*pack)(const float* x, std::int64_t keys, std::int64_t depth, float* to);
  void (*forward)(const AttentionBlock& block);
  void (*backward)(const AttentionGradBlock& block);
};

const AttentionKernels& attention_kernels(CpuLevel level);

}  // namespace ingot::cpu
