#include "cuda/base/memory.h"

#include <string>

#include "cuda/base/check.h"
#include "cuda/base/launch.h"

namespace ingot::cuda {

namespace {

// An allocation's failure says how much was asked for and how much there was.
void check_allocation(cudaError_t status, const char* call, std::size_t bytes) {
  if (status == cudaSuccess) return;
  std::string what = cat(call, " of ", bytes, " bytes");
  std::size_t free = 0, total = 0;
  if (status == cudaErrorMemoryAllocation) {
    (void)cudaGetLastError();
    if (cudaMemGetInfo(&free, &total) == cudaSuccess) what += cat(" (", free, " of ", total, " are free)");
  }
  throw_error(status, what);
}

void copy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, const char* call,
          const Stream& stream) {
  if (bytes == 0 || detail::only_counted()) return;
  const cudaError_t status = cudaMemcpyAsync(to, from, bytes, kind, stream.get());
  if (status != cudaSuccess) throw_error(status, cat(call, " of ", bytes, " bytes, cudaMemcpyAsync"));
}

}  // namespace

DeviceBuffer::DeviceBuffer(std::size_t bytes) : bytes_(bytes) {
  if (bytes != 0) check_allocation(cudaMalloc(&data_, bytes), "cudaMalloc", bytes);
}

DeviceBuffer::DeviceBuffer(std::size_t bytes, const Stream& stream)
    : bytes_(bytes), stream_(stream.get()), ordered_(true) {
  if (bytes != 0) check_allocation(cudaMallocAsync(&data_, bytes, stream_), "cudaMallocAsync", bytes);
}

void DeviceBuffer::reset() noexcept {
  if (data_ != nullptr) {
    if (ordered_)
      INGOT_CUDA_LOG(cudaFreeAsync(data_, stream_));
    else
      INGOT_CUDA_LOG(cudaFree(data_));
  }
  data_ = nullptr;
  bytes_ = 0;
}

PinnedBuffer::PinnedBuffer(std::size_t bytes) : bytes_(bytes) {
  if (bytes != 0)
    check_allocation(cudaHostAlloc(&data_, bytes, cudaHostAllocDefault), "cudaHostAlloc (pinned memory)",
                     bytes);
}

void PinnedBuffer::reset() noexcept {
  if (data_ != nullptr) INGOT_CUDA_LOG(cudaFreeHost(data_));
  data_ = nullptr;
  bytes_ = 0;
}

void copy_to_device(void* device, const void* host, std::size_t bytes, const Stream& stream) {
  copy(device, host, bytes, cudaMemcpyHostToDevice, "copy_to_device", stream);
}

void copy_to_host(void* host, const void* device, std::size_t bytes, const Stream& stream) {
  copy(host, device, bytes, cudaMemcpyDeviceToHost, "copy_to_host", stream);
}

void copy_on_device(void* to, const void* from, std::size_t bytes, const Stream& stream) {
  copy(to, from, bytes, cudaMemcpyDeviceToDevice, "copy_on_device", stream);
}

void fill_bytes(void* device, int value, std::size_t bytes, const Stream& stream) {
  if (bytes == 0 || detail::only_counted()) return;
  const cudaError_t status = cudaMemsetAsync(device, value, bytes, stream.get());
  if (status != cudaSuccess) throw_error(status, cat("fill_bytes of ", bytes, " bytes, cudaMemsetAsync"));
}

MemoryKind memory_kind(const void* pointer) {
  cudaPointerAttributes attributes{};
  INGOT_CUDA_CHECK(cudaPointerGetAttributes(&attributes, pointer));
  switch (attributes.type) {
    case cudaMemoryTypeHost:
      return MemoryKind::Pinned;
    case cudaMemoryTypeDevice:
    case cudaMemoryTypeManaged:
      return MemoryKind::Device;
    case cudaMemoryTypeUnregistered:
      break;
  }
  return MemoryKind::Pageable;
}

MemoryInfo memory_info() {
  MemoryInfo info;
  INGOT_CUDA_CHECK(cudaMemGetInfo(&info.free, &info.total));
  return info;
}

}  // namespace ingot::cuda
