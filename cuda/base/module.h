// Module: kernels compiled while the program runs, loaded for the device.
//
// The image is what NVRTC made of a kernel's text: machine code for the device's architecture, or PTX, which
// the driver compiles. A Module owns the loaded code and is move-only; it must outlive the device work that
// its kernels do, so wait for the streams first. Its kernels start by launch() like those compiled ahead.
//
//   const Module module("ew_add", image);                          // throws CudaError that names the module
//   const ModuleKernel add = module.kernel("ew_add");              // throws CudaError that names the kernel
//   void *x, *y;
//   launch(add, dim3(blocks), dim3(256), 0, stream, std::array<void*, 2>{&x, &y});
//
// Source: NVIDIA, "CUDA Runtime API", Library Management (CUDA Toolkit 12.8 or later).
#pragma once

#include <cuda_runtime_api.h>

#include <string>
#include <utility>

namespace ingot::cuda {

// A kernel of a module; usable while the module lives.
struct ModuleKernel {
  const void* handle = nullptr;
  std::string name;
};

class Module {
 public:
  Module() = default;
  // `image` is copied by the driver. `name` is for messages.
  Module(std::string name, const std::string& image);
  ~Module() { reset(); }
  Module(Module&& other) noexcept
      : name_(std::move(other.name_)), library_(std::exchange(other.library_, nullptr)) {}
  Module& operator=(Module&& other) noexcept {
    if (this != &other) {
      reset();
      name_ = std::move(other.name_);
      library_ = std::exchange(other.library_, nullptr);
    }
    return *this;
  }

  // By the name in the kernel's text, which declares it extern "C".
  ModuleKernel kernel(const std::string& name) const;
  void reset() noexcept;

 private:
  std::string name_;
  cudaLibrary_t library_ = nullptr;
};

}  // namespace ingot::cuda
