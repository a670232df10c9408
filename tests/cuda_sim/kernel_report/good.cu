// y = 2 x. Bytes that must move: x once, y once. Nothing for tools/kernel_report.py to find fault with.
//
// Occupancy: held_kernel from 12%: an eighth of a multiprocessor's shared memory is the point of this kernel.

// Bound by: bandwidth (loads, stores); narrow where V = 1.
template <class T, int V>
__global__ void twice_kernel(const T* x, T* y) {
  const unsigned at = blockIdx.x * blockDim.x + threadIdx.x;
  if constexpr (V == 4) {
    const float4 v = reinterpret_cast<const float4*>(x)[at];
    reinterpret_cast<float4*>(y)[at] = make_float4(v.x + v.x, v.y + v.y, v.z + v.z, v.w + v.w);
  } else {
    y[at] = x[at] + x[at];
  }
}
template __global__ void twice_kernel<float, 4>(const float*, float*);
template __global__ void twice_kernel<float, 1>(const float*, float*);

// Bound by: latency: one block turns a piece round in shared memory.
__global__ void __launch_bounds__(128) held_kernel(const float* x, float* y) {
  __shared__ float all[40 * 256];
  for (unsigned i = threadIdx.x; i < 40 * 256; i += 128) all[i] = x[i];
  __syncthreads();
  for (unsigned i = threadIdx.x; i < 40 * 256; i += 128) y[i] = all[40 * 256 - 1 - i];
}
