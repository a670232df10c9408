// The problems of the op benchmark: none is missing, and each compiles to something that runs.
#include <algorithm>
#include <set>

#include "benchmarks/problems.h"
#include "core/op/registry.h"
#include "gtest/gtest.h"

namespace ingot {
namespace {

std::string op_of(const std::string& text) {
  return text.substr(0, text.find(' '));
}

TEST(BenchmarkProblems, EveryOpHasOneOrAReason) {
  std::set<std::string> timed;
  for (const bench::Problem& p : bench::problems()) timed.insert(op_of(p.text));
  for (const OpDef* def : Registry::instance().all()) {
    const std::string reason = bench::not_timed(def->name);
    EXPECT_NE(timed.contains(def->name), !reason.empty())
        << def->name
        << (reason.empty() ? ": add a problem to benchmarks/problems.cpp" : ": not timed, " + reason);
  }
  for (const std::string& name : timed) EXPECT_NE(Registry::instance().find(name), nullptr) << name;
}

TEST(BenchmarkProblems, TextsAreDistinctAndBothTypesAreThere) {
  std::set<std::string> texts;
  std::size_t bf16 = 0;
  for (const bench::Problem& p : bench::problems()) {
    EXPECT_TRUE(texts.insert(p.text).second) << p.text;
    if (p.text.find("bf16[") != std::string::npos) ++bf16;
  }
  EXPECT_TRUE(texts.contains("conv2d bf16[16, 64, 56, 56] bf16[64, 64, 3, 3] {padding=[1, 1]}"));
  // Scales and statistics stay f32, and an op that mixed precision leaves in f32 is not timed in bf16.
  EXPECT_TRUE(texts.contains("batch_norm_infer bf16[16, 64, 56, 56] f32[64] f32[64] f32[64] f32[64]"));
  EXPECT_TRUE(std::none_of(texts.begin(), texts.end(), [](const std::string& t) {
    return op(op_of(t)).precision == Precision::Full && op_of(t) != "cast" &&
           t.find("bf16[") != std::string::npos;
  }));
  EXPECT_GT(bf16, texts.size() / 3);
}

TEST(BenchmarkProblems, EachCompilesToAStepOfItsOp) {
  for (const bench::Problem& p : bench::problems()) {
    SCOPED_TRACE(p.text);
    try {
      const ProgramPtr program = bench::compile_problem(p.text, 1);
      const auto& schedule = program->schedule();
      EXPECT_TRUE(std::any_of(schedule.begin(), schedule.end(), [&](NodeId id) {
        const std::string& found = program->graph().node(id).op;
        return found == op_of(p.text) || found == "fused";
      }));
    } catch (const std::exception& e) {
      ADD_FAILURE() << e.what();
    }
  }
}

TEST(BenchmarkProblems, WhatIsNoProblemIsRefused) {
  EXPECT_THROW(bench::compile_problem("softmaxx f32[4]", 1), UsageError);
  EXPECT_THROW(bench::compile_problem("softmax f32[4", 1), UsageError);
  EXPECT_THROW(bench::compile_problem("softmax f32[4] f32[4]", 1), Error);
}

}  // namespace
}  // namespace ingot
