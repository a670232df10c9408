// Graph: a static program as data. It knows no op; the registry (core/op) gives nodes their meaning.
//
// Values are inputs (fed each step), states (kept between steps: parameters, buffers, optimiser state,
// counters) or results of nodes. `updates` say which value becomes a state's next content at the end of the
// step; every read of the state inside the step sees the old content. Node order is always a valid schedule.
// A Graph is a value: copyable, comparable.
//
//   Graph g;
//   ValueId x = g.add_input("x", {DType::F32, {8, 4}});
//   // usually through core/op/builder.h:  Value y = relu(input(g, "x", {DType::F32, {8, 4}}));
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/error.h"
#include "core/ir/attrs.h"
#include "core/ir/type.h"

namespace ingot {

namespace detail {
template <class Tag>
struct Index {
  static constexpr std::uint32_t kNone = 0xffffffffu;
  std::uint32_t index = kNone;
  bool valid() const { return index != kNone; }
  friend auto operator<=>(const Index&, const Index&) = default;
};
}  // namespace detail

using ValueId = detail::Index<struct ValueTag>;
using NodeId = detail::Index<struct NodeTag>;

enum class ValueKind : std::uint8_t { Input, State, Result };

struct ValueInfo {
  TensorType type;
  ValueKind kind = ValueKind::Result;
  NodeId producer;                 // Result only
  std::uint32_t output_index = 0;  // which output of the producer
  std::string name;                // inputs and states always; results may have one
  SourceLoc loc;
};

struct Node {
  std::string op;
  Attrs attrs;
  std::vector<ValueId> inputs, outputs;
  std::string
      name;       // scope path, e.g. "layer1.0.conv1"; backward nodes carry "grad/" before the forward node's
  SourceLoc loc;  // where the user wrote it
};

enum class StateRole : std::uint8_t { Parameter, Buffer, Optimizer, Counter };

// How a state gets its first content. Random ones draw from Philox keyed by (session seed, hash of the
// state's name), so the content does not depend on the order in which layers were made.
struct Init {
  enum class Kind : std::uint8_t { Constant, Uniform, Normal, Data };
  Kind kind = Kind::Constant;
  double a = 0.0, b = 0.0;  // Constant: value a. Uniform: [a, b). Normal: mean a, standard deviation b.
  Tensor data;              // Data

  static Init constant(double v) { return {Kind::Constant, v, 0.0, {}}; }
  static Init uniform(double lo, double hi) { return {Kind::Uniform, lo, hi, {}}; }
  static Init normal(double mean, double stddev) { return {Kind::Normal, mean, stddev, {}}; }
  static Init from(Tensor t) { return {Kind::Data, 0.0, 0.0, std::move(t)}; }
};

struct State {
  ValueId value;
  std::string name;  // state-dict key: "conv1.weight"; optimiser state: "optim/conv1.weight/momentum"
  StateRole role = StateRole::Parameter;
  bool trainable = true;  // parameters only
  Init init;
};

struct Update {
  ValueId state, value;
  friend bool operator==(const Update&, const Update&) = default;
};

struct Output {
  std::string name;
  ValueId value;
  friend bool operator==(const Output&, const Output&) = default;
};

// What a backend answers when the layout pass asks about a node: the layout each input must have and each
// output will have.
struct NodeLayouts {
  std::vector<Layout> inputs, outputs;
};

// What the builder needs while a graph is being written; not part of its content.
struct BuildContext {
  std::vector<std::string> scopes;
  std::vector<SourceLoc> scope_locs;  // parallel to scopes; the outermost known one is the user's line
  bool training = false;              // layers read it (dropout, batch norm)
  ValueId valid_rows;                 // i32 scalar input: rows of the batch that are real, invalid if all are
};

class Graph {
 public:
  ValueId add_input(std::string name, const TensorType& type, SourceLoc loc = {});
  // Throws UsageError when the name is taken.
  ValueId add_state(State state, const TensorType& type, SourceLoc loc = {});
  // Appends; one value per type. No check beyond ids: the builder infers and checks.
  NodeId add_node(Node node, std::span<const TensorType> output_types);
  void add_output(std::string name, ValueId value);
  // The state's next content. One update per state; same type.
  void add_update(ValueId state, ValueId value);
  // What the state will hold after the step as the graph stands: the value of its update, or itself.
  ValueId next_content(ValueId state) const;
  // Replaces the state's update, or adds one. For a state that one step moves several times:
  //   g.set_update(count, add({g, g.next_content(count)}, 1.0).id());
  void set_update(ValueId state, ValueId value);
  // Notes that `value` is the gradient an optimiser consumes for parameter `state`: the planner lays
  // gradients out in one range, in the order of the parameters.
  void add_gradient(ValueId state, ValueId value) { gradients_.push_back({state, value}); }

  const std::vector<ValueInfo>& values() const { return values_; }
  const std::vector<Node>& nodes() const { return nodes_; }
  const std::vector<ValueId>& inputs() const { return inputs_; }
  const std::vector<State>& states() const { return states_; }
  const std::vector<Output>& outputs() const { return outputs_; }
  const std::vector<Update>& updates() const { return updates_; }
  const std::vector<Update>& gradients() const { return gradients_; }

  const ValueInfo& value(ValueId id) const { return values_.at(id.index); }
  const Node& node(NodeId id) const { return nodes_.at(id.index); }
  ValueInfo& value(ValueId id) { return values_.at(id.index); }
  Node& node(NodeId id) { return nodes_.at(id.index); }
  State& state(std::size_t i) { return states_.at(i); }
  const TensorType& type(ValueId id) const { return value(id).type; }

  // nullptr / invalid when there is none of that name.
  const State* find_state(std::string_view name) const;
  const State* state_of(ValueId id) const;
  ValueId find_input(std::string_view name) const;
  ValueId find_output(std::string_view name) const;

  // Replaces every use (node inputs, outputs, updates, gradients) of `from`.
  void replace_uses(ValueId from, ValueId to);
  void clear_outputs() { outputs_.clear(); }
  void clear_updates() { updates_.clear(); }

  // Per value: the nodes that read it, in order (a node that reads it twice appears twice).
  std::vector<std::vector<NodeId>> users() const;

  // Content only: the build context is left out, and so are source locations.
  friend bool operator==(const Graph& a, const Graph& b);
  std::uint64_t hash() const;

  BuildContext build;

 private:
  std::vector<ValueInfo> values_;
  std::vector<Node> nodes_;
  std::vector<ValueId> inputs_;
  std::vector<State> states_;
  std::vector<Output> outputs_;
  std::vector<Update> updates_;
  std::vector<Update> gradients_;
};

// Copies a graph node by node while a pass changes it. Inputs and states are copied up front with unchanged
// order.
//
//   GraphRewriter rw(old);
//   for (NodeId n : all nodes) if (keep) rw.copy(n); else rw.map(old_output, replacement_in_new);
//   Graph result = rw.finish();      // outputs and updates mapped
class GraphRewriter {
 public:
  explicit GraphRewriter(const Graph& old);
  Graph& graph() { return new_; }
  const Graph& old() const { return old_; }
  // New id of an old value; throws when the value was dropped and not mapped.
  ValueId operator()(ValueId old_value) const;
  void map(ValueId old_value, ValueId new_value) { map_.at(old_value.index) = new_value; }
  NodeId copy(NodeId old_node);
  Graph finish();

 private:
  const Graph& old_;
  Graph new_;
  std::vector<ValueId> map_;
};

// A graph of one node, with the op and the attributes of `node`, inputs "i0", "i1", ... and results of these
// types: what is asked of a node by itself.
Graph node_alone(const Node& node, std::span<const TensorType> inputs, std::span<const TensorType> outputs);

}  // namespace ingot

template <class Tag>
struct std::hash<ingot::detail::Index<Tag>> {
  std::size_t operator()(const ingot::detail::Index<Tag>& i) const noexcept { return i.index; }
};
