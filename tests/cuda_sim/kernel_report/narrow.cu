// y = 2 x. Bytes that must move: x once, y once. Its accesses have 4 bytes, which it denies.

// Bound by: bandwidth (loads, stores).
__global__ void twice_kernel(const float* x, float* y) {
  const unsigned at = blockIdx.x * blockDim.x + threadIdx.x;
  y[at] = x[at] + x[at];
}
