// Memory of the device and pinned memory of the host, and what moves bytes between them.
//
// Buffers own their bytes and are move-only; sizes are in bytes. Every copy and fill is asynchronous and
// ordered by its stream. A pinned source or destination belongs to the copy until the stream has passed it:
// writing it earlier changes what is copied, reading it earlier gives the old bytes. Ordinary (pageable)
// memory is safe to reuse at once but makes the call wait, and cannot be captured into a graph.
//
//   DeviceBuffer x(1024);
//   PinnedBuffer host(1024);
//   copy_to_device(x.data(), host.data(), 1024, stream);
//   fill_bytes(x.as<std::byte>() + 512, 0, 512, stream);
//   copy_to_host(host.data(), x.data(), 1024, stream);
//   stream.synchronize();
#pragma once

#include <cstddef>
#include <utility>

#include "cuda/base/stream.h"

namespace ingot::cuda {

// Bytes on the current device, aligned to 256.
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  // Allocates now; freeing waits for the whole device. For what lives as long as a session.
  explicit DeviceBuffer(std::size_t bytes);
  // Allocated and freed in the order of `stream`, which must outlive the buffer. Other streams may use the
  // bytes only between events that order them after the allocation and before the end of the buffer.
  DeviceBuffer(std::size_t bytes, const Stream& stream);
  ~DeviceBuffer() { reset(); }
  DeviceBuffer(DeviceBuffer&& other) noexcept { swap(other); }
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    if (this != &other) {
      reset();
      swap(other);
    }
    return *this;
  }

  void* data() const { return data_; }
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  std::size_t bytes() const { return bytes_; }
  void reset() noexcept;

 private:
  void swap(DeviceBuffer& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(stream_, other.stream_);
    std::swap(ordered_, other.ordered_);
  }

  void* data_ = nullptr;
  std::size_t bytes_ = 0;
  cudaStream_t stream_ = nullptr;
  bool ordered_ = false;  // freed on stream_
};

// Page-locked host bytes: what copies need to overlap with the host and with kernels.
class PinnedBuffer {
 public:
  PinnedBuffer() = default;
  explicit PinnedBuffer(std::size_t bytes);
  ~PinnedBuffer() { reset(); }
  PinnedBuffer(PinnedBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  PinnedBuffer& operator=(PinnedBuffer&& other) noexcept {
    if (this != &other) {
      reset();
      data_ = std::exchange(other.data_, nullptr);
      bytes_ = std::exchange(other.bytes_, 0);
    }
    return *this;
  }

  void* data() const { return data_; }
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  std::size_t bytes() const { return bytes_; }
  void reset() noexcept;

 private:
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

void copy_to_device(void* device, const void* host, std::size_t bytes, const Stream& stream);
void copy_to_host(void* host, const void* device, std::size_t bytes, const Stream& stream);
void copy_on_device(void* to, const void* from, std::size_t bytes, const Stream& stream);
// Every byte becomes the low byte of `value`.
void fill_bytes(void* device, int value, std::size_t bytes, const Stream& stream);

enum class MemoryKind { Pageable, Pinned, Device };
// What a pointer of a host program points into.
MemoryKind memory_kind(const void* pointer);

struct MemoryInfo {
  std::size_t free = 0, total = 0;
};
MemoryInfo memory_info();

}  // namespace ingot::cuda
