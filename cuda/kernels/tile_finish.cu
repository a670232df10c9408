// Adds the slices of a product's sums and applies the epilogue.
//
//   y = act(sum over slices of partial + bias + residual)
//
// Bytes that must move: 4 slices + the size of an element (twice with a residual) for each element of y. A
// thread adds as many neighbouring sums as fill 16 bytes of y, the slices' loads side by side.
#include "cuda/kernels/tile_finish.h"

#include "cuda/base/launch.h"
#include "cuda/kernels/tile_output.h"

namespace ingot::cuda::tile {

constexpr int kFinishThreads = 256;

// Any scalar function of one operand. Called, not inlined: it is the one place with all of them.
template <int kArity, class Function>
__device__ inline float call_unary(Function function, float v) {
  if constexpr (kArity == 1)
    return static_cast<float>(function(v));
  else
    return v;
}
__device__ __attribute__((noinline)) float activate_any(int activation, float v) {
  switch (static_cast<ScalarOp>(activation)) {
#define INGOT_SCALAR(Enum, name, arity, kind) \
  case ScalarOp::Enum:                        \
    return call_unary<arity>([](auto... x) { return scalar::name(x...); }, v);
#include "core/expr/scalar_ops.def"
#undef INGOT_SCALAR
    default:
      return v;
  }
}

// Bound by: bandwidth (loads, stores); narrow where V = 1.
template <class T, int V>
__global__ void finish_kernel(const float* partial, Output<T> out, Schedule s, int slices, int activation) {
  const unsigned z = s.first_batch + blockIdx.z;
  const long long slice_stride = s.batches * out.m * out.n;
  partial += z * out.m * out.n;
  out.shift(s, z, 0);
  const long long at =
      (static_cast<long long>(blockIdx.x) * kFinishThreads + static_cast<int>(threadIdx.x)) * V;
  if (at >= out.m * out.n) return;
  float sums[V] = {};
  for (int slice = 0; slice < slices; ++slice) {
    const float* const from = partial + slice * slice_stride + at;
    if constexpr (V == 1) {
      sums[0] += *from;
    } else {
#pragma unroll
      for (int e = 0; e < V; e += 4) {
        const Vec16<float> four = load16(from + e);
#pragma unroll
        for (int k = 0; k < 4; ++k) sums[e + k] += four.at[k];
      }
    }
  }
  const long long row = at / out.n;
  store_sums<V>(sums, V, row, at - row * out.n, out, [&](float x) { return activate_any(activation, x); });
}

template <class T>
void finish(const PartialProduct& p, const Epilogue& epilogue, const Stream& stream, const RowMap* map) {
  const ProductSizes& sizes = p.sizes;
  Schedule s;
  s.batches = static_cast<unsigned>(sizes.batches);
  s.strides.y = p.batch_stride;
  s.strides.bias = p.bias_stride;
  const Output<T> out = make_output<T>(p.y, epilogue, sizes, p.row_stride, s.strides, map);
  constexpr int V = Vec16<T>::kSize;
  const bool vector = out.aligned && sizes.n % V == 0;
  const unsigned blocks = blocks_for(static_cast<std::size_t>(sizes.m * sizes.n),
                                     static_cast<unsigned>(kFinishThreads * (vector ? V : 1)));
  const int activation = static_cast<int>(epilogue.activation);
  for_each_batch_launch(s, [&](unsigned batches) {
    const dim3 grid(blocks, 1, batches), block(kFinishThreads);
    if (vector)
      launch(finish_kernel<T, V>, grid, block, 0, stream, p.partial, out, s, p.slices, activation);
    else
      launch(finish_kernel<T, 1>, grid, block, 0, stream, p.partial, out, s, p.slices, activation);
  });
}

}  // namespace ingot::cuda::tile

namespace ingot::cuda {

void finish_product(DType dtype, const PartialProduct& p, const Epilogue& epilogue, const Stream& stream,
                    const tile::RowMap* map) {
  if (p.sizes.m == 0 || p.sizes.n == 0 || p.sizes.batches == 0) return;
  if (dtype == DType::F32)
    tile::finish<float>(p, epilogue, stream, map);
  else if (dtype == DType::F16)
    tile::finish<__half>(p, epilogue, stream, map);
  else
    tile::finish<__nv_bfloat16>(p, epilogue, stream, map);
}

}  // namespace ingot::cuda
