// Single ops as problems: an op, the types of its operands and its attributes, written as in a graph's text
// (core/op/text.h), e.g. "conv2d f32[8, 3, 32, 32] f32[16, 3, 3, 3] {padding=[1, 1]}". op_benchmarks times
// them, counted runs them once for the instruction gate.
//
//   Session s(bench::compile_problem("softmax f32[256, 1000]", 2), {.seed = 1});
//   bench::fill(s, 2);
//   s.run();
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/runtime/session.h"

namespace ingot::bench {

struct Problem {
  std::string text;
  std::uint32_t integers = 2;  // operands that are indices are drawn below this
};

// At least one for every registered op that does something when a program runs, at the shapes of the
// published networks; in f32, and in bf16 where mixed precision would run the op in it.
std::vector<Problem> problems();

// Why an op has no problem; empty for those that must have one.
std::string not_timed(const std::string& op);

// A program of that one node. Its operands are inputs, but for the second one if it is floating, which is a
// state: weights lie as their op wants them. Throws UsageError or FormatError for text that is no problem.
ProgramPtr compile_problem(const std::string& text, int threads);

// Random inputs in [-1, 1); integers and booleans are drawn below `integers`.
void fill(const Session& session, std::uint32_t integers);

}  // namespace ingot::bench
