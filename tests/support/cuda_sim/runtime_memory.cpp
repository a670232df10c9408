// The CUDA runtime's functions on memory, replaced: allocation, copies, fills.
#include <algorithm>
#include <cstring>

#include "core/base/error.h"
#include "tests/support/cuda_sim/report.h"
#include "tests/support/cuda_sim/runtime_call.h"

namespace ingot::sim {

namespace {

std::uintptr_t number(const void* p) {
  return reinterpret_cast<std::uintptr_t>(p);
}

// One side of a copy: device memory, pinned or pageable host memory.
struct Range {
  const void* start;
  std::size_t bytes;
  Allocation* allocation = nullptr;
  std::uintptr_t pinned = 0;  // base of the pinned buffer
};

Range range_of(Machine& m, const void* start, std::size_t bytes) {
  Range r{start, bytes};
  if (m.memory().contains(number(start)))
    r.allocation = m.memory().find(number(start));
  else
    r.pinned = m.memory().pinned(number(start)).first;
  return r;
}

// Whether the range lies inside its buffer: CUDA checks this at the call.
cudaError_t check_bounds(Machine& m, const Range& r, const char* what) {
  std::uintptr_t base = 0;
  std::size_t size = 0;
  std::string owner;
  if (m.memory().contains(number(r.start))) {
    if (r.allocation == nullptr) {
      report(Fault::OutOfBounds,
             cat(what, " of ", r.bytes, " bytes at ", r.start, ", outside every allocation"));
      return cudaErrorInvalidValue;
    }
    if (r.allocation->state == Allocation::State::Freed) {
      report(Fault::UseAfterFree,
             cat(what, " of ", r.bytes, " bytes in ", describe(*r.allocation), ", which was freed"));
      return cudaErrorInvalidValue;
    }
    base = r.allocation->base;
    size = r.allocation->bytes;
    owner = describe(*r.allocation);
  } else if (r.pinned != 0) {
    base = r.pinned;
    size = m.memory().pinned(number(r.start)).second;
    owner = cat("a pinned buffer of ", size, " bytes");
  } else {
    return cudaSuccess;
  }
  if (number(r.start) >= base && number(r.start) + r.bytes <= base + size) return cudaSuccess;
  report(Fault::OutOfBounds, cat(what, " of ", r.bytes, " bytes at byte ",
                                 static_cast<std::ptrdiff_t>(number(r.start) - base), " of ", owner));
  return cudaErrorInvalidValue;
}

// Whether the memory exists when the copy's turn has come.
cudaError_t check_alive(Machine& m, const Range& r, const char* what) {
  if (r.allocation != nullptr && r.allocation->state != Allocation::State::Live) {
    report(Fault::UseAfterFree,
           cat(what, " in ", describe(*r.allocation),
               r.allocation->state == Allocation::State::Freed
                   ? ", which was freed before the stream came to it"
                   : ", whose allocation this stream does not wait for; order them by an event"));
    return cudaErrorIllegalAddress;
  }
  if (r.pinned != 0 && m.memory().pinned(number(r.start)).second == 0) {
    report(Fault::UseAfterFree, cat(what,
                                    " in a pinned buffer that was freed before the stream came to it; "
                                    "synchronise first"));
    return cudaErrorIllegalAddress;
  }
  return cudaSuccess;
}

cudaError_t copy(Machine& m, void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                 cudaStream_t handle) {
  StreamState* const stream = m.stream(handle);
  if (stream == nullptr) return m.bad_handle("stream", handle);
  if (bytes == 0) return cudaSuccess;
  const bool to_device = m.memory().contains(number(to)), from_device = m.memory().contains(number(from));
  const bool fits = kind == cudaMemcpyDefault ||
                    (to_device == (kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice) &&
                     from_device == (kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice));
  if (!fits) return cudaErrorInvalidValue;
  const Range target = range_of(m, to, bytes), source = range_of(m, from, bytes);
  if (const cudaError_t status = check_bounds(m, target, "a copy into"); status != cudaSuccess) return status;
  if (const cudaError_t status = check_bounds(m, source, "a copy out"); status != cudaSuccess) return status;
  const bool pageable_source = !from_device && source.pinned == 0,
             pageable_target = !to_device && target.pinned == 0;
  if (stream->capture != nullptr && (pageable_source || pageable_target))
    return m.invalidate(stream->capture, cudaErrorStreamCaptureUnsupported);
  // Ordinary memory is read at once into the driver's staging buffer; pinned memory when the stream comes to
  // it.
  std::shared_ptr<std::vector<std::byte>> staged;
  if (pageable_source) {
    staged = std::make_shared<std::vector<std::byte>>(bytes);
    std::memcpy(staged->data(), from, bytes);
  }
  if (stream->capture == nullptr) ++m.counters.copies;
  const cudaError_t status = m.submit(*stream, [&m, to, from, bytes, target, source, staged] {
    if (const cudaError_t alive = check_alive(m, target, "a copy into memory"); alive != cudaSuccess)
      return alive;
    if (const cudaError_t alive = check_alive(m, source, "a copy of memory"); alive != cudaSuccess)
      return alive;
    std::memmove(to, staged != nullptr ? staged->data() : from, bytes);
    return cudaSuccess;
  });
  // Into ordinary memory the call returns when the bytes are there.
  if (status == cudaSuccess && pageable_target) return m.finish(stream->last);
  return status;
}

cudaError_t allocate(Machine& m, void** result, std::size_t bytes, StreamState* stream) {
  *result = nullptr;
  if (const cudaError_t status = m.forbidden_in_capture(); status != cudaSuccess) return status;
  if (bytes == 0) return cudaSuccess;
  Allocation* const a = m.memory().reserve(bytes);
  if (a == nullptr) return cudaErrorMemoryAllocation;
  ++m.counters.allocations;
  m.counters.peak_bytes = std::max(m.counters.peak_bytes, m.memory().used());
  *result = reinterpret_cast<void*>(a->base);
  if (stream == nullptr) {
    m.memory().make_live(*a);
    return cudaSuccess;
  }
  return m.submit(*stream, [&m, a] {
    m.memory().make_live(*a);
    return cudaSuccess;
  });
}

// The allocation that may be freed now, or null.
Allocation* freeable(Machine& m, void* pointer) {
  Allocation* const a = m.memory().find_base(pointer);
  if (a != nullptr && !a->freeing) {
    a->freeing = true;
    ++m.counters.frees;
    return a;
  }
  report(Fault::BadHandle, cat("a free of ", pointer,
                               a != nullptr ? ", which was freed before: " + describe(*a)
                                            : std::string(", which no allocation returned")));
  return nullptr;
}

}  // namespace
}  // namespace ingot::sim

using namespace ingot::sim;

extern "C" {

cudaError_t cudaMalloc(void** result, std::size_t bytes) {
  return runtime_call("cudaMalloc", [&](Machine& m) { return allocate(m, result, bytes, nullptr); });
}

cudaError_t cudaFree(void* pointer) {
  return release_call("cudaFree", [&](Machine& m) {
    if (const cudaError_t status = m.forbidden_in_capture(); status != cudaSuccess) return status;
    if (pointer == nullptr) return cudaSuccess;
    Allocation* const a = freeable(m, pointer);
    if (a == nullptr) return cudaErrorInvalidValue;
    const cudaError_t status = m.finish_all();  // it waits for the device
    m.memory().release(*a);
    return status;
  });
}

cudaError_t cudaMallocAsync(void** result, std::size_t bytes, cudaStream_t handle) {
  return runtime_call("cudaMallocAsync", [&](Machine& m) {
    StreamState* const stream = m.stream(handle);
    if (stream == nullptr) return m.bad_handle("stream", handle);
    // A graph may hold allocations; Ingot's never do, and the simulator does not know them.
    if (stream->capture != nullptr) return m.invalidate(stream->capture, cudaErrorStreamCaptureUnsupported);
    return allocate(m, result, bytes, stream);
  });
}

cudaError_t cudaFreeAsync(void* pointer, cudaStream_t handle) {
  return release_call("cudaFreeAsync", [&](Machine& m) {
    StreamState* const stream = m.stream(handle);
    if (stream == nullptr) return m.bad_handle("stream", handle);
    if (stream->capture != nullptr) return m.invalidate(stream->capture, cudaErrorStreamCaptureUnsupported);
    if (pointer == nullptr) return cudaSuccess;
    Allocation* const a = freeable(m, pointer);
    if (a == nullptr) return cudaErrorInvalidValue;
    return m.submit(*stream, [&m, a] {
      m.memory().release(*a);
      return cudaSuccess;
    });
  });
}

cudaError_t cudaHostAlloc(void** result, std::size_t bytes, unsigned) {
  return runtime_call("cudaHostAlloc", [&](Machine& m) {
    *result = nullptr;
    if (const cudaError_t status = m.forbidden_in_capture(); status != cudaSuccess) return status;
    if (bytes == 0) return cudaSuccess;
    *result = m.memory().pin(bytes);
    if (*result == nullptr) return cudaErrorMemoryAllocation;
    ++m.counters.pinned_allocations;
    return cudaSuccess;
  });
}

// CUDA promises no wait here, so none happens: a copy that still needs the buffer is a finding.
cudaError_t cudaFreeHost(void* pointer) {
  return release_call("cudaFreeHost", [&](Machine& m) {
    if (pointer == nullptr || m.memory().unpin(pointer)) return cudaSuccess;
    report(Fault::BadHandle,
           ingot::cat("a free of pinned memory at ", pointer, ", which no cudaHostAlloc returned"));
    return cudaErrorInvalidValue;
  });
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  return runtime_call("cudaMemcpyAsync", [&](Machine& m) { return copy(m, to, from, bytes, kind, stream); });
}

cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  return runtime_call("cudaMemcpy", [&](Machine& m) {
    if (const cudaError_t status = m.forbidden_in_capture(); status != cudaSuccess) return status;
    const cudaError_t status = copy(m, to, from, bytes, kind, nullptr);
    return status == cudaSuccess ? m.finish(m.legacy().last) : status;
  });
}

cudaError_t cudaMemsetAsync(void* pointer, int value, std::size_t bytes, cudaStream_t handle) {
  return runtime_call("cudaMemsetAsync", [&](Machine& m) {
    StreamState* const stream = m.stream(handle);
    if (stream == nullptr) return m.bad_handle("stream", handle);
    if (bytes == 0) return cudaSuccess;
    if (!m.memory().contains(number(pointer))) return cudaErrorInvalidValue;
    const Range target = range_of(m, pointer, bytes);
    if (const cudaError_t status = check_bounds(m, target, "a fill"); status != cudaSuccess) return status;
    if (stream->capture == nullptr) ++m.counters.copies;
    return m.submit(*stream, [&m, pointer, value, bytes, target] {
      if (const cudaError_t alive = check_alive(m, target, "a fill"); alive != cudaSuccess) return alive;
      std::memset(pointer, value, bytes);
      return cudaSuccess;
    });
  });
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer) {
  return runtime_call("cudaPointerGetAttributes", [&](Machine& m) {
    *attributes = {};
    const Range r = range_of(m, pointer, 1);
    attributes->type = r.allocation != nullptr ? cudaMemoryTypeDevice
                       : r.pinned != 0         ? cudaMemoryTypeHost
                                               : cudaMemoryTypeUnregistered;
    if (r.allocation != nullptr || r.pinned != 0) attributes->devicePointer = const_cast<void*>(pointer);
    if (r.allocation == nullptr) attributes->hostPointer = const_cast<void*>(pointer);
    return cudaSuccess;
  });
}

cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  return runtime_call("cudaMemGetInfo", [&](Machine& m) {
    *total = m.memory().limit();
    *free = m.memory().limit() - m.memory().used();
    return cudaSuccess;
  });
}

}  // extern "C"
