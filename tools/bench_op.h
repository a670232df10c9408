// `ingot bench --op`: one node, each kernel that could run it timed on this CPU or, for a GPU, costed.
#pragma once

#include <string>
#include <vector>

#include "tools/commands.h"

namespace ingot::tools {

struct OpArguments {
  std::string op, candidates = "taken", machine;
  std::vector<std::string> shapes, attributes;
  void add_to(CLI::App& app);  // but for `machine`
  bool any_but_op() const { return !shapes.empty() || !attributes.empty(); }
};

// `dtype`: of operands that do not say theirs. Times each candidate for `seconds`.
int bench_op(const OpArguments& a, const Target& target, const std::string& dtype, double seconds, bool json);

}  // namespace ingot::tools
