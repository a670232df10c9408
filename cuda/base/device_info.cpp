#include "cuda/base/device_info.h"

#include "cuda/base/check.h"

namespace ingot::cuda {

namespace {

int attribute(cudaDeviceAttr name, int device) {
  int value = 0;
  INGOT_CUDA_CHECK(cudaDeviceGetAttribute(&value, name, device));
  return value;
}

void check_index(int index) {
  const DeviceList list = devices();
  if (index >= 0 && index < list.count) return;
  if (list.count == 0) throw UsageError(cat("device cuda:", index, " was asked for, but ", list.reason));
  throw UsageError(cat("device cuda:", index, " was asked for; this machine has ", list.count,
                       list.count == 1 ? " GPU: use cuda:0" : " GPUs: use cuda:0 to cuda:",
                       list.count == 1 ? "" : std::to_string(list.count - 1)));
}

}  // namespace

DeviceList devices() {
  DeviceList list;
  // Both versions can be asked for without a driver.
  if (cudaDriverGetVersion(&list.driver_version) != cudaSuccess) list.driver_version = 0;
  if (cudaRuntimeGetVersion(&list.runtime_version) != cudaSuccess) list.runtime_version = 0;
  const cudaError_t status = cudaGetDeviceCount(&list.count);
  if (status == cudaSuccess && list.count > 0) return list;
  (void)cudaGetLastError();
  list.count = 0;
  const cudaError_t why = status == cudaSuccess ? cudaErrorNoDevice : status;
  list.reason =
      cat("no GPU can be used: ", cudaGetErrorString(why), " (", cudaGetErrorName(why), "); ", advice(why));
  return list;
}

DeviceInfo device_info(int index) {
  check_index(index);
  cudaDeviceProp properties{};
  INGOT_CUDA_CHECK(cudaGetDeviceProperties(&properties, index));
  DeviceInfo info;
  info.index = index;
  info.name = properties.name;
  info.sm = properties.major * 10 + properties.minor;
  info.multiprocessors = properties.multiProcessorCount;
  info.memory_bytes = properties.totalGlobalMem;
  info.l2_bytes = static_cast<std::size_t>(properties.l2CacheSize);
  info.memory_bus_bits = properties.memoryBusWidth;
  info.clock_khz = attribute(cudaDevAttrClockRate, index);
  info.memory_clock_khz = attribute(cudaDevAttrMemoryClockRate, index);
  info.threads_per_multiprocessor = properties.maxThreadsPerMultiProcessor;
  info.shared_per_multiprocessor = properties.sharedMemPerMultiprocessor;
  info.shared_per_block = properties.sharedMemPerBlockOptin;
  info.registers_per_multiprocessor = properties.regsPerMultiprocessor;
  return info;
}

void set_device(int index) {
  check_index(index);
  INGOT_CUDA_CHECK(cudaSetDevice(index));
}

int current_device() {
  int index = 0;
  INGOT_CUDA_CHECK(cudaGetDevice(&index));
  return index;
}

DeviceScope::DeviceScope(int index) : before_(current_device()), changed_(before_ != index) {
  if (changed_) INGOT_CUDA_CHECK(cudaSetDevice(index));
}

DeviceScope::~DeviceScope() {
  if (changed_) INGOT_CUDA_LOG(cudaSetDevice(before_));
}

}  // namespace ingot::cuda
