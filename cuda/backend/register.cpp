// The CUDA backend in builds that have it; register_stub.cpp stands in elsewhere.
#include "core/runtime/backend.h"
#include "cuda/backend/backend.h"

namespace ingot {

void register_cuda_backend() {
  register_backend(std::make_unique<cuda::CudaBackend>());
}

}  // namespace ingot
