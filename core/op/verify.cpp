#include "core/op/verify.h"

#include <algorithm>
#include <set>

#include "core/op/registry.h"

namespace ingot {

namespace {

class Verifier {
 public:
  explicit Verifier(const Graph& g) : g_(g) {}

  std::vector<std::string> run() {
    check_values();
    check_nodes();
    check_ends();
    return std::move(broken_);
  }

 private:
  template <class... Args>
  void broken(const Args&... args) {
    broken_.push_back(cat(args...));
  }
  bool exists(ValueId v) const { return v.index < g_.values().size(); }

  void check_type(std::uint32_t v, const TensorType& t) {
    if (t.layout.rank != 0 && t.layout.rank != t.shape.rank())
      broken("%", v, " has a layout of rank ", static_cast<int>(t.layout.rank), " for the shape ",
             to_string(t.shape));
  }

  void check_values() {
    std::set<ValueId> inputs(g_.inputs().begin(), g_.inputs().end()), states;
    if (inputs.size() != g_.inputs().size()) broken("a value is listed twice among the inputs");
    for (const State& s : g_.states())
      if (!states.insert(s.value).second) broken("%", s.value.index, " is listed twice among the states");
    for (std::uint32_t i = 0; i < g_.values().size(); ++i) {
      const ValueInfo& v = g_.values()[i];
      check_type(i, v.type);
      if ((v.kind == ValueKind::Input) != inputs.contains({i}))
        broken("%", i, " is ", v.kind == ValueKind::Input ? "an input" : "no input",
               ", which the list of inputs denies");
      if ((v.kind == ValueKind::State) != states.contains({i}))
        broken("%", i, " is ", v.kind == ValueKind::State ? "a state" : "no state",
               ", which the list of states denies");
      if (v.kind != ValueKind::Result) continue;
      if (v.producer.index >= g_.nodes().size()) {
        broken("%", i, " is the result of node ", v.producer.index, ", which does not exist");
        continue;
      }
      const auto& outputs = g_.node(v.producer).outputs;
      if (v.output_index >= outputs.size() || outputs[v.output_index] != ValueId{i})
        broken("%", i, " says to be result ", v.output_index, " of node ", v.producer.index,
               ", which does not list it");
    }
  }

  std::string place(std::uint32_t n) const {
    const Node& node = g_.nodes()[n];
    std::string s = cat("node ", n, " (", node.op);
    if (!node.name.empty()) s += cat(", '", node.name, "'");
    if (node.loc.known()) s += cat(", ", to_string(node.loc));
    return s + ")";
  }

  void check_nodes() {
    for (std::uint32_t n = 0; n < g_.nodes().size(); ++n) {
      const Node& node = g_.nodes()[n];
      bool readable = true;
      for (const ValueId v : node.inputs) {
        if (!exists(v)) {
          broken(place(n), " reads %", v.index, ", which does not exist");
          readable = false;
        } else if (g_.value(v).kind == ValueKind::Result && g_.value(v).producer.index >= n) {
          broken(place(n), " reads %", v.index, " before it is computed");
        }
      }
      for (std::size_t i = 0; i < node.outputs.size(); ++i) {
        const ValueId v = node.outputs[i];
        if (!exists(v)) {
          broken(place(n), " makes %", v.index, ", which does not exist");
          readable = false;
        } else if (g_.value(v).kind != ValueKind::Result || g_.value(v).producer != NodeId{n} ||
                   g_.value(v).output_index != i) {
          broken(place(n), " lists %", v.index, " as its result ", i, ", which names another origin");
        }
      }
      if (readable) check_types(n, node);
    }
  }

  void check_types(std::uint32_t n, const Node& node) {
    const OpDef* def = Registry::instance().find(node.op);
    if (def == nullptr) {
      broken(place(n), ": there is no such op");
      return;
    }
    if (!node.attrs.same_struct(def->attrs)) {
      broken(place(n), " has the attributes of another op");
      return;
    }
    for (const AttrField& f : node.attrs.fields())
      if (const auto* inner = std::get_if<GraphPtr>(&f.value); inner != nullptr && *inner != nullptr)
        for (const std::string& b : Verifier(**inner).run()) broken(place(n), ", graph '", f.name, "': ", b);
    std::vector<TensorType> in, inferred;
    for (const ValueId v : node.inputs) in.push_back({g_.type(v).dtype, g_.type(v).shape});
    try {
      inferred = infer(*def, node.attrs, in);
    } catch (const Error& e) {
      broken(place(n), ": ", e.message());
      return;
    }
    if (inferred.size() != node.outputs.size()) {
      broken(place(n), " has ", node.outputs.size(), " results, its op gives ", inferred.size());
      return;
    }
    for (std::size_t i = 0; i < inferred.size(); ++i) {
      const TensorType& t = g_.type(node.outputs[i]);
      if (t.dtype != inferred[i].dtype || t.shape != inferred[i].shape)
        broken(place(n), ": result ", i, " is ", to_string(t), ", its op gives ", to_string(inferred[i]));
    }
  }

  void check_name(std::set<std::string>& taken, const std::string& name, std::string_view what) {
    if (name.empty()) broken("an ", what, " has no name");
    if (!taken.insert(name).second) broken("two ", what, "s are named '", name, "'");
  }

  void check_ends() {
    std::set<std::string> inputs, states, outputs;
    for (const ValueId v : g_.inputs())
      if (exists(v)) check_name(inputs, g_.value(v).name, "input");
    for (const State& s : g_.states()) {
      if (s.name.empty()) broken("a state has no name");
      if (!states.insert(s.name).second) broken("two states are named '", s.name, "'");
      if (!exists(s.value)) {
        broken("state '", s.name, "' is %", s.value.index, ", which does not exist");
      } else if (const Tensor& d = s.init.data; s.init.kind == Init::Kind::Data) {
        const TensorType& t = g_.type(s.value);
        if (!d.defined() || d.shape() != t.shape || d.dtype() != t.dtype)
          broken("state '", s.name, "' of type ", to_string(t), " starts from ",
                 d.defined() ? to_string(d.type()) : "nothing");
      }
    }
    for (const Output& o : g_.outputs()) {
      check_name(outputs, o.name, "output");
      if (!exists(o.value)) broken("output '", o.name, "' is %", o.value.index, ", which does not exist");
    }
    std::set<ValueId> updated;
    for (const Update& u : g_.updates()) {
      if (!exists(u.state) || !exists(u.value)) {
        broken("the update of %", u.state.index, " with %", u.value.index, ": no such value");
        continue;
      }
      const TensorType &to = g_.type(u.state), &from = g_.type(u.value);
      if (g_.value(u.state).kind != ValueKind::State)
        broken("%", u.state.index, " is updated and is no state");
      if (!updated.insert(u.state).second) broken("%", u.state.index, " is updated twice");
      if (to.dtype != from.dtype || to.shape != from.shape)
        broken("%", u.state.index, " of type ", to_string(to), " is updated with ", to_string(from));
    }
    for (const Update& u : g_.gradients()) {
      if (!exists(u.state) || !exists(u.value))
        broken("the gradient of %", u.state.index, " is %", u.value.index, ": no such value");
      else if (g_.value(u.state).kind != ValueKind::State || g_.type(u.state).shape != g_.type(u.value).shape)
        broken("%", u.value.index, " cannot be the gradient of %", u.state.index);
    }
  }

  const Graph& g_;
  std::vector<std::string> broken_;
};

}  // namespace

std::vector<std::string> broken_rules(const Graph& graph) {
  return Verifier(graph).run();
}

void verify(const Graph& graph) {
  const auto broken = broken_rules(graph);
  if (!broken.empty())
    throw UsageError(
        cat("the graph is not well formed (", broken.size(), " findings):\n  ", join(broken, "\n  ")));
}

}  // namespace ingot
