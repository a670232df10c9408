// Sample kernels in the house style: what the simulator's tests run, nvcc compiles, and the PTX interpreter
// executes.
#include "tests/cuda_sim/kernels.h"

#include "cuda/base/kernel.h"
#include "cuda/base/launch.h"

namespace ingot::samples {

using namespace gpu;

// ---- y[r] = sum over c of x[r, c]
// ----------------------------------------------------------------------------------- Reads 4 rows columns
// bytes, writes 4 rows. One block a row; each thread sums every blockDim-th group of four, then the warps by
// shuffles and the block through shared memory: a fixed order, so the same bits each time.

constexpr int kRowThreads = 128;

__global__ void row_sum_kernel(const float* x, float* y, int columns) {
  const float* const row = x + static_cast<long long>(blockIdx.x) * columns;
  const int thread = static_cast<int>(threadIdx.x);
  float sum = 0;
  if (columns % 4 == 0) {
    for (int c = thread * 4; c < columns; c += kRowThreads * 4) {
      const Vec16<float> four = load16(row + c);
      sum += (four.at[0] + four.at[1]) + (four.at[2] + four.at[3]);
    }
  } else {
    for (int c = thread; c < columns; c += kRowThreads) sum += row[c];
  }
  GPU_SHARED(partial, float, [kRowThreads / kWarpSize]);
  sum = warp_sum(sum);
  if (thread % kWarpSize == 0) partial[thread / kWarpSize] = sum;
  __syncthreads();
  if (thread != 0) return;
  float total = 0;
  for (const float p : partial) total += p;
  y[blockIdx.x] = total;
}

void row_sum(const float* x, float* y, int rows, int columns, const cuda::Stream& stream) {
  cuda::launch(row_sum_kernel, dim3(static_cast<unsigned>(rows)), dim3(kRowThreads), 0, stream, x, y,
               columns);
}

// ---- y[c, r] = x[r, c]
// ---------------------------------------------------------------------------------------------- Reads and
// writes 4 rows columns bytes, both along rows: a 32 x 32 tile is turned in shared memory, whose rows have
// one element more so that a column lies in 32 banks.

constexpr int kTile = 32, kTileRows = 8;

__global__ void transpose_kernel(const float* x, float* y, int rows, int columns) {
  GPU_SHARED(tile, float, [kTile][kTile + 1]);
  const int tx = static_cast<int>(threadIdx.x), ty = static_cast<int>(threadIdx.y);
  const int r0 = static_cast<int>(blockIdx.y) * kTile, c0 = static_cast<int>(blockIdx.x) * kTile;
  for (int i = ty; i < kTile; i += kTileRows)
    if (r0 + i < rows && c0 + tx < columns)
      tile[i][tx] = x[static_cast<long long>(r0 + i) * columns + c0 + tx];
  __syncthreads();
  for (int i = ty; i < kTile; i += kTileRows)
    if (c0 + i < columns && r0 + tx < rows) y[static_cast<long long>(c0 + i) * rows + r0 + tx] = tile[tx][i];
}

void transpose(const float* x, float* y, int rows, int columns, const cuda::Stream& stream) {
  const dim3 grid(cuda::blocks_for(static_cast<std::size_t>(columns), kTile),
                  cuda::blocks_for(static_cast<std::size_t>(rows), kTile));
  cuda::launch(transpose_kernel, grid, dim3(kTile, kTileRows), 0, stream, x, y, rows, columns);
}

// ---- c[i, j] = sum over l of a[i, l] b[l, j]
// ------------------------------------------------------------------------ A block of four warps makes a 32 x
// 32 tile of c, each warp 16 x 16 by two tensor core products. Tiles of a (32 x 16) and b (16 x 32) arrive by
// asynchronous copies, two stages deep; what lies outside a or b is copied as zero.

constexpr int kM = 32, kN = 32, kK = 16, kMatmulThreads = 128;
constexpr int kStrideA = kK + 8, kStrideB = kN + 8;  // 16-byte rows that start in different banks

template <class T>
__global__ void matmul_kernel(const T* a, const T* b, float* c, int m, int n, int k) {
  GPU_SHARED(tile_a, T, [2][kM][kStrideA]);
  GPU_SHARED(tile_b, T, [2][kK][kStrideB]);
  const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarpSize, warp = thread / kWarpSize;
  const int row0 = static_cast<int>(blockIdx.y) * kM, column0 = static_cast<int>(blockIdx.x) * kN;

  // 64 chunks of eight elements each: threads 0 to 63 fetch a's, the others b's.
  const auto fetch = [&](int stage, int l0) {
    if (thread < 64) {
      const int row = thread / 2, column = thread % 2 * 8;
      const bool inside = row0 + row < m && l0 + column < k;
      const T* const from = inside ? a + static_cast<long long>(row0 + row) * k + l0 + column : a;
      copy_async16(&tile_a[stage][row][column], from, inside ? 16 : 0);
    } else {
      const int row = (thread - 64) / 4, column = thread % 4 * 8;
      const bool inside = l0 + row < k && column0 + column < n;
      const T* const from = inside ? b + static_cast<long long>(l0 + row) * n + column0 + column : b;
      copy_async16(&tile_b[stage][row][column], from, inside ? 16 : 0);
    }
    copy_async_commit();
  };

  const int steps = (k + kK - 1) / kK, warp_row = warp / 2 * 16, warp_column = warp % 2 * 16;
  float sums[2][4] = {};
  fetch(0, 0);
  for (int step = 0; step < steps; ++step) {
    if (step + 1 < steps) {
      fetch((step + 1) % 2, (step + 1) * kK);
      copy_async_wait<1>();
    } else {
      copy_async_wait<0>();
    }
    __syncthreads();  // all threads' parts of this stage have landed
    const int stage = step % 2;
    unsigned fragment_a[4], fragment_b[2];
    ldmatrix_x4(fragment_a, &tile_a[stage][warp_row + lane % 16][lane / 16 * 8]);
    for (int half = 0; half < 2; ++half) {
      ldmatrix_x2_transposed(fragment_b, &tile_b[stage][lane % 16][warp_column + half * 8]);
      mma_m16n8k16(T{}, sums[half], fragment_a, fragment_b);
    }
    __syncthreads();  // the stage may be overwritten
  }

  for (int half = 0; half < 2; ++half)
    for (int i = 0; i < 4; ++i) {
      const int row = row0 + warp_row + lane / 4 + i / 2 * 8;
      const int column = column0 + warp_column + half * 8 + lane % 4 * 2 + i % 2;
      if (row < m && column < n) c[static_cast<long long>(row) * n + column] = sums[half][i];
    }
}

template <class T>
static void matmul(const void* a, const void* b, float* c, int m, int n, int k, const cuda::Stream& stream) {
  const dim3 grid(cuda::blocks_for(static_cast<std::size_t>(n), kN),
                  cuda::blocks_for(static_cast<std::size_t>(m), kM));
  cuda::launch(matmul_kernel<T>, grid, dim3(kMatmulThreads), 0, stream, static_cast<const T*>(a),
               static_cast<const T*>(b), c, m, n, k);
}

void matmul_f16(const void* a, const void* b, float* c, int m, int n, int k, const cuda::Stream& stream) {
  matmul<__half>(a, b, c, m, n, k, stream);
}

void matmul_bf16(const void* a, const void* b, float* c, int m, int n, int k, const cuda::Stream& stream) {
  matmul<__nv_bfloat16>(a, b, c, m, n, k, stream);
}

// ---- One TF32 product
// -----------------------------------------------------------------------------------------------

__global__ void tf32_tile_kernel(const float* a, const float* b, float* d) {
  const int lane = static_cast<int>(threadIdx.x), g = lane / 4, t = lane % 4;
  const unsigned fragment_a[4] = {to_tf32(a[g * 8 + t]), to_tf32(a[(g + 8) * 8 + t]),
                                  to_tf32(a[g * 8 + t + 4]), to_tf32(a[(g + 8) * 8 + t + 4])};
  const unsigned fragment_b[2] = {to_tf32(b[t * 8 + g]), to_tf32(b[(t + 4) * 8 + g])};
  float sums[4];
  for (int i = 0; i < 4; ++i) sums[i] = d[(g + i / 2 * 8) * 8 + 2 * t + i % 2];
  mma_m16n8k8_tf32(sums, fragment_a, fragment_b);
  for (int i = 0; i < 4; ++i) d[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = sums[i];
}

void tf32_tile(const float* a, const float* b, float* d, const cuda::Stream& stream) {
  cuda::launch(tf32_tile_kernel, dim3(1), dim3(kWarpSize), 0, stream, a, b, d);
}

// ---- total = sum of x, in one launch
// -------------------------------------------------------------------------------- Each block leaves its sum,
// makes it visible (fence), and counts itself; the one that counts last adds them all up.

__global__ void sum_by_last_block_kernel(const float* x, float* partial, unsigned* count, float* total,
                                         int n) {
  GPU_SHARED(is_last, bool);
  const int lane = static_cast<int>(threadIdx.x), blocks = static_cast<int>(gridDim.x);
  float sum = 0;
  for (int i = static_cast<int>(blockIdx.x) * kWarpSize + lane; i < n; i += blocks * kWarpSize) sum += x[i];
  sum = warp_sum(sum);
  if (lane == 0) {
    partial[blockIdx.x] = sum;
    __threadfence();
    is_last = atomicAdd(count, 1u) == gridDim.x - 1;
    __threadfence();
  }
  __syncthreads();
  if (!is_last || lane != 0) return;
  float all = 0;
  for (int i = 0; i < blocks; ++i) all += partial[i];
  *total = all;
  *count = 0;
}

void sum_by_last_block(const float* x, float* partial, unsigned* count, float* total, int n, int blocks,
                       const cuda::Stream& stream) {
  cuda::launch(sum_by_last_block_kernel, dim3(static_cast<unsigned>(blocks)), dim3(kWarpSize), 0, stream, x,
               partial, count, total, n);
}

// ---- y[i] += x[i]
// ---------------------------------------------------------------------------------------------------

__global__ void add_kernel(const float* x, float* y, int n) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) y[i] += x[i];
}

void add(const float* x, float* y, int n, const cuda::Stream& stream) {
  cuda::launch(add_kernel, dim3(cuda::blocks_for(static_cast<std::size_t>(n), 64)), dim3(64), 0, stream, x, y,
               n);
}

// ---- Built-in functions
// ---------------------------------------------------------------------------------------------

__global__ void warp_functions_kernel(int* out) {
  const int lane = static_cast<int>(threadIdx.x);
  out[0 * 32 + lane] = shuffle(lane * 10, 5);
  out[1 * 32 + lane] = shuffle_xor(lane * 10, 3);
  out[2 * 32 + lane] = shuffle_up(lane * 10, 2);
  out[3 * 32 + lane] = shuffle_down(lane * 10, 2);
  out[4 * 32 + lane] = static_cast<int>(__ballot_sync(kFullWarp, lane % 3 == 0));
  out[5 * 32 + lane] = __any_sync(kFullWarp, lane == 7);
  out[6 * 32 + lane] = __all_sync(kFullWarp, lane < 31);
  out[7 * 32 + lane] = __shfl_sync(kFullWarp, lane, 3, 8);
  // Half a warp at a time: operations of disjoint masks go their own ways.
  const unsigned half = lane < 16 ? 0x0000ffffu : 0xffff0000u;
  int sum = lane;
  for (int step = 8; step > 0; step /= 2) sum += __shfl_xor_sync(half, sum, step);
  out[8 * 32 + lane] = sum;
}

void warp_functions(int* out, const cuda::Stream& stream) {
  cuda::launch(warp_functions_kernel, dim3(1), dim3(kWarpSize), 0, stream, out);
}

__global__ void atomics_kernel(int* sums, float* floats) {
  const int number = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  atomicAdd(&sums[0], 1);
  atomicMax(&sums[1], number);
  atomicCAS(&sums[2], 0, 7);
  atomicAdd(&floats[0], static_cast<float>(number));
}

void atomics(int* sums, float* floats, int blocks, int threads, const cuda::Stream& stream) {
  cuda::launch(atomics_kernel, dim3(static_cast<unsigned>(blocks)), dim3(static_cast<unsigned>(threads)), 0,
               stream, sums, floats);
}

}  // namespace ingot::samples
