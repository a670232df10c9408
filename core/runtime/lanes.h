// The order between the lanes of a program: which step waits for which step of the other lane.
//
// Steps of one lane run in the order of the schedule. Two steps of different lanes must keep that order where
// one writes bytes that the other reads or writes. Bytes count, not values: the planner gives memory to a new
// value as soon as the old one's last reader has had its place in the schedule, and a reader in the other
// lane may still be at work. Waiting for a step waits for all of its lane before it, so one wait a step is
// enough, for the latest of those it conflicts with, and it is left out where the lane has waited for as much
// already. Leaving out any other one leaves two conflicting steps without an order.
//
// A stretch of steps starts and ends in the compute lane: its start counts as a step of that lane that writes
// all bytes, before the first one, and its end as another behind the last. So what comes before and after
// need not know of lanes, and a capture is forked and joined.
//
//   const std::vector<StepAccess> steps = step_accesses(program);
//   const LaneOrder order(steps);
//   queue.reserve_signals(order.signals());
//   order.issue(queue, [&](std::size_t i) { bound[i]->run(); });
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/runtime/program.h"
#include "core/runtime/queue.h"
#include "core/runtime/step.h"

namespace ingot {

struct ByteRange {
  Region region = Region::Arena;
  std::size_t begin = 0, end = 0;  // without `end`
};

// What one step does to memory.
struct StepAccess {
  Lane lane = Lane::Compute;
  std::vector<ByteRange> reads, writes;  // its workspace is written
};

// One a step of the schedule. Views do nothing, in the compute lane.
std::vector<StepAccess> step_accesses(const Program& program);

// Whether two steps must keep their order.
bool conflict(const StepAccess& a, const StepAccess& b);

// Step `waiting` may start when step `done`, of the other lane, is done. Positions in the stretch: -1 is its
// start, its number of steps its end.
struct LaneWait {
  std::int32_t done, waiting;
};

// In the order of `waiting`; empty when all steps are of the compute lane. No two waits share a step on the
// same side.
std::vector<LaneWait> lane_waits(std::span<const StepAccess> steps);

// A stretch of steps with its waits, as signals of a queue. Immutable; issuing allocates nothing.
class LaneOrder {
 public:
  explicit LaneOrder(std::span<const StepAccess> steps);

  // What Queue::reserve_signals must have made room for.
  std::size_t signals() const { return signals_; }

  // Calls run_step(position) for each step in order, with its lane's waits and signals around it.
  template <class RunStep>
  void issue(Queue& queue, const RunStep& run_step) const {
    signal(queue, start_);
    for (std::size_t i = 0; i < marks_.size(); ++i) {
      wait(queue, marks_[i]);
      run_step(i);
      signal(queue, marks_[i]);
    }
    wait(queue, end_);
  }

 private:
  static constexpr std::int32_t kNone = -1;
  struct Mark {
    Lane lane = Lane::Compute;
    std::int32_t wait_for = kNone, signal = kNone;  // numbers of signals, before and after the step
  };

  static void wait(Queue& queue, const Mark& at) {
    if (at.wait_for != kNone) queue.wait_for(static_cast<std::size_t>(at.wait_for), at.lane);
  }
  static void signal(Queue& queue, const Mark& at) {
    if (at.signal != kNone) queue.signal(static_cast<std::size_t>(at.signal), at.lane);
  }

  std::size_t signals_ = 0;
  Mark start_, end_;
  std::vector<Mark> marks_;
};

}  // namespace ingot
