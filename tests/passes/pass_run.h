// Runs one pass on a graph's text and checks what holds for every pass.
//
//   EXPECT_EQ(run(simplify, before), canonical(after));
#pragma once

#include <cmath>

#include "core/op/text.h"
#include "core/op/verify.h"
#include "core/passes/pass.h"
#include "core/runtime/initial_state.h"
#include "core/runtime/interpreter.h"
#include "gtest/gtest.h"

namespace ingot {

using PassFn = Graph (*)(const Graph&, PassContext&);

inline std::string text_of(const Graph& g) {
  return print_graph(g, {.names = false, .locations = false});
}

// The same text, whatever the values are called.
inline std::string canonical(std::string_view text) {
  return text_of(parse_graph(text));
}

inline NamedTensors some_feeds(const Graph& g) {
  NamedTensors feeds;
  for (const ValueId v : g.inputs()) {
    State s;
    s.name = g.value(v).name;
    s.init =
        g.type(v).dtype == DType::I32 ? Init::constant(static_cast<double>(2)) : Init::uniform(-1.0, 1.0);
    feeds.emplace(s.name, initial_state(s, g.type(v), 11));
  }
  return feeds;
}

// Runs the pass, checks everything that must hold for any pass, and returns the new graph's text.
inline std::string run(PassFn pass, std::string_view text, const KernelOracle& accelerates = {}) {
  const Graph before = parse_graph(text);
  verify(before);
  PassContext context;
  context.accelerates = accelerates;
  const Graph after = pass(before, context);
  verify(after);
  EXPECT_EQ(text_of(pass(after, context)), text_of(after)) << "not idempotent";
  const NamedTensors feeds = some_feeds(before);
  const Evaluated a = evaluate(before, feeds, {}, {.seed = 5}), b = evaluate(after, feeds, {}, {.seed = 5});
  EXPECT_EQ(a.outputs.size(), b.outputs.size());
  for (const auto* part : {&a.outputs, &a.states})
    for (const auto& [name, want] : *part) {
      const Tensor& got = (part == &a.outputs ? b.outputs : b.states).at(name);
      for (std::int64_t i = 0; i < want.numel(); ++i)
        EXPECT_NEAR(got.get(i), want.get(i), 1e-5 * (1.0 + std::abs(want.get(i))))
            << name << " element " << i;
    }
  return text_of(after);
}

}  // namespace ingot
