#include "cuda/backend/queue.h"

#include <cstdio>
#include <exception>

#include "core/base/error.h"
#include "cuda/base/memory.h"
#include "cuda/base/nvtx.h"

namespace ingot::cuda {

std::unique_ptr<CudaQueue> CudaQueue::make(int device, void* stream) {
  const DeviceScope scope(device);  // streams and events belong to the current one
  return std::unique_ptr<CudaQueue>(new CudaQueue(
      device, stream != nullptr ? Stream::borrow(static_cast<cudaStream_t>(stream)) : Stream()));
}

CudaQueue::CudaQueue(int device, Stream compute)
    : device_(device), compute_(std::move(compute)), copies_(Priority::High) {}

// Communication is of high priority: it needs little of the device, and what waits for it needs much.
void* CudaQueue::stream(Lane lane) {
  if (lane == Lane::Compute) return &compute_;
  if (!communication_) {
    const DeviceScope scope(device_);
    communication_.emplace(Priority::High);
  }
  return &*communication_;
}

void CudaQueue::reserve_signals(std::size_t count) {
  const DeviceScope scope(device_);
  while (signals_.size() < count) signals_.emplace_back();
}

void CudaQueue::signal(std::size_t number, Lane from) {
  signals_.at(number).record(of(from));
}

void CudaQueue::wait_for(std::size_t number, Lane waiting) {
  of(waiting).wait(signals_.at(number));
}

void CudaQueue::copy_in(void* device, const void* host, std::size_t bytes) {
  const DeviceScope scope(device_);
  copied_in_ = true;
  copy_to_device(device, host, bytes, compute_);
}

void CudaQueue::copy_out(void* host, const void* device, std::size_t bytes) {
  const DeviceScope scope(device_);
  copy_to_host(host, device, bytes, compute_);
  compute_.synchronize();
}

void CudaQueue::copy(void* to, const void* from, std::size_t bytes) {
  const DeviceScope scope(device_);
  copy_on_device(to, from, bytes, compute_);
}

void CudaQueue::fill(void* device, std::byte value, std::size_t bytes) {
  const DeviceScope scope(device_);
  fill_bytes(device, static_cast<int>(value), bytes, compute_);
}

void CudaQueue::use_staging(void* memory, std::size_t bytes) {
  slot_bytes_ = bytes;
  for (std::size_t i = 0; i < slots_.size(); ++i)
    slots_[i].memory = static_cast<std::byte*>(memory) + i * bytes;
}

void CudaQueue::feed(void* device, const void* host, std::size_t bytes) {
  if (bytes == 0) return;
  if (bytes > slot_bytes_)
    throw UsageError(cat("CudaQueue::feed was given ", bytes, " bytes, its staging slots have ", slot_bytes_,
                         "; call use_staging first"));
  const DeviceScope scope(device_);
  Slot& slot = slots_[next_slot_];
  if (slot.taken.recorded()) copies_.wait(slot.taken);
  copy_to_device(slot.memory, host, bytes, copies_);
  slot.filled.record(copies_);
  compute_.wait(slot.filled);
  copy_on_device(device, slot.memory, bytes, compute_);
  slot.taken.record(compute_);
  fed_ = &slot.filled;
  next_slot_ = (next_slot_ + 1) % slots_.size();
}

void CudaQueue::begin() {
  issuing_.emplace(device_);
}

// A run that failed half-way leaves work on the communication stream that nothing on the compute stream waits
// for, and the next run would not either.
void CudaQueue::end() noexcept {
  if (communication_ && std::uncaught_exceptions() != 0) communication_->drain();
  issuing_.reset();
}

void CudaQueue::replay(std::span<const QueuePart> parts) {
  const NvtxRange range("run");
  // The first run loads kernels and sets their limits, which is slow and in part not allowed in a capture.
  if (!ran_) {
    for (const QueuePart& part : parts) part.work();
    ran_ = true;
    return;
  }
  if (graphs_.empty()) record(parts);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (graphs_[i].has_value())
      graphs_[i]->launch(compute_);
    else if (!parts[i].capturable)
      parts[i].work();
  }
}

void CudaQueue::record(std::span<const QueuePart> parts) {
  const NvtxRange range("capture");
  std::vector<std::optional<GraphExec>> graphs;
  for (const QueuePart& part : parts) {
    graphs.emplace_back();
    if (!part.capturable) {
      std::fprintf(stderr, "ingot: %s cannot be part of a CUDA graph; it is issued by itself at each run\n",
                   part.name.c_str());
      continue;
    }
    const Graph graph = capture(compute_, part.work);
    if (graph.node_count() != 0) graphs.back().emplace(graph);
  }
  graphs_ = std::move(graphs);
}

void CudaQueue::wait_for_copies() {
  if (copied_in_) return wait();
  if (fed_ == nullptr) return;
  const DeviceScope scope(device_);
  fed_->synchronize();
}

void CudaQueue::wait() {
  const DeviceScope scope(device_);
  compute_.synchronize();  // which has waited for the copies
  // Only a step that runs by itself has not been waited for at this point.
  if (communication_) communication_->synchronize();
  copied_in_ = false;
}

// Both streams: a feed that failed half-way leaves a copy that nobody waits for. The communication stream has
// been joined, or emptied by end().
void CudaQueue::finish() noexcept {
  copies_.drain();
  compute_.drain();
}

}  // namespace ingot::cuda
