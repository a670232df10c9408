#include "core/op/text.h"

#include <array>
#include <charconv>
#include <cmath>

#include "core/op/registry.h"

namespace ingot {

namespace {

constexpr std::int64_t kDecimalTensor = 16;  // larger tensors are written in hex
constexpr std::string_view kRoles[] = {"parameter", "buffer", "optimizer", "counter"};

bool bare(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' ||
         c == '/' || c == '-' || c == '+' || c == ':' || c == '@' || c == '~';
}

std::string quoted(std::string_view s) {
  constexpr std::string_view hex = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : s) {
    const auto u = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (u < 0x20 || u == 0x7f) {
      out += "\\x";
      out += hex[u >> 4];
      out += hex[u & 15];
    } else {
      out += c;
    }
  }
  return out + '"';
}

// As it stands when it is one plain word, else in quotes.
std::string word(std::string_view s) {
  for (const char c : s)
    if (!bare(c)) return quoted(s);
  return s.empty() ? "\"\"" : std::string(s);
}

template <class T>
std::string number(T v) {
  std::array<char, 40> buffer;
  const auto r = std::to_chars(buffer.data(), buffer.data() + buffer.size(), v);
  return {buffer.data(), r.ptr};
}

std::string list(std::span<const std::int64_t> v) {
  return cat("[", join(v), "]");
}

std::string tensor_text(const Tensor& t, const TextOptions& options) {
  if (!t.defined()) return "none";
  std::string out = to_string(t.type());
  if (options.elide_tensors_above >= 0 && t.numel() > options.elide_tensors_above) return out + ":...";
  bool decimal = t.numel() <= kDecimalTensor && t.type().layout.is_row_major();
  for (std::int64_t i = 0; decimal && i < t.numel(); ++i) decimal = !std::isnan(t.get(i));
  if (decimal) {
    out += '(';
    visit_dtype(t.dtype(), [&]<class T>() {
      bool first = true;
      for (const T v : t.values<T>()) {
        if (!first) out += ", ";
        first = false;
        if constexpr (requires { v.to_float(); })
          out += number(v.to_float());
        else if constexpr (std::is_same_v<T, bool>)
          out += v ? '1' : '0';
        else
          out += number(v);
      }
    });
    return out + ')';
  }
  constexpr std::string_view hex = "0123456789abcdef";
  out += ':';
  out.reserve(out.size() + 2 * t.bytes());
  for (const std::byte b : t.as_bytes()) {
    out += hex[std::to_integer<unsigned>(b) >> 4];
    out += hex[std::to_integer<unsigned>(b) & 15u];
  }
  return out;
}

std::string layout_text(const Layout& l) {
  return l.is_row_major() ? "@" : to_string(l);
}

void write_graph(std::string& out, const Graph& g, const TextOptions& options, const std::string& indent);

std::string attr_text(const AttrValue& value, const TextOptions& options, const std::string& indent) {
  return std::visit(
      [&]<class T>(const T& v) -> std::string {
        if constexpr (std::is_same_v<T, bool>) {
          return v ? "true" : "false";
        } else if constexpr (std::is_same_v<T, std::int64_t> || std::is_same_v<T, double>) {
          return number(v);
        } else if constexpr (std::is_same_v<T, std::string>) {
          return quoted(v);
        } else if constexpr (std::is_same_v<T, std::vector<std::int64_t>>) {
          return list(v);
        } else if constexpr (std::is_same_v<T, DType>) {
          return std::string(name(v));
        } else if constexpr (std::is_same_v<T, Shape>) {
          return list(v.dims());
        } else if constexpr (std::is_same_v<T, Layout>) {
          return layout_text(v);
        } else if constexpr (std::is_same_v<T, Tensor>) {
          return tensor_text(v, options);
        } else if constexpr (std::is_same_v<T, ScalarExpr>) {
          return quoted(to_string(v));
        } else {
          if (!v) return "none";
          std::string body = "{\n";
          write_graph(body, *v, options, indent + "  ");
          return body + indent + "}";
        }
      },
      value);
}

void write_value(std::string& out, const Graph& g, ValueId id) {
  out += cat("%", id.index);
  if (!g.value(id).name.empty()) out += cat(" ", quoted(g.value(id).name));
}

void write_place(std::string& out, std::string_view node, const SourceLoc& loc, const TextOptions& options) {
  const std::string where = options.locations ? to_string(loc) : "";
  const std::string_view called = options.names ? node : std::string_view();
  if (where.empty() && called.empty()) return;
  out += cat("  # ", word(called));
  if (!where.empty()) out += cat(" ", word(where));
}

void write_node(std::string& out, const Graph& g, NodeId id, const TextOptions& options,
                const std::string& indent) {
  const Node& n = g.node(id);
  for (std::size_t i = 0; i < n.outputs.size(); ++i) {
    if (i != 0) out += ", ";
    write_value(out, g, n.outputs[i]);
  }
  if (!n.outputs.empty()) out += " = ";
  out += n.op;
  out += '(';
  for (std::size_t i = 0; i < n.inputs.size(); ++i) out += cat(i == 0 ? "%" : ", %", n.inputs[i].index);
  out += ')';
  const OpDef* def = Registry::instance().find(n.op);
  const auto defaults = def != nullptr ? def->attrs.fields() : std::vector<AttrField>{};
  bool any = false;
  for (const AttrField& f : n.attrs.fields()) {
    bool is_default = false;
    for (const AttrField& d : defaults)
      is_default = is_default || (d.name == f.name && equal(d.value, f.value));
    if (is_default) continue;
    out += cat(any ? ", " : " {", f.name, "=", attr_text(f.value, options, indent));
    any = true;
  }
  if (any) out += '}';
  for (std::size_t i = 0; i < n.outputs.size(); ++i)
    out += cat(i == 0 ? " : " : ", ", to_string(g.type(n.outputs[i])));
  write_place(out, n.name, n.loc, options);
}

void write_state(std::string& out, const Graph& g, const State& s, const TextOptions& options) {
  const ValueInfo& v = g.value(s.value);
  out += cat("%", s.value.index);
  if (v.name != s.name) out += cat(" ", quoted(v.name));
  out += cat(" = state ", quoted(s.name), " : ", to_string(v.type), " ",
             kRoles[static_cast<std::size_t>(s.role)]);
  if (s.trainable != (s.role == StateRole::Parameter)) out += s.trainable ? " trainable" : " frozen";
  switch (s.init.kind) {
    case Init::Kind::Constant:
      out += cat(" constant(", number(s.init.a), ")");
      break;
    case Init::Kind::Uniform:
      out += cat(" uniform(", number(s.init.a), ", ", number(s.init.b), ")");
      break;
    case Init::Kind::Normal:
      out += cat(" normal(", number(s.init.a), ", ", number(s.init.b), ")");
      break;
    case Init::Kind::Data:
      out += cat(" data(", tensor_text(s.init.data, options), ")");
      break;
  }
  write_place(out, "", v.loc, options);
}

void write_graph(std::string& out, const Graph& g, const TextOptions& options, const std::string& indent) {
  std::uint32_t node = 0;
  // Nodes appear where their results do; those without results follow the node before them.
  const auto write_nodes_up_to = [&](std::uint32_t end) {
    for (; node < end; ++node) {
      out += indent;
      write_node(out, g, {node}, options, indent);
      out += '\n';
    }
  };
  for (std::uint32_t i = 0; i < g.values().size(); ++i) {
    const ValueInfo& v = g.values()[i];
    if (v.kind == ValueKind::Result) {
      write_nodes_up_to(v.producer.index + 1);
      continue;
    }
    out += indent;
    if (v.kind == ValueKind::Input) {
      out += cat("%", i, " = input ", quoted(v.name), " : ", to_string(v.type));
      write_place(out, "", v.loc, options);
    } else if (const State* s = g.state_of({i})) {
      write_state(out, g, *s, options);
    }
    out += '\n';
  }
  write_nodes_up_to(static_cast<std::uint32_t>(g.nodes().size()));
  for (const Output& o : g.outputs())
    out += cat(indent, "output ", quoted(o.name), " = %", o.value.index, "\n");
  for (const Update& u : g.updates())
    out += cat(indent, "update %", u.state.index, " = %", u.value.index, "\n");
  for (const Update& u : g.gradients())
    out += cat(indent, "gradient %", u.state.index, " = %", u.value.index, "\n");
}

}  // namespace

std::string print_graph(const Graph& graph, const TextOptions& options) {
  std::string out;
  write_graph(out, graph, options, "");
  return out;
}

std::string print_node(const Graph& graph, NodeId node, const TextOptions& options) {
  std::string out;
  write_node(out, graph, node, options, "");
  return out;
}

std::string print_attr(const AttrValue& value, const TextOptions& options) {
  return attr_text(value, options, "");
}

}  // namespace ingot
