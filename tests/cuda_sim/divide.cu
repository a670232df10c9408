#include "cuda/kernels/divide.h"

#include "cuda/base/launch.h"
#include "tests/cuda_sim/divide.h"

namespace ingot::samples {

__global__ void quotients_kernel(gpu::Divider divider, const long long* n, long long* quotients, int count) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < count) quotients[i] = divider.quotient(n[i]);
}

void quotients(std::int64_t divisor, const std::int64_t* n, std::int64_t* q, int count,
               const cuda::Stream& stream) {
  cuda::launch(quotients_kernel, dim3(cuda::blocks_for(static_cast<std::size_t>(count), 64)), dim3(64), 0,
               stream, gpu::Divider(divisor), reinterpret_cast<const long long*>(n),
               reinterpret_cast<long long*>(q), count);
}

}  // namespace ingot::samples
