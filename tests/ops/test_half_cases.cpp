// Every OpCase on the CPU in f16 and bf16: the op and each node of its gradient, by the kernel that the
// backend takes, against the reference in f32 rounded once.
#include <cmath>

#include "core/base/error.h"
#include "core/runtime/program.h"
#include "core/runtime/session.h"
#include "tests/support/typed_case.h"

namespace ingot::test {
namespace {

struct Outcome {
  std::vector<Tensor> results;
  std::string kernel;
};

// The node alone, on operands that lie row-major; the program brings them where its kernel wants them.
Outcome run_node(const Graph& graph, const Node& node, const std::vector<Tensor>& operands) {
  std::vector<TensorType> in, out;
  for (const ValueId v : node.inputs) in.push_back(graph.type(v));
  for (const ValueId v : node.outputs) out.push_back(graph.type(v));
  Graph alone = node_alone(node, in, out);
  for (std::size_t k = 0; k < out.size(); ++k) alone.add_output(cat("y", k), alone.node({0}).outputs[k]);
  Session s(compile(alone, {.target = Target::cpu(2), .optimise = false}));
  for (std::size_t i = 0; i < in.size(); ++i) s.input(cat("i", i)).copy_from(operands[i]);
  s.run();
  Outcome o;
  for (std::size_t k = 0; k < out.size(); ++k) o.results.push_back(s.output(cat("y", k)).clone());
  const Program& p = s.program();
  for (const auto* nodes : {&p.prepare(), &p.schedule()})
    for (const NodeId n : *nodes)
      if (p.graph().node(n).op == node.op) o.kernel = p.step(n).kernel;
  return o;
}

class HalfCases : public testing::TestWithParam<DType> {};

TEST_P(HalfCases, EveryCaseEqualsTheReference) {
  int checked = 0, in_half = 0, widened = 0;
  for (const CaseIn& in : all_cases()) {
    if (in.dtype != GetParam()) continue;
    for (const bool mixed : {false, true}) {
      const auto t = typed_case(in.c, in.dtype, mixed);
      if (!t) continue;
      std::map<ValueId, Tensor> values;
      for (std::size_t i = 0; i < t->inputs.size(); ++i) values[t->graph.inputs()[i]] = t->inputs[i];
      for (std::uint32_t n = 0; n < t->graph.nodes().size(); ++n) {
        const Node& node = t->graph.node({n});
        std::vector<Tensor> operands;
        for (const ValueId v : node.inputs) operands.push_back(values.at(v));
        const auto want = rounded_reference(t->graph, node, operands);
        SCOPED_TRACE(cat(in.c.op, " ", in.c.name, mixed ? " mixed" : "", ", node ", n, " ", node.op));
        const Outcome got = run_node(t->graph, node, operands);
        ++checked;
        widened += got.kernel.starts_with("f32:");
        in_half += got.kernel.find("bf16") != std::string::npos;
        for (std::size_t k = 0; k < want.size(); ++k) {
          values[node.outputs[k]] = want[k];
          const double tolerance = std::max(in.c.tolerance, 1e-5) + 2 * rounding(want[k].dtype());
          for (std::int64_t e = 0; e < want[k].numel(); ++e) {
            if (n == 0 && in.c.unspecified && in.c.unspecified(static_cast<int>(k), e)) continue;
            const double a = got.results[k].get(e), b = want[k].get(e);
            if (a == b || (std::isnan(a) && std::isnan(b))) continue;
            ASSERT_LE(std::abs(a - b), tolerance * (1.0 + std::abs(b)))
                << "result " << k << ", element " << e << " is " << a << ", expected " << b << ", by "
                << got.kernel;
          }
        }
      }
    }
  }
  EXPECT_GT(checked, 1000);
  EXPECT_GT(widened, 100);
  if (GetParam() == DType::BF16 && __builtin_cpu_supports("avx512bf16")) {
    EXPECT_GT(in_half, 50);
  }
}

INSTANTIATE_TEST_SUITE_P(Cpu, HalfCases, testing::Values(DType::F16, DType::BF16),
                         [](const auto& p) { return std::string(name(p.param)); });

}  // namespace
}  // namespace ingot::test
