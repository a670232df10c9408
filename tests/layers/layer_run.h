// A layer as a program of its own, and what it says when it refuses.
//
//   Linear fc("fc", 4, 2);
//   LayerRun run(fc, {DType::F32, {8, 4}});
//   const Tensor y = run(x);                     // run.session() has fc.weight and fc.bias
//   EXPECT_TRUE(refused<ShapeError>(HERE(fc(image)), "fc", "a has 5"));
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/runtime/session.h"
#include "gtest/gtest.h"
#include "layers/layers.h"
#include "tests/support/formula.h"
#include "tests/support/messages.h"

namespace ingot {

inline Graph layer_graph(Module& layer, const TensorType& input_type, bool training = false) {
  Graph g;
  g.build.training = training;
  output("y", layer(input(g, "x", input_type)));
  return g;
}

class LayerRun {
 public:
  LayerRun(const Graph& graph, std::uint64_t seed = 1)
      : session_(compile(graph, {.target = Target::cpu(2)}), {.seed = seed}) {}
  LayerRun(Module& layer, const TensorType& input_type, bool training = false, std::uint64_t seed = 1)
      : LayerRun(layer_graph(layer, input_type, training), seed) {}

  Session& session() { return session_; }
  Tensor state(const std::string& name) const { return session_.state(name); }
  // Every parameter and running statistic from tests/support/formula.h.
  LayerRun& with_formula() {
    for (const State& s : session_.program().graph().states())
      if (s.role == StateRole::Parameter)
        session_.set_state(s.name,
                           formula::parameter(s.name, session_.program().graph().type(s.value).shape));
    return *this;
  }
  Tensor operator()(const Tensor& x) {
    session_.input("x").copy_from(x);
    session_.run();
    return session_.output("y").clone();
  }

 private:
  Session session_;
};

// State-dict keys with their types.
inline std::map<std::string, std::string> keys_of(const Graph& g) {
  std::map<std::string, std::string> out;
  for (const State& s : g.states()) out[s.name] = to_string(g.type(s.value));
  return out;
}

inline void expect_near(const Tensor& got, const std::vector<double>& want, double tolerance = 1e-5) {
  ASSERT_EQ(got.numel(), static_cast<std::int64_t>(want.size()));
  for (std::int64_t i = 0; i < got.numel(); ++i)
    ASSERT_NEAR(got.get(i), want[static_cast<std::size_t>(i)], tolerance) << "element " << i;
}

// A call, and the line it stands on.
#define HERE(...)                 \
  [&](std::uint32_t& here_line) { \
    here_line = __LINE__;         \
    __VA_ARGS__;                  \
  }

// The call throws E, whose message holds every part and the place of the call.
template <class E, class Call, class... Parts>
testing::AssertionResult refused_in(std::string_view file, Call&& call, const Parts&... parts) {
  std::uint32_t line = 0;
  const std::string message = message_of<E>([&] { call(line); });
  const std::string place = cat(file.substr(file.find_last_of('/') + 1), ":", line);
  return says(message, std::string_view(place), std::string_view(parts)...);
}
#define EXPECT_REFUSED(E, ...) EXPECT_TRUE(refused_in<E>(__FILE__, __VA_ARGS__))

}  // namespace ingot
