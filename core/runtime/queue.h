// Queue: the order in which one session's work reaches its device.
//
// Work of a lane is issued in order and runs in order. On the CPU it is done when the call returns; on a GPU
// the calls return early, except where stated. A queue belongs to one session and, like it, to one thread at
// a time.
//
//   auto queue = backend.make_queue(target);
//   queue->feed(inputs, host, bytes);
//   queue->replay(parts);                     // the steps of a run, the same ones every time
//   queue->wait();
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "core/base/dtype.h"
#include "core/base/error.h"
#include "core/runtime/step.h"

namespace ingot {

// Some steps of a run, in order. What a device cannot record is a part of its own, with a name for messages.
struct QueuePart {
  std::function<void()> work;
  bool capturable = true;
  std::string name{};
  // In one part of a guarded run: the guard (Queue::guard) looks after `work`, and where it finds something,
  // `rest` and the parts that follow are left out.
  bool guarded = false;
  std::function<void()> rest{};  // may be null
};

// A floating tensor in the device's memory that a guard looks at.
struct GuardedTensor {
  const void* data = nullptr;
  std::int64_t count = 0;
  DType dtype = DType::F32;
};

class Queue {
 public:
  virtual ~Queue() = default;

  // What steps of that lane get as Bindings::stream. A device may make the lane's stream when first asked.
  virtual void* stream(Lane /*lane*/) { return nullptr; }
  // The order between lanes: signal() marks what was issued to a lane so far, and what is issued to the other
  // lane after wait_for() starts when that is done. Signals have numbers below the count that
  // reserve_signals() was given; both calls belong to the steps and are recorded with them. A device that
  // runs everything in the order of issue has nothing to do.
  virtual void reserve_signals(std::size_t /*count*/) {}
  virtual void signal(std::size_t /*number*/, Lane /*from*/) {}
  virtual void wait_for(std::size_t /*number*/, Lane /*waiting*/) {}
  // The host's bytes may change only after wait_for_copies() or wait().
  virtual void copy_in(void* device, const void* host, std::size_t bytes) = 0;
  // Returns when the bytes have arrived.
  virtual void copy_out(void* host, const void* device, std::size_t bytes) = 0;
  virtual void copy(void* to, const void* from, std::size_t bytes) = 0;  // within the device
  virtual void fill(void* device, std::byte value, std::size_t bytes) = 0;
  // Memory on the device for Backend::staging_slots() copies of the inputs, `bytes` each, one after another.
  virtual void use_staging(void* /*memory*/, std::size_t /*bytes*/) {}
  // The inputs of the next run. Like copy_in(), and the bytes may travel while the run before still works.
  virtual void feed(void* device, const void* host, std::size_t bytes) { copy_in(device, host, bytes); }
  // Around the binding and issuing of steps: makes the calling thread fit for it (thread count, current
  // device), and gives back what the host program may miss. Calls do not nest.
  virtual void begin() {}
  virtual void end() noexcept {}
  // Between begin() and end(): issues the parts of one run, which must be the same every time. A device that
  // can record work calls them for the first runs only and then repeats what it recorded.
  virtual void replay(std::span<const QueuePart> parts) {
    for (const QueuePart& part : parts) {
      part.work();
      if (part.rest) part.rest();
    }
  }
  // For sessions that cannot look at the device's memory in the middle of a run. From now on replay() lets
  // the device look whether all elements of these tensors are finite. Where one is not, the rest of that run
  // and of all later ones is left out, and feed() leaves the inputs as they are, so that the run can be
  // repeated, until reset_guard(). `memory`: kGuardBytes on the device that outlive the queue's work.
  static constexpr std::size_t kGuardBytes = 64;
  virtual void guard(std::span<const GuardedTensor> /*tensors*/, void* /*memory*/) {
    throw UsageError("this backend's queue has no guard: run with check_numerics instead");
  }
  // Whether the guard has found something. Does not wait: while work goes on the answer may be that of
  // before.
  virtual bool guard_tripped() const { return false; }
  virtual void reset_guard() {}
  // Returns when all copy_in() and feed() so far have read their bytes.
  virtual void wait_for_copies() { wait(); }
  // Returns when everything issued is done; throws the error of work that failed.
  virtual void wait() {}
  // Before memory goes that work may still use: waits for all of it, and logs what fails.
  virtual void finish() noexcept {}
};

}  // namespace ingot
