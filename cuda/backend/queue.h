// CudaQueue: one session's work on a GPU.
//
// Steps run on the compute stream: one of the queue's own, or the caller's. Inputs come through the copy
// stream: pinned host memory -> a staging slot on the device, while the compute stream is busy with the run
// before; then the compute stream moves them into their fixed place, which takes a hundredth of a run, so one
// slot serves: the next inputs are on their way while the run computes. Two waits keep the order, and each is
// needed:
//
//   compute waits for `filled`   the inputs have arrived in the slot
//   copies waits for `taken`     the compute stream has read the slot, at the feed before
//
// Steps of the communication lane have a stream of their own, made when the first of them is bound. Its order
// with the compute stream is the steps' (core/runtime/lanes.h): a signal is an event, and a capture that the
// events fork and join is still one graph. At the end of a run the compute stream has waited for it.
//
// The first replay() issues the steps one by one, the second records them into one CUDA graph per stretch of
// steps that can be recorded and launches it, and so does each later one. A step that cannot be recorded is
// issued in between and named once on stderr. Nothing is allocated after the second replay.
//
// A guarded run is one graph too: behind the kernels that look, a conditional node holds the rest of the
// part, and the answer goes to pinned memory on the way. The answer is kept over runs until reset_guard();
// while it is bad, runs execute no rest, and a kernel instead of a copy moves inputs to their place, or does
// not. Where the host issues something after the guard (the first run, and parts behind it), it waits for the
// answer.
//
//   auto queue = CudaQueue::make(/*device=*/0, /*stream=*/nullptr);
//   queue->use_staging(slot, bytes);
//   queue->feed(inputs, pinned, bytes);
//   queue->replay(parts);
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <vector>

#include "core/runtime/queue.h"
#include "cuda/base/device_info.h"
#include "cuda/base/event.h"
#include "cuda/base/graph.h"
#include "cuda/base/memory.h"
#include "cuda/base/stream.h"
#include "cuda/kernels/check.h"

namespace ingot::cuda {

class CudaQueue final : public Queue {
 public:
  static constexpr int kSlots = 1;

  // `stream` is the caller's cudaStream_t, or null.
  static std::unique_ptr<CudaQueue> make(int device, void* stream);

  void* stream(Lane lane) override;
  void reserve_signals(std::size_t count) override;
  void signal(std::size_t number, Lane from) override;
  void wait_for(std::size_t number, Lane waiting) override;
  void copy_in(void* device, const void* host, std::size_t bytes) override;
  void copy_out(void* host, const void* device, std::size_t bytes) override;
  void copy(void* to, const void* from, std::size_t bytes) override;
  void fill(void* device, std::byte value, std::size_t bytes) override;
  void use_staging(void* memory, std::size_t bytes) override;
  void feed(void* device, const void* host, std::size_t bytes) override;
  void begin() override;
  void end() noexcept override;
  void replay(std::span<const QueuePart> parts) override;
  void guard(std::span<const GuardedTensor> tensors, void* memory) override;
  bool guard_tripped() const override;
  void reset_guard() override;
  void wait_for_copies() override;
  void wait() override;
  void finish() noexcept override;

 private:
  struct Slot {
    void* memory = nullptr;
    Event filled, taken;
  };

  struct Guard {
    std::vector<CheckOperand> tensors;
    std::uint64_t* first = nullptr;  // on the device
    PinnedBuffer seen{sizeof(std::uint64_t)};
    Event looked;  // behind the latest run's answer
  };

  CudaQueue(int device, Stream compute);
  // Issues a part's work; false: the guard stopped the run.
  bool issue(const QueuePart& part);
  void record(std::span<const QueuePart> parts);
  const Stream& of(Lane lane) const { return lane == Lane::Compute ? compute_ : communication_.value(); }
  Graph recorded(const QueuePart& part);
  // The kernels that look, and the answer's way to the host.
  void look();
  // False: the guard stopped the run.
  bool wait_for_answer() const;

  int device_;
  std::optional<DeviceScope> issuing_;  // between begin() and end()
  Stream compute_, copies_;
  std::optional<Stream> communication_;
  std::vector<Event> signals_;
  Slot slot_;
  std::size_t slot_bytes_ = 0;
  const Event* fed_ = nullptr;  // the latest feed's `filled`
  bool copied_in_ = false;      // copy_in() since the last wait
  bool ran_ = false;
  std::optional<Guard> guard_;
  std::vector<std::optional<GraphExec>> graphs_;  // one a part; empty until recorded
};

}  // namespace ingot::cuda
