#include "core/autodiff/differentiate.h"

namespace ingot {

namespace {

// Names and places the nodes appended during its life after one forward node, whatever scopes the user has
// open.
class BackwardOf {
 public:
  BackwardOf(Graph& g, std::string name, SourceLoc loc)
      : g_(g),
        first_(g.nodes().size()),
        name_("grad/" + name),
        loc_(std::move(loc)),
        scopes_(std::move(g.build.scopes)),
        locs_(std::move(g.build.scope_locs)) {
    // What an error in the rule is named after.
    g.build.scopes = {name_};
    g.build.scope_locs = {loc_};
  }
  ~BackwardOf() {
    g_.build.scopes = std::move(scopes_);
    g_.build.scope_locs = std::move(locs_);
    for (std::size_t n = first_; n < g_.nodes().size(); ++n) {
      Node& node = g_.node(NodeId{static_cast<std::uint32_t>(n)});
      node.name = name_;
      node.loc = loc_;
      for (const ValueId v : node.outputs) g_.value(v).loc = loc_;
    }
  }
  BackwardOf(const BackwardOf&) = delete;
  BackwardOf& operator=(const BackwardOf&) = delete;

 private:
  Graph& g_;
  std::size_t first_;
  std::string name_;
  SourceLoc loc_;
  std::vector<std::string> scopes_;
  std::vector<SourceLoc> locs_;
};

std::string describe(const Graph& g, ValueId id) {
  const ValueInfo& v = g.value(id);
  if (!v.name.empty()) return cat("'", v.name, "' (", to_string(v.type), ")");
  if (v.kind == ValueKind::Result && !g.node(v.producer).name.empty())
    return cat("the result of '", g.node(v.producer).name, "' (", to_string(v.type), ")");
  return cat("%", id.index, " (", to_string(v.type), ")");
}

[[noreturn]] void fail(const Graph& g, ValueId id, const std::string& message) {
  UsageError e(message);
  const ValueInfo& v = g.value(id);
  e.add_context(v.kind == ValueKind::Result ? g.node(v.producer).name : v.name, v.loc);
  throw e;
}

void check(const Graph& g, const Value& loss, std::span<const Value> wrt) {
  if (&loss.graph() != &g) throw UsageError("differentiate: the loss belongs to another graph");
  if (loss.type().numel() != 1)
    fail(g, loss.id(),
         cat("differentiate: the loss must be one element, got ", describe(g, loss.id()),
             "; reduce it first, e.g. with mean() or sum()"));
  if (!is_floating(loss.dtype()))
    fail(g, loss.id(),
         cat("differentiate: the loss must be floating, got ", describe(g, loss.id()),
             "; convert it with cast(), or check that the loss is what you mean to minimise"));
  for (const Value& w : wrt) {
    if (&w.graph() != &g)
      throw UsageError("differentiate: a value to differentiate by belongs to another graph");
    if (!is_floating(w.dtype()))
      fail(g, w.id(),
           cat("differentiate: cannot differentiate by ", describe(g, w.id()),
               "; only floating values have gradients"));
  }
}

Value filled(Graph& g, const TensorType& type, double value) {
  return apply0(g, "full",
                op("full").attrs.with("value", value).with("dtype", type.dtype).with("shape", type.shape));
}

class Backward {
 public:
  Backward(Graph& g, ValueId loss, std::span<const Value> wrt)
      : g_(g), end_(g.nodes().size()), depends_(g.values().size()), grads_(g.values().size()) {
    for (const Value& w : wrt) depends_[w.id().index] = true;
    for (const Node& n : g.nodes())
      if (depends(n.inputs))
        for (const ValueId v : n.outputs)
          if (is_floating(g.type(v).dtype)) depends_[v.index] = true;
    if (!depends_[loss.index]) return;
    const ValueInfo& v = g.value(loss);
    const BackwardOf scope(g, v.kind == ValueKind::Result ? g.node(v.producer).name : v.name, v.loc);
    grads_[loss.index] = filled(g, g.type(loss), 1.0);
  }

  void run() {
    for (std::size_t n = end_; n-- > 0;) visit({static_cast<std::uint32_t>(n)});
  }

  Value result(const Value& w) {
    const Value& grad = grads_[w.id().index];
    if (grad.defined()) return grad;
    const ValueInfo& v = g_.value(w.id());
    const BackwardOf scope(g_, v.kind == ValueKind::Result ? g_.node(v.producer).name : v.name, v.loc);
    return filled(g_, {v.type.dtype, v.type.shape}, 0.0);
  }

 private:
  bool depends(std::span<const ValueId> values) const {
    for (const ValueId v : values)
      if (depends_[v.index]) return true;
    return false;
  }

  void visit(NodeId id) {
    // Copies: appending moves the nodes.
    const std::vector<ValueId> inputs = g_.node(id).inputs, outputs = g_.node(id).outputs;
    const std::string op_name = g_.node(id).op, name = g_.node(id).name;
    const SourceLoc loc = g_.node(id).loc;
    if (!depends(inputs)) return;
    std::vector<Value> output_grads;
    bool any = false;
    for (const ValueId v : outputs) {
      output_grads.push_back(grads_[v.index]);
      any = any || output_grads.back().defined();
    }
    if (!any) return;
    const OpDef& def = op(op_name);
    if (def.gradient == nullptr) {
      UsageError e(
          cat("differentiate: op '", op_name, "' has no gradient (", def.not_differentiable,
              ") and lies between the loss and a value to differentiate by; take it out of the loss, or "
              "leave that value out"));
      e.add_context(name, loc);
      throw e;
    }
    std::vector<bool> needs;
    for (const ValueId v : inputs) needs.push_back(depends_[v.index]);
    const BackwardOf scope(g_, name, loc);
    GradContext context(g_, id, std::move(output_grads), needs);
    const std::vector<Value> input_grads = def.gradient(context);
    if (input_grads.size() != inputs.size())
      throw UsageError(cat("the gradient rule of op '", op_name, "' gave ", input_grads.size(),
                           " values for ", inputs.size(), " operands"));
    for (std::size_t i = 0; i < inputs.size(); ++i)
      if (needs[i] && input_grads[i].defined()) add(inputs[i], input_grads[i], op_name);
  }

  void add(ValueId to, const Value& grad, const std::string& op_name) {
    if (grad.dtype() != g_.type(to).dtype || grad.shape() != g_.type(to).shape)
      throw ShapeError(cat("the gradient rule of op '", op_name, "' gave ", to_string(grad.type()),
                           " for an operand of type ", to_string(g_.type(to))));
    Value& sum = grads_[to.index];
    sum = sum.defined() ? apply1("add", {sum, grad}) : grad;
  }

  Graph& g_;
  std::size_t end_;            // forward nodes
  std::vector<bool> depends_;  // per forward value: floating and computed from some `wrt`
  std::vector<Value> grads_;   // per forward value; what has flowed into it so far
};

}  // namespace

std::vector<Value> differentiate(Graph& graph, Value loss, std::span<const Value> wrt) {
  check(graph, loss, wrt);
  Backward backward(graph, loss.id(), wrt);
  backward.run();
  std::vector<Value> out;
  for (const Value& w : wrt) out.push_back(backward.result(w));
  return out;
}

}  // namespace ingot
