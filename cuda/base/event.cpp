#include "cuda/base/event.h"

#include "cuda/base/check.h"
#include "cuda/base/stream.h"

namespace ingot::cuda {

Event::Event(Timing timing) {
  INGOT_CUDA_CHECK(
      cudaEventCreateWithFlags(&handle_, timing == Timing::On ? cudaEventDefault : cudaEventDisableTiming));
}

Event::~Event() {
  if (handle_ != nullptr) INGOT_CUDA_LOG(cudaEventDestroy(handle_));
}

Event& Event::operator=(Event&& other) noexcept {
  std::swap(handle_, other.handle_);
  std::swap(recorded_, other.recorded_);
  return *this;
}

void Event::record(const Stream& stream) {
  INGOT_CUDA_CHECK(cudaEventRecord(handle_, stream.get()));
  recorded_ = true;
}

void Event::synchronize() const {
  INGOT_CUDA_CHECK(cudaEventSynchronize(handle_));
}

bool Event::done() const {
  const cudaError_t status = cudaEventQuery(handle_);
  if (status == cudaErrorNotReady) return false;
  check(status, "cudaEventQuery(event)");
  return true;
}

float Event::milliseconds_since(const Event& start) const {
  float milliseconds = 0;
  INGOT_CUDA_CHECK(cudaEventElapsedTime(&milliseconds, start.handle_, handle_));
  return milliseconds;
}

}  // namespace ingot::cuda
