// Batch-norm folding for inference: conv2d followed by batch_norm_infer becomes one convolution.
//
//   y = gamma * (conv(x, w) + b - mean) / sqrt(var + eps) + beta  =  conv(x, w * s) + (b - mean) * s + beta,
//   s = gamma / sqrt(var + eps)
//
// The new weight and bias depend on states only, so a session computes them once. Under mixed precision the
// convolution reads its weight through a cast: the folding is done before it, in the states' type. Graphs
// that update one of these states (training with frozen statistics) are left alone: the folding would be paid
// at every step.
//
// Where there is no convolution to fold into, batch_norm_infer becomes batch_norm_apply, which takes
// epilogues, with 1 / sqrt(var + eps) computed once.
#include <unordered_set>

#include "core/op/builder.h"
#include "core/passes/match.h"
#include "core/passes/pass.h"

namespace ingot {

Graph fold_batch_norm(const Graph& graph, PassContext&) {
  const auto users = graph.users();
  const auto escapes = escaping_values(graph);
  std::unordered_set<std::uint32_t> updated;
  for (const auto& u : graph.updates()) updated.insert(u.state.index);
  const auto fixed = [&](ValueId v) {
    return graph.value(v).kind == ValueKind::State && !updated.contains(v.index);
  };
  // The state behind a value, which may be a cast of it.
  const auto source = [&](ValueId v) {
    const Node* cast = producer(graph, v, "cast");
    return cast != nullptr ? cast->inputs[0] : v;
  };

  GraphRewriter rw(graph);
  for (std::uint32_t i = 0; i < graph.nodes().size(); ++i) {
    const Node& n = graph.nodes()[i];
    const Node* conv = n.op == "batch_norm_infer" ? producer(graph, n.inputs[0], "conv2d") : nullptr;
    bool fold = conv != nullptr && users[n.inputs[0].index].size() == 1 && !escapes[n.inputs[0].index] &&
                attribute<std::string>(*conv, "activation").empty() &&
                !attribute<bool>(*conv, "has_residual");
    if (fold) {
      for (std::size_t k = 1; k < n.inputs.size(); ++k) fold = fold && fixed(n.inputs[k]);
      for (std::size_t k = 1; k < conv->inputs.size(); ++k) {
        const ValueId state = source(conv->inputs[k]);
        fold = fold && fixed(state) && graph.type(state).dtype == graph.type(n.inputs[1]).dtype;
      }
    }
    if (!fold && (n.op != "batch_norm_infer" || !fixed(n.inputs[4]))) {
      rw.copy({i});
      continue;
    }
    Graph& g = rw.graph();
    const auto value = [&](ValueId v) { return Value(g, rw(v)); };
    const auto full = [&](double c) {
      return apply0(g, "full",
                    op("full")
                        .attrs.with("value", c)
                        .with("dtype", graph.type(n.inputs[1]).dtype)
                        .with("shape", Shape{}),
                    n.loc);
    };
    const auto rstd = [&] {
      const Value var = apply1("add", {value(n.inputs[4]), full(attribute<double>(n, "eps"))}, {}, n.loc);
      return apply1("rsqrt", {var}, {}, n.loc);
    };
    const auto as_operand = [&](const Value& v) {
      const DType type = graph.type(conv->inputs[0]).dtype;
      return v.dtype() == type ? v : apply1("cast", {v}, op("cast").attrs.with("dtype", type), n.loc);
    };
    const auto saved = g.build;
    g.build.scopes.clear();
    g.build.scope_locs.clear();
    {
      Scope scope(g, cat(n.name, "/fold"), n.loc);
      const Value gamma = value(n.inputs[1]), beta = value(n.inputs[2]), mean = value(n.inputs[3]);
      if (!fold) {
        const Value y =
            apply1("batch_norm_apply", {value(n.inputs[0]), gamma, beta, mean, rstd()}, {}, n.loc);
        g.node(g.value(y.id()).producer).name = n.name;
        g.value(y.id()).name = graph.value(n.outputs[0]).name;
        rw.map(n.outputs[0], y.id());
      } else {
        const Value w = value(source(conv->inputs[1]));
        const Value s = apply1("mul", {gamma, rstd()}, {}, n.loc);
        const Value per_filter =
            apply1("reshape", {s}, op("reshape").attrs.with("shape", Shape{s.dim(0), 1, 1, 1}), n.loc);
        const Value weight = apply1("mul", {w, per_filter}, {}, n.loc);
        const bool has_bias = attribute<bool>(*conv, "has_bias");
        const Value shift = has_bias ? apply1("sub", {value(source(conv->inputs[2])), mean}, {}, n.loc)
                                     : apply1("neg", {mean}, {}, n.loc);
        const Value bias = apply1("add", {apply1("mul", {shift, s}, {}, n.loc), beta}, {}, n.loc);
        Node folded = *conv;
        folded.inputs = {rw(conv->inputs[0]), as_operand(weight).id(), as_operand(bias).id()};
        folded.attrs = conv->attrs.with("has_bias", true);
        const TensorType type = graph.type(n.outputs[0]);
        const NodeId made = g.add_node(std::move(folded), std::span(&type, 1));
        g.value(g.node(made).outputs[0]).name = graph.value(n.outputs[0]).name;
        rw.map(n.outputs[0], g.node(made).outputs[0]);
      }
    }
    g.build = saved;
  }
  PassContext none;
  return eliminate_dead_code(rw.finish(), none);
}

}  // namespace ingot
