#include "cuda/base/launch.h"

#include "cuda/base/check.h"

namespace ingot::cuda {

namespace {
thread_local int counted = -1;  // -1: issue
}

LaunchCount::LaunchCount() : before_(counted) {
  counted = 0;
}
LaunchCount::~LaunchCount() {
  counted = before_;
}
int LaunchCount::issued() const {
  return counted;
}

namespace detail {

bool only_counted() {
  if (counted < 0) return false;
  ++counted;
  return true;
}

namespace {

// Up to here every kernel may go without asking.
constexpr std::size_t kPlainShared = 48 * 1024;

std::string describe(const void* kernel, const char* name, dim3 grid, dim3 block,
                     std::size_t dynamic_shared) {
  if (name == nullptr && (cudaFuncGetName(&name, kernel) != cudaSuccess || name == nullptr)) {
    (void)cudaGetLastError();
    name = "a kernel";
  }
  return cat("launch of ", name, " with grid (", grid.x, ", ", grid.y, ", ", grid.z, "), block (", block.x,
             ", ", block.y, ", ", block.z, "), ", dynamic_shared, " bytes of dynamic shared memory");
}

}  // namespace

void launch_kernel(const void* kernel, const char* name, dim3 grid, dim3 block, std::size_t dynamic_shared,
                   cudaStream_t stream, void** arguments) {
  if (only_counted()) return;
  if (dynamic_shared > kPlainShared) {
    const cudaError_t status = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                    static_cast<int>(dynamic_shared));
    if (status != cudaSuccess) throw_error(status, describe(kernel, name, grid, block, dynamic_shared));
  }
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = dynamic_shared;
  config.stream = stream;
  const cudaError_t status = cudaLaunchKernelExC(&config, kernel, arguments);
  if (status != cudaSuccess) throw_error(status, describe(kernel, name, grid, block, dynamic_shared));
}

}  // namespace detail

}  // namespace ingot::cuda
