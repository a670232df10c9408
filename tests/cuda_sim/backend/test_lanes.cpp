// Steps on the communication stream: random programs whose steps run in random lanes equal the same program
// in one lane, to the bit, however the device orders its work.
#include "core/base/error.h"
#include "core/base/philox.h"
#include "core/ops/elementwise.h"
#include "core/ops/reduce.h"
#include "core/ops/softmax.h"
#include "core/runtime/lanes.h"
#include "cuda/backend/queue.h"
#include "cuda/base/check.h"
#include "cuda/kernels/fill.h"
#include "cuda/ops/launch_step.h"
#include "models/models.h"
#include "optim/optimizer.h"
#include "tests/cuda_sim/backend/backend_test.h"
#include "train/step_graph.h"

namespace ingot {
namespace {

using cuda::CudaError;

class CudaBackendLanes : public CudaBackendTest {};

// Rows through many nodes, each of which reads one or two of the latest values, so that memory is used again
// soon. What nobody reads is an output, and a state becomes one of the last values.
Graph random_rows(std::uint64_t seed, int nodes) {
  const Philox rng(seed, 0x6c616e65);
  std::uint64_t next = 0;
  const auto pick = [&](std::size_t n) { return static_cast<std::size_t>(rng.bits(next++)) % n; };
  Graph g;
  const TensorType rows{DType::F32, {5, 33}};
  std::vector<Value> values = {input(g, "x", rows),
                               state(g, StateRole::Parameter, "w", rows, Init::normal(0.0, 1.0))};
  std::vector<bool> read(values.size(), false);
  const auto operand = [&] {
    const std::size_t at = values.size() - 1 - pick(std::min<std::size_t>(values.size(), 6));
    read[at] = true;
    return values[at];
  };
  for (int i = 0; i < nodes; ++i) {
    const Value a = operand(), b = operand();
    switch (pick(6)) {
      case 0:
        values.push_back(softmax(a, static_cast<std::int64_t>(pick(2))));
        break;
      case 1:
        values.push_back(log_softmax(a));
        break;
      case 2:
        values.push_back(a + b);
        break;
      case 3:
        values.push_back(tanh(a * b));
        break;
      case 4:
        values.push_back(a - mean(b, {1}, true));
        break;
      default:
        values.push_back(a * max(b, {0}, true));
    }
    read.push_back(false);
  }
  g.add_update(values[1].id(), tanh(values.back()).id());
  for (std::size_t i = 0; i < values.size(); ++i)
    if (!read[i]) output(cat("y", i), values[i]);
  return g;
}

// One step of `of` goes to the communication stream.
std::function<Lane(const Node&)> random_lanes(std::uint64_t seed, std::uint32_t of = 3) {
  return [=](const Node& n) {
    const Philox rng(seed, n.outputs.front().index);
    return rng.bits(0) % of == 0 ? Lane::Communication : Lane::Compute;
  };
}

// Node by node as written, so that few kernels have to be made and many steps are left to put in order.
ProgramPtr as_written(const Graph& g, const Target& target) {
  return compile(g, {.target = target, .optimise = false});
}

std::size_t waits_of(const Program& p) {
  return lane_waits(step_accesses(p)).size();
}

TEST_F(CudaBackendLanes, RandomLanesEqualOneLane) {
  std::size_t waits = 0, steps = 0;
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    const Graph g = random_rows(seed, 40);
    const ProgramPtr one_lane = as_written(g, Target::cuda(0));
    steps += one_lane->schedule().size();
    // Looked at after each run, and after the last one alone.
    for (const int look_every : {1, 4}) {
      const Runs runs{.runs = 4, .look_every = look_every};
      const auto want = run(one_lane, runs);
      for (std::uint64_t lanes = 1; lanes <= 3; ++lanes) {
        SCOPED_TRACE(cat("graph ", seed, ", lanes ", lanes, ", looking every ", look_every));
        const ProgramPtr p =
            as_written(g, lanes_target(random_lanes(lanes, static_cast<std::uint32_t>(lanes) + 1)));
        waits += waits_of(*p);
        each_order([&] { expect_close(run(p, runs), want, 0.0); }, 3);
      }
    }
  }
  EXPECT_GE(steps, 8 * 40u);
  EXPECT_GE(waits, 500u);
}

TEST_F(CudaBackendLanes, FusedProgramsEqualOneLane) {
  const Graph g = random_rows(9, 40);
  const auto want = run(g, Target::cuda(0));
  const ProgramPtr p = compile(g, {.target = lanes_target(random_lanes(2))});
  EXPECT_GE(waits_of(*p), 4u);
  each_order([&] { expect_close(run(p), want, 0.0); });
}

// Kernels with workspaces, views, and an optimiser that writes over its states.
TEST_F(CudaBackendLanes, TrainingEqualsOneLane) {
  const Graph g =
      training_graph(*make_model("lenet5"), {DType::F32, model_input("lenet5", 2)}, *adam({.lr = 0.001}));
  const Runs runs{.runs = 3, .look_every = 3};
  const auto want = run(g, Target::cuda(0), runs);
  for (std::uint64_t lanes = 1; lanes <= 2; ++lanes) {
    SCOPED_TRACE(cat("lanes ", lanes));
    const ProgramPtr p = compile(g, {.target = lanes_target(random_lanes(lanes, 2))});
    EXPECT_GE(waits_of(*p), 10u);
    EXPECT_GT(p->report().workspace_bytes, 0u);
    each_order([&] { expect_close(run(p, runs), want, 0.0); }, 1);
  }
}

TEST_F(CudaBackendLanes, ARunIsOneLaunchAndMakesNothing) {
  const ProgramPtr p = as_written(random_rows(1, 40), lanes_target(random_lanes(1)));
  Session s(p);
  EXPECT_EQ(sim::calls("cudaStreamCreateWithPriority"), 3u);
  EXPECT_EQ(sim::calls("cudaEventCreateWithFlags"), waits_of(*p) + 2) << "and two for the slot of the inputs";
  fill_inputs(s, 0);
  s.run();
  EXPECT_EQ(sim::calls("cudaStreamWaitEvent"), waits_of(*p) + 1) << "and the inputs are there";
  EXPECT_EQ(sim::counters().graph_launches, 0u);
  s.run();
  EXPECT_EQ(sim::calls("cudaStreamWaitEvent"), 2 * (waits_of(*p) + 1) + 1) << "and the slot has been read";
  EXPECT_EQ(sim::counters().graph_launches, 1u);
  const std::size_t waits = sim::calls("cudaStreamWaitEvent"), records = sim::calls("cudaEventRecord");
  constexpr std::size_t kRuns = 5;
  expect_one_launch_a_run(s, kRuns);
  EXPECT_EQ(sim::calls("cudaStreamWaitEvent") - waits, 2 * kRuns) << "those of the inputs";
  EXPECT_EQ(sim::calls("cudaEventRecord") - records, 2 * kRuns);
  EXPECT_EQ(sim::calls("cudaStreamCreateWithPriority"), 3u);
  EXPECT_EQ(sim::calls("cudaEventCreateWithFlags"), waits_of(*p) + 2);
}

TEST_F(CudaBackendLanes, AProgramInOneLaneHasNoThirdStream) {
  const ProgramPtr p =
      as_written(random_rows(1, 40), lanes_target([](const Node&) { return Lane::Compute; }));
  Session s(p);
  EXPECT_EQ(sim::calls("cudaStreamCreateWithPriority"), 2u);
  EXPECT_EQ(sim::calls("cudaEventCreateWithFlags"), 2u);
}

TEST_F(CudaBackendLanes, AllStepsInTheOtherLane) {
  const Graph g = random_rows(2, 24);
  const auto want = run(as_written(g, Target::cuda(0)));
  const ProgramPtr p = as_written(g, lanes_target([](const Node&) { return Lane::Communication; }));
  EXPECT_EQ(waits_of(*p), 2u) << "its start and its end";
  each_order([&] { expect_close(run(p), want, 0.0); });
}

// Both lanes meet before and after a step that cannot be recorded, of either lane.
TEST_F(CudaBackendLanes, AStepThatCannotBeRecordedSplitsBothLanes) {
  const Graph g = random_rows(4, 24);
  const auto want = run(as_written(g, Target::cuda(0)));
  const auto lanes = random_lanes(3, 2);
  for (const Lane lane : {Lane::Compute, Lane::Communication}) {
    const ProgramPtr whole = as_written(g, lanes_target(lanes));
    std::vector<ValueId> results;
    for (const NodeId n : whole->schedule())
      if (whole->step(n).lane == lane) results.push_back(whole->graph().node(n).outputs.front());
    const ValueId middle = results.at(results.size() / 2);
    const ProgramPtr p = as_written(g, changed_target([&](const Node& n, auto& step) {
                                      step->lane = lanes(n);
                                      step->capturable = n.outputs.front() != middle;
                                    }));
    ::testing::internal::CaptureStderr();
    each_order([&] {
      constexpr std::size_t kRuns = 5;
      expect_close(run(p, {.runs = static_cast<int>(kRuns)}), want, 0.0);
      EXPECT_EQ(sim::counters().graph_launches, 2 * (kRuns - 1));
    });
    const std::string log = ::testing::internal::GetCapturedStderr();
    EXPECT_NE(log.find("cannot be part of a CUDA graph"), std::string::npos) << log;
  }
}

// A run that fails half-way must not leave work on the communication stream that meets the next run's.
TEST_F(CudaBackendLanes, AFailedRunLeavesNothingAtWork) {
  const auto queue = cuda::CudaQueue::make(0, nullptr);
  constexpr std::size_t kBytes = 64;
  const cuda::DeviceBuffer a(kBytes), b(kBytes), c(kBytes);
  const auto& side = *static_cast<const cuda::Stream*>(queue->stream(Lane::Communication));
  queue->reserve_signals(2);
  bool fail = true;
  const QueuePart parts[] = {{[&] {
    queue->signal(0, Lane::Compute);
    queue->wait_for(0, Lane::Communication);
    cuda::copy_on_device(fail ? b.data() : c.data(), a.data(), kBytes, side);
    if (fail) throw UsageError("half-way");
    queue->signal(1, Lane::Communication);
    queue->wait_for(1, Lane::Compute);
  }}};
  struct Issuing {
    explicit Issuing(Queue& q) : queue(q) { queue.begin(); }
    ~Issuing() { queue.end(); }
    Queue& queue;
  };
  const auto run = [&] {
    const Issuing issuing(*queue);
    queue->replay(parts);
  };
  queue->fill(a.data(), std::byte{1}, kBytes);
  EXPECT_THROW(run(), UsageError);
  fail = false;
  queue->fill(b.data(), std::byte{2}, kBytes);
  run();
  unsigned char bytes[kBytes];
  queue->copy_out(bytes, b.data(), kBytes);
  EXPECT_EQ(bytes[5], 2) << "the copy of the failed run came after";
  queue->copy_out(bytes, c.data(), kBytes);
  EXPECT_EQ(bytes[5], 1);
}

// A step of the communication lane that loses the device is the one that debug mode names.
TEST_F(CudaBackendLanes, DebugNamesAStepOfTheOtherLane) {
  Graph g;
  const Value x = input(g, "x", {DType::F32, {4, 8}});
  output("y", tanh(log_softmax(softmax(x))));
  const ProgramPtr p = as_written(g, changed_target([](const Node& n, auto& step) {
                                    if (n.op != "log_softmax") return;
                                    step = cuda::launch_step(
                                        "bad", [](void* const*, void* const*, void*, const cuda::Stream& s) {
                                          cuda::iota(DType::F32, reinterpret_cast<void*>(4096), 8, s);
                                        });
                                    step->lane = Lane::Communication;
                                  }));
  try {
    Session s(p, {.debug = true});
    s.run();
    FAIL() << "the device is lost";
  } catch (const CudaError& e) {
    EXPECT_TRUE(e.sticky());
    EXPECT_NE(e.node().find("log_softmax"), std::string::npos) << e.node();
  }
  EXPECT_FALSE(sim::take_findings().empty()) << "a null pointer is written to";
}

// What if one of the waits had been forgotten? Some order of the device's work must show it, or the recording
// of the run must fail.
TEST_F(CudaBackendLanes, EachWaitIsNeeded) {
  const Graph g = random_rows(5, 24);
  const ProgramPtr one_lane = as_written(g, Target::cuda(0));
  const ProgramPtr p = as_written(g, lanes_target(random_lanes(4)));
  const auto waits = static_cast<int>(waits_of(*p));
  ASSERT_GE(waits, 8);
  // The second run is recorded; the third is another one of what was recorded.
  for (const int runs : {1, 3}) {
    const Runs options{.runs = runs, .look_every = runs};
    const auto want = run(one_lane, options);
    for (int nth = 1; nth <= waits; ++nth) {
      const int before = runs == 1 ? 1 : waits + 2;  // of the inputs and of the first run
      std::string shown;
      for (std::uint64_t seed = 1; seed <= 40 && shown.empty(); ++seed)
        for (const sim::Policy policy : {sim::Policy::Demand, sim::Policy::Random}) {
          sim::reset({.seed = seed, .policy = policy});
          sim::skip_call("cudaStreamWaitEvent", before + nth);
          try {
            if (!close(run(p, options), want, 0.0)) shown = "other numbers";
          } catch (const CudaError& e) {
            shown = e.what();
          }
        }
      EXPECT_NE(shown, "") << "wait " << nth << " of " << waits << ", run " << (runs == 1 ? 1 : 2)
                           << ", can be left out unseen";
    }
  }
  sim::reset();
}

// Step by step each one waits for the one before, whatever its lane.
TEST_F(CudaBackendLanes, StepByStepEqualsOneLane) {
  const Graph g = random_rows(3, 24);
  const auto want = run(as_written(g, Target::cuda(0)));
  const ProgramPtr p = as_written(g, lanes_target(random_lanes(1, 2)));
  each_order([&] {
    expect_close(run(p, {.options = {.seed = 3, .check_numerics = true}}), want, 0.0);
    expect_close(run(p, {.options = {.seed = 3, .poison = true}}), want, 0.0);
    expect_close(run(p, {.options = {.seed = 3, .debug = true}}), want, 0.0);
  });
  each_order([&] {
    Session there(p, {.seed = 3});
    fill_inputs(there, 0);
    EXPECT_EQ(there.run_timed().size(), p->schedule().size());
    std::map<std::string, Tensor> got;
    for (const auto& [name, t] : run(as_written(g, Target::cuda(0)), {.runs = 1}))
      if (const auto at = name.find(" of run"); at != std::string::npos) {
        const std::string output = name.substr(0, at);
        got.emplace(output, there.output(output).clone());
        EXPECT_TRUE(bitwise_equal(got.at(output), t)) << output;
      }
    EXPECT_FALSE(got.empty());
  });
}

}  // namespace
}  // namespace ingot
