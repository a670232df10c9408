#include "core/ops/einsum.h"

#include <algorithm>
#include <cctype>
#include <map>

#include "core/ops/compose.h"
#include "core/ops/elementwise.h"
#include "core/ops/matmul.h"
#include "core/ops/reduce.h"
#include "core/ops/view.h"

namespace ingot {

namespace {

using Letters = std::string;  // one per axis

bool has(const Letters& letters, char c) {
  return letters.find(c) != Letters::npos;
}
// Those of `a` for which `keep` holds, in their order.
template <class Keep>
Letters those(const Letters& a, const Keep& keep) {
  Letters out;
  std::copy_if(a.begin(), a.end(), std::back_inserter(out), keep);
  return out;
}

struct Equation {
  std::vector<Letters> operands;
  Letters result;
};

// A tensor and what its axes are called.
struct Term {
  Value v;
  Letters axes;
};

class Einsum {
 public:
  Einsum(const ops::Composed& call, std::string_view equation) : call_(call), equation_(equation) {}

  Value run(std::span<const Value> operands) {
    const Equation e = parse();
    if (e.operands.size() != operands.size())
      refuse(cat("names ", e.operands.size(), " operands, got ", operands.size()));
    std::vector<Term> terms;
    for (std::size_t i = 0; i < operands.size(); ++i) terms.push_back(named(operands[i], e.operands[i], i));
    for (const char c : e.result)
      if (!sizes_.contains(c)) refuse_use(cat("the result's '", c, "' is in no operand"));
    Term total = terms[0];
    for (std::size_t i = 1; i < terms.size(); ++i) {
      Letters later = e.result;  // what is still needed behind this product
      for (std::size_t k = i + 1; k < terms.size(); ++k) later += terms[k].axes;
      total = product(total, terms[i], later);
    }
    total = summed(total, e.result);
    return in_order(total, e.result);
  }

 private:
  [[noreturn]] void refuse(const std::string& why) const { call_.refuse(cat("'", equation_, "' ", why)); }
  [[noreturn]] void refuse_use(const std::string& why) const {
    call_.refuse_use(cat("in '", equation_, "' ", why));
  }

  Equation parse() const {
    Equation e;
    Letters text = those(std::string(equation_), [](char c) { return c != ' '; });
    const std::size_t arrow = text.find("->");
    const Letters left = text.substr(0, arrow);
    e.operands.emplace_back();
    for (const char c : left) {
      if (c == ',')
        e.operands.emplace_back();
      else
        e.operands.back().push_back(letter(c));
    }
    if (arrow == Letters::npos) {
      Letters all;
      for (const Letters& o : e.operands) all += o;
      std::sort(all.begin(), all.end());
      e.result = those(all, [&](char c) { return std::count(all.begin(), all.end(), c) == 1; });
      return e;
    }
    for (const char c : text.substr(arrow + 2)) {
      if (has(e.result, letter(c))) refuse_use(cat("the result names '", c, "' twice"));
      e.result.push_back(c);
    }
    return e;
  }
  char letter(char c) const {
    if (std::isalpha(static_cast<unsigned char>(c)) == 0)
      refuse_use(cat("'", c,
                     "' is no letter; write axes as letters, operands apart by ',', the result behind "
                     "'->', and no ellipsis"));
    return c;
  }

  // Operand i with one letter an axis: diagonals are taken.
  Term named(Value v, const Letters& letters, std::size_t i) {
    if (v.rank() != static_cast<int>(letters.size()))
      refuse(cat("gives operand ", i, " ", letters.size(), " axes, it is ", to_string(v.type())));
    for (int axis = 0; axis < v.rank(); ++axis) {
      const char c = letters[static_cast<std::size_t>(axis)];
      const auto [at, first] = sizes_.emplace(c, v.dim(axis));
      if (!first && at->second != v.dim(axis))
        refuse(cat("gives '", c, "' the sizes ", at->second, " and ", v.dim(axis), ", the latter in operand ",
                   i, ", ", to_string(v.type())));
    }
    Term t{v, letters};
    for (std::size_t k = 0; k < t.axes.size(); ++k)
      for (std::size_t again = t.axes.find(t.axes[k], k + 1); again != Letters::npos;
           again = t.axes.find(t.axes[k], k + 1))
        t = diagonal(t, k, again);
    return t;
  }

  // Axes `first` and `second` have one letter: brought to the end, the two are one axis of n * n elements, of
  // which every (n + 1)th is on the diagonal.
  static Term diagonal(const Term& t, std::size_t first, std::size_t second) {
    std::vector<std::int64_t> perm;
    Shape rest;
    Letters left;
    for (std::size_t i = 0; i < t.axes.size(); ++i)
      if (i != first && i != second) {
        perm.push_back(static_cast<std::int64_t>(i));
        rest.push_back(t.v.dim(static_cast<int>(i)));
        left.push_back(t.axes[i]);
      }
    perm.push_back(static_cast<std::int64_t>(first));
    perm.push_back(static_cast<std::int64_t>(second));
    const std::int64_t n = t.v.dim(static_cast<int>(first));
    rest.push_back(n * n);
    return {slice(reshape(permuted(t.v, perm), rest), -1, 0, kEnd, n + 1), left + t.axes[first]};
  }

  static Value permuted(Value v, const std::vector<std::int64_t>& perm) {
    return std::is_sorted(perm.begin(), perm.end()) ? v : transpose(v, perm);
  }

  // Without the letters that `needed` lacks.
  static Term summed(const Term& t, const Letters& needed) {
    Axes gone;
    for (std::size_t i = 0; i < t.axes.size(); ++i)
      if (!has(needed, t.axes[i])) gone.push_back(static_cast<std::int64_t>(i));
    if (gone.empty()) return t;
    return {sum(t.v, gone), those(t.axes, [&](char c) { return has(needed, c); })};
  }

  static Value in_order(const Term& t, const Letters& order) {
    std::vector<std::int64_t> perm;
    for (const char c : order) perm.push_back(static_cast<std::int64_t>(t.axes.find(c)));
    return permuted(t.v, perm);
  }

  std::int64_t size(const Letters& letters) const {
    std::int64_t n = 1;
    for (const char c : letters) n *= sizes_.at(c);
    return n;
  }
  Shape shape(const Letters& letters) const {
    Shape s;
    for (const char c : letters) s.push_back(sizes_.at(c));
    return s;
  }

  Term product(Term a, Term b, const Letters& later) const {
    // What one operand alone has and nobody needs is summed before.
    a = summed(a, later + b.axes);
    b = summed(b, later + a.axes);
    const Letters both = those(a.axes, [&](char c) { return has(b.axes, c); });
    const Letters batch = those(both, [&](char c) { return has(later, c); });
    const Letters inner = those(both, [&](char c) { return !has(later, c); });
    const Letters rows = those(a.axes, [&](char c) { return !has(b.axes, c); });
    const Letters columns = those(b.axes, [&](char c) { return !has(a.axes, c); });
    if (inner.empty() || (rows.empty() && columns.empty())) {
      const Letters all = batch + inner + rows + columns;
      return summed({mul(spread(a, all), spread(b, all)), all}, later);
    }
    if (!is_floating(a.v.dtype()))
      refuse(cat("needs a matrix product, which is floating only; operands are ", name(a.v.dtype()),
                 "; convert with cast()"));
    const auto [left, left_transposed] = matrix(a, batch, rows, inner);
    const auto [right, right_straight] = matrix(b, batch, columns, inner);
    const Value y = matmul(left, right, left_transposed, !right_straight);
    const Letters axes = batch + rows + columns;
    return {reshape(y, shape(axes)), axes};
  }

  // With axes of size 1 for what it lacks of `all`.
  Value spread(const Term& t, const Letters& all) const {
    Shape s;
    for (const char c : all) s.push_back(has(t.axes, c) ? sizes_.at(c) : 1);
    return reshape(in_order(t, those(all, [&](char c) { return has(t.axes, c); })), s);
  }

  // [batch, own, inner], or with the last two exchanged where it lies that way already (true).
  std::pair<Value, bool> matrix(const Term& t, const Letters& batch, const Letters& own,
                                const Letters& inner) const {
    const bool exchanged = t.axes == batch + inner + own && !own.empty();
    const Value v = exchanged ? t.v : in_order(t, batch + own + inner);
    const std::int64_t m = size(own), k = size(inner);
    Shape s = exchanged ? Shape{k, m} : Shape{m, k};
    if (!batch.empty()) s = exchanged ? Shape{size(batch), k, m} : Shape{size(batch), m, k};
    return {reshape(v, s), exchanged};
  }

  const ops::Composed& call_;
  std::string_view equation_;
  std::map<char, std::int64_t> sizes_;
};

}  // namespace

Value einsum(std::string_view equation, std::span<const Value> operands, SourceLoc loc) {
  if (operands.empty()) throw UsageError(cat("einsum: '", equation, "' got no operands"));
  const ops::Composed call(operands[0], "einsum", loc);
  return Einsum(call, equation).run(operands);
}

Value einsum(std::string_view equation, std::initializer_list<Value> operands, SourceLoc loc) {
  return einsum(equation, std::span(operands.begin(), operands.size()), std::move(loc));
}

}  // namespace ingot
