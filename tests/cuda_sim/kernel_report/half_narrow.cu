// y = the sum of four elements. Bytes that must move: x once, y once. It loads 16 bytes and stores 4.

// Bound by: bandwidth (loads, stores).
__global__ void four_kernel(const float4* x, float* y) {
  const unsigned at = blockIdx.x * blockDim.x + threadIdx.x;
  const float4 v = x[at];
  y[at] = (v.x + v.y) + (v.z + v.w);
}
