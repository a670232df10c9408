#include "cuda/base/stream.h"

#include "cuda/base/check.h"
#include "cuda/base/event.h"

namespace ingot::cuda {

Stream::Stream(Priority priority) : owned_(true) {
  int lowest = 0, highest = 0;
  INGOT_CUDA_CHECK(cudaDeviceGetStreamPriorityRange(&lowest, &highest));
  INGOT_CUDA_CHECK(cudaStreamCreateWithPriority(&handle_, cudaStreamNonBlocking,
                                                priority == Priority::High ? highest : lowest));
}

Stream::~Stream() {
  if (!owned_) return;
  drain();
  INGOT_CUDA_LOG(cudaStreamDestroy(handle_));
}

Stream& Stream::operator=(Stream&& other) noexcept {
  std::swap(handle_, other.handle_);
  std::swap(owned_, other.owned_);
  return *this;
}

void Stream::synchronize() const {
  INGOT_CUDA_CHECK(cudaStreamSynchronize(handle_));
}

void Stream::drain() const noexcept {
  INGOT_CUDA_LOG(cudaStreamSynchronize(handle_));
}

bool Stream::idle() const {
  const cudaError_t status = cudaStreamQuery(handle_);
  if (status == cudaErrorNotReady) return false;
  check(status, "cudaStreamQuery(stream)");
  return true;
}

void Stream::wait(const Event& event) const {
  if (!event.recorded())
    throw UsageError(
        "Stream::wait expects an event that was recorded; this one was not, and CUDA would wait for "
        "nothing. Record it on the stream whose work is to be waited for.");
  INGOT_CUDA_CHECK(cudaStreamWaitEvent(handle_, event.get(), cudaEventWaitDefault));
}

bool Stream::capturing() const {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  INGOT_CUDA_CHECK(cudaStreamIsCapturing(handle_, &status));
  return status != cudaStreamCaptureStatusNone;
}

}  // namespace ingot::cuda
