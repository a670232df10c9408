// Concatenations that only batch norms read are not made: their pieces are (core/ops/concat_norm.h).
//
//   c = concat(a, b);  d = concat(c, e)
//   batch_norm(d, ...)           ->  concat_batch_norm(..., a, b, e), and batch_norm_apply likewise
//   batch_norm_grad(dy, d, ...)  ->  concat_batch_norm_grad(dy, ..., a, b, e), whose results are dx in pieces
//   slice(dx, some of its pieces), dx + dx2  ->  the pieces themselves, and sums of pieces
//
// A sum with a gradient that is in pieces already becomes the operand of the later batch norm's gradient.
// Whatever else reads a gradient in pieces reads their concatenation, made for it. A concatenation goes only
// when each of its readers can do without it and the backend has kernels for what they become.
#include <algorithm>
#include <map>
#include <set>

#include "core/ops/concat_norm.h"
#include "core/ops/norm.h"
#include "core/ops/view.h"
#include "core/passes/match.h"
#include "core/passes/pass.h"

namespace ingot {

namespace {

// Values side by side along axis 1, in the old graph or in the new one.
using Split = std::vector<ValueId>;

class ConcatFusion {
 public:
  ConcatFusion(const Graph& graph, const PassContext& context)
      : graph_(graph),
        context_(context),
        rw_(graph),
        users_(graph.users()),
        escapes_(escaping_values(graph)) {
    for (const auto& gradient : graph.gradients()) escapes_[gradient.value.index] = true;
  }

  Graph run() {
    for (std::size_t i = graph_.nodes().size(); i-- > 0;) choose(graph_.nodes()[i]);
    if (fused_.empty()) return graph_;
    for (std::uint32_t i = 0; i < graph_.nodes().size(); ++i) node(i);
    for (std::uint32_t v = 0; v < escapes_.size(); ++v)
      if (escapes_[v]) whole(ValueId{v});
    return rw_.finish();
  }

 private:
  static bool joins_channels(const Graph& g, const Node& n) {
    if (n.op != "concat") return false;
    const int rank = g.type(n.outputs[0]).shape.rank();
    const std::int64_t axis = n.attrs.as<ConcatAttrs>().axis;
    return rank >= 2 && (axis == 1 || axis == 1 - rank);
  }

  // Notes a concatenation that need not be made. Readers come first: they say whether they read pieces.
  void choose(const Node& n) {
    if (!joins_channels(graph_, n)) return;
    const ValueId c = n.outputs[0];
    if (escapes_[c.index] || users_[c.index].empty()) return;
    for (const NodeId u : users_[c.index])
      if (const Node& reader = graph_.node(u);
          !fused_.contains(reader.outputs[0].index) && !reads_pieces(reader, c))
        return;
    fused_.insert(c.index);
  }

  // The pieces of a concatenation, of the old graph: those of its operands where these are not made either.
  Split pieces(ValueId v) const {
    const Node* n = producer(graph_, v);
    if (n == nullptr || !joins_channels(graph_, *n)) return {v};
    Split all;
    for (const ValueId operand : n->inputs) {
      const Split some = fused_.contains(operand.index) ? pieces(operand) : Split{operand};
      all.insert(all.end(), some.begin(), some.end());
    }
    return all;
  }

  bool reads_pieces(const Node& n, ValueId c) const {
    if (n.op == "batch_norm") {
      const auto& at = n.attrs.as<BatchNormAttrs>();
      return n.inputs[0] == c && !at.has_residual && accelerated(forward(n, pieces(c)));
    }
    if (n.op == "batch_norm_apply")
      return n.inputs[0] == c && !n.attrs.as<BatchNormApplyAttrs>().has_residual &&
             accelerated(forward(n, pieces(c)));
    if (n.op == "batch_norm_grad") {
      const auto& at = n.attrs.as<BatchNormGradAttrs>();
      return n.inputs[1] == c && n.inputs[0] != c && !at.has_residual && !at.has_dy2 &&
             at.mask_from_x == !at.activation.empty() && accelerated(backward(n, pieces(c), {}));
    }
    return false;
  }

  static Node forward(const Node& n, const Split& x) {
    Node made = n;
    if (n.op == "batch_norm") {
      const auto& at = n.attrs.as<BatchNormAttrs>();
      made.op = "concat_batch_norm";
      made.attrs = ConcatBatchNormAttrs{
          .eps = at.eps, .momentum = at.momentum, .has_valid = at.has_valid, .activation = at.activation};
    } else {
      const auto& at = n.attrs.as<BatchNormApplyAttrs>();
      made.op = "concat_batch_norm_apply";
      made.attrs = ConcatBatchNormApplyAttrs{.has_valid = at.has_valid, .activation = at.activation};
    }
    made.inputs.erase(made.inputs.begin());
    made.inputs.insert(made.inputs.end(), x.begin(), x.end());
    return made;
  }
  static Node backward(const Node& n, const Split& x, const Split& added) {
    const auto& at = n.attrs.as<BatchNormGradAttrs>();
    Node made = n;
    made.op = "concat_batch_norm_grad";
    made.attrs = ConcatBatchNormGradAttrs{
        .eps = at.eps, .has_valid = at.has_valid, .has_added = !added.empty(), .activation = at.activation};
    made.inputs.erase(made.inputs.begin() + 1);
    made.inputs.insert(made.inputs.end(), x.begin(), x.end());
    made.inputs.insert(made.inputs.end(), added.begin(), added.end());
    return made;
  }

  static std::vector<TensorType> types(const Graph& g, const Split& values) {
    std::vector<TensorType> out;
    for (const ValueId v : values) out.push_back(g.type(v));
    return out;
  }
  static std::vector<TensorType> results(const Graph& g, const Node& n) {
    return infer(op(n.op), n.attrs, types(g, n.inputs));
  }
  bool accelerated(const Node& made) const {
    const Graph alone = node_alone(made, types(graph_, made.inputs), results(graph_, made));
    return context_.accelerates(alone, alone.nodes()[0]);
  }

  // Adds a node whose operands are of the new graph; its results.
  Split add(Node n) {
    n.outputs.clear();
    const std::vector<TensorType> made = results(rw_.graph(), n);
    return rw_.graph().node(rw_.graph().add_node(std::move(n), made)).outputs;
  }

  // The new value of an old one, concatenated where it was in pieces.
  ValueId whole(ValueId v) {
    const auto it = split_.find(v.index);
    if (it == split_.end()) return rw_(v);
    Node n = *producer(graph_, v);
    n.op = "concat";
    n.attrs = ConcatAttrs{1};
    n.inputs = it->second;
    rw_.map(v, add(std::move(n))[0]);
    split_.erase(it);
    return rw_(v);
  }
  Split new_pieces(ValueId concatenation) {
    Split x;
    for (const ValueId v : pieces(concatenation)) x.push_back(whole(v));
    return x;
  }
  bool cut_alike(const Split& a, const Split& b) {
    if (a.size() != b.size()) return false;
    for (std::size_t i = 0; i < a.size(); ++i)
      if (!(rw_.graph().type(a[i]) == rw_.graph().type(b[i]))) return false;
    return true;
  }
  void set(ValueId v, const Split& s) {
    if (s.size() == 1)
      rw_.map(v, s[0]);
    else
      split_[v.index] = s;
  }

  void node(std::uint32_t i) {
    const Node& n = graph_.nodes()[i];
    if (done_.contains(i) || fused_.contains(n.outputs[0].index)) return;
    if ((n.op == "batch_norm" || n.op == "batch_norm_apply") && fused_.contains(n.inputs[0].index))
      return norm(n);
    if (n.op == "batch_norm_grad" && fused_.contains(n.inputs[1].index)) return gradient(n);
    if (n.op == "slice" && sliced(n)) return;
    if (n.op == "add" && added(n)) return;
    for (const ValueId v : n.inputs) whole(v);
    rw_.copy({i});
  }

  void norm(const Node& n) {
    Node made = forward(n, new_pieces(n.inputs[0]));
    for (std::size_t k = 0; k + 1 < n.inputs.size(); ++k) made.inputs[k] = whole(n.inputs[k + 1]);
    const Split out = add(std::move(made));
    for (std::size_t k = 0; k < out.size(); ++k) rw_.map(n.outputs[k], out[k]);
  }

  void gradient(const Node& n) {
    const Split x = new_pieces(n.inputs[1]);
    // The sum that alone reads dx, with another gradient in the same pieces.
    ValueId result = n.outputs[0];
    Split others;
    const auto& readers = users_[result.index];
    if (readers.size() == 1 && !escapes_[result.index] && graph_.node(readers[0]).op == "add") {
      const Node& sum = graph_.node(readers[0]);
      const auto it = split_.find(sum.inputs[sum.inputs[0] == result ? 1 : 0].index);
      if (sum.inputs[0] != sum.inputs[1] && it != split_.end() && cut_alike(it->second, x)) {
        others = it->second;
        result = sum.outputs[0];
        done_.insert(readers[0].index);
      }
    }
    Node made = backward(n, x, others);
    made.inputs[0] = whole(n.inputs[0]);
    for (std::size_t k = 2; k < n.inputs.size(); ++k) made.inputs[k - 1] = whole(n.inputs[k]);
    const Split out = add(std::move(made));
    set(result, Split(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(x.size())));
    rw_.map(n.outputs[1], out[x.size()]);
    rw_.map(n.outputs[2], out[x.size() + 1]);
  }

  // A slice whose ends lie between pieces is these pieces.
  bool sliced(const Node& n) {
    const auto it = split_.find(n.inputs[0].index);
    if (it == split_.end()) return false;
    const Shape &from = graph_.type(n.inputs[0]).shape, &to = graph_.type(n.outputs[0]).shape;
    const auto& at = n.attrs.as<SliceAttrs>();
    if (at.starts.size() != static_cast<std::size_t>(from.rank())) return false;
    for (int d = 0; d < from.rank(); ++d)
      if (at.starts[static_cast<std::size_t>(d)] < 0 || at.steps[static_cast<std::size_t>(d)] != 1 ||
          (d != 1 && from[d] != to[d]))
        return false;
    Split taken;
    std::int64_t before = 0;
    for (const ValueId v : it->second) {
      const std::int64_t channels = rw_.graph().type(v).shape[1];
      if (before >= at.starts[1] && before + channels <= at.starts[1] + to[1]) taken.push_back(v);
      before += channels;
    }
    std::int64_t channels = 0;
    for (const ValueId v : taken) channels += rw_.graph().type(v).shape[1];
    if (channels != to[1] || taken.empty()) return false;
    set(n.outputs[0], taken);
    return true;
  }

  bool added(const Node& n) {
    const auto a = split_.find(n.inputs[0].index), b = split_.find(n.inputs[1].index);
    if (a == split_.end() || b == split_.end() || !cut_alike(a->second, b->second)) return false;
    Split sums;
    for (std::size_t i = 0; i < a->second.size(); ++i) {
      Node one = n;
      one.inputs = {a->second[i], b->second[i]};
      sums.push_back(add(std::move(one))[0]);
    }
    set(n.outputs[0], sums);
    return true;
  }

  const Graph& graph_;
  const PassContext& context_;
  GraphRewriter rw_;
  std::vector<std::vector<NodeId>> users_;
  std::vector<bool> escapes_;
  std::set<std::uint32_t> fused_;         // old concatenations that are not made
  std::set<std::uint32_t> done_;          // old nodes whose results there are already
  std::map<std::uint32_t, Split> split_;  // old values that are there in pieces, of the new graph
};

}  // namespace

Graph fuse_concat(const Graph& graph, PassContext& context) {
  const bool concatenates =
      std::any_of(graph.nodes().begin(), graph.nodes().end(), [](const Node& n) { return n.op == "concat"; });
  if (!context.accelerates || !concatenates) return graph;
  return ConcatFusion(graph, context).run();
}

}  // namespace ingot
