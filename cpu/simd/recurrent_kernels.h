// Vector kernels of recurrent networks: one time step of some rows, forwards or backwards, and the product
// between two steps of a gradient. All are serial and work on f32; threads are the callers' matter.
//
// Weights are packed for the level's vectors before the first step (pack): a panel holds, for each k in turn,
// the `columns` vectors that one tile of sums is multiplied with. A forward step has the gates of a vector of
// units beside one another in a panel, so that the tile's sums never leave the core: the gates' functions and
// the new states follow in the same pass. What a row's own length leaves out (`lengths`, null: nothing) is
// stored as 0, its state stays. core/ops/recurrent.h has the formulas.
//
//   const RecurrentKernels& k = recurrent_kernels(cpu_level());
//   k.pack({.w = w_hh, .depth = H, .gates = 4, .units = H, .unit_stride = H, .depth_stride = 1}, packed);
//   for (t : steps) k.lstm({.rows = rows, .units = H, .weights = packed, ...});
#pragma once

#include <cstdint>

#include "cpu/simd/level.h"

namespace ingot::cpu {

// Element (k, gate, unit) of the product lies at w[(gate * units + unit) * unit_stride + k * depth_stride].
// With one gate a panel has vectors of units that follow one another, kRecurrentColumns of them.
struct RecurrentPack {
  const float* w;
  std::int64_t depth, gates, units, unit_stride, depth_stride;
};
constexpr std::int64_t kRecurrentColumns = 4;

struct RecurrentForward {
  std::int64_t rows = 0, units = 0;
  const float* weights = nullptr;     // packed, with as many gates as the cell has
  const float* projection = nullptr;  // [rows, gates units]
  const float* b_hn = nullptr;        // [units], of gru
  const float* before = nullptr;      // [rows, units]
  float* after = nullptr;  // [rows, units], another place than `before`; null: y alone takes the state
  float* c = nullptr;      // [rows, units], in and out, of lstm
  float* y = nullptr;      // [rows, units]
  float* gates = nullptr;  // [rows, 4 units], of lstm and gru
  float* cells = nullptr;  // [rows, units], of lstm
  const std::int32_t* lengths = nullptr;  // of the rows, or null
  std::int64_t step = 0;
  bool relu = false;
};

struct RecurrentBackward {
  std::int64_t rows = 0, units = 0;
  const float* dy = nullptr;      // [rows, units]
  const float* y = nullptr;       // [rows, units], of rnn
  const float* gates = nullptr;   // [rows, 4 units], of lstm and gru
  const float* cells = nullptr;   // [rows, units], of lstm
  const float* before = nullptr;  // [rows, units]: c of lstm, h of gru, as the step found them
  const float* first =
      nullptr;          // [rows, units]: the same for rows whose length is step + 1; null: `before` holds it
  float* dh = nullptr;  // [rows, units]: in, of what the step made; out, what passes by w_hh
  float* dc = nullptr;  // [rows, units], of lstm
  float* dp = nullptr;  // [rows, gates units]
  float* dr = nullptr;  // [rows, 3 units], of gru
  const std::int32_t* lengths = nullptr;
  std::int64_t step = 0;
  bool relu = false;
};

struct RecurrentKernels {
  int rows;  // of a tile: fewer at a time are slower
  std::int64_t (*packed_floats)(std::int64_t depth, std::int64_t gates, std::int64_t units);
  void (*pack)(const RecurrentPack& p, float* packed);
  void (*lstm)(const RecurrentForward& s);
  void (*gru)(const RecurrentForward& s);
  void (*rnn)(const RecurrentForward& s);
  void (*lstm_grad)(const RecurrentBackward& s);
  void (*gru_grad)(const RecurrentBackward& s);
  void (*rnn_grad)(const RecurrentBackward& s);
  // y[rows, units] += x[rows, depth] times what was packed with one gate.
  void (*add_product)(const float* x, std::int64_t rows, std::int64_t depth, const float* packed, float* y,
                      std::int64_t units);
};

const RecurrentKernels& recurrent_kernels(CpuLevel level);

}  // namespace ingot::cpu
