// Streams: queues of device work. Work of one stream runs in order; two streams are ordered by events alone,
// because every stream made here is non-blocking (the legacy default stream neither waits for it nor holds it
// up).
//
// A Stream owns its handle, or borrows one from a host program (`Stream::borrow`), which then keeps it alive.
// Moving leaves an empty Stream, on which every call is an error of the caller.
//
//   Stream compute, copy(Priority::High);
//   Event ready;
//   ready.record(copy);
//   compute.wait(ready);   // what follows on `compute` sees what `copy` did
//   compute.synchronize();
#pragma once

#include <cuda_runtime_api.h>

#include <utility>

namespace ingot::cuda {

class Event;

enum class Priority { Normal, High };

class Stream {
 public:
  explicit Stream(Priority priority = Priority::Normal);
  // A stream of someone else's: never destroyed here.
  static Stream borrow(cudaStream_t handle) { return Stream(handle, false); }
  ~Stream();
  Stream(Stream&& other) noexcept
      : handle_(std::exchange(other.handle_, nullptr)), owned_(std::exchange(other.owned_, false)) {}
  Stream& operator=(Stream&& other) noexcept;

  cudaStream_t get() const { return handle_; }
  // Blocks until all work issued so far is done; throws the error of work that failed.
  void synchronize() const;
  // The same for destructors: a failure is logged.
  void drain() const noexcept;
  // True when no work is pending. Does not block.
  bool idle() const;
  // Work issued to this stream from now on starts after the event's latest record. Does not block.
  void wait(const Event& event) const;
  // True between the start and the end of a capture that this stream takes part in.
  bool capturing() const;

 private:
  Stream(cudaStream_t handle, bool owned) : handle_(handle), owned_(owned) {}

  cudaStream_t handle_ = nullptr;
  bool owned_ = false;
};

}  // namespace ingot::cuda
