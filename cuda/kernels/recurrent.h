// One time step of an LSTM, GRU or plain RNN, and of its gradient: launches of the kernels in recurrent.cu.
//
// The product with w_hh comes before a step, and before the gradient's next one; the kernels are what lies
// between two products (core/ops/recurrent.h has the formulas). All is f32 and row-major; `rows` sequences
// have `units` units. `lengths` may be null; a row whose length does not reach `step` keeps its state, and
// what is stored for it is 0. States lie in place: no other operand may be their memory.
//
//   matmul(product, h, w_hh, sums, {}, workspace, stream);
//   recurrent_step(RecurrentCell::Lstm, {.rows = 64, .units = 256, .step = t}, {...}, stream);
#pragma once

#include <cstdint>

#include "cuda/base/stream.h"

namespace ingot::cuda {

struct RecurrentSizes {
  std::int64_t rows = 0, units = 0;
  const std::int32_t* lengths = nullptr;
  std::int64_t step = 0;
};

enum class RecurrentCell : std::uint8_t { Lstm, Gru, Tanh, Relu };

struct RecurrentStep {
  const float* projection = nullptr;  // [rows, G units]
  const float* sums = nullptr;        // [rows, G units]: h w_hh^T
  const float* b_hn = nullptr;        // [units], of gru
  float* h = nullptr;                 // [rows, units]
  float* c = nullptr;                 // [rows, units], of lstm
  float* y = nullptr;                 // [rows, units]
  float* gates = nullptr;             // [rows, 4 units], of lstm and gru
  float* cells = nullptr;             // [rows, units], of lstm
};

struct RecurrentGradStep {
  const float* dy = nullptr;      // [rows, units]
  const float* gates = nullptr;   // [rows, 4 units], of lstm and gru
  const float* cells = nullptr;   // [rows, units], of lstm
  const float* before = nullptr;  // [rows, units]: c of lstm, h of gru, as the step found them
  const float* first = nullptr;   // as before, for rows that start with this step: their length is step + 1
  const float* y = nullptr;       // [rows, units], of rnn
  float* dh = nullptr;            // [rows, units]: in, of what the step made; out, what passes by w_hh
  float* dc = nullptr;            // [rows, units], of lstm
  float* dp = nullptr;            // [rows, G units]
  float* dr = nullptr;            // [rows, 3 units], of gru
};

void recurrent_step(RecurrentCell cell, const RecurrentSizes& sizes, const RecurrentStep& step,
                    const Stream& stream);
void recurrent_grad_step(RecurrentCell cell, const RecurrentSizes& sizes, const RecurrentGradStep& step,
                         const Stream& stream);

}  // namespace ingot::cuda
