#include "cuda/base/check.h"

#include <cstdio>

namespace ingot::cuda {

namespace {

bool is_sticky(cudaError_t code) {
  switch (code) {
    case cudaErrorIllegalAddress:
    case cudaErrorMisalignedAddress:
    case cudaErrorLaunchFailure:
    case cudaErrorLaunchTimeout:
    case cudaErrorIllegalInstruction:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorAssert:
    case cudaErrorHardwareStackError:
    case cudaErrorECCUncorrectable:
      return true;
    default:
      return false;
  }
}

}  // namespace

std::string_view advice(cudaError_t code) {
  if (is_sticky(code))
    return "the CUDA context is lost, nothing on this device can go on in this process; a kernel did this, "
           "run with SessionOptions::debug (`ingot train --debug`) to learn which node";
  switch (code) {
    case cudaErrorMemoryAllocation:
      return "the device has too little free memory; use a smaller batch or another element type, or end the "
             "programs "
             "that share the GPU";
    case cudaErrorNoDevice:
      return "no NVIDIA GPU is visible; check nvidia-smi and CUDA_VISIBLE_DEVICES, or run on cpu";
    case cudaErrorInsufficientDriver:
      return "the driver is missing or older than this CUDA Toolkit needs; update the NVIDIA driver, or run "
             "on cpu";
    case cudaErrorInvalidDevice:
      return "there is no GPU of that number; `ingot info` lists them";
    case cudaErrorNoKernelImageForDevice:
      return "this build has no code for the GPU's architecture; add it to CMAKE_CUDA_ARCHITECTURES and "
             "build again";
    case cudaErrorInvalidResourceHandle:
      return "a stream, event or graph was used after its end, or on another device; keep its owner alive";
    case cudaErrorInvalidKernelImage:
    case cudaErrorInvalidPtx:
      return "the compiled kernel is damaged or of another kind; delete the folder of compiled kernels "
             "(INGOT_CACHE_DIR, else ~/.cache/ingot) and try again";
    case cudaErrorUnsupportedPtxVersion:
      return "the kernel was compiled by a CUDA Toolkit that is newer than the driver; update the NVIDIA "
             "driver";
    case cudaErrorSymbolNotFound:
      return "the module has no kernel of that name; its text must declare it extern \"C\" __global__";
    case cudaErrorInvalidConfiguration:
      return "grid, block or shared memory exceed what the device allows; see the limits that `ingot info` "
             "prints";
    case cudaErrorStreamCaptureUnsupported:
    case cudaErrorStreamCaptureInvalidated:
    case cudaErrorStreamCaptureUnjoined:
    case cudaErrorStreamCaptureIsolation:
    case cudaErrorStreamCaptureImplicit:
    case cudaErrorStreamCaptureUnmatched:
    case cudaErrorStreamCaptureWrongThread:
    case cudaErrorStreamCaptureMerge:
    case cudaErrorCapturedEvent:
      return "the step was being captured into a graph; only work on its own streams, joined by events, may "
             "be issued "
             "meanwhile, and nothing may allocate or wait";
    default:
      return "see the CUDA Runtime API's page on error handling for this name";
  }
}

CudaError::CudaError(cudaError_t code, std::string_view call)
    : DeviceError(
          cat(call, ": ", cudaGetErrorName(code), " (", cudaGetErrorString(code), "): ", advice(code))),
      code_(code) {}

bool CudaError::sticky() const {
  return is_sticky(code_);
}

void throw_error(cudaError_t code, std::string_view call) {
  (void)cudaGetLastError();
  throw CudaError(code, call);
}

void log_failure(cudaError_t code, std::string_view call) noexcept {
  if (code == cudaSuccess || is_sticky(code) || code == cudaErrorCudartUnloading) return;
  (void)cudaGetLastError();
  std::fprintf(stderr, "ingot: %.*s: %s (%s), while releasing a CUDA resource\n",
               static_cast<int>(call.size()), call.data(), cudaGetErrorName(code), cudaGetErrorString(code));
}

}  // namespace ingot::cuda
