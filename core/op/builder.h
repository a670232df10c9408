// The builder: how people and passes write graphs.
//
// A Value is a handle on one value of a graph. Functions of core/ops (`conv2d`, `relu`, `a + b`, ...) append
// a node, infer its types at once and keep the caller's file and line. A Scope names what is built inside it;
// the outermost scope that knows a source line gives the nodes theirs, so that a layer's nodes point to the
// line where the user called the layer.
//
//   Graph g;
//   Value x = input(g, "x", {DType::F32, {8, 4}});
//   Value w = parameter(g, "w", {DType::F32, {4, 2}}, Init::normal(0, 0.1));
//   Value y = relu(matmul(x, w));
//   g.add_output("y", y.id());
#pragma once

#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/ir/graph.h"
#include "core/op/registry.h"

namespace ingot {

class Value {
 public:
  Value() = default;
  Value(Graph& graph, ValueId id) : graph_(&graph), id_(id) {}

  bool defined() const { return graph_ != nullptr; }
  Graph& graph() const {
    if (graph_ == nullptr)
      throw UsageError("an empty Value was used; every op argument must come from a graph");
    return *graph_;
  }
  ValueId id() const { return id_; }
  // By value: a reference into the graph would dangle as soon as the next op is appended.
  TensorType type() const { return graph().type(id_); }
  Shape shape() const { return graph().type(id_).shape; }
  DType dtype() const { return graph().type(id_).dtype; }
  int rank() const { return graph().type(id_).shape.rank(); }
  std::int64_t dim(int axis) const { return graph().type(id_).shape[axis]; }
  // Names the value for plans, dumps and error messages.
  const Value& named(std::string name) const {
    graph().value(id_).name = std::move(name);
    return *this;
  }

 private:
  Graph* graph_ = nullptr;
  ValueId id_;
};

// A Value together with the place where the call was written: lets operators, which cannot have default
// arguments, keep the line.
struct ValueAt {
  Value value;
  SourceLoc loc;
  ValueAt(Value v, const std::source_location& l = std::source_location::current()) : value(v), loc(l) {}
};

Value input(Graph& graph, std::string name, const TensorType& type, SourceLoc loc = SourceLoc::current());
// Creates the state, or returns the existing one of the same name and type (shared weights); throws when the
// type differs.
Value state(Graph& graph, StateRole role, std::string name, const TensorType& type, const Init& init,
            bool trainable = true, SourceLoc loc = SourceLoc::current());
// A trainable parameter named below the current scope: "conv1" + "weight" -> "conv1.weight".
Value parameter(Graph& graph, std::string_view name, const TensorType& type, const Init& init,
                SourceLoc loc = SourceLoc::current());
// A state that is saved but not trained (running mean, ...), named below the current scope.
Value buffer(Graph& graph, std::string_view name, const TensorType& type, const Init& init,
             SourceLoc loc = SourceLoc::current());
void output(std::string name, Value value);

// Appends a node. Errors carry the node's name and the user's line. All inputs must be of one graph.
std::vector<Value> apply(std::string_view op, std::span<const Value> inputs, const Attrs& attrs = {},
                         SourceLoc loc = SourceLoc::current());
// For ops with one output.
Value apply1(std::string_view op, std::initializer_list<Value> inputs, const Attrs& attrs = {},
             SourceLoc loc = SourceLoc::current());
Value apply1(std::string_view op, std::span<const Value> inputs, const Attrs& attrs = {},
             SourceLoc loc = SourceLoc::current());
// For ops without inputs (constant, uniform, ...).
Value apply0(Graph& graph, std::string_view op, const Attrs& attrs, SourceLoc loc = SourceLoc::current());

// Names everything built during its life: Scope s(g, "layer1"); nested scopes join with '.'. An empty name
// adds a place only.
class Scope {
 public:
  Scope(Graph& graph, std::string name, SourceLoc loc = {});
  ~Scope();
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;

 private:
  Graph& graph_;
};
// "layer1.0.conv1" from the open scopes; with a leaf appended when not empty.
std::string scope_path(const Graph& graph, std::string_view leaf = {});
// The line that a node appended now would get: that of the outermost open scope that knows one, else `loc`.
SourceLoc user_line(const Graph& graph, SourceLoc loc);

// What a gradient rule sees: the forward node, its operands and results, and the gradients of the results.
class GradContext {
 public:
  GradContext(Graph& graph, NodeId node, std::vector<Value> output_grads, std::vector<bool> needs)
      : graph_(graph), node_(node), grads_(std::move(output_grads)), needs_(std::move(needs)) {}
  Graph& graph() { return graph_; }
  const Node& node() const { return graph_.node(node_); }
  template <class A>
  A attrs() const {  // by value: appending nodes may move the node
    return node().attrs.template as<A>();
  }
  int num_inputs() const { return static_cast<int>(node().inputs.size()); }
  Value input(int i) { return {graph_, node().inputs.at(static_cast<std::size_t>(i))}; }
  Value output(int i = 0) { return {graph_, node().outputs.at(static_cast<std::size_t>(i))}; }
  // Undefined when nothing flows into that output.
  Value grad(int i = 0) const { return grads_.at(static_cast<std::size_t>(i)); }
  bool has_grad(int i = 0) const { return grad(i).defined(); }
  // False when nobody asks for the gradient of that input: the rule may skip the work.
  bool needs(int i) const { return needs_.at(static_cast<std::size_t>(i)); }

 private:
  Graph& graph_;
  NodeId node_;
  std::vector<Value> grads_;
  std::vector<bool> needs_;
};

}  // namespace ingot
