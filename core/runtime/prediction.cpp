#include "core/runtime/prediction.h"

#include <algorithm>
#include <array>

namespace ingot {

std::vector<Amounts> amounts_of(const Program& program) {
  const Graph& g = program.graph();
  std::array<std::uint64_t, kRegions> base{};
  for (std::size_t r = 1; r < base.size(); ++r)
    base[r] = base[r - 1] + program.region_bytes(static_cast<Region>(r - 1));
  // Operands and results; and workspaces, which pass through the caches too but are nobody's bytes. The arena
  // is the first region.
  std::vector<std::vector<MemoryRange>> ranges(program.schedule().size()), workspaces(ranges.size());
  for (const Block& b : program.blocks())
    if (!b.value.valid())
      workspaces.at(static_cast<std::size_t>(b.first)).push_back({b.offset, b.offset + b.bytes});
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    const NodeId n = program.schedule()[i];
    if (program.step(n).is_view) continue;
    const Node& node = g.node(n);
    for (const auto* list : {&node.inputs, &node.outputs})
      for (const ValueId v : *list) {
        const Place at = program.place(v);
        const std::uint64_t begin = base[static_cast<std::size_t>(at.region)] + at.offset;
        ranges[i].push_back({begin, begin + g.type(v).bytes()});
      }
  }
  ReuseDistances reuse;
  const auto touch = [&](std::size_t i) {
    reuse.step(workspaces[i]);
    return reuse.step(ranges[i]);
  };
  for (std::size_t i = 0; i < ranges.size(); ++i) touch(i);  // one run
  std::vector<Amounts> all;                                  // and the next
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    const NodeId n = program.schedule()[i];
    all.push_back(program.step(n).is_view ? Amounts{} : amounts_of(g, g.node(n)));
    all.back().touched = touch(i);
  }
  return all;
}

Prediction predict(const Machine& m, const Program& program) {
  Prediction p;
  CostSum sum;
  const Graph& g = program.graph();
  const bool cpu = program.target().backend == "cpu";
  const std::vector<Amounts> amounts = amounts_of(program);
  for (std::size_t i = 0; i < amounts.size(); ++i) {
    const NodeId n = program.schedule()[i];
    const Node& node = g.node(n);
    const Step& step = program.step(n);
    PredictedStep s{n, node.name, node.op, step.is_view ? "view" : step.kernel, {}};
    if (!step.is_view) {
      const int launches =
          cpu ? 1 : step.launches(node.inputs.size(), node.outputs.size()) + step.library_calls;
      s.cost = predict(m, work_of(g, node), amounts[i],
                       {s.kernel, launches, program.target().allow_tf32, step.arithmetic});
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
