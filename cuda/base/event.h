// Events: marks in a stream that another stream, or the host, can wait for.
//
// An event carries no time unless it is asked to, which is cheaper. Waiting for an event that was never
// recorded is legal in CUDA and waits for nothing, so `Stream::wait` refuses it: it is always a mistake here.
//
//   Event start(Timing::On), stop(Timing::On);
//   start.record(stream); ...; stop.record(stream);
//   stop.synchronize();
//   float ms = stop.milliseconds_since(start);
#pragma once

#include <cuda_runtime_api.h>

#include <utility>

namespace ingot::cuda {

class Stream;

enum class Timing { Off, On };

class Event {
 public:
  explicit Event(Timing timing = Timing::Off);
  ~Event();
  Event(Event&& other) noexcept
      : handle_(std::exchange(other.handle_, nullptr)), recorded_(std::exchange(other.recorded_, false)) {}
  Event& operator=(Event&& other) noexcept;

  cudaEvent_t get() const { return handle_; }
  bool recorded() const { return recorded_; }
  // Marks the work issued to `stream` so far.
  void record(const Stream& stream);
  // Blocks until the marked work is done.
  void synchronize() const;
  // True when the marked work is done. Does not block.
  bool done() const;
  // Device time between two events of Timing::On that are both done, in milliseconds.
  float milliseconds_since(const Event& start) const;

 private:
  cudaEvent_t handle_ = nullptr;
  bool recorded_ = false;
};

}  // namespace ingot::cuda
