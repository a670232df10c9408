// Kernels that are generated while a program is bound: compiled and loaded once per process and device for
// the same text.
//
// Asking for a kernel costs nothing but the text. At the first launch of any of them, all that were asked for
// until then are compiled, in parallel; so a session with hundreds of them compiles them together when its
// first run starts. Loaded kernels stay until the process ends, as those compiled ahead do. That first launch
// must not be part of a graph capture, which a queue keeps by running the first time step by step. May be
// used from several threads.
//
//   std::shared_ptr<GeneratedKernel> k = generated_kernel(elementwise_source(expr, inputs, outputs));
//   k->launch(arguments, stream);                // arguments[i]: the address of a pointer
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "cuda/base/module.h"
#include "cuda/base/stream.h"
#include "cuda/jit/compiler.h"

namespace ingot::cuda {

class GeneratedKernel : public std::enable_shared_from_this<GeneratedKernel> {
 public:
  // One argument per operand and result, in the order of KernelSource; all addresses as aligned as it says.
  // The stream is of the device that was current when the kernel was asked for. Throws what the compiler
  // throws, and CudaError.
  void launch(std::span<void* const> arguments, const Stream& stream);
  const KernelSource& source() const { return source_; }

 private:
  friend class GeneratedKernels;
  explicit GeneratedKernel(KernelSource source, int arch) : source_(std::move(source)), arch_(arch) {}

  const KernelSource source_;
  const int arch_;
  // Guarded by GeneratedKernels' lock until loaded_ is true; constant from then on.
  std::string image_;
  Module module_;
  ModuleKernel kernel_;
  std::atomic<bool> loaded_ = false;
};

// For the current device. A kernel without blocks (of an empty tensor) is never compiled, its launch does
// nothing.
std::shared_ptr<GeneratedKernel> generated_kernel(KernelSource source);

// Compiles now what was asked for and is not compiled. A text that is refused is an error of its first
// launch.
void compile_generated_kernels();

// Replaces NVRTC, in tests on the simulated device. Kernels that were compiled before stay.
void use_kernel_compiler(std::unique_ptr<KernelCompiler> compiler);

// Of this process, so far.
struct GeneratedKernelStats {
  std::int64_t asked = 0, compiled = 0, loaded = 0;
};
GeneratedKernelStats generated_kernel_stats();

}  // namespace ingot::cuda
