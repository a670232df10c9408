// Elementwise fusion: connected scalar nodes of one shape become one `fused` node with a tape.
//
// Nodes are visited from the last to the first. A node joins the group of its readers when all of them are in
// one group and nothing else sees its result, so a group has one result and no cycle can arise. Scalar
// constants become immediates. A node that stays alone keeps its own name: a backend runs it as a tape of one
// instruction all the same.
#include <algorithm>
#include <optional>
#include <unordered_map>

#include "core/op/registry.h"
#include "core/passes/match.h"
#include "core/passes/pass.h"

namespace ingot {

namespace {

constexpr std::size_t kMaxInputs = 16, kMaxInstructions = 48;

bool fusable_dtype(DType d) {
  return d == DType::F32 || d == DType::F16 || d == DType::BF16 || d == DType::Bool;
}

class ElementwiseFusion {
 public:
  explicit ElementwiseFusion(const Graph& graph)
      : graph_(graph), users_(graph.users()), group_(graph.nodes().size(), kNone) {
    escapes_ = escaping_values(graph);
  }

  Graph run() {
    form_groups();
    GraphRewriter rw(graph_);
    for (std::uint32_t i = 0; i < graph_.nodes().size(); ++i) {
      if (group_[i] == kNone) {
        rw.copy({i});
      } else if (group_[i] == i) {
        emit(rw, i);
      }
    }
    return rw.finish();
  }

 private:
  static constexpr std::uint32_t kNone = 0xffffffffu;

  const Node& node(std::uint32_t i) const { return graph_.nodes()[i]; }

  bool elementwise(const Node& n) const {
    if (n.op == "fused") return true;
    if (op(n.op).scalar == ScalarOp::None && n.op != "cast") return false;
    for (const ValueId v : n.inputs)
      if (!fusable_dtype(graph_.type(v).dtype)) return false;
    return fusable_dtype(graph_.type(n.outputs[0]).dtype);
  }

  std::optional<double> immediate(ValueId v) const { return scalar_constant(graph_, v); }

  void form_groups() {
    std::unordered_map<std::uint32_t, std::size_t> size;
    for (std::uint32_t i = static_cast<std::uint32_t>(graph_.nodes().size()); i-- > 0;) {
      const Node& n = node(i);
      if (!elementwise(n) || n.outputs.size() != 1) continue;
      const ValueId v = n.outputs[0];
      group_[i] = i;
      std::uint32_t joined = kNone;
      if (!escapes_[v.index] && !users_[v.index].empty()) {
        joined = group_[users_[v.index][0].index];
        for (const NodeId u : users_[v.index])
          if (group_[u.index] != joined) joined = kNone;
      }
      if (joined != kNone && graph_.type(v).shape == graph_.type(node(joined).outputs[0]).shape &&
          size[joined] < kMaxInstructions && inputs_with(joined, i) <= kMaxInputs) {
        group_[i] = joined;
        ++size[joined];
        members_[joined].push_back(i);
      } else {
        size[i] = 1;
        members_[i] = {i};
      }
    }
  }

  // Operands the group would have with node i in it.
  std::size_t inputs_with(std::uint32_t group, std::uint32_t i) const {
    std::vector<ValueId> operands;
    const auto add = [&](const Node& n) {
      for (const ValueId v : n.inputs) {
        const ValueInfo& info = graph_.value(v);
        const bool inside = info.kind == ValueKind::Result &&
                            (group_[info.producer.index] == group || info.producer.index == i);
        if (!inside && !immediate(v) && std::find(operands.begin(), operands.end(), v) == operands.end())
          operands.push_back(v);
      }
    };
    for (const std::uint32_t m : members_.at(group)) add(node(m));
    add(node(i));
    return operands.size();
  }

  void emit(GraphRewriter& rw, std::uint32_t root) {
    std::vector<std::uint32_t> members = members_.at(root);
    std::sort(members.begin(), members.end());
    const bool constant_operand = std::any_of(node(root).inputs.begin(), node(root).inputs.end(),
                                              [&](ValueId v) { return immediate(v).has_value(); });
    if (members.size() == 1 && (!constant_operand || node(root).op == "fused")) {
      rw.copy({root});
      return;
    }
    ScalarExpr tape;
    std::vector<ValueId> operands;
    std::unordered_map<std::uint32_t, ScalarExpr::Reg> reg;  // old value -> register
    for (const std::uint32_t m : members)
      for (const ValueId v : node(m).inputs) {
        const ValueInfo& info = graph_.value(v);
        const bool inside = info.kind == ValueKind::Result && group_[info.producer.index] == root;
        if (inside || immediate(v) || reg.contains(v.index)) continue;
        reg[v.index] = tape.add_input(info.type.dtype);
        operands.push_back(rw(v));
      }
    if (operands.empty()) {  // all constants: folding left it because it is large
      for (const std::uint32_t m : members) rw.copy({m});
      return;
    }
    const auto operand = [&](ValueId v) {
      if (const auto it = reg.find(v.index); it != reg.end()) return it->second;
      return reg[v.index] = tape.emit_const(*immediate(v), graph_.type(v).dtype);
    };
    for (const std::uint32_t m : members) {
      const Node& n = node(m);
      std::vector<ScalarExpr::Reg> args;
      for (const ValueId v : n.inputs) args.push_back(operand(v));
      reg[n.outputs[0].index] = append_node(tape, graph_, n, args);
    }
    tape.add_output(reg.at(node(root).outputs[0].index));
    // Operands may all broadcast below the result's shape only if one of the members had a constant of the
    // full shape.
    Shape covered;
    for (const ValueId v : operands) covered = broadcast(covered, rw.graph().type(v).shape);
    if (covered != graph_.type(node(root).outputs[0]).shape) {
      for (const std::uint32_t m : members) rw.copy({m});
      return;
    }
    Node fused;
    fused.op = "fused";
    fused.attrs = op("fused").attrs.with("expr", tape);
    fused.inputs = std::move(operands);
    fused.name = node(root).name;
    fused.loc = node(root).loc;
    const TensorType type = graph_.type(node(root).outputs[0]);
    const NodeId made = rw.graph().add_node(std::move(fused), std::span(&type, 1));
    const ValueId v = rw.graph().node(made).outputs[0];
    rw.graph().value(v).name = graph_.value(node(root).outputs[0]).name;
    rw.map(node(root).outputs[0], v);
  }

  const Graph& graph_;
  std::vector<std::vector<NodeId>> users_;
  std::vector<std::uint32_t> group_;
  std::unordered_map<std::uint32_t, std::vector<std::uint32_t>> members_;
  std::vector<bool> escapes_;
};

}  // namespace

Graph fuse_elementwise(const Graph& graph, PassContext&) {
  return ElementwiseFusion(graph).run();
}

}  // namespace ingot
