// y = x backwards, in pieces. Bytes that must move: x once, y once. Its shared memory leaves room for few
// blocks, and the file does not say why.

// Bound by: latency: one block turns a piece round in shared memory.
__global__ void __launch_bounds__(128) held_kernel(const float* x, float* y) {
  __shared__ float all[40 * 256];
  for (unsigned i = threadIdx.x; i < 40 * 256; i += 128) all[i] = x[i];
  __syncthreads();
  for (unsigned i = threadIdx.x; i < 40 * 256; i += 128) y[i] = all[40 * 256 - 1 - i];
}
