#include "cuda/base/module.h"

#include "cuda/base/check.h"

namespace ingot::cuda {

Module::Module(std::string name, const std::string& image) : name_(std::move(name)) {
  const cudaError_t status =
      cudaLibraryLoadData(&library_, image.c_str(), nullptr, nullptr, 0, nullptr, nullptr, 0);
  if (status != cudaSuccess) {
    library_ = nullptr;
    throw_error(status, cat("loading the compiled kernel ", name_, " (", image.size(), " bytes)"));
  }
}

ModuleKernel Module::kernel(const std::string& name) const {
  cudaKernel_t kernel = nullptr;
  const cudaError_t status = cudaLibraryGetKernel(&kernel, library_, name.c_str());
  if (status != cudaSuccess) throw_error(status, cat("looking for the kernel ", name, " in module ", name_));
  return {reinterpret_cast<const void*>(kernel), name};
}

void Module::reset() noexcept {
  if (library_ != nullptr) INGOT_CUDA_LOG(cudaLibraryUnload(std::exchange(library_, nullptr)));
}

}  // namespace ingot::cuda
