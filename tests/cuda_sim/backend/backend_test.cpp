#include "tests/cuda_sim/backend/backend_test.h"

#include <cmath>

#include "core/base/philox.h"
#include "core/ops/reduce.h"
#include "core/ops/softmax.h"
#include "cuda/backend/backend.h"

namespace ingot {

void fill_inputs(const Session& s, int run) {
  for (const ValueId v : s.program().graph().inputs()) {
    const ValueInfo& info = s.program().graph().value(v);
    const Tensor t = s.input(info.name);
    const Philox rng(static_cast<std::uint64_t>(run + 1), v.index);
    for (std::int64_t i = 0; i < t.numel(); ++i) {
      const std::uint32_t bits = rng.bits(static_cast<std::uint64_t>(i));
      t.set(i, info.name == "valid_rows" ? static_cast<double>(s.input("x").shape()[0])
               : is_floating(t.dtype())  ? 2.0 * static_cast<double>(uniform01(bits)) - 1.0
                                         : static_cast<double>(bits % 10));
    }
  }
}

std::map<std::string, Tensor> run(const Graph& g, const Target& target, const Runs& runs) {
  return run(compile(g, {.target = target}), runs);
}

std::map<std::string, Tensor> run(const ProgramPtr& program, const Runs& runs) {
  Session s(program, runs.options);
  std::map<std::string, Tensor> all;
  for (int i = 0; i < runs.runs; ++i) {
    fill_inputs(s, i);
    s.run();
    if ((i + 1) % runs.look_every != 0 && i + 1 != runs.runs) continue;
    for (const Output& o : s.program().graph().outputs())
      all.emplace(cat(o.name, " of run ", i), s.output(o.name).contiguous().clone());
  }
  for (auto& [name, t] : s.states()) all.emplace(name, t);
  return all;
}

namespace {

// The first element that differs, as a message; "" when there is none.
std::string difference(const Tensor& got, const Tensor& want, double tolerance) {
  for (std::int64_t i = 0; i < want.numel(); ++i) {
    const double a = got.get(i), b = want.get(i);
    if (std::isnan(a) && std::isnan(b)) continue;
    if (a == b || std::abs(a - b) <= tolerance * (1.0 + std::abs(b))) continue;
    return cat("element ", i, " is ", a, ", expected ", b);
  }
  return "";
}

}  // namespace

bool close(const std::map<std::string, Tensor>& got, const std::map<std::string, Tensor>& want,
           double tolerance) {
  for (const auto& [name, t] : want)
    if (!difference(got.at(name), t, tolerance).empty()) return false;
  return true;
}

void expect_close(const std::map<std::string, Tensor>& got, const std::map<std::string, Tensor>& want,
                  double tolerance) {
  ASSERT_EQ(got.size(), want.size());
  for (const auto& [name, t] : want) {
    const std::string text = difference(got.at(name), t, tolerance);
    EXPECT_EQ(text, "") << name;
  }
}

namespace {

class ChangedBackend final : public cuda::CudaBackend {
 public:
  std::string_view name() const override { return "cuda_changed"; }
  std::unique_ptr<Step> lower(const Graph& graph, const Node& node, const Target& target) const override {
    auto step = CudaBackend::lower(graph, node, target);
    change(node, step);
    return step;
  }

  static inline std::function<void(const Node&, std::unique_ptr<Step>&)> change;
};

}  // namespace

Target changed_target(std::function<void(const Node&, std::unique_ptr<Step>&)> change) {
  static const bool once = (register_backend(std::make_unique<ChangedBackend>()), true);
  static_cast<void>(once);
  ChangedBackend::change = std::move(change);
  Target t = Target::cuda(0);
  t.backend = "cuda_changed";
  return t;
}

Target lanes_target(std::function<Lane(const Node&)> choose) {
  return changed_target(
      [choose = std::move(choose)](const Node& node, auto& step) { step->lane = choose(node); });
}

void expect_one_launch_a_run(Session& s, std::size_t runs) {
  const sim::Counters before = sim::counters();
  for (std::size_t i = 0; i < runs; ++i) s.run();
  const sim::Counters after = sim::counters();
  EXPECT_EQ(after.graph_launches - before.graph_launches, runs);
  EXPECT_EQ(after.launches, before.launches);
  EXPECT_EQ(after.allocations, before.allocations);
  EXPECT_EQ(after.pinned_allocations, before.pinned_allocations);
}

Graph softmax_graph() {
  Graph g;
  const Value x = input(g, "x", {DType::F32, {6, 33}});
  const Value w = state(g, StateRole::Parameter, "w", {DType::F32, {4, 9}}, Init::normal(0.0, 1.0));
  const Value runs = state(g, StateRole::Buffer, "runs", x.type(), Init::constant(0.0));
  const Value y = log_softmax(x), p = softmax(w, 0);
  const Value next = log_softmax_grad(x, log_softmax(runs), 1);
  g.add_update(runs.id(), next.id());
  output("y", y);
  output("column_sums", sum(y, {0}));
  output("row_max", max(x, {1}));
  output("p", p);
  output("next", next);
  return g;
}

}  // namespace ingot
