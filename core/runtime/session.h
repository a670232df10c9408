// Session: a running program: its memory and its states.
//
// A session belongs to one thread at a time; two sessions may run on two threads. After construction nothing
// is allocated: run() reads the inputs from their staging memory, executes the steps and leaves the outputs
// in place until the next run.
//
//   Session s(program, {.seed = 1});
//   s.input("x").copy_from(images);
//   s.run();
//   double loss = s.output("loss").item();
//
// On a GPU run() returns when the inputs have been read and the work is issued; output(), state() and wait()
// wait for it. The first run issues the steps one by one, the second records them, each later one is a single
// launch, `guard` included. An error of the device that a step caused may come out of a later call; run with
// `debug` to learn which node it was. After an error that loses the device's context, each call throws it
// again.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/ir/tensor.h"
#include "core/runtime/program.h"

namespace ingot {

struct SessionOptions {
  std::uint64_t seed = 0;       // of initial states
  bool check_numerics = false;  // after every step: stop at the first node whose result has NaN or infinity
  // An output (usually "loss") that must be finite: as soon as it is computed, before parameters change, it
  // is checked, and if need be the step so far is replayed to name the first bad node. The inputs must be
  // finite too: an activation may hide their NaN from the output. On a GPU the device itself checks, within
  // the recorded run; run() does not wait for the answer. From a bad run on the rest of runs is left out
  // (parameters and optimiser state keep their content; what the forward pass updates, such as running
  // statistics, does not) and inputs stay those of the bad run, until the session hears of it and throws: in
  // wait(), output(), state(), set_state(), or in run() if the runs before are done. After that it goes on as
  // if the bad run and those behind it had not been issued. Costs Queue::kGuardBytes of the device's memory
  // beside the program's.
  std::string guard{};
  bool poison = false;  // fill memory with NaN as soon as it is free (debugging the planner)
  // Steps run one by one and each is waited for: an error of the device names its node and source line.
  bool debug = false;

  // For programs that have a GPU of their own in hand. `stream`: a cudaStream_t of theirs, which outlives the
  // session, on which all its work is issued (not the legacy default stream, which cannot be recorded).
  // `allocate`: device memory, aligned to 64 bytes, from their allocator. `feed` false: run() leaves the
  // inputs as the caller wrote them to device_address(), in the order of the stream, and waits for nothing.
  void* stream = nullptr;
  std::function<std::shared_ptr<void>(std::size_t bytes)> allocate{};
  bool feed = true;
};

struct StepTiming {
  NodeId node;
  double ms = 0.0;
};

class Session {
 public:
  explicit Session(ProgramPtr program, const SessionOptions& options = {});
  ~Session();
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;

  const Program& program() const;
  std::size_t allocated_bytes() const;

  // The staging memory of an input: write into it before run(). Throws UsageError listing the inputs when
  // there is none of that name.
  Tensor input(std::string_view name) const;
  // A result of the last run, valid until the next one.
  Tensor output(std::string_view name) const;
  bool has_output(std::string_view name) const;
  // Where an input or output lies on the device, row-major unless its type says otherwise; the same address
  // for the life of the session. On a GPU an output is valid in the order of the stream, from run() to the
  // next run().
  void* device_address(std::string_view name) const;

  void run();
  // Returns when everything that run() issued is done; throws the error of work that failed.
  void wait() const;
  // run() with check_numerics on: throws NumericError that names the first bad node, its source line and its
  // operands' ranges. States that were updated before the bad node keep their new content.
  void run_checked();
  // Throws NumericError that names the first state holding NaN or infinity.
  void require_finite_states() const;
  // run() with the wall-clock time of each scheduled step.
  std::vector<StepTiming> run_timed();

  // A row-major copy of a state, and its replacement (same shape; dtype is converted).
  Tensor state(std::string_view name) const;
  void set_state(std::string_view name, const Tensor& value);
  std::map<std::string, Tensor> states() const;
  // Draws every state's first content anew from `seed`.
  void initialise(std::uint64_t seed);
  // Copies the states that both sessions have by name and shape; returns how many.
  std::size_t copy_states_from(const Session& other);

 private:
  struct Impl;
  Impl& use() const;  // throws UsageError for a session that was moved from
  std::unique_ptr<Impl> impl_;
};

}  // namespace ingot
