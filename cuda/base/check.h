// Checked calls of the CUDA runtime: a failed one becomes a CudaError that says which call failed, CUDA's
// name and words for it, and what to do.
//
// This folder is the only place of the project that calls the CUDA API. Callers who know the node that was
// being run add it, with the user's line, through Error::add_context. A sticky error (the context is lost)
// stays: every later call fails with it, and only a new process, or cudaDeviceReset, gets the device back.
//
//   INGOT_CUDA_CHECK(cudaStreamSynchronize(stream));
//   // CudaError: cudaStreamSynchronize(stream): cudaErrorIllegalAddress (an illegal memory access was
//   encountered): ...
#pragma once

#include <cuda_runtime_api.h>

#include <string>
#include <string_view>

#include "core/base/error.h"

namespace ingot::cuda {

class CudaError : public DeviceError {
 public:
  CudaError(cudaError_t code, std::string_view call);

  cudaError_t code() const { return code_; }
  // True when the device's context is lost and no later call can succeed.
  bool sticky() const;
  bool out_of_memory() const { return code_ == cudaErrorMemoryAllocation; }

 private:
  cudaError_t code_;
};

// What the user can do about an error; a sentence for every error, a general one for the rare ones.
std::string_view advice(cudaError_t code);

// Throws CudaError for anything but cudaSuccess, and clears CUDA's "last error" so that it is reported once.
[[noreturn]] void throw_error(cudaError_t code, std::string_view call);
inline void check(cudaError_t code, std::string_view call) {
  if (code != cudaSuccess) [[unlikely]]
    throw_error(code, call);
}

// For destructors, which must not throw: writes the failure to stderr. A lost context is not reported again
// by each of the hundred objects that die with it.
void log_failure(cudaError_t code, std::string_view call) noexcept;

#define INGOT_CUDA_CHECK(call) ::ingot::cuda::check((call), #call)
#define INGOT_CUDA_LOG(call) ::ingot::cuda::log_failure((call), #call)

}  // namespace ingot::cuda
