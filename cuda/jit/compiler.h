// KernelCompiler: from the text of a generated kernel to the image that a device loads (cuda/base/module.h).
//
// On a GPU that is NVRTC with a cache on the disk; the simulated device of the tests brings a g++ of its own.
//
//   NvrtcCompiler compiler;
//   std::string image = compiler.compile(kernel, 90);
//   std::vector<CompiledKernel> many = compiler.compile_all(jobs);      // in parallel
#pragma once

#include <cstddef>
#include <exception>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "cuda/jit/kernel_cache.h"
#include "cuda/jit/kernel_source.h"

namespace ingot::cuda {

struct KernelJob {
  const KernelSource* kernel = nullptr;
  int arch = 0;
};
struct CompiledKernel {
  std::string image;
  std::exception_ptr error;  // or null
};

class KernelCompiler {
 public:
  virtual ~KernelCompiler() = default;
  // For a device of architecture `arch` (90 is sm_90). Called from several threads at once. Throws Error with
  // the compiler's log when it refuses the text, DeviceError when there is no compiler.
  virtual std::string compile(const KernelSource& kernel, int arch) = 0;
  // One result per job; a text that is refused is an error of its own job. The default calls compile() on as
  // many threads as the machine has cores.
  virtual std::vector<CompiledKernel> compile_all(std::span<const KernelJob> jobs);
};

// Calls work(0) to work(count - 1) on up to one thread per core. `work` does not throw.
void on_all_cores(std::size_t count, const std::function<void(std::size_t)>& work);

// NVRTC, which is loaded when the first kernel is compiled that the cache does not have. Machine code where
// NVRTC knows the architecture; for a GPU newer than NVRTC, PTX of the newest architecture below it, which
// the driver compiles.
class NvrtcCompiler final : public KernelCompiler {
 public:
  explicit NvrtcCompiler(std::string cache_folder = KernelCache::default_folder())
      : cache_(std::move(cache_folder)) {}
  std::string compile(const KernelSource& kernel, int arch) override;

 private:
  KernelCache cache_;
};

}  // namespace ingot::cuda
