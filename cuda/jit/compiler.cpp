#include "cuda/jit/compiler.h"

#include <algorithm>
#include <atomic>
#include <thread>

#include "core/base/error.h"
#include "cuda/jit/nvrtc.h"

namespace ingot::cuda {

void on_all_cores(std::size_t count, const std::function<void(std::size_t)>& work) {
  std::atomic<std::size_t> next = 0;
  const auto loop = [&] {
    for (std::size_t i = next++; i < count; i = next++) work(i);
  };
  std::vector<std::jthread> helpers;
  const std::size_t cores = std::max(std::thread::hardware_concurrency(), 1u);
  while (helpers.size() + 1 < std::min(cores, count)) helpers.emplace_back(loop);
  loop();
}

std::vector<CompiledKernel> KernelCompiler::compile_all(std::span<const KernelJob> jobs) {
  std::vector<CompiledKernel> results(jobs.size());
  on_all_cores(jobs.size(), [&](std::size_t i) {
    try {
      results[i].image = compile(*jobs[i].kernel, jobs[i].arch);
    } catch (...) {
      results[i].error = std::current_exception();
    }
  });
  return results;
}

std::string NvrtcCompiler::compile(const KernelSource& kernel, int arch) {
  const Nvrtc& nvrtc = Nvrtc::instance();
  const std::vector<int> known = nvrtc.architectures();
  if (std::find(known.begin(), known.end(), arch) != known.end())
    return compile_cached(nvrtc, cache_, kernel, arch, KernelFormat::Cubin);
  int best = 0;
  for (const int a : known)
    if (a < arch) best = std::max(best, a);
  if (best == 0)
    throw UsageError(cat("NVRTC ", nvrtc.version(), " compiles for sm_", join(known, ", sm_"),
                         ", not for the older sm_", arch, "; run on cpu, or install an older CUDA Toolkit"));
  return compile_cached(nvrtc, cache_, kernel, best, KernelFormat::Ptx);
}

}  // namespace ingot::cuda
