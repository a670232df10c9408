#include "tools/op_problem.h"

#include "core/op/registry.h"
#include "core/op/text.h"

namespace ingot::tools {

Graph op_graph(const std::string& op_name, const std::vector<TensorType>& types,
               const std::string& attributes) {
  const OpDef& def = op(op_name);
  // The parser reads the attributes; it takes types as written, so any will do here.
  std::string node = "%r = " + op_name + "(", declarations;
  for (std::size_t i = 0; i < types.size(); ++i) {
    declarations += cat("%", i, " = input \"i", i, "\" : ", to_string(types[i]), "\n");
    node += cat(i == 0 ? "%" : ", %", i);
  }
  const Graph parsed =
      parse_graph(cat(declarations, node, ") ", attributes, attributes.empty() ? "" : " ", ": f32[1]\n"));

  Graph g;
  Node n;
  n.op = op_name;
  n.name = op_name;
  n.attrs = parsed.nodes().at(0).attrs;
  for (std::size_t i = 0; i < types.size(); ++i)
    n.inputs.push_back(i == 1 && is_floating(types[i].dtype) ? g.add_state({.value = {},
                                                                            .name = "i1",
                                                                            .role = StateRole::Parameter,
                                                                            .trainable = true,
                                                                            .init = Init::uniform(-1, 1)},
                                                                           types[i])
                                                             : g.add_input(cat("i", i), types[i]));
  const NodeId id = g.add_node(std::move(n), infer(def, parsed.nodes().at(0).attrs, types));
  for (std::size_t k = 0; k < g.node(id).outputs.size(); ++k)
    g.add_output(cat("o", k), g.node(id).outputs[k]);
  return g;
}

}  // namespace ingot::tools
