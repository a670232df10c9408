// The CUDA runtime's functions on libraries (modules of kernels), replaced.
#include <map>
#include <memory>

#include "core/base/error.h"
#include "tests/support/cuda_sim/kernel_table.h"
#include "tests/support/cuda_sim/runtime_call.h"

namespace ingot::sim {

namespace {

// Libraries belong to the process, as kernels do: they stay when a test starts a fresh machine.
std::map<cudaLibrary_t, std::shared_ptr<KernelLibrary>>& libraries() {
  static auto* const all = new std::map<cudaLibrary_t, std::shared_ptr<KernelLibrary>>;
  return *all;
}

}  // namespace
}  // namespace ingot::sim

using namespace ingot::sim;

extern "C" {

cudaError_t cudaLibraryLoadData(cudaLibrary_t* library, const void* code, cudaJitOption*, void**,
                                unsigned jit_options, cudaLibraryOption*, void**, unsigned options) {
  return runtime_call("cudaLibraryLoadData", [&](Machine& m) {
    *library = nullptr;
    // It may wait for the device, as allocations do.
    if (const cudaError_t forbidden = m.forbidden_in_capture(); forbidden != cudaSuccess) return forbidden;
    if (code == nullptr || jit_options != 0 || options != 0) return cudaErrorInvalidValue;
    cudaError_t status = cudaSuccess;
    const std::shared_ptr<KernelLibrary> loaded = load_library(code, &status);
    if (loaded == nullptr) return status;
    *library = reinterpret_cast<cudaLibrary_t>(loaded.get());
    libraries().emplace(*library, loaded);
    return cudaSuccess;
  });
}

cudaError_t cudaLibraryGetKernel(cudaKernel_t* kernel, cudaLibrary_t library, const char* name) {
  return runtime_call("cudaLibraryGetKernel", [&](Machine& m) {
    *kernel = nullptr;
    const auto found = libraries().find(library);
    if (found == libraries().end()) return m.bad_handle("library", library);
    const void* const handle = found->second->kernel(name);
    if (handle == nullptr) return cudaErrorSymbolNotFound;
    *kernel = reinterpret_cast<cudaKernel_t>(const_cast<void*>(handle));
    return cudaSuccess;
  });
}

cudaError_t cudaLibraryUnload(cudaLibrary_t library) {
  return release_call("cudaLibraryUnload", [&](Machine& m) {
    const auto found = libraries().find(library);
    if (found == libraries().end()) return m.bad_handle("library", library);
    unload(*found->second);
    libraries().erase(found);
    return cudaSuccess;
  });
}

}  // extern "C"
