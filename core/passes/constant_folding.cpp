// Constant folding: a pure node that reads only constants is computed now, by its reference, when the result
// is small.
//
// A result whose elements are all equal becomes `full`, any other `constant`. Large results stay unfolded:
// they are computed once per session anyway, and the graph's text stays short.
#include <unordered_map>

#include "core/op/builder.h"
#include "core/passes/pass.h"

namespace ingot {

namespace {

constexpr std::int64_t kMaxElements = 4096;

bool uniform(const Tensor& t) {
  const auto bytes = t.as_bytes();
  const std::size_t size = size_of(t.dtype());
  for (std::size_t i = size; i < bytes.size(); ++i)
    if (bytes[i] != bytes[i - size]) return false;
  return true;
}

// Values that `full` can state exactly: its attribute is a double.
bool fits_double(const Tensor& t) {
  return t.dtype() != DType::I64 || (t.get(0) < 9007199254740992.0 && t.get(0) > -9007199254740992.0);
}

}  // namespace

Graph fold_constants(const Graph& graph, PassContext&) {
  GraphRewriter rw(graph);
  std::unordered_map<std::uint32_t, Tensor> known;  // old value -> content
  for (std::uint32_t i = 0; i < graph.nodes().size(); ++i) {
    const Node& n = graph.nodes()[i];
    const OpDef& def = op(n.op);
    bool fold = def.pure && def.reference != nullptr;
    for (const ValueId v : n.inputs) fold = fold && known.contains(v.index);
    for (const ValueId v : n.outputs) {
      const TensorType& t = graph.type(v);
      fold = fold && t.numel() > 0 && t.numel() <= kMaxElements && t.layout.is_row_major() &&
             t.dtype != DType::F16 && t.dtype != DType::BF16;
    }
    if (!fold) {
      rw.copy({i});
      continue;
    }
    std::vector<Tensor> in, out;
    for (const ValueId v : n.inputs) in.push_back(known.at(v.index));
    for (const ValueId v : n.outputs) out.emplace_back(graph.type(v));
    def.reference({n.attrs, in, out});
    for (std::size_t k = 0; k < out.size(); ++k) known.emplace(n.outputs[k].index, out[k]);
    if (n.inputs.empty()) {  // already a constant; keep the node as it was written
      rw.copy({i});
      continue;
    }
    for (std::size_t k = 0; k < out.size(); ++k) {
      Node made;
      made.name = n.name;
      made.loc = n.loc;
      if (uniform(out[k]) && fits_double(out[k])) {
        made.op = "full";
        made.attrs = op("full")
                         .attrs.with("value", out[k].get(0))
                         .with("dtype", out[k].dtype())
                         .with("shape", out[k].shape());
      } else {
        made.op = "constant";
        made.attrs = op("constant").attrs.with("value", out[k]);
      }
      const TensorType type = out[k].type();
      rw.map(n.outputs[k],
             rw.graph().node(rw.graph().add_node(std::move(made), std::span(&type, 1))).outputs[0]);
    }
  }
  return rw.finish();
}

}  // namespace ingot
