#include "cuda/jit/compiler.h"

#include <algorithm>

#include "core/base/error.h"
#include "cuda/jit/nvrtc.h"

namespace ingot::cuda {

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
