// y = 2 x. Bytes that must move: x once, y once. Of the wide variant, only that of another type exists.

// Bound by: bandwidth (stores); narrow where V = 1.
template <class T, int V>
__global__ void fill_kernel(T* y) {
  const unsigned at = blockIdx.x * blockDim.x + threadIdx.x;
  if constexpr (V == 4)
    reinterpret_cast<float4*>(y)[at] = make_float4(1.0f, 2.0f, 3.0f, 4.0f);
  else
    y[at] = T(1);
}
template __global__ void fill_kernel<float, 4>(float*);
template __global__ void fill_kernel<int, 1>(int*);
