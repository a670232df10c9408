// y = 2 x. It does not say what bounds it.

__global__ void twice_kernel(const float* x, float* y) {
  const unsigned at = blockIdx.x * blockDim.x + threadIdx.x;
  y[at] = x[at] + x[at];
}
