#include "cuda/backend/queue.h"

#include <cstdio>
#include <exception>

#include "core/base/error.h"
#include "cuda/base/memory.h"
#include "cuda/base/nvtx.h"
#include "cuda/kernels/guard.h"

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
  slot_.memory = memory;
}

void CudaQueue::feed(void* device, const void* host, std::size_t bytes) {
  if (bytes == 0) return;
  if (bytes > slot_bytes_)
    throw UsageError(cat("CudaQueue::feed was given ", bytes, " bytes, its staging slot has ", slot_bytes_,
                         "; call use_staging first"));
  const DeviceScope scope(device_);
  if (slot_.taken.recorded()) copies_.wait(slot_.taken);
  copy_to_device(slot_.memory, host, bytes, copies_);
  slot_.filled.record(copies_);
  compute_.wait(slot_.filled);
  if (guard_)
    copy_if_finite(device, slot_.memory, bytes, guard_->first, compute_);
  else
    copy_on_device(device, slot_.memory, bytes, compute_);
  slot_.taken.record(compute_);
  fed_ = &slot_.filled;
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
    for (const QueuePart& part : parts)
      if (!issue(part)) return;
    ran_ = true;
    return;
  }
  if (graphs_.empty()) record(parts);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (!parts[i].capturable) {
      if (!issue(parts[i])) return;
      continue;
    }
    if (graphs_[i].has_value()) graphs_[i]->launch(compute_);
    if (!parts[i].guarded) continue;
    guard_->looked.record(compute_);
    // The device decides about the rest of this part alone.
    if (i + 1 < parts.size() && !wait_for_answer()) return;
  }
}

bool CudaQueue::issue(const QueuePart& part) {
  part.work();
  if (!part.guarded) return true;
  look();
  guard_->looked.record(compute_);
  if (!wait_for_answer()) return false;
  if (part.rest) part.rest();
  return true;
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
    const Graph graph = recorded(part);
    if (graph.node_count() != 0) graphs.back().emplace(graph);
  }
  graphs_ = std::move(graphs);
}

Graph CudaQueue::recorded(const QueuePart& part) {
  if (!part.guarded) return capture(compute_, part.work);
  const auto work_and_look = [&] {
    part.work();
    look();
  };
  if (!part.rest) return capture(compute_, work_and_look);
  return capture_if(
      compute_,
      [&](Condition go) {
        work_and_look();
        set_if_finite(go, guard_->first, compute_);
      },
      part.rest);
}

// ---- The guard ------------------------------------------------------------------------------------------

void CudaQueue::guard(std::span<const GuardedTensor> tensors, void* memory) {
  const DeviceScope scope(device_);
  Guard& g = guard_.emplace();
  for (const GuardedTensor& t : tensors) g.tensors.push_back({t.data, t.count, t.dtype});
  g.first = static_cast<std::uint64_t*>(memory);
  reset_guard();
}

void CudaQueue::look() {
  if (!guard_) throw UsageError("CudaQueue::replay was given a guarded part; call guard first");
  find_more_not_finite(guard_->tensors, guard_->first, compute_);
  copy_to_host(guard_->seen.data(), guard_->first, sizeof(std::uint64_t), compute_);
}

bool CudaQueue::wait_for_answer() const {
  guard_->looked.synchronize();
  return !guard_tripped();
}

// The answer may be read when no run that writes it is under way.
bool CudaQueue::guard_tripped() const {
  if (!guard_ || !guard_->looked.recorded()) return false;
  const DeviceScope scope(device_);
  return guard_->looked.done() && *guard_->seen.as<std::uint64_t>() != kAllFinite;
}

void CudaQueue::reset_guard() {
  if (!guard_) return;
  const DeviceScope scope(device_);
  forget_not_finite(guard_->first, compute_);
  *guard_->seen.as<std::uint64_t>() = kAllFinite;
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
