// Kernels chosen by measurement: the fastest is taken, once; what fails or is gone costs a log line.
#include <stdlib.h>

#include <string>
#include <vector>

#include "core/base/file.h"
#include "core/ops/elementwise.h"
#include "core/ops/reduce.h"
#include "cuda/backend/choice.h"
#include "cuda/base/memory.h"
#include "cuda/ops/launch_step.h"
#include "tests/cuda_sim/backend/backend_test.h"
#include "tests/support/temp_dir.h"

namespace ingot {
namespace {

using cuda::Chooser;

// What the candidates below do, and how often they were asked to run.
int slow_runs = 0, quick_runs = 0;
bool quick_fails = false, quick_declines = false;
int quick_writes = 0;

constexpr std::size_t kMuch = std::size_t{1} << 22, kLittle = 512;

std::unique_ptr<Step> slow(const Problem&) {
  return cuda::launch_step(
      "slow",
      [](void* const*, void* const* out, void* workspace, const cuda::Stream& stream) {
        ++slow_runs;
        for (int i = 0; i < 20; ++i) cuda::fill_bytes(workspace, i, kMuch, stream);
        cuda::fill_bytes(out[0], 0, 4, stream);
      },
      kMuch);
}

std::unique_ptr<Step> quick(const Problem& p) {
  if (quick_declines) return p.decline("not today");
  return cuda::launch_step(
      "quick",
      [](void* const*, void* const* out, void*, const cuda::Stream& stream) {
        ++quick_runs;
        if (quick_fails) throw DeviceError("the library says no");
        cuda::fill_bytes(out[0], quick_writes, 4, stream);
      },
      kLittle);
}

class Choice : public CudaBackendTest {
 protected:
  Choice() {
    output("y", relu(input(graph_, "x", {DType::F32, {8, 4}})));
    slow_runs = quick_runs = 0;
    quick_fails = quick_declines = false;
    quick_writes = 0;
    table_.add("relu", {.lower = slow});
    table_.add("relu", {.lower = quick, .name = "library"});
  }
  std::string choose(Chooser& chooser, Autotune autotune = Autotune::Measure) {
    Target target = Target::cuda(0);
    target.autotune = autotune;
    return chooser.choose(table_, {graph_, graph_.nodes()[0], target})->kernel;
  }
  Chooser chooser() {
    return Chooser(dir_.path(), [this](std::string_view line) { log_.emplace_back(line); });
  }

  const TempDir dir_;
  Graph graph_;
  LoweringTable table_;
  std::vector<std::string> log_;
};

TEST_F(Choice, TheFastestIsTakenAndMeasuredOnce) {
  Chooser first = chooser();
  EXPECT_EQ(choose(first), "quick");
  EXPECT_GT(slow_runs, 0);
  EXPECT_GT(quick_runs, 0);
  EXPECT_EQ(sim::counters().bytes, 0u) << "a measurement gives its memory back";
  slow_runs = quick_runs = 0;
  Chooser later = chooser();  // of another process
  EXPECT_EQ(choose(later), "quick");
  EXPECT_EQ(slow_runs + quick_runs, 0) << "the ranking was on the disk";
  EXPECT_TRUE(log_.empty()) << log_.front();
  const auto entries = cuda::KernelCache(dir_.path()).entries();
  ASSERT_EQ(entries.size(), 1u);
  EXPECT_EQ(entries[0].title, "choice: relu(f32[8, 4])");
}

TEST_F(Choice, WhatTheTargetAllowsIsPartOfTheKey) {
  Chooser c = chooser();
  choose(c);
  Target target = Target::cuda(0);
  target.autotune = Autotune::Measure;
  target.allow_tf32 = true;
  c.choose(table_, {graph_, graph_.nodes()[0], target});
  EXPECT_EQ(cuda::KernelCache(dir_.path()).entries().size(), 2u);
}

TEST_F(Choice, OffLeavesLibrariesOut) {
  Chooser c = chooser();
  EXPECT_EQ(choose(c, Autotune::Off), "slow");
  EXPECT_EQ(slow_runs + quick_runs, 0) << "one candidate is not measured";
}

TEST_F(Choice, ACandidateThatFailsIsLeftOutAndNamed) {
  quick_fails = true;
  Chooser c = chooser();
  EXPECT_EQ(choose(c), "slow");
  ASSERT_EQ(log_.size(), 1u);
  EXPECT_NE(log_[0].find("quick is left out"), std::string::npos) << log_[0];
  EXPECT_NE(log_[0].find("the library says no"), std::string::npos) << log_[0];
}

TEST_F(Choice, ACandidateThatComputesSomethingElseIsLeftOutAndNamed) {
  quick_writes = 0x3f;
  Chooser c = chooser();
  EXPECT_EQ(choose(c), "slow");
  ASSERT_EQ(log_.size(), 1u);
  EXPECT_NE(log_[0].find("quick is left out, its results differ from those of Ingot's own kernel, slow"),
            std::string::npos)
      << log_[0];
  quick_writes = 0xff;  // NaN
  cuda::KernelCache(dir_.path()).clear();
  EXPECT_EQ(choose(c), "slow");
  EXPECT_EQ(log_.size(), 2u);
}

TEST_F(Choice, AFasterOneAboveTheWorkspaceLimitIsPassedOverAndNamed) {
  Chooser c = chooser();
  EXPECT_EQ(choose(c), "quick");
  slow_runs = quick_runs = 0;
  Target target = Target::cuda(0);
  target.autotune = Autotune::Measure;
  target.workspace_limit = kLittle - 1;
  const auto step = c.choose(table_, {graph_, graph_.nodes()[0], target});
  EXPECT_EQ(step->kernel, "slow") << "our own kernels need what they need";
  EXPECT_EQ(slow_runs + quick_runs, 0) << "times do not depend on the limit";
  ASSERT_EQ(step->passed_over.size(), 1u);
  EXPECT_EQ(step->passed_over[0].kernel, "quick");
  EXPECT_EQ(step->passed_over[0].workspace_bytes, kLittle);
  EXPECT_GT(step->passed_over[0].milliseconds, 0);
  EXPECT_GE(step->milliseconds, step->passed_over[0].milliseconds);
}

TEST_F(Choice, AWinnerThatIsGoneFallsToTheNext) {
  Chooser c = chooser();
  EXPECT_EQ(choose(c), "quick");
  table_.add("relu", {.lower = slow});
  quick_declines = true;
  EXPECT_EQ(choose(c), "slow");
  ASSERT_EQ(log_.size(), 1u);
  EXPECT_NE(log_[0].find("quick is not offered any more"), std::string::npos) << log_[0];
}

TEST_F(Choice, ADamagedEntryIsMeasuredAnew) {
  Chooser c = chooser();
  choose(c);
  const std::string file = cuda::KernelCache(dir_.path()).entries().at(0).file;
  std::string text = read_file(file);
  text.back() = static_cast<char>(text.back() ^ 1);
  write_file(file, text);
  slow_runs = 0;
  EXPECT_EQ(choose(c), "quick");
  EXPECT_GT(slow_runs, 0);
}

TEST_F(Choice, WithoutMemoryForAMeasurementTheFirstIsTaken) {
  sim::reset({.memory = kMuch});
  Chooser c = chooser();
  EXPECT_EQ(choose(c), "slow");
  ASSERT_EQ(log_.size(), 1u);
  EXPECT_NE(log_[0].find("not measured"), std::string::npos) << log_[0];
}

TEST_F(Choice, AProgramOfMeasuredKernelsGivesTheSameNumbers) {
  ::setenv("INGOT_CACHE_DIR", dir_.path().c_str(), 1);  // read once, when the backend first measures
  Graph g;
  output("y", sum(input(g, "x", {DType::F32, {6, 5, 4}}), {0, 2}));
  Target measured = Target::cuda(0);
  measured.autotune = Autotune::Measure;
  expect_close(run(g, measured), run(g, Target::cpu(1)), 1e-5);
}

}  // namespace
}  // namespace ingot
