// Reads the text that core/op/text.cpp writes.
#include <algorithm>
#include <cctype>
#include <charconv>
#include <map>

#include "core/op/registry.h"
#include "core/op/text.h"

namespace ingot {

namespace {

constexpr int kMaxDepth = 32;            // graphs inside graphs
constexpr double kMaxElements = 0x1p48;  // of one tensor, block padding included
constexpr std::size_t kMaxWordBytes = 65536;

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Graph parse() {
    try {
      Graph g = statements(0);
      if (!at_end()) throw FormatError(cat("unexpected '", text_.substr(pos_, 1), "'"));
      return g;
    } catch (const Error& e) {
      throw FormatError(cat("graph text, line ", line(), ": ", e.message()));
    }
  }

 private:
  using Names = std::map<std::string, ValueId, std::less<>>;

  // --- characters -----------------------------------------------------------------------------------------

  std::size_t line() const {
    const auto end = text_.begin() + static_cast<std::ptrdiff_t>(std::min(pos_, text_.size()));
    return 1 + static_cast<std::size_t>(std::count(text_.begin(), end, '\n'));
  }

  // Skips blanks, line ends and lines of comment.
  void skip() {
    while (pos_ < text_.size()) {
      if (std::isspace(static_cast<unsigned char>(text_[pos_])) != 0) {
        ++pos_;
      } else if (text_.substr(pos_, 2) == "//") {
        pos_ = std::min(text_.find('\n', pos_), text_.size());
      } else {
        return;
      }
    }
  }
  void skip_blanks() {
    while (pos_ < text_.size() && (text_[pos_] == ' ' || text_[pos_] == '\t' || text_[pos_] == '\r')) ++pos_;
  }
  bool at_end() {
    skip();
    return pos_ >= text_.size();
  }
  char peek() {
    skip();
    return pos_ < text_.size() ? text_[pos_] : '\0';
  }
  bool accept(char c) {
    if (peek() != c || pos_ >= text_.size()) return false;
    ++pos_;
    return true;
  }
  void expect(char c) {
    if (!accept(c)) {
      const std::string found = pos_ < text_.size() ? cat("'", text_.substr(pos_, 1), "'") : "the end";
      throw FormatError(cat("expected '", c, "', found ", found));
    }
  }
  template <class Accepts>
  std::string_view take(Accepts&& accepts) {
    const std::size_t start = pos_;
    while (pos_ < text_.size() && accepts(text_[pos_])) ++pos_;
    if (pos_ - start > kMaxWordBytes) throw FormatError("a word is too long");
    return text_.substr(start, pos_ - start);
  }
  static bool alnum(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0; }
  std::string_view identifier(std::string_view what) {
    skip();
    const auto s = take([](char c) { return alnum(c) || c == '_'; });
    if (s.empty()) throw FormatError(cat("expected ", what));
    return s;
  }

  static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    throw FormatError("expected a hexadecimal digit");
  }
  char next() {
    if (pos_ >= text_.size()) throw FormatError("the text ends inside a quoted string");
    return text_[pos_++];
  }
  std::string quoted() {
    expect('"');
    std::string out;
    for (char c = next(); c != '"'; c = next()) {
      if (c == '\n') throw FormatError("a quoted string must end on its line");
      if (c == '\\') {
        c = next();
        if (c == 'x') {
          const int high = hex_digit(next());
          c = static_cast<char>(16 * high + hex_digit(next()));
        } else if (c != '"' && c != '\\') {
          throw FormatError("a quoted string has an unknown escape");
        }
      }
      out += c;
    }
    return out;
  }

  template <class T>
  T number() {
    skip();
    const auto s = take([](char c) { return alnum(c) || c == '.' || c == '-' || c == '+'; });
    T v{};
    const auto r = std::from_chars(s.data(), s.data() + s.size(), v);
    // Underflow and overflow of a decimal number are taken as written wrongly.
    if (s.empty() || r.ec != std::errc() || r.ptr != s.data() + s.size())
      throw FormatError(cat("'", s, "' is not ", std::is_integral_v<T> ? "an integer" : "a number"));
    return v;
  }

  // --- values of attributes -------------------------------------------------------------------------------

  TensorType type() {
    skip();
    const std::size_t start = pos_;
    take(alnum);
    expect('[');
    take([](char c) { return c != ']' && c != '\n'; });
    expect(']');
    if (pos_ < text_.size() && text_[pos_] == '@') {
      ++pos_;
      layout_rest();
    }
    return checked(parse_type(text_.substr(start, pos_ - start)));
  }
  // After '@'. A comma belongs to the layout only when a digit follows at once.
  void layout_rest() {
    const auto digit = [](char c) { return c >= '0' && c <= '9'; };
    take(digit);
    if (pos_ >= text_.size() || text_[pos_] != ':' || pos_ + 1 >= text_.size() || !digit(text_[pos_ + 1]))
      return;
    do {
      ++pos_;
      take([&](char c) { return digit(c) || c == 'x'; });
    } while (pos_ + 1 < text_.size() && text_[pos_] == ',' && digit(text_[pos_ + 1]));
  }
  // Refuses sizes whose arithmetic would overflow further on.
  static TensorType checked(const TensorType& t) {
    double padded = 1.0, largest = 1.0;
    for (const std::int64_t d : t.shape) padded *= static_cast<double>(d);
    for (int b = 0; b < t.layout.num_blocks; ++b)
      padded *= static_cast<double>(t.layout.blocks[static_cast<std::size_t>(b)].size);
    for (const std::int64_t d : t.shape) largest = std::max(largest, static_cast<double>(d));
    if (padded > kMaxElements || largest > kMaxElements)
      throw FormatError(cat("the type ", to_string(t), " is too large"));
    return t;
  }

  Layout layout() {
    expect('@');
    const std::size_t start = pos_;
    layout_rest();
    const std::string_view s = text_.substr(start, pos_ - start);
    if (s.empty()) return {};
    // Any type of that rank will do to read it.
    std::string t = "f32[";
    for (std::size_t i = 0; i < std::min(s.find(':'), s.size()); ++i) t += i == 0 ? "1" : ", 1";
    return checked(parse_type(cat(t, "]@", s))).layout;
  }

  std::vector<std::int64_t> list() {
    std::vector<std::int64_t> out;
    expect('[');
    if (accept(']')) return out;
    do out.push_back(number<std::int64_t>());
    while (accept(','));
    expect(']');
    return out;
  }

  bool accept_word(std::string_view w) {
    skip();
    if (text_.substr(pos_, w.size()) != w) return false;
    if (pos_ + w.size() < text_.size() && alnum(text_[pos_ + w.size()])) return false;
    pos_ += w.size();
    return true;
  }

  Tensor tensor() {
    if (accept_word("none")) return {};
    const TensorType t = type();
    if (accept('(')) {
      if (!t.layout.is_row_major()) throw FormatError("a tensor in decimal must be row-major");
      return visit_dtype(t.dtype, [&]<class T>() { return decimal_tensor<T>(t); });
    }
    expect(':');
    const std::size_t start = pos_;
    while (pos_ < text_.size() && alnum(text_[pos_])) ++pos_;
    const std::string_view hex = text_.substr(start, pos_ - start);
    if (hex.size() != 2 * t.bytes())
      throw FormatError(cat("a tensor of type ", to_string(t), " needs ", 2 * t.bytes(),
                            " hexadecimal digits, found ", hex.size()));
    Tensor out(t);
    for (std::size_t i = 0; i < t.bytes(); ++i)
      out.as_bytes()[i] = static_cast<std::byte>(16 * hex_digit(hex[2 * i]) + hex_digit(hex[2 * i + 1]));
    if (t.dtype == DType::Bool)
      for (const std::byte b : out.as_bytes())
        if (std::to_integer<unsigned>(b) > 1) throw FormatError("a bool is 0 or 1");
    return out;
  }
  template <class T>
  Tensor decimal_tensor(const TensorType& t) {
    std::vector<T> values;
    std::vector<std::uint8_t> bools;  // std::vector<bool> has no bytes
    if (!accept(')')) {
      do {
        if constexpr (std::is_same_v<T, bool>) {
          const auto v = number<std::int64_t>();
          if (v != 0 && v != 1) throw FormatError("a bool is 0 or 1");
          bools.push_back(static_cast<std::uint8_t>(v));
        } else if constexpr (requires { T::from(0.0f); }) {
          values.push_back(T::from(number<float>()));
        } else {
          values.push_back(number<T>());
        }
      } while (accept(','));
      expect(')');
    }
    const auto bytes = std::is_same_v<T, bool> ? std::as_bytes(std::span(bools)) : as_bytes_of(values);
    if (bytes.size() != t.bytes())
      throw FormatError(cat("a tensor of type ", to_string(t), " has ", t.numel(), " elements, found ",
                            bytes.size() / sizeof(T)));
    return Tensor::from_bytes(t, bytes);
  }
  template <class T>
  static std::span<const std::byte> as_bytes_of(const std::vector<T>& v) {
    if constexpr (std::is_same_v<T, bool>)
      return {};
    else
      return std::as_bytes(std::span(v));
  }

  // Of the same alternative as `like`.
  AttrValue attr(const AttrValue& like, int depth) {
    return std::visit(
        [&]<class T>(const T&) -> AttrValue {
          if constexpr (std::is_same_v<T, bool>) {
            if (accept_word("true")) return true;
            if (accept_word("false")) return false;
            throw FormatError("expected true or false");
          } else if constexpr (std::is_same_v<T, std::int64_t> || std::is_same_v<T, double>) {
            return number<T>();
          } else if constexpr (std::is_same_v<T, std::string>) {
            return quoted();
          } else if constexpr (std::is_same_v<T, std::vector<std::int64_t>>) {
            return list();
          } else if constexpr (std::is_same_v<T, DType>) {
            return parse_dtype(identifier("a dtype"));
          } else if constexpr (std::is_same_v<T, Shape>) {
            return Shape(std::span<const std::int64_t>(list()));
          } else if constexpr (std::is_same_v<T, Layout>) {
            return layout();
          } else if constexpr (std::is_same_v<T, Tensor>) {
            return tensor();
          } else if constexpr (std::is_same_v<T, ScalarExpr>) {
            return parse_scalar_expr(quoted());
          } else {
            if (accept_word("none")) return GraphPtr();
            if (depth >= kMaxDepth) throw FormatError("graphs are nested too deeply");
            expect('{');
            auto inner = std::make_shared<Graph>(statements(depth + 1));
            expect('}');
            return GraphPtr(std::move(inner));
          }
        },
        like);
  }

  // --- statements -----------------------------------------------------------------------------------------

  std::string value_name() {
    expect('%');
    const auto s = take([](char c) { return alnum(c) || c == '_' || c == '.'; });
    if (s.empty()) throw FormatError("expected a value's name after '%'");
    return std::string(s);
  }
  static ValueId look_up(const Names& names, const std::string& name) {
    const auto it = names.find(name);
    if (it == names.end()) throw FormatError(cat("%", name, " is not defined above"));
    return it->second;
  }
  static void define(Names& names, const std::string& name, ValueId id) {
    if (!names.emplace(name, id).second) throw FormatError(cat("%", name, " is defined twice"));
  }

  std::string word() {
    skip_blanks();
    if (pos_ < text_.size() && text_[pos_] == '"') return quoted();
    return std::string(take([](char c) { return std::isspace(static_cast<unsigned char>(c)) == 0; }));
  }
  // "# name file:line" up to the end of the line.
  void place(std::string& name, SourceLoc& loc) {
    skip_blanks();
    if (pos_ >= text_.size() || text_[pos_] != '#') return;
    ++pos_;
    name = word();
    const std::string where = word();
    if (!where.empty()) {
      const auto colon = where.rfind(':');
      std::uint32_t number = 0;
      const char* const end = where.data() + where.size();
      if (colon == std::string::npos || std::from_chars(where.data() + colon + 1, end, number).ptr != end ||
          number == 0)
        throw FormatError(cat("'", where, "' is not a place; expected file:line"));
      loc = SourceLoc(where.substr(0, colon), number);
    }
    skip_blanks();
    if (pos_ < text_.size() && text_[pos_] != '\n')
      throw FormatError("expected the end of the line after the node's name and place");
  }

  struct Target {
    std::string id, name;
    bool named = false;
  };

  Graph statements(int depth) {
    Graph g;
    Names names;
    while (!at_end() && peek() != '}') {
      if (peek() == '%') {
        std::vector<Target> targets;
        do {
          Target t;
          t.id = value_name();
          if (peek() == '"') {
            t.name = quoted();
            t.named = true;
          }
          targets.push_back(std::move(t));
        } while (accept(','));
        expect('=');
        const std::string op(identifier("an op"));
        if (op == "input" || op == "state") {
          if (targets.size() != 1) throw FormatError(cat("one value is declared by '", op, "'"));
          declare(g, names, targets[0], op == "state");
        } else {
          node(g, names, targets, op, depth);
        }
        continue;
      }
      const std::string keyword(identifier("a statement"));
      if (keyword == "output") {
        std::string name = quoted();
        expect('=');
        g.add_output(std::move(name), look_up(names, value_name()));
      } else if (keyword == "update") {
        const ValueId state = look_up(names, value_name());
        expect('=');
        g.add_update(state, look_up(names, value_name()));
      } else if (keyword == "gradient") {
        const ValueId state = look_up(names, value_name());
        expect('=');
        g.add_gradient(state, look_up(names, value_name()));
      } else {
        node(g, names, {}, keyword, depth);
      }
    }
    return g;
  }

  void declare(Graph& g, Names& names, const Target& target, bool is_state) {
    const std::string name = quoted();
    expect(':');
    const TensorType t = type();
    std::string unused;
    SourceLoc loc;
    ValueId id;
    if (is_state) {
      State s;
      s.name = name;
      role(s);
      place(unused, loc);
      id = g.add_state(std::move(s), t, loc);
    } else {
      place(unused, loc);
      id = g.add_input(name, t, loc);
    }
    if (target.named) g.value(id).name = target.name;
    define(names, target.id, id);
  }

  void role(State& s) {
    constexpr std::string_view roles[] = {"parameter", "buffer", "optimizer", "counter"};
    const std::string_view w = identifier("a role");
    const auto* const found = std::find(std::begin(roles), std::end(roles), w);
    if (found == std::end(roles)) throw FormatError(cat("'", w, "' is no role; expected ", join(roles)));
    s.role = static_cast<StateRole>(found - std::begin(roles));
    s.trainable = s.role == StateRole::Parameter;
    if (accept_word("frozen")) s.trainable = false;
    if (accept_word("trainable")) s.trainable = true;
    const std::string_view kind = identifier("an initial value");
    expect('(');
    if (kind == "data") {
      s.init = Init::from(tensor());
    } else {
      const auto a = number<double>();
      double b = 0.0;
      if (kind == "uniform" || kind == "normal") {
        expect(',');
        b = number<double>();
      }
      if (kind == "constant")
        s.init = Init::constant(a);
      else if (kind == "uniform")
        s.init = Init::uniform(a, b);
      else if (kind == "normal")
        s.init = Init::normal(a, b);
      else
        throw FormatError(
            cat("'", kind, "' is no initial value; expected constant, uniform, normal or data"));
    }
    expect(')');
  }

  void node(Graph& g, Names& names, const std::vector<Target>& targets, const std::string& name, int depth) {
    const OpDef& def = op(name);
    Node n;
    n.op = name;
    n.attrs = def.attrs;
    expect('(');
    if (!accept(')')) {
      do n.inputs.push_back(look_up(names, value_name()));
      while (accept(','));
      expect(')');
    }
    if (accept('{')) {
      const auto schema = def.attrs.fields();
      do {
        const std::string field(identifier("an attribute"));
        expect('=');
        const auto it =
            std::find_if(schema.begin(), schema.end(), [&](const auto& f) { return f.name == field; });
        if (it == schema.end()) throw FormatError(cat("op '", name, "' has no attribute '", field, "'"));
        n.attrs = n.attrs.with(field, attr(it->value, depth));
      } while (accept(','));
      expect('}');
    }
    std::vector<TensorType> types;
    if (!targets.empty()) {
      expect(':');
      do types.push_back(type());
      while (accept(','));
    }
    if (types.size() != targets.size())
      throw FormatError(cat(targets.size(), " values are defined by ", types.size(), " types"));
    place(n.name, n.loc);
    const NodeId id = g.add_node(std::move(n), types);
    for (std::size_t i = 0; i < targets.size(); ++i) {
      const ValueId v = g.node(id).outputs[i];
      g.value(v).name = targets[i].name;
      define(names, targets[i].id, v);
    }
  }

  std::string_view text_;
  std::size_t pos_ = 0;
};

}  // namespace

Graph parse_graph(std::string_view text) {
  return Parser(text).parse();
}

}  // namespace ingot
