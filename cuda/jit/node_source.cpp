#include "cuda/jit/node_source.h"

#include "core/ir/walk.h"
#include "core/ops/elementwise.h"

namespace ingot::cuda {

std::optional<NodeTape> node_tape(const Graph& graph, const Node& node) {
  NodeTape t;
  for (const ValueId v : node.inputs) t.inputs.push_back(graph.type(v));
  for (const ValueId v : node.outputs) t.outputs.push_back(graph.type(v));
  const ScalarOp op = find_scalar_op(node.op);
  if (node.op == "fused") {
    t.expr = node.attrs.as<FusedAttrs>().expr;
  } else if (op != ScalarOp::None && op != ScalarOp::Const) {
    std::vector<ScalarExpr::Reg> args;
    for (const TensorType& type : t.inputs) args.push_back(t.expr.add_input(type.dtype));
    t.expr.add_output(op == ScalarOp::Cast ? t.expr.emit_cast(0, t.outputs[0].dtype) : t.expr.emit(op, args));
  } else {
    return std::nullopt;
  }
  if (!elementwise_accepts(t.inputs, t.outputs)) return std::nullopt;
  return t;
}

}  // namespace ingot::cuda
