#include "cuda/libs/libraries.h"

#include <algorithm>

#include "core/base/error.h"
#include "cuda/jit/nvrtc.h"

namespace ingot::cuda {

const std::vector<Library>& libraries() {
  static const std::vector<Library> all{
      {"nvrtc", Nvrtc::libraries(), "programs with generated kernels cannot run",
       "pip install nvidia-cuda-nvrtc, or Debian's and Ubuntu's package cuda-nvrtc-13-0"},
      {"cudnn",
       {{"libcudnn.so.9"}, cuda_library_folders()},
       "convolutions run on Ingot's own kernels, slower than the best of cuDNN's",
       "pip install nvidia-cudnn-cu13, or Debian's and Ubuntu's package cudnn9-cuda-13"},
      {"cublaslt",
       {{"libcublasLt.so.13", "libcublasLt.so.12"}, cuda_library_folders()},
       "matrix products run on Ingot's own kernels, slower than the best of cuBLASLt's",
       "pip install nvidia-cublas, or Debian's and Ubuntu's package libcublas-13-0"},
      {"nccl",
       {{"libnccl.so.2"}, cuda_library_folders()},
       "one GPU only",
       "pip install nvidia-nccl-cu13, or Debian's and Ubuntu's package libnccl2"},
  };
  return all;
}

const Library& library(const std::string& name) {
  const auto& all = libraries();
  const auto at = std::find_if(all.begin(), all.end(), [&](const Library& l) { return l.name == name; });
  if (at == all.end()) throw UsageError(cat("there is no library '", name, "'"));
  return *at;
}

std::string library_text(const Library& l) {
  if (const auto file = find_library(l.files)) return cat(file->version, ", ", file->path);
  return cat("not found (", join(l.files.files, ", "), "): ", l.without, "; ", l.install,
             ", and put its folder on LD_LIBRARY_PATH or set CUDA_HOME");
}

}  // namespace ingot::cuda
