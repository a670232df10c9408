#include "core/runtime/numerics.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "core/base/error.h"
#include "core/op/reference.h"

namespace ingot {

namespace {

struct Range {
  double lo = std::numeric_limits<double>::infinity(), hi = -std::numeric_limits<double>::infinity();
  std::int64_t nan = 0, inf = 0, count = 0;
};

Range range(const Tensor& t) {
  Range r;
  if (!is_floating(t.dtype())) return r;
  visit_dtype(t.dtype(), [&]<class T>() {
    for (const T& e : t.values<T>()) {
      const double d = to_double(e);
      ++r.count;
      if (std::isnan(d))
        ++r.nan;
      else if (std::isinf(d))
        ++r.inf;
      else {
        r.lo = std::min(r.lo, d);
        r.hi = std::max(r.hi, d);
      }
    }
  });
  return r;
}

}  // namespace

bool all_finite(const Tensor& t) {
  if (t.dtype() != DType::F32) {
    const Range r = range(t);
    return r.nan + r.inf == 0;
  }
  constexpr std::uint32_t kExponent = 0x7f800000u;
  std::uint32_t bad = 0;
  for (const float e : t.values<float>())
    bad |= (std::bit_cast<std::uint32_t>(e) & kExponent) == kExponent ? 1u : 0u;
  return bad == 0;
}

bool Numerics::finite(ValueId v) const {
  return !is_floating(graph().type(v).dtype) || all_finite(peek_(v));
}

std::string Numerics::title(ValueId v) const {
  const ValueInfo& info = graph().value(v);
  return cat(info.name.empty() ? cat("%", v.index) : info.name, " ", to_string(info.type));
}

std::string Numerics::describe(ValueId v) const {
  std::string text = title(v);
  if (!is_floating(graph().type(v).dtype)) return text;
  const Range r = range(peek_(v));
  if (r.count > 0 && r.lo <= r.hi) text += cat(" in [", r.lo, ", ", r.hi, "]");
  if (r.nan + r.inf > 0) text += cat(" with ", r.nan, " NaN and ", r.inf, " infinite of ", r.count);
  return text;
}

// A result in place of its operand: what lies there now says nothing about the operand.
bool Numerics::overwritten(ValueId operand, const Node& by) const {
  const Place p = program_.place(operand);
  return std::any_of(by.outputs.begin(), by.outputs.end(), [&](ValueId v) {
    const Place q = program_.place(v);
    return graph().type(v).bytes() != 0 && p.region == q.region && p.offset == q.offset;
  });
}

void Numerics::check_inputs() const {
  for (const ValueId v : graph().inputs()) {
    if (finite(v)) continue;
    NumericError e(cat("the input ", describe(v), "; check the data"));
    e.add_context(graph().value(v).name, graph().value(v).loc);
    throw e;
  }
}

void Numerics::check_states() const {
  for (const State& s : graph().states()) {
    if (finite(s.value)) continue;
    NumericError e(cat("the state ", describe(s.value),
                       ": an earlier update made it so; lower the learning rate, clip gradients, or "
                       "run with check_numerics to stop at the node that starts it"));
    e.add_context(s.name, graph().value(s.value).loc);
    throw e;
  }
}

void Numerics::check_results(NodeId n) const {
  const Node& node = graph().node(n);
  for (const ValueId v : node.outputs) {
    if (finite(v)) continue;
    if (!program_.backend().host_memory()) ask_reference(node);
    std::vector<std::string> operands;
    for (const ValueId in : node.inputs)
      operands.push_back(overwritten(in, node) ? cat(title(in), ", which the result has overwritten")
                                               : describe(in));
    NumericError e(
        cat(node.op, " made ", describe(v), operands.empty() ? "" : cat(" from ", join(operands, "; "))));
    e.add_context(node.name, node.loc);
    throw e;
  }
}

// Only nodes with an operand of integers, such as labels or indices: others complain when they are built, and
// their reference may take long.
void Numerics::ask_reference(const Node& node) const {
  const auto is_index = [&](ValueId v) { return !is_floating(graph().type(v).dtype); };
  const auto is_gone = [&](ValueId v) { return overwritten(v, node); };
  if (std::none_of(node.inputs.begin(), node.inputs.end(), is_index)) return;
  if (std::any_of(node.inputs.begin(), node.inputs.end(), is_gone)) return;
  std::vector<Tensor> operands;
  for (const ValueId v : node.inputs)
    operands.push_back(is_index(v) ? peek_(v) : peek_(v).to(DType::F32));  // references know no narrow ones
  try {
    static_cast<void>(run_reference(op(node.op), node.attrs, operands));
  } catch (UsageError& e) {
    e.add_context(node.name, node.loc);
    throw;
  }
}

}  // namespace ingot
