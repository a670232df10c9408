// Epilogues: what follows a convolution, matrix product or batch norm and is free inside it.
//
// Forward: conv2d | matmul | batch_norm | batch_norm_apply, then + bias, + residual, an activation, each read
// by nobody else, become attributes of the first node. The fused node stands where the last of them stood,
// since the residual may be computed in between. All take relu, batch norm and convolutions relu6 too, which
// is where(v >= 6, 6, relu(v)), and whose gradient's two conditions hold of the result as of v; of
// convolutions the backend is asked whether the kernel that it has for them takes an activation other than
// relu along. Backward: batch_norm_grad whose incoming gradient is masked by its own activation's result
// applies the mask itself and hands the masked gradient on to the residual branch. Where that gradient,
// masked or not, is the sum of two, batch_norm_grad reads both.
#include <unordered_map>

#include "core/op/builder.h"
#include "core/ops/activation.h"
#include "core/passes/match.h"
#include "core/passes/pass.h"

namespace ingot {

namespace {

constexpr const char* kRelu6 = "relu6";

double top_of_relu6() {
  return activation_of("fuse-epilogues", kRelu6).most;
}

// where(ge(v, 6), 6, relu(v)).
struct Relu6 {
  std::uint32_t ge = 0, relu = 0, where = 0;
};

struct Chain {
  std::uint32_t root = 0;  // the last node of the chain
  ValueId bias, residual;
  std::string activation;
  std::optional<Relu6> relu6;            // where it is that
  std::vector<std::uint32_t> swallowed;  // nodes that go, the base included
};

class EpilogueFusion {
 public:
  EpilogueFusion(const Graph& graph, const PassContext& context)
      : graph_(graph), context_(context), users_(graph.users()), escapes_(escaping_values(graph)) {}

  Graph run() {
    find_forward();
    GraphRewriter rw(graph_);
    for (std::uint32_t i = 0; i < graph_.nodes().size(); ++i) {
      if (const auto it = base_of_root_.find(i); it != base_of_root_.end()) {
        emit(rw, it->second);
      } else if (!swallowed_[i]) {
        rw.copy({i});
      }
    }
    return rw.finish();
  }

 private:
  const Node& node(std::uint32_t i) const { return graph_.nodes()[i]; }

  static bool is_norm(const Node& n) { return n.op == "batch_norm" || n.op == "batch_norm_apply"; }
  static bool plain(const Node& n) { return attribute<std::string>(n, "activation").empty(); }

  void find_forward() {
    swallowed_.assign(graph_.nodes().size(), false);
    for (std::uint32_t i = 0; i < graph_.nodes().size(); ++i) {
      const Node& n = node(i);
      if (n.op != "conv2d" && n.op != "matmul" && !is_norm(n)) continue;
      if (swallowed_[i] || !plain(n)) continue;
      Chain c = follow(i);
      if (c.root == i) continue;
      // Other results of the base (batch statistics) must not be read before the fused node runs.
      bool early = false;
      for (std::size_t k = 1; k < n.outputs.size(); ++k)
        for (const NodeId u : users_[n.outputs[k].index]) early = early || u.index < c.root;
      if (early) continue;
      for (const std::uint32_t s : c.swallowed) swallowed_[s] = true;
      base_of_root_[c.root] = i;
      chains_[i] = std::move(c);
    }
  }

  Chain follow(std::uint32_t base) const {
    const Node& n = node(base);
    Chain c;
    c.root = base;
    c.swallowed = {base};
    ValueId v = n.outputs[0];
    const bool may_bias = !is_norm(n) && !attribute<bool>(n, "has_bias");
    const bool may_add = !attribute<bool>(n, "has_residual");
    while (c.activation.empty() && !escapes_[v.index]) {
      if (const auto clip = relu6_of(v); clip && takes(base, c, kRelu6)) {
        c.activation = kRelu6;
        c.relu6 = clip;
        c.swallowed.insert(c.swallowed.end(), {clip->ge, clip->relu, clip->where});
        c.root = clip->where;
        break;
      }
      if (users_[v.index].size() != 1) break;
      const std::uint32_t u = users_[v.index][0].index;
      const Node& next = node(u);
      if (swallowed_[u] || graph_.type(next.outputs[0]) != graph_.type(v)) break;
      if (takes(base, c, next.op)) {
        c.activation = next.op;
      } else if (next.op == "add") {
        const ValueId other = next.inputs[0] == v ? next.inputs[1] : next.inputs[0];
        if (may_bias && !c.bias.valid() && !c.residual.valid() && is_bias(n, other)) {
          c.bias = other;
        } else if (may_add && !c.residual.valid() && graph_.type(other) == graph_.type(v)) {
          c.residual = other;
        } else {
          break;
        }
      } else {
        break;
      }
      c.swallowed.push_back(u);
      c.root = u;
      v = next.outputs[0];
    }
    return c;
  }

  // The ReLU6 of v whose nodes nobody reads but it and the masks of its gradient.
  std::optional<Relu6> relu6_of(ValueId v) const {
    if (users_[v.index].size() != 2) return {};
    Relu6 r{users_[v.index][0].index, users_[v.index][1].index};
    if (node(r.ge).op != "ge") std::swap(r.ge, r.relu);
    const Node &ge = node(r.ge), &relu = node(r.relu);
    const double top = top_of_relu6();
    if (ge.op != "ge" || relu.op != "relu" || ge.inputs[0] != v ||
        scalar_constant(graph_, ge.inputs[1]) != top)
      return {};
    const ValueId above = ge.outputs[0], cut = relu.outputs[0];
    if (swallowed_[r.ge] || swallowed_[r.relu] || escapes_[above.index] || escapes_[cut.index]) return {};
    for (const NodeId u : users_[cut.index]) {
      const Node& n = node(u.index);
      if (n.op == "where" && n.inputs[0] == above && n.inputs[2] == cut &&
          scalar_constant(graph_, n.inputs[1]) == top && graph_.type(n.outputs[0]) == graph_.type(v))
        r.where = u.index;
    }
    if (r.where == 0) return {};
    // What else reads them stands behind, and can look at the result in their place.
    for (const NodeId u : users_[cut.index]) {
      const Node& n = node(u.index);
      const bool mask = n.op == "le" && n.inputs[0] == cut && scalar_constant(graph_, n.inputs[1]) == 0.0;
      if (u.index != r.where && !(mask && u.index > r.where)) return {};
    }
    for (const NodeId u : users_[above.index])
      if (u.index < r.where) return {};
    return r;
  }

  // Whether the base has this activation as an epilogue.
  bool takes(std::uint32_t base, const Chain& c, const std::string& activation) const {
    const Node& n = node(base);
    if (activation == "relu") return true;
    if (is_norm(n)) return activation == kRelu6;
    if (n.op != "conv2d" || !context_.accelerates) return false;
    if (activation != kRelu6) {
      const ScalarOp f = find_scalar_op(activation);
      if (f == ScalarOp::None || info(f).arity != 1 || info(f).kind != ScalarKind::Float) return false;
    }
    Node made = n;
    std::vector<TensorType> inputs;
    for (const ValueId v : n.inputs) inputs.push_back(graph_.type(v));
    const TensorType y = graph_.type(n.outputs[0]);
    if (c.bias.valid()) {
      made.inputs.push_back(c.bias);
      inputs.push_back({y.dtype, Shape{y.shape[1]}});
    }
    if (c.residual.valid()) {
      made.inputs.push_back(c.residual);
      inputs.push_back(y);
    }
    made.attrs = attributes(n, c).with("activation", activation);
    const Graph alone = node_alone(made, inputs, std::span(&y, 1));
    return context_.accelerates(alone, alone.nodes()[0]);
  }

  static Attrs attributes(const Node& n, const Chain& c) {
    Attrs a = n.attrs;
    if (c.bias.valid()) a = a.with("has_bias", true);
    if (c.residual.valid()) a = a.with("has_residual", true);
    if (!c.activation.empty()) a = a.with("activation", c.activation);
    return a;
  }

  // One number per output channel (axis 1 of a convolution, the last axis of a product).
  bool is_bias(const Node& base, ValueId v) const {
    const Shape &s = graph_.type(v).shape, &y = graph_.type(base.outputs[0]).shape;
    const int from_end = base.op == "conv2d" ? 3 : 1;
    if (s.rank() < from_end || s[-from_end] != y[-from_end] || s.numel() != s[-from_end]) return false;
    return graph_.type(v).dtype == graph_.type(base.outputs[0]).dtype;
  }

  void emit(GraphRewriter& rw, std::uint32_t base) {
    const Chain& c = chains_.at(base);
    const Node& n = node(base);
    Node fused = n;
    for (auto& v : fused.inputs) v = rw(v);
    if (c.bias.valid()) {
      Value bias(rw.graph(), rw(c.bias));
      if (bias.rank() != 1) {
        Scope scope(rw.graph(), n.name, n.loc);
        bias =
            apply1("reshape", {bias}, op("reshape").attrs.with("shape", Shape{bias.shape().numel()}), n.loc);
      }
      fused.inputs.push_back(bias.id());
    }
    if (c.residual.valid()) fused.inputs.push_back(rw(c.residual));
    fused.attrs = attributes(n, c);
    std::vector<TensorType> types;
    for (const ValueId v : n.outputs) types.push_back(graph_.type(v));
    const NodeId made = rw.graph().add_node(std::move(fused), types);
    for (std::size_t k = 0; k < n.outputs.size(); ++k) {
      const ValueId old = k == 0 ? node(c.root).outputs[0] : n.outputs[k];
      rw.map(old, rw.graph().node(made).outputs[k]);
      rw.graph().value(rw.graph().node(made).outputs[k]).name = graph_.value(old).name;
    }
    if (c.relu6) show_masks(rw, *c.relu6, rw.graph().node(made).outputs[0]);
  }

  // The masks of a ReLU6's gradient look at its result y: v >= 6 is y >= 6, and relu(v) <= 0 is y <= 0.
  void show_masks(GraphRewriter& rw, const Relu6& r, ValueId y) {
    rw.map(node(r.relu).outputs[0], y);
    const Node& ge = node(r.ge);
    if (users_[ge.outputs[0].index].size() == 1) return;
    Node again = ge;
    again.inputs = {y, rw(ge.inputs[1])};
    const TensorType type = graph_.type(ge.outputs[0]);
    const NodeId made = rw.graph().add_node(std::move(again), std::span(&type, 1));
    rw.map(ge.outputs[0], rw.graph().node(made).outputs[0]);
  }

  const Graph& graph_;
  const PassContext& context_;
  std::vector<std::vector<NodeId>> users_;
  std::vector<bool> escapes_, swallowed_;
  std::unordered_map<std::uint32_t, std::uint32_t> base_of_root_;
  std::unordered_map<std::uint32_t, Chain> chains_;
};

// The fused forward batch_norm that belongs to a batch_norm_grad: the one whose statistics it reads.
const Node* forward_of(const Graph& g, const Node& grad) {
  const Node* f = producer(g, grad.inputs[3], "batch_norm");
  return f != nullptr && f->outputs[1] == grad.inputs[3] ? f : nullptr;
}

// The gradient behind an activation with the result y, where `mask` makes it 0 where that is flat.
ValueId unmasked(const Graph& g, const Node& mask, ValueId y, const LastFunction& act) {
  const ValueId below = unmask(g, mask, y);
  if (!below.valid() || !act.has_top()) return below;
  const Node* where = producer(g, below, "where");
  if (where == nullptr || scalar_constant(g, where->inputs[1]) != 0.0) return {};
  const Node* ge = producer(g, where->inputs[0], "ge");
  if (ge == nullptr || ge->inputs[0] != y || scalar_constant(g, ge->inputs[1]) != act.most) return {};
  return where->inputs[2];
}

Graph fuse_masks(const Graph& graph) {
  const auto users = graph.users();
  const auto escapes = escaping_values(graph);
  GraphRewriter rw(graph);
  for (std::uint32_t i = 0; i < graph.nodes().size(); ++i) {
    const Node& n = graph.nodes()[i];
    if (n.op != "batch_norm_grad" || !attribute<std::string>(n, "activation").empty()) {
      rw.copy({i});
      continue;
    }
    const Node* forward = forward_of(graph, n);
    const Node* mask = producer(graph, n.inputs[0]);
    ValueId g;
    const std::string activation =
        forward != nullptr ? attribute<std::string>(*forward, "activation") : std::string();
    if (!activation.empty() && mask != nullptr && !escapes[n.inputs[0].index])
      g = unmasked(graph, *mask, forward->outputs[0], clip_of(n.op, activation));
    // Other readers of the masked gradient get it from this node, so they must come later.
    bool others = false, early = false;
    for (const NodeId u : users[n.inputs[0].index]) {
      others = others || u.index != i;
      early = early || u.index < i;
    }
    if (!g.valid() || early) {
      rw.copy({i});
      continue;
    }
    Node fused = n;
    for (auto& v : fused.inputs) v = rw(v);
    fused.inputs[0] = rw(g);
    // Without a residual the mask is in x, which is read anyway.
    const bool from_x = !attribute<bool>(*forward, "has_residual");
    fused.inputs.push_back(rw(from_x ? forward->inputs[2] : forward->outputs[0]));
    fused.attrs =
        fused.attrs.with("activation", activation).with("has_residual", others).with("mask_from_x", from_x);
    std::vector<TensorType> types;
    for (const ValueId v : n.outputs) types.push_back(graph.type(v));
    if (others) types.push_back(graph.type(n.inputs[0]));
    const NodeId made = rw.graph().add_node(std::move(fused), types);
    for (std::size_t k = 0; k < n.outputs.size(); ++k) rw.map(n.outputs[k], rw.graph().node(made).outputs[k]);
    if (others) rw.map(n.inputs[0], rw.graph().node(made).outputs.back());  // the `where` node is dead now
  }
  PassContext none;
  return eliminate_dead_code(rw.finish(), none);
}

// batch_norm_grad(a + b, ...), with a sum that nobody else reads.
Graph fuse_two_gradients(const Graph& graph) {
  const auto users = graph.users();
  const auto escapes = escaping_values(graph);
  GraphRewriter rw(graph);
  for (std::uint32_t i = 0; i < graph.nodes().size(); ++i) {
    const Node& n = graph.nodes()[i];
    const Node* add = n.op == "batch_norm_grad" && !attribute<bool>(n, "has_dy2")
                          ? producer(graph, n.inputs[0], "add")
                          : nullptr;
    const bool alone = add != nullptr && users[n.inputs[0].index].size() == 1 && !escapes[n.inputs[0].index];
    if (!alone || graph.type(add->inputs[0]) != graph.type(n.inputs[0]) ||
        graph.type(add->inputs[1]) != graph.type(n.inputs[0])) {
      rw.copy({i});
      continue;
    }
    Node fused = n;
    for (auto& v : fused.inputs) v = rw(v);
    fused.inputs[0] = rw(add->inputs[0]);
    fused.inputs.push_back(rw(add->inputs[1]));
    fused.attrs = fused.attrs.with("has_dy2", true);
    std::vector<TensorType> types;
    for (const ValueId v : n.outputs) types.push_back(graph.type(v));
    const NodeId made = rw.graph().add_node(std::move(fused), types);
    for (std::size_t k = 0; k < n.outputs.size(); ++k) rw.map(n.outputs[k], rw.graph().node(made).outputs[k]);
  }
  PassContext none;
  return eliminate_dead_code(rw.finish(), none);
}

}  // namespace

Graph fuse_epilogues(const Graph& graph, PassContext& context) {
  return fuse_two_gradients(fuse_masks(EpilogueFusion(graph, context).run()));
}

}  // namespace ingot
