// Sums of batch norm, made by the convolution that makes what they are sums of (core/ops/conv_norm.h).
//
//   y = conv2d(x, w);  batch_norm(y, ...)
//     ->  y, sums = conv2d_sums(x, w);  batch_norm_statistics(sums, ...), batch_norm_apply(y, ...)
//   d = conv2d_grad_input(...);  batch_norm_grad(d [+ d2], masked by its ReLU)
//     ->  u, sums = conv2d_grad_input_sums(...);  batch_norm_grad_apply(u, sums)
//
// Where two batch norms were added, as at the end of a block that changes the image's size, both are applied
// at once and the second's result is not stored: batch_norm_apply_two, and the same ops with has_second.
//
// Forward the statistics need not read y. Backward d is masked (and added to d2, where the batch norm has a
// residual and its result two readers) before it is stored, which also serves a second batch norm that reads
// the masked gradient. Only where the backend has a kernel that does that.
//
// Rows of a short batch that do not count are summed with the others, so they must be 0: results and
// gradients of batch norm are, and what convolutions without a bias, sums, maxima and masks make of them.
#include <map>
#include <set>
#include <utility>

#include "core/op/builder.h"
#include "core/ops/conv_norm.h"
#include "core/ops/norm.h"
#include "core/passes/match.h"
#include "core/passes/pass.h"

namespace ingot {

namespace {

class SumsFusion {
 public:
  SumsFusion(const Graph& graph, PassContext& context)
      : graph_(graph),
        context_(context),
        users_(graph.users()),
        escapes_(escaping_values(graph)),
        rw_(graph) {}

  Graph run() {
    const auto count = static_cast<std::uint32_t>(graph_.nodes().size());
    for (std::uint32_t i = 0; i < count; ++i) find(i);
    for (std::uint32_t i = 0; i < count; ++i) {
      const Node& n = graph_.nodes()[i];
      if (sums_.contains(i)) {
        emit_conv(n);
      } else if (const auto at = sums_of(n); at != made_.end()) {
        emit_batch_norm(n, at->second);
      } else if (const auto masked = masked_.find(i); masked != masked_.end()) {
        emit_masked(i, masked->second);
      } else if (const auto left = applied_.find(i); left != applied_.end()) {
        if (done_.insert(i).second) emit_apply(i, left->second);
      } else {
        rw_.copy({i});
      }
    }
    return eliminate_dead_code(rw_.finish(), context_);
  }

 private:
  // A convolution's results in the new graph: the image, then its two sums.
  using Made = std::vector<ValueId>;

  // A masked gradient and how it is made; `grad` is the batch_norm_grad whose sums come with it, `second`
  // that of the other batch norm, or kNone.
  static constexpr std::uint32_t kNone = NodeId::kNone;
  struct Masked {
    Node node;  // operands of the old graph
    std::uint32_t grad = 0, second = kNone;
  };

  void find(std::uint32_t i) {
    const Node& n = graph_.nodes()[i];
    if (n.op == "conv2d") {
      if (feeds_batch_norm(n) && accelerated(with_sums(n))) sums_.insert(i);
    } else if (n.op == "batch_norm_grad") {
      find_masked(i);
    }
  }

  static bool plain(const Node& conv) {
    const auto& at = conv.attrs.as<Conv2dAttrs>();
    return !at.has_bias && !at.has_residual && at.activation.empty();
  }

  bool feeds_batch_norm(const Node& conv) const {
    if (!plain(conv)) return false;
    for (const NodeId u : users_[conv.outputs[0].index])
      if (normalises(graph_.node(u), conv.outputs[0])) return true;
    return false;
  }
  bool normalises(const Node& n, ValueId x) const {
    return n.op == "batch_norm" && n.inputs[0] == x && zero_where_not_valid(x, valid_of(n));
  }

  // How many rows of a batch norm or its gradient count, where somebody says so.
  static ValueId valid_of(const Node& n) { return attribute<bool>(n, "has_valid") ? n.inputs[5] : ValueId{}; }

  // Whether v is 0 in the rows behind the first `valid`. Asked once of each value: sums of sums would double
  // the work with every node.
  bool zero_where_not_valid(ValueId v, ValueId valid) const {
    const auto [at, fresh] = zero_.try_emplace({v.index, valid.index}, false);
    if (fresh) at->second = makes_zero(v, valid);
    return at->second;
  }
  bool makes_zero(ValueId v, ValueId valid) const {
    const auto zero = [&](ValueId w) { return zero_where_not_valid(w, valid); };
    const Node* n = valid.valid() ? producer(graph_, v) : nullptr;
    if (n == nullptr) return !valid.valid();
    if (n->op == "batch_norm" || n->op == "batch_norm_grad")
      return graph_.type(v).shape.rank() > 1 && valid_of(*n) == valid;
    if (n->op == "conv2d") return plain(*n) && zero(n->inputs[0]);
    if (n->op == "conv2d_grad_input" || n->op == "relu" || n->op == "max_pool2d") return zero(n->inputs[0]);
    if (n->op == "add")
      return graph_.type(n->inputs[0]) == graph_.type(n->inputs[1]) && zero(n->inputs[0]) &&
             zero(n->inputs[1]);
    if (n->op == "where")
      return scalar_constant(graph_, n->inputs[1]) == 0.0 && graph_.type(n->inputs[2]) == graph_.type(v) &&
             zero(n->inputs[2]);
    return false;
  }

  static Node with_sums(const Node& conv) {
    Node n = conv;
    n.op = "conv2d_sums";
    return n;
  }

  // What the gradient of a batch norm with a ReLU behind it is made of.
  void find_masked(std::uint32_t i) {
    const Node& n = graph_.nodes()[i];
    const auto& at = n.attrs.as<BatchNormGradAttrs>();
    std::uint32_t root = i;  // where the masked gradient is made
    std::vector<ValueId> gradients{n.inputs[0]};
    ValueId beta, residual;
    const std::size_t mask = 5u + at.has_valid;                     // y or beta
    if (!at.activation.empty() && at.activation != "relu") return;  // what the op masks by
    if (at.mask_from_x) {
      if (at.has_dy2 || at.has_residual) return;
      beta = n.inputs[mask];
    } else {
      ValueId y;
      if (!at.activation.empty()) {
        if (!at.has_dy2) return;
        y = n.inputs[mask];
        gradients.push_back(n.inputs.back());
      } else if (const Node* where = at.has_dy2 ? nullptr : producer(graph_, n.inputs[0], "where")) {
        // Masked for several readers.
        root = graph_.value(n.inputs[0]).producer.index;
        y = mask_of(*where);
        const Node* sum = y.valid() ? producer(graph_, unmask(graph_, *where, y), "add") : nullptr;
        if (sum == nullptr || escapes_[sum->outputs[0].index] || users_[sum->outputs[0].index].size() != 1)
          return;
        gradients = sum->inputs;
      }
      const Node* forward = y.valid() ? producer(graph_, y, "batch_norm") : nullptr;
      if (forward == nullptr || forward->inputs[0] != n.inputs[1] || forward->outputs[1] != n.inputs[3] ||
          attribute<std::string>(*forward, "activation") != "relu" ||
          !attribute<bool>(*forward, "has_residual"))
        return;
      beta = forward->inputs[2], residual = forward->inputs.back();
      for (const ValueId g : gradients)
        if (graph_.type(g) != graph_.type(n.inputs[1])) return;
    }
    if (masked_.contains(root)) return;
    const std::uint32_t second = residual.valid() ? second_of(n, root == i, residual) : kNone;
    for (const ValueId g : gradients)
      if (!zero_where_not_valid(g, valid_of(n))) return;
    for (std::size_t k = 0; k < gradients.size(); ++k) {
      const Node* conv = producer(graph_, gradients[k], "conv2d_grad_input");
      if (conv == nullptr || escapes_[gradients[k].index] || users_[gradients[k].index].size() != 1) continue;
      Conv2dGradInputSumsAttrs attrs;
      static_cast<Conv2dGradInputAttrs&>(attrs) = conv->attrs.as<Conv2dGradInputAttrs>();
      Node made = *conv;
      made.op = "conv2d_grad_input_sums";
      made.inputs.insert(made.inputs.end(), {n.inputs[1], n.inputs[2], beta, n.inputs[3], n.inputs[4]});
      if (residual.valid()) made.inputs.push_back(gradients[1 - k]);
      Node alone = made;
      attrs.has_residual = residual.valid();
      alone.attrs = attrs;
      if (residual.valid()) alone.inputs.push_back(residual);
      if (second != kNone) {
        const Node& other = *producer(graph_, residual);
        attrs.has_residual = false, attrs.has_second = true;
        made.attrs = attrs;
        made.inputs.insert(made.inputs.end(), {other.inputs[0], other.inputs[1], other.inputs[2],
                                               other.outputs[1], other.outputs[2]});
      }
      const bool both = second != kNone && accelerated(made);
      if (!both && !accelerated(alone)) continue;
      masked_[root] = {both ? std::move(made) : std::move(alone), i, both ? second : kNone};
      if (root != i) applied_[i] = root;
      if (both) {
        applied_[second] = root;
        added_.insert(graph_.value(n.inputs[3]).producer.index);
      }
      return;
    }
  }

  // The gradient of the batch norm that made the residual, where the masked gradient of `n` is its own and
  // nobody else reads the residual.
  std::uint32_t second_of(const Node& n, bool masks, ValueId residual) const {
    const Node* f = producer(graph_, residual, "batch_norm");
    if (f == nullptr || escapes_[residual.index] || users_[residual.index].size() != 1 ||
        f->outputs[0] != residual || attribute<bool>(*f, "has_residual") ||
        !attribute<std::string>(*f, "activation").empty() || (masks && n.outputs.size() < 4))
      return kNone;
    const ValueId masked = masks ? n.outputs[3] : n.inputs[0];
    for (const NodeId u : users_[masked.index]) {
      const Node& g = graph_.node(u);
      if (g.op == "batch_norm_grad" && g.inputs[0] == masked && g.inputs[1] == f->inputs[0] &&
          g.inputs[3] == f->outputs[1] && valid_of(g) == valid_of(n) &&
          attribute<std::string>(g, "activation").empty() && !attribute<bool>(g, "has_dy2"))
        return u.index;
    }
    return kNone;
  }

  // The ReLU's result that a mask looks at.
  ValueId mask_of(const Node& where) const {
    const Node* le = producer(graph_, where.inputs[0], "le");
    return le != nullptr && unmask(graph_, where, le->inputs[0]).valid() ? le->inputs[0] : ValueId{};
  }

  std::vector<TensorType> types(const Node& n, const Graph& g) const {
    std::vector<TensorType> inputs;
    for (const ValueId v : n.inputs) inputs.push_back(g.type(v));
    return infer(op(n.op), n.attrs, inputs);
  }

  bool accelerated(const Node& made) const {
    std::vector<TensorType> inputs;
    for (const ValueId v : made.inputs) inputs.push_back(graph_.type(v));
    const Graph alone = node_alone(made, inputs, types(made, graph_));
    return context_.accelerates(alone, alone.nodes()[0]);
  }

  // Adds a node whose operands are of the new graph.
  Made add(Node n) {
    const std::vector<TensorType> results = types(n, rw_.graph());
    n.outputs.clear();
    const NodeId made = rw_.graph().add_node(std::move(n), results);
    return rw_.graph().node(made).outputs;
  }
  void map(ValueId old, ValueId made) {
    rw_.map(old, made);
    rw_.graph().value(made).name = graph_.value(old).name;
  }
  Made renewed(const std::vector<ValueId>& old) const {
    Made out;
    for (const ValueId v : old) out.push_back(rw_(v));
    return out;
  }

  std::map<std::uint32_t, Made>::const_iterator sums_of(const Node& n) const {
    if (n.inputs.empty() || !normalises(n, n.inputs[0])) return made_.end();
    return made_.find(graph_.value(n.inputs[0]).producer.index);
  }

  void emit_conv(const Node& conv) {
    Node n = with_sums(conv);
    n.inputs = renewed(n.inputs);
    Made& made = made_[graph_.value(conv.outputs[0]).producer.index] = add(std::move(n));
    map(conv.outputs[0], made[0]);
  }

  void emit_batch_norm(const Node& old, const Made& conv) {
    const auto& at = old.attrs.as<BatchNormAttrs>();
    const Shape& x = graph_.type(old.inputs[0]).shape;
    Node n = old;
    const Made more = renewed({old.inputs.begin() + 5, old.inputs.end()});  // [valid_rows], [residual]
    n.op = "batch_norm_statistics";
    n.attrs = BatchNormStatisticsAttrs{x[0], x.numel() / x[0] / x[1], at.eps, at.momentum, at.has_valid};
    n.inputs = {conv[1], conv[2], rw_(old.inputs[3]), rw_(old.inputs[4])};
    if (at.has_valid) n.inputs.push_back(more[0]);
    const Made statistics = add(n);
    for (std::size_t k = 0; k < statistics.size(); ++k) map(old.outputs[k + 1], statistics[k]);
    n.op = "batch_norm_apply";
    n.attrs = BatchNormApplyAttrs{at.has_valid, at.has_residual, at.activation};
    n.inputs = {conv[0], rw_(old.inputs[1]), rw_(old.inputs[2]), statistics[0], statistics[1]};
    if (added_.contains(graph_.value(old.outputs[0]).producer.index)) {
      const Node& second = *producer(graph_, old.inputs.back());
      n.op = "batch_norm_apply_two";
      n.attrs = BatchNormApplyAttrs{at.has_valid, false, at.activation};
      for (const ValueId v :
           {second.inputs[0], second.inputs[1], second.inputs[2], second.outputs[1], second.outputs[2]})
        n.inputs.push_back(rw_(v));
      if (at.has_valid) n.inputs.push_back(more[0]);
    } else {
      n.inputs.insert(n.inputs.end(), more.begin(), more.end());
    }
    map(old.outputs[0], add(std::move(n))[0]);
  }

  void emit_masked(std::uint32_t i, const Masked& masked) {
    const Node& old = graph_.nodes()[i];
    Node n = masked.node;
    n.inputs = renewed(n.inputs);
    const Made& made = made_[i] = add(std::move(n));
    if (masked.grad != i) {
      map(old.outputs[0], made[0]);
    } else {
      if (old.outputs.size() > 3) map(old.outputs[3], made[0]);
      emit_apply(i, i);
    }
  }

  // What is left of batch_norm_grad `i`, and of the other whose gradient is that of `root` too.
  void emit_apply(std::uint32_t i, std::uint32_t root) {
    const Masked& masked = masked_.at(root);
    const Made& made = made_.at(root);
    const Node &old = graph_.nodes()[masked.grad], *second = nullptr;
    if (masked.second != kNone) second = &graph_.nodes()[masked.second];
    done_.insert({masked.grad, masked.second, i});
    Node n = old;
    n.op = "batch_norm_grad_apply";
    n.attrs = BatchNormGradApplyAttrs{attribute<bool>(old, "has_valid"), second != nullptr};
    n.inputs = {made[0]};
    const auto operands = [&](const Node& grad, std::size_t sums) {
      for (const std::size_t k : {1u, 2u, 3u, 4u}) n.inputs.push_back(rw_(grad.inputs[k]));
      n.inputs.insert(n.inputs.end(), {made[sums], made[sums + 1]});
    };
    operands(old, 1);
    if (second != nullptr) operands(*second, 3);
    if (const ValueId valid = valid_of(old); valid.valid()) n.inputs.push_back(rw_(valid));
    const Made dx = add(std::move(n));
    const auto results = [&](const Node& grad, ValueId image, std::size_t sums) {
      map(grad.outputs[0], image);
      map(grad.outputs[1], made[sums]), map(grad.outputs[2], made[sums + 1]);
    };
    results(old, dx[0], 1);
    if (second != nullptr) results(*second, dx[1], 3);
  }

  const Graph& graph_;
  PassContext& context_;
  std::vector<std::vector<NodeId>> users_;
  std::vector<bool> escapes_;
  GraphRewriter rw_;
  std::set<std::uint32_t> sums_;                    // convolutions that sum
  std::map<std::uint32_t, Masked> masked_;          // by the node where the masked gradient is made
  std::map<std::uint32_t, std::uint32_t> applied_;  // batch_norm_grad to the mask that has its sums
  std::set<std::uint32_t> added_, done_;  // batch norms applied with another; grads that are emitted
  std::map<std::uint32_t, Made> made_;    // by the convolution or the mask
  mutable std::map<std::pair<std::uint32_t, std::uint32_t>, bool> zero_;  // by the value and what is valid
};

}  // namespace

Graph fuse_sums(const Graph& graph, PassContext& context) {
  if (!context.accelerates) return graph;
  return SumsFusion(graph, context).run();
}

}  // namespace ingot
