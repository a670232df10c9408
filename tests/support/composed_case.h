// Functions that are made of several ops, as small programs with their gradients: what a backend makes of the
// compositions, in f32 and in mixed precision. (Their values against PyTorch: tests/golden.)
//
//   for (const ComposedCase& c : composed_cases()) {
//     const TypedCase t = composed_program(c, DType::BF16);     // outputs y, and g0, g1, ... of the operands
//     const auto want = rounded_outputs(t);
//   }
#pragma once

#include <functional>
#include <ostream>
#include <string>
#include <vector>

#include "core/op/builder.h"
#include "tests/support/op_case.h"
#include "tests/support/typed_case.h"

namespace ingot::test {

struct ComposedCase {
  std::string name;
  std::vector<InputSpec> inputs;
  std::function<Value(const std::vector<Value>&)> build;
};

const std::vector<ComposedCase>& composed_cases();
// The function of its inputs and the gradient of sum(y * weights); below f32 its forward graph is rewritten
// for mixed precision first (core/passes/precision.h).
TypedCase composed_program(const ComposedCase& c, DType compute);

struct ComposedIn {
  ComposedCase c;
  DType compute;
};
std::vector<ComposedIn> all_composed();
void PrintTo(const ComposedIn& p, std::ostream* out);
std::string composed_name(const testing::TestParamInfo<ComposedIn>& info);

}  // namespace ingot::test
