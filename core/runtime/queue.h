// Queue: the order in which one session's work reaches its device.
//
// Work is issued in order and runs in order. On the CPU it is done when the call returns; on a GPU the calls
// return early, except where stated. A queue belongs to one session and, like it, to one thread at a time.
//
//   auto queue = backend.make_queue(target);
//   queue->copy_in(device, host, bytes);
//   queue->replay([&] { for (auto& step : steps) step->run(); });
//   queue->wait();
#pragma once

#include <cstddef>
#include <functional>

namespace ingot {

class Queue {
 public:
  virtual ~Queue() = default;

  // What steps get as Bindings::stream.
  virtual void* stream() const { return nullptr; }
  // The host's bytes may change only after wait_for_copies() or wait().
  virtual void copy_in(void* device, const void* host, std::size_t bytes) = 0;
  // Returns when the bytes have arrived.
  virtual void copy_out(void* host, const void* device, std::size_t bytes) = 0;
  virtual void copy(void* to, const void* from, std::size_t bytes) = 0;  // within the device
  virtual void fill(void* device, std::byte value, std::size_t bytes) = 0;
  // Before steps are issued one by one (thread count, current device).
  virtual void begin() {}
  // Issues the steps of one run. `work` must do the same every time: a device that can record work calls it
  // for the first runs only and then repeats what it recorded.
  virtual void replay(const std::function<void()>& work) {
    begin();
    work();
  }
  // Returns when all copy_in() so far have read their bytes.
  virtual void wait_for_copies() { wait(); }
  // Returns when everything issued is done; throws the error of work that failed.
  virtual void wait() {}
};

}  // namespace ingot
