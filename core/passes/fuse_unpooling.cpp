// Unpooling, fused: the gradients of a convolution read the pooled image's gradient and the offsets.
//
//   u = max_pool2d_grad(g, offset)
//   conv2d_grad_input(u, w)   ->  conv2d_grad_input_unpooled(g, offset, w)
//   conv2d_grad_weight(x, u)  ->  conv2d_grad_weight_unpooled(x, g, offset)
//   reduce_sum(u, rows and columns among the axes)  ->  reduce_sum(g, ...)
//
// u is the largest tensor of such a block's backward pass and mostly zeros. It goes only when every reader
// can do without it and the backend has a kernel for each convolution.
#include "core/ops/reduce.h"
#include "core/ops/unpooled_conv.h"
#include "core/passes/match.h"
#include "core/passes/pass.h"

namespace ingot {

namespace {

// A window that reaches only padding hands its gradient to nobody.
bool every_window_sees_a_pixel(const MaxPool2dGradAttrs& p) {
  return p.dilation == std::array<std::int64_t, 2>{1, 1};  // padding is at most half a window
}

class UnpoolingFusion {
 public:
  UnpoolingFusion(const Graph& graph, const PassContext& context)
      : graph_(graph), context_(context), users_(graph.users()), escapes_(escaping_values(graph)) {}

  Graph run() {
    GraphRewriter rw(graph_);
    for (std::uint32_t i = 0; i < graph_.nodes().size(); ++i) {
      const Node& n = graph_.nodes()[i];
      if (n.op == "max_pool2d_grad" && replace_readers(n)) continue;
      const auto it = replaced_.find(i);
      if (it == replaced_.end()) {
        rw.copy({i});
        continue;
      }
      Node made = it->second;
      for (ValueId& v : made.inputs) v = rw(v);
      const TensorType type = graph_.type(n.outputs[0]);
      const ValueId result =
          rw.graph().node(rw.graph().add_node(std::move(made), std::span(&type, 1))).outputs[0];
      rw.graph().value(result).name = graph_.value(n.outputs[0]).name;
      rw.map(n.outputs[0], result);
    }
    return rw.finish();
  }

 private:
  // Offsets of other windows may name no pixel of these.
  bool same_windows(const Node& pool, const Node& unpool) const {
    const auto& a = pool.attrs.as<MaxPool2dAttrs>();
    const auto& b = unpool.attrs.as<MaxPool2dGradAttrs>();
    return a.kernel == b.kernel && a.stride == b.stride && a.padding == b.padding &&
           a.dilation == b.dilation && graph_.type(pool.inputs[0]).shape == b.input_shape;
  }

  // Notes what each reader becomes; false when one of them needs the unpooled gradient.
  bool replace_readers(const Node& unpool) {
    const ValueId u = unpool.outputs[0];
    const Node* pool = producer(graph_, unpool.inputs[1], "max_pool2d");
    if (escapes_[u.index] || users_[u.index].empty() || pool == nullptr || !same_windows(*pool, unpool))
      return false;
    std::map<std::uint32_t, Node> made;
    for (const NodeId id : users_[u.index]) {
      auto node = without_unpooling(graph_.node(id), unpool);
      if (!node) return false;
      made.emplace(id.index, std::move(*node));
    }
    replaced_.merge(made);
    return true;
  }

  std::optional<Node> without_unpooling(const Node& reader, const Node& unpool) const {
    const auto& pool = unpool.attrs.as<MaxPool2dGradAttrs>();
    const ValueId u = unpool.outputs[0], dy = unpool.inputs[0], offset = unpool.inputs[1];
    Node made = reader;
    if (reader.op == "reduce_sum") {
      const auto& at = reader.attrs.as<ReduceAttrs>();
      const auto reduced = ops::reduced_axes(at.axes, graph_.type(u).shape);
      if (!reduced[2] || !reduced[3] || !every_window_sees_a_pixel(pool)) return {};
      made.inputs = {dy};
      return made;
    }
    if (reader.op == "conv2d_grad_input" && reader.inputs[1] != u) {
      const auto& at = reader.attrs.as<Conv2dGradInputAttrs>();
      Conv2dGradInputUnpooledAttrs to;
      to.set_conv(at);
      to.set_pool(pool);
      to.input_shape = at.input_shape;
      made.op = "conv2d_grad_input_unpooled";
      made.attrs = to;
      made.inputs = {dy, offset, reader.inputs[1]};
    } else if (reader.op == "conv2d_grad_weight" && reader.inputs[0] != u) {
      const auto& at = reader.attrs.as<Conv2dGradWeightAttrs>();
      Conv2dGradWeightUnpooledAttrs to;
      to.set_conv(at);
      to.set_pool(pool);
      to.weight_shape = at.weight_shape;
      made.op = "conv2d_grad_weight_unpooled";
      made.attrs = to;
      made.inputs = {reader.inputs[0], dy, offset};
    } else {
      return {};
    }
    return accelerated(made, reader) ? std::optional(made) : std::nullopt;
  }

  bool accelerated(const Node& made, const Node& like) const {
    std::vector<TensorType> inputs;
    for (const ValueId v : made.inputs) inputs.push_back(graph_.type(v));
    const TensorType output = graph_.type(like.outputs[0]);
    const Graph alone = node_alone(made, inputs, std::span(&output, 1));
    return context_.accelerates(alone, alone.nodes()[0]);
  }

  const Graph& graph_;
  const PassContext& context_;
  std::vector<std::vector<NodeId>> users_;
  std::vector<bool> escapes_;
  std::map<std::uint32_t, Node> replaced_;
};

}  // namespace

Graph fuse_unpooling(const Graph& graph, PassContext& context) {
  if (!context.accelerates) return graph;
  return UnpoolingFusion(graph, context).run();
}

}  // namespace ingot
