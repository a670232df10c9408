// The CUDA runtime's functions on devices and errors, replaced.
#include <algorithm>
#include <cstdio>
#include <cstring>

#include "core/base/error.h"
#include "tests/support/cuda_sim/runtime_call.h"

namespace ingot::sim {

bool loses_device(cudaError_t error) {
  return error == cudaErrorIllegalAddress || error == cudaErrorMisalignedAddress ||
         error == cudaErrorLaunchFailure || error == cudaErrorECCUncorrectable;
}

Begun begin_call(Machine& m, const char* function) {
  const std::size_t number = ++m.calls[function];
  for (auto i = m.injections.begin(); i != m.injections.end(); ++i) {
    if (i->function != function || i->at != number) continue;
    const cudaError_t error = i->error;
    m.injections.erase(i);
    if (loses_device(error)) m.sticky = error;
    return {error, error == cudaSuccess};
  }
  if (m.options().devices == 0) return {cudaErrorNoDevice};
  return {m.sticky};
}

namespace {

struct ErrorText {
  cudaError_t code;
  const char *name, *text;
};
#define INGOT_SIM_ERROR(name, text) \
  { name, #name, text }
constexpr ErrorText kErrors[] = {
    INGOT_SIM_ERROR(cudaSuccess, "no error"),
    INGOT_SIM_ERROR(cudaErrorInvalidValue, "invalid argument"),
    INGOT_SIM_ERROR(cudaErrorMemoryAllocation, "out of memory"),
    INGOT_SIM_ERROR(cudaErrorInvalidConfiguration, "invalid configuration argument"),
    INGOT_SIM_ERROR(cudaErrorInvalidDeviceFunction, "invalid device function"),
    INGOT_SIM_ERROR(cudaErrorInsufficientDriver,
                    "CUDA driver version is insufficient for CUDA runtime version"),
    INGOT_SIM_ERROR(cudaErrorNoDevice, "no CUDA-capable device is detected"),
    INGOT_SIM_ERROR(cudaErrorInvalidDevice, "invalid device ordinal"),
    INGOT_SIM_ERROR(cudaErrorInvalidKernelImage, "device kernel image is invalid"),
    INGOT_SIM_ERROR(cudaErrorSymbolNotFound, "named symbol not found"),
    INGOT_SIM_ERROR(cudaErrorNoKernelImageForDevice,
                    "no kernel image is available for execution on the device"),
    INGOT_SIM_ERROR(cudaErrorECCUncorrectable, "uncorrectable ECC error encountered"),
    INGOT_SIM_ERROR(cudaErrorInvalidResourceHandle, "invalid resource handle"),
    INGOT_SIM_ERROR(cudaErrorIllegalState, "the operation cannot be performed in the present state"),
    INGOT_SIM_ERROR(cudaErrorNotReady, "device not ready"),
    INGOT_SIM_ERROR(cudaErrorIllegalAddress, "an illegal memory access was encountered"),
    INGOT_SIM_ERROR(cudaErrorMisalignedAddress, "misaligned address"),
    INGOT_SIM_ERROR(cudaErrorLaunchFailure, "unspecified launch failure"),
    INGOT_SIM_ERROR(cudaErrorStreamCaptureUnsupported, "operation not permitted when stream is capturing"),
    INGOT_SIM_ERROR(cudaErrorStreamCaptureInvalidated,
                    "operation failed due to a previous error during capture"),
    INGOT_SIM_ERROR(cudaErrorStreamCaptureMerge,
                    "operation would result in a merge of separate capture sequences"),
    INGOT_SIM_ERROR(cudaErrorStreamCaptureUnmatched, "capture was not initiated in this stream"),
    INGOT_SIM_ERROR(cudaErrorStreamCaptureUnjoined, "capturing stream has unjoined work"),
    INGOT_SIM_ERROR(cudaErrorStreamCaptureIsolation,
                    "dependency created on uncaptured work in another stream"),
    INGOT_SIM_ERROR(cudaErrorStreamCaptureImplicit,
                    "operation would make the legacy stream depend on a capturing stream"),
    INGOT_SIM_ERROR(cudaErrorCapturedEvent,
                    "operation not permitted on an event last recorded in a capturing stream"),
    INGOT_SIM_ERROR(cudaErrorStreamCaptureWrongThread, "attempt to terminate a capture from another thread"),
};
#undef INGOT_SIM_ERROR

const ErrorText* find_error(cudaError_t code) {
  const auto* const found = std::find_if(std::begin(kErrors), std::end(kErrors),
                                         [code](const ErrorText& e) { return e.code == code; });
  return found == std::end(kErrors) ? nullptr : found;
}

bool is_device(const Machine& m, int device) {
  return device >= 0 && device < m.options().devices;
}

thread_local int current_device = 0;

}  // namespace
}  // namespace ingot::sim

using ingot::sim::Machine;
using ingot::sim::machine;
using ingot::sim::runtime_call;

extern "C" {

const char* cudaGetErrorName(cudaError_t error) {
  const auto* const found = ingot::sim::find_error(error);
  return found == nullptr ? "cudaError" : found->name;
}

const char* cudaGetErrorString(cudaError_t error) {
  const auto* const found = ingot::sim::find_error(error);
  return found == nullptr ? "an error without a text in the simulator" : found->text;
}

cudaError_t cudaGetLastError() {
  const std::lock_guard guard(machine().lock());
  const cudaError_t error = machine().sticky != cudaSuccess ? machine().sticky : machine().last_error;
  machine().last_error = cudaSuccess;
  return error;
}

cudaError_t cudaPeekAtLastError() {
  const std::lock_guard guard(machine().lock());
  return machine().sticky != cudaSuccess ? machine().sticky : machine().last_error;
}

cudaError_t cudaDriverGetVersion(int* version) {
  *version = machine().options().devices == 0 ? 0 : CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int* count) {
  return runtime_call("cudaGetDeviceCount", [&](Machine& m) {
    *count = m.options().devices;
    return cudaSuccess;
  });
}

cudaError_t cudaSetDevice(int device) {
  return runtime_call("cudaSetDevice", [&](Machine& m) {
    if (!ingot::sim::is_device(m, device)) return cudaErrorInvalidDevice;
    ingot::sim::current_device = device;
    return cudaSuccess;
  });
}

cudaError_t cudaGetDevice(int* device) {
  return runtime_call("cudaGetDevice", [&](Machine&) {
    *device = ingot::sim::current_device;
    return cudaSuccess;
  });
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  return runtime_call("cudaGetDeviceProperties", [&](Machine& m) {
    if (!ingot::sim::is_device(m, device)) return cudaErrorInvalidDevice;
    cudaDeviceProp p{};
    std::snprintf(p.name, sizeof p.name, "Ingot simulated device sm_%d", m.options().sm);
    p.totalGlobalMem = m.options().memory;
    p.sharedMemPerBlock = 48 * 1024;
    p.sharedMemPerBlockOptin = 227 * 1024;
    p.sharedMemPerMultiprocessor = 228 * 1024;
    p.regsPerBlock = p.regsPerMultiprocessor = 65536;
    p.warpSize = 32;
    p.maxThreadsPerBlock = 1024;
    p.maxThreadsPerMultiProcessor = 2048;
    p.maxBlocksPerMultiProcessor = 32;
    p.maxThreadsDim[0] = p.maxThreadsDim[1] = 1024;
    p.maxThreadsDim[2] = 64;
    p.maxGridSize[0] = 0x7fffffff;
    p.maxGridSize[1] = p.maxGridSize[2] = 65535;
    p.major = m.options().sm / 10;
    p.minor = m.options().sm % 10;
    p.multiProcessorCount = 4;
    p.memoryBusWidth = 256;
    p.l2CacheSize = 1 << 20;
    p.unifiedAddressing = 1;
    p.memoryPoolsSupported = 1;
    *properties = p;
    return cudaSuccess;
  });
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  return runtime_call("cudaDeviceGetAttribute", [&](Machine& m) {
    if (!ingot::sim::is_device(m, device)) return cudaErrorInvalidDevice;
    switch (attribute) {
      case cudaDevAttrClockRate:
      case cudaDevAttrMemoryClockRate:
        *value = 1000000;
        return cudaSuccess;
      case cudaDevAttrMultiProcessorCount:
        *value = 4;
        return cudaSuccess;
      case cudaDevAttrMaxSharedMemoryPerBlockOptin:
        *value = 227 * 1024;
        return cudaSuccess;
      case cudaDevAttrComputeCapabilityMajor:
        *value = m.options().sm / 10;
        return cudaSuccess;
      case cudaDevAttrComputeCapabilityMinor:
        *value = m.options().sm % 10;
        return cudaSuccess;
      default:
        return cudaErrorInvalidValue;
    }
  });
}

cudaError_t cudaDeviceGetStreamPriorityRange(int* lowest, int* highest) {
  return runtime_call("cudaDeviceGetStreamPriorityRange", [&](Machine&) {
    *lowest = 0;
    *highest = -5;
    return cudaSuccess;
  });
}

cudaError_t cudaDeviceSynchronize() {
  return runtime_call("cudaDeviceSynchronize", [&](Machine& m) {
    if (const cudaError_t status = m.forbidden_in_capture(); status != cudaSuccess) return status;
    ++m.counters.synchronisations;
    return m.finish_all();
  });
}

}  // extern "C"
