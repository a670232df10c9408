// Which candidate of a table is taken: the first that accepts, within what the target allows.
#include "core/runtime/lowering.h"

#include <gtest/gtest.h>

#include "core/ops/elementwise.h"

namespace ingot {
namespace {

std::unique_ptr<Step> named(const char* kernel, std::size_t workspace) {
  return make_step(
      kernel, [](void* const*, void* const*, void*) {}, workspace);
}

// A library with two ways, the better one with more workspace.
std::unique_ptr<Step> library(const Problem& p) {
  if (p.alternative == 0) return named("library:1", 4096);
  if (p.alternative == 1) return named("library:2", 256);
  return p.decline("there are two");
}
std::unique_ptr<Step> own(const Problem&) {
  return named("own", 1024);
}

class LoweringTables : public testing::Test {
 protected:
  LoweringTables() {
    output("y", relu(input(graph_, "x", {DType::F32, {8, 4}})));
    table_.add("relu", {.lower = library, .name = "library", .alternatives = 5});
    table_.add("relu", {.lower = own});
  }
  std::unique_ptr<Step> first() const { return first_step(table_, problem()); }
  Problem problem() const { return {graph_, graph_.nodes()[0], target_}; }

  Graph graph_;
  LoweringTable table_;
  Target target_;
};

TEST_F(LoweringTables, TheFirstIsTaken) {
  const auto step = first();
  EXPECT_EQ(step->kernel, "library:1");
  EXPECT_TRUE(step->passed_over.empty());
}

TEST_F(LoweringTables, WaysAboveTheWorkspaceLimitArePassedOver) {
  target_.workspace_limit = 4096;
  EXPECT_EQ(first()->kernel, "library:1") << "the limit itself is allowed";
  target_.workspace_limit = 4095;
  auto step = first();
  EXPECT_EQ(step->kernel, "library:2");
  ASSERT_EQ(step->passed_over.size(), 1u);
  EXPECT_EQ(step->passed_over[0].kernel, "library:1");
  EXPECT_EQ(step->passed_over[0].workspace_bytes, 4096u);
  target_.workspace_limit = 0;
  step = first();
  EXPECT_EQ(step->kernel, "own") << "our own kernels need what they need";
  EXPECT_EQ(step->passed_over.size(), 2u);
}

TEST_F(LoweringTables, AnExplanationNamesThem) {
  target_.workspace_limit = 300;
  const auto all = explain_step(table_, problem());
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0].kernel, "library:1");
  EXPECT_FALSE(all[0].taken);
  EXPECT_EQ(all[0].why, "wants more workspace than the limit of 300 bytes");
  EXPECT_EQ(all[1].kernel, "library:2");
  EXPECT_TRUE(all[1].taken);
  EXPECT_EQ(all[2].kernel, "own");
  EXPECT_EQ(all[2].why, "an earlier candidate accepts");
}

TEST_F(LoweringTables, EveryWayIsOfferedForAMeasurement) {
  target_.workspace_limit = 300;
  const auto offers = all_steps(table_, problem());
  ASSERT_EQ(offers.size(), 3u);
  EXPECT_FALSE(offers[0].within);
  EXPECT_TRUE(offers[1].within);
  EXPECT_FALSE(offers[1].own);
  EXPECT_TRUE(offers[2].within);
  EXPECT_TRUE(offers[2].own);
}

TEST_F(LoweringTables, OffLeavesLibrariesOut) {
  target_.autotune = Autotune::Off;
  EXPECT_EQ(first()->kernel, "own");
  EXPECT_TRUE(first()->passed_over.empty());
  EXPECT_EQ(all_steps(table_, problem()).size(), 1u);
}

}  // namespace
}  // namespace ingot
