#include "core/runtime/prediction.h"

#include <algorithm>

namespace ingot {

Prediction predict(const Machine& m, const Program& program) {
  Prediction p;
  CostSum sum;
  const Graph& g = program.graph();
  const bool cpu = program.target().backend == "cpu";
  for (const NodeId n : program.schedule()) {
    const Node& node = g.node(n);
    const Step& step = program.step(n);
    PredictedStep s{n, node.name, node.op, step.is_view ? "view" : step.kernel, {}};
    if (!step.is_view) {
      const int launches =
          cpu ? 1 : step.launches(node.inputs.size(), node.outputs.size()) + step.library_calls;
      s.cost = predict(m, g, node, {s.kernel, launches, program.target().allow_tf32, step.arithmetic});
    }
    sum.add(s.cost);
    p.steps.push_back(std::move(s));
  }
  for (const Update& u : program.copies()) {
    PredictedStep s{{}, g.value(u.state).name, "copy", "copy", {}};
    s.cost = predict_copy(m, 2.0 * static_cast<double>(g.type(u.state).bytes()));
    sum.add(s.cost);
    p.steps.push_back(std::move(s));
  }
  p.total = sum.total();
  return p;
}

std::vector<const PredictedStep*> costliest(const Prediction& p, std::size_t most) {
  std::vector<const PredictedStep*> order;
  for (const PredictedStep& s : p.steps) order.push_back(&s);
  std::stable_sort(order.begin(), order.end(), [](const PredictedStep* a, const PredictedStep* b) {
    return a->cost.seconds > b->cost.seconds;
  });
  order.resize(std::min(most, order.size()));
  return order;
}

}  // namespace ingot
