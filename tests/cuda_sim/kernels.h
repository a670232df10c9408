// Launches of the sample kernels in kernels.cu: plain C++, as the backend's launch headers are.
//
//   row_sum(x, y, rows, columns, stream);   // y[r] = sum over c of x[r, c]
#pragma once

#include "cuda/base/stream.h"

namespace ingot::samples {

// x is rows x columns, y has `rows` floats. 16-byte loads where the rows allow it.
void row_sum(const float* x, float* y, int rows, int columns, const cuda::Stream& stream);

// y (columns x rows) = transposed x (rows x columns).
void transpose(const float* x, float* y, int rows, int columns, const cuda::Stream& stream);

// c (m x n, f32) = a (m x k) times b (k x n), both f16 or both bf16 as bits; k and n are multiples of 8.
void matmul_f16(const void* a, const void* b, float* c, int m, int n, int k, const cuda::Stream& stream);
void matmul_bf16(const void* a, const void* b, float* c, int m, int n, int k, const cuda::Stream& stream);

// One warp: d (16 x 8) = a (16 x 8) times b (8 x 8) + d, rounded to TF32.
void tf32_tile(const float* a, const float* b, float* d, const cuda::Stream& stream);

// total[0] = sum of x. The last block to finish adds up what all blocks left in `partial`; `count` is 0
// before and after.
void sum_by_last_block(const float* x, float* partial, unsigned* count, float* total, int n, int blocks,
                       const cuda::Stream& stream);

// y[i] += x[i].
void add(const float* x, float* y, int n, const cuda::Stream& stream);

// What each lane receives: out[kind * 32 + lane] for shuffles (index 5, xor 3, up 2, down 2), then ballot,
// any, all, and a shuffle of width 8.
void warp_functions(int* out, const cuda::Stream& stream);

// sums[0] = number of threads, sums[1] = largest thread number, by atomics; floats[0] = sum of thread
// numbers.
void atomics(int* sums, float* floats, int blocks, int threads, const cuda::Stream& stream);

}  // namespace ingot::samples
