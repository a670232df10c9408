// Stands in for the CUDA backend in builds without CUDA.
#include "core/runtime/backend.h"

namespace ingot {

void register_cuda_backend() {}

}  // namespace ingot
