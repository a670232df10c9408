#include "core/ir/graph.h"

#include "core/base/hash.h"

namespace ingot {

bool equal(const AttrValue& a, const AttrValue& b) {
  if (a.index() != b.index()) return false;
  return std::visit(
      [&]<class T>(const T& x) {
        const T& y = std::get<T>(b);
        if constexpr (std::is_same_v<T, Tensor>)
          return x.defined() == y.defined() && (!x.defined() || bitwise_equal(x, y));
        else if constexpr (std::is_same_v<T, GraphPtr>)
          return x == y || (x && y && *x == *y);
        else
          return x == y;
      },
      a);
}

std::uint64_t hash(const AttrValue& v) {
  Hasher h;
  h.add(v.index());
  std::visit(
      [&]<class T>(const T& x) {
        if constexpr (std::is_same_v<T, Tensor>) {
          h.add(to_string(x.type()));
          if (x.defined()) h.add(std::string_view(static_cast<const char*>(x.raw()), x.bytes()));
        } else if constexpr (std::is_same_v<T, GraphPtr>) {
          if (x) h.add(x->hash());
        } else if constexpr (std::is_same_v<T, std::string>) {
          h.add(std::string_view(x));
        } else if constexpr (std::is_same_v<T, std::vector<std::int64_t>>) {
          for (const auto i : x) h.add(i);
          h.add(x.size());
        } else if constexpr (std::is_same_v<T, Shape> || std::is_same_v<T, Layout> ||
                             std::is_same_v<T, ScalarExpr>) {
          h.add(std::string_view(to_string(x)));
        } else {
          h.add(x);
        }
      },
      v);
  return h.value();
}

Attrs Attrs::with(std::string_view name, const AttrValue& value) const {
  Attrs out;
  if (model_) out.model_ = model_->with(name, value);
  if (!out.model_) {
    std::vector<std::string_view> names;
    for (const auto& f : fields()) names.push_back(f.name);
    throw UsageError(cat("no attribute '", name, "'; there are: ", names.empty() ? "none" : join(names)));
  }
  return out;
}

bool operator==(const Attrs& a, const Attrs& b) {
  if (a.model_ == b.model_) return true;
  const auto fa = a.fields(), fb = b.fields();
  if (fa.size() != fb.size()) return false;
  for (std::size_t i = 0; i < fa.size(); ++i)
    if (fa[i].name != fb[i].name || !equal(fa[i].value, fb[i].value)) return false;
  return true;
}

std::uint64_t Attrs::hash() const {
  Hasher h;
  for (const auto& f : fields()) {
    h.add(f.name);
    h.add(ingot::hash(f.value));
  }
  return h.value();
}

namespace {

// More than any machine has, and little enough that sums over a graph do not overflow.
void require_size(const TensorType& type, const std::string& name, const SourceLoc& loc) {
  constexpr double kMost = 0x1p50;
  if (static_cast<double>(type.numel()) * static_cast<double>(size_of(type.dtype)) <= kMost) return;
  ShapeError e(cat("a tensor ", to_string(type), " has more than 2^50 bytes; use a smaller batch or image"));
  e.add_context(name, loc);
  throw e;
}

}  // namespace

ValueId Graph::add_input(std::string name, const TensorType& type, SourceLoc loc) {
  if (find_input(name).valid()) throw UsageError(cat("the graph already has an input named '", name, "'"));
  require_size(type, name, loc);
  const ValueId id{static_cast<std::uint32_t>(values_.size())};
  values_.push_back({type, ValueKind::Input, {}, 0, std::move(name), std::move(loc)});
  inputs_.push_back(id);
  return id;
}

ValueId Graph::add_state(State state, const TensorType& type, SourceLoc loc) {
  if (find_state(state.name) != nullptr)
    throw UsageError(cat("the graph already has a state named '", state.name, "'"));
  require_size(type, state.name, loc);
  const ValueId id{static_cast<std::uint32_t>(values_.size())};
  values_.push_back({type, ValueKind::State, {}, 0, state.name, std::move(loc)});
  state.value = id;
  states_.push_back(std::move(state));
  return id;
}

NodeId Graph::add_node(Node node, std::span<const TensorType> output_types) {
  for (const ValueId v : node.inputs)
    if (v.index >= values_.size())
      throw UsageError(cat("node '", node.name, "' reads a value that is not in the graph"));
  for (const TensorType& t : output_types) require_size(t, node.name, node.loc);
  const NodeId id{static_cast<std::uint32_t>(nodes_.size())};
  node.outputs.clear();
  for (std::size_t i = 0; i < output_types.size(); ++i) {
    node.outputs.push_back({static_cast<std::uint32_t>(values_.size())});
    values_.push_back({output_types[i], ValueKind::Result, id, static_cast<std::uint32_t>(i), "", node.loc});
  }
  nodes_.push_back(std::move(node));
  return id;
}

void Graph::add_output(std::string name, ValueId value) {
  if (find_output(name).valid()) throw UsageError(cat("the graph already has an output named '", name, "'"));
  outputs_.push_back({std::move(name), value});
}

void Graph::add_update(ValueId state, ValueId value) {
  if (this->value(state).kind != ValueKind::State) throw UsageError("only a state can be updated");
  for (const auto& u : updates_)
    if (u.state == state) throw UsageError(cat("state '", this->value(state).name, "' is updated twice"));
  if (type(state).dtype != type(value).dtype || type(state).shape != type(value).shape)
    throw ShapeError(cat("the update of state '", this->value(state).name, "' expects ",
                         to_string(type(state)), ", got ", to_string(type(value))));
  updates_.push_back({state, value});
}

ValueId Graph::next_content(ValueId state) const {
  for (const auto& u : updates_)
    if (u.state == state) return u.value;
  return state;
}

void Graph::set_update(ValueId state, ValueId value) {
  std::erase_if(updates_, [&](const Update& u) { return u.state == state; });
  add_update(state, value);
}

const State* Graph::find_state(std::string_view name) const {
  for (const auto& s : states_)
    if (s.name == name) return &s;
  return nullptr;
}

const State* Graph::state_of(ValueId id) const {
  for (const auto& s : states_)
    if (s.value == id) return &s;
  return nullptr;
}

ValueId Graph::find_input(std::string_view name) const {
  for (const ValueId id : inputs_)
    if (values_[id.index].name == name) return id;
  return {};
}

ValueId Graph::find_output(std::string_view name) const {
  for (const auto& o : outputs_)
    if (o.name == name) return o.value;
  return {};
}

void Graph::replace_uses(ValueId from, ValueId to) {
  for (auto& n : nodes_)
    for (auto& v : n.inputs)
      if (v == from) v = to;
  for (auto& o : outputs_)
    if (o.value == from) o.value = to;
  for (auto* list : {&updates_, &gradients_})
    for (auto& u : *list)
      if (u.value == from) u.value = to;
}

std::vector<std::vector<NodeId>> Graph::users() const {
  std::vector<std::vector<NodeId>> out(values_.size());
  for (std::uint32_t n = 0; n < nodes_.size(); ++n)
    for (const ValueId v : nodes_[n].inputs) out[v.index].push_back({n});
  return out;
}

bool operator==(const Graph& a, const Graph& b) {
  if (a.values_.size() != b.values_.size() || a.nodes_.size() != b.nodes_.size() || a.inputs_ != b.inputs_ ||
      a.outputs_ != b.outputs_ || a.updates_ != b.updates_ || a.gradients_ != b.gradients_ ||
      a.states_.size() != b.states_.size())
    return false;
  for (std::size_t i = 0; i < a.values_.size(); ++i) {
    const auto &x = a.values_[i], &y = b.values_[i];
    if (x.type != y.type || x.kind != y.kind || x.producer != y.producer || x.name != y.name) return false;
  }
  for (std::size_t i = 0; i < a.nodes_.size(); ++i) {
    const auto &x = a.nodes_[i], &y = b.nodes_[i];
    if (x.op != y.op || x.inputs != y.inputs || x.outputs != y.outputs || x.name != y.name ||
        !(x.attrs == y.attrs))
      return false;
  }
  for (std::size_t i = 0; i < a.states_.size(); ++i) {
    const auto &x = a.states_[i], &y = b.states_[i];
    if (x.value != y.value || x.name != y.name || x.role != y.role || x.trainable != y.trainable ||
        x.init.kind != y.init.kind || x.init.a != y.init.a || x.init.b != y.init.b ||
        !equal(AttrValue(x.init.data), AttrValue(y.init.data)))
      return false;
  }
  return true;
}

std::uint64_t Graph::hash() const {
  Hasher h;
  for (const auto& v : values_) {
    h.add(std::string_view(to_string(v.type)));
    h.add(std::string_view(v.name));
    h.add(v.kind);
  }
  for (const auto& n : nodes_) {
    h.add(std::string_view(n.op));
    h.add(n.attrs.hash());
    for (const auto v : n.inputs) h.add(v.index);
    h.add(n.outputs.size());
  }
  for (const auto& o : outputs_) h.add(o.value.index);
  for (const auto& u : updates_) {
    h.add(u.state.index);
    h.add(u.value.index);
  }
  return h.value();
}

GraphRewriter::GraphRewriter(const Graph& old) : old_(old), map_(old.values().size()) {
  new_.build = old.build;
  for (std::uint32_t i = 0; i < old.values().size(); ++i) {
    const ValueInfo& v = old.values()[i];
    if (v.kind == ValueKind::Input) {
      map_[i] = new_.add_input(v.name, v.type, v.loc);
    } else if (v.kind == ValueKind::State) {
      const State* s = old.state_of({i});
      map_[i] = new_.add_state(*s, v.type, v.loc);
    }
  }
}

ValueId GraphRewriter::operator()(ValueId v) const {
  const ValueId mapped = map_.at(v.index);
  if (!mapped.valid())
    throw UsageError(cat("internal: a pass dropped value %", v.index, " which is still read"));
  return mapped;
}

NodeId GraphRewriter::copy(NodeId id) {
  const Node& n = old_.node(id);
  Node copy = n;
  for (auto& v : copy.inputs) v = (*this)(v);
  std::vector<TensorType> types;
  for (const ValueId v : n.outputs) types.push_back(old_.type(v));
  const NodeId made = new_.add_node(std::move(copy), types);
  for (std::size_t i = 0; i < n.outputs.size(); ++i) {
    const ValueId v = new_.node(made).outputs[i];
    new_.value(v).name = old_.value(n.outputs[i]).name;
    map(n.outputs[i], v);
  }
  return made;
}

Graph GraphRewriter::finish() {
  for (const auto& o : old_.outputs()) new_.add_output(o.name, (*this)(o.value));
  for (const auto& u : old_.updates()) new_.add_update((*this)(u.state), (*this)(u.value));
  for (const auto& g : old_.gradients())
    if (map_.at(g.value.index).valid()) new_.add_gradient((*this)(g.state), (*this)(g.value));
  return std::move(new_);
}

Graph node_alone(const Node& node, std::span<const TensorType> inputs, std::span<const TensorType> outputs) {
  Graph g;
  Node n;
  n.op = node.op;
  n.attrs = node.attrs;
  for (std::size_t i = 0; i < inputs.size(); ++i) n.inputs.push_back(g.add_input(cat("i", i), inputs[i]));
  g.add_node(std::move(n), outputs);
  return g;
}

}  // namespace ingot
