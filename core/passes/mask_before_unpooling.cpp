// Masks before unpooling: the gradient of ReLU, applied after max pooling's gradient, moves in front of it.
//
//   where(y <= 0, 0, max_pool2d_grad(g, offset))  =  max_pool2d_grad(where(p <= 0, 0, g), offset),
//   p, offset = max_pool2d(y)
//
// A window's gradient reaches only the pixel whose value the window took, so y <= 0 there is p <= 0. The mask
// is computed over the pooled image, a quarter of the pixels for a 2 x 2 window, and y, the largest tensor of
// such a block, need not be kept for the backward pass.
#include "core/passes/match.h"
#include "core/passes/pass.h"

namespace ingot {

namespace {

struct Match {
  const Node *mask = nullptr, *unpool = nullptr, *pool = nullptr;
};

std::optional<Match> match(const Graph& g, const Node& where) {
  if (where.op != "where" || scalar_constant(g, where.inputs[1]) != 0.0) return {};
  const Match m{producer(g, where.inputs[0], "le"), producer(g, where.inputs[2], "max_pool2d_grad"), nullptr};
  if (m.mask == nullptr || m.unpool == nullptr || scalar_constant(g, m.mask->inputs[1]) != 0.0) return {};
  const Node* pool = producer(g, m.unpool->inputs[1], "max_pool2d");
  if (pool == nullptr || pool->outputs[1] != m.unpool->inputs[1] || pool->inputs[0] != m.mask->inputs[0])
    return {};
  // The constants must fit the smaller image as well.
  for (const ValueId zero : {where.inputs[1], m.mask->inputs[1]})
    if (g.type(zero).numel() != 1) return {};
  return Match{m.mask, m.unpool, pool};
}

}  // namespace

Graph mask_before_unpooling(const Graph& graph, PassContext&) {
  const auto users = graph.users();
  const auto escapes = escaping_values(graph);
  GraphRewriter rw(graph);
  for (std::uint32_t i = 0; i < graph.nodes().size(); ++i) {
    const Node& where = graph.nodes()[i];
    const auto m = match(graph, where);
    // A gradient that somebody else reads unmasked is made anyway.
    if (!m || users[where.inputs[2].index].size() != 1 || escapes[where.inputs[2].index]) {
      rw.copy({i});
      continue;
    }
    Graph& g = rw.graph();
    const auto add = [&](const Node& like, std::vector<ValueId> inputs, const TensorType& type) {
      Node n = like;
      n.inputs = std::move(inputs);
      return g.node(g.add_node(std::move(n), std::span(&type, 1))).outputs[0];
    };
    const ValueId pooled = m->pool->outputs[0], grad = m->unpool->inputs[0];
    const ValueId mask = add(*m->mask, {rw(pooled), rw(m->mask->inputs[1])},
                             {DType::Bool, graph.type(pooled).shape, graph.type(pooled).layout});
    const ValueId masked = add(where, {mask, rw(where.inputs[1]), rw(grad)}, graph.type(grad));
    const ValueId result = add(*m->unpool, {masked, rw(m->unpool->inputs[1])}, graph.type(where.outputs[0]));
    g.value(result).name = graph.value(where.outputs[0]).name;
    rw.map(where.outputs[0], result);
  }
  PassContext none;
  return eliminate_dead_code(rw.finish(), none);
}

}  // namespace ingot
