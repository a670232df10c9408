// Launches of kernels with one mistake each (`wrong`), and their corrected twins. All work on arrays of 64
// elements.
//
//   missing_barrier(x, y, Variant::Wrong, stream);
#pragma once

#include "cuda/base/stream.h"

namespace ingot::bugs {

enum class Variant { Wrong, Right };
constexpr int kSize = 64;

// y = x reversed, through shared memory.
void missing_barrier(const float* x, float* y, Variant v, const cuda::Stream& stream);
// y = x with the lanes of each warp reversed, through shared memory.
void missing_warp_barrier(const float* x, float* y, Variant v, const cuda::Stream& stream);
// As missing_warp_barrier, but there is a barrier: of each half of the warp (wrong), or of the whole.
void half_warp_barrier(const float* x, float* y, Variant v, const cuda::Stream& stream);
// y = x reversed: shared elements are overwritten before (wrong) or after all have read them.
void early_overwrite(const float* x, float* y, Variant v, const cuda::Stream& stream);
// Half of the threads skip a barrier (wrong), or two halves wait at two of them.
void divergent_barrier(const float* x, float* y, Variant v, const cuda::Stream& stream);
void two_barriers(const float* x, float* y, Variant v, const cuda::Stream& stream);
// Lanes 0 to 15 take part in an operation of the whole warp, the others in another one.
void divergent_shuffle(const float* x, float* y, Variant v, const cuda::Stream& stream);
// y[i] = x[i] by 96 threads; the right one compares i with the size.
void out_of_bounds(const float* x, float* y, Variant v, const cuda::Stream& stream);
// y[i] = x[i - 1], the first one 0.
void shared_out_of_bounds(const float* x, float* y, Variant v, const cuda::Stream& stream);
// y[0] = sum of x in a shared variable.
void uninitialised(const float* x, float* y, Variant v, const cuda::Stream& stream);
// y[0..3] = x[1..4] (wrong), by one access of 16 bytes; x[4..7] (right).
void misaligned(const float* x, float* y, Variant v, const cuda::Stream& stream);
void misaligned_float4(const float* x, float* y, Variant v, const cuda::Stream& stream);
// counts[x[i] > 0] by a plain or an atomic increment.
void race(const float* x, int* counts, Variant v, const cuda::Stream& stream);
// Two blocks write one element (wrong) or their own.
void race_between_blocks(float* y, Variant v, const cuda::Stream& stream);
// The last block reads what others wrote without (wrong) or with a fence.
void missing_fence(float* partial, unsigned* count, float* total, Variant v, const cuda::Stream& stream);
// y = x reversed, by asynchronous copies without (wrong) or with a wait.
void missing_wait(const float* x, float* y, Variant v, const cuda::Stream& stream);
// A thread's array of 512 KiB (wrong) or 512 bytes.
void deep_stack(const float* x, float* y, Variant v, const cuda::Stream& stream);

}  // namespace ingot::bugs
