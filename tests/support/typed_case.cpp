#include "tests/support/typed_case.h"

#include <algorithm>

#include "core/autodiff/differentiate.h"
#include "core/base/error.h"
#include "core/base/half_types.h"
#include "core/base/philox.h"
#include "core/ir/retype.h"
#include "core/op/builder.h"
#include "core/op/reference.h"

namespace ingot::test {

namespace {

// Fixed weights of a loss, no two alike; none where the case leaves the element open.
Tensor loss_weights(const OpCase& c, int output, const TensorType& type) {
  const Tensor w = Tensor::zeros(type);  // the padding of blocks too
  const Philox rng(99, static_cast<std::uint64_t>(output));
  for (std::int64_t i = 0; i < w.numel(); ++i) {
    const double u = static_cast<double>(uniform01(rng.bits(static_cast<std::uint64_t>(i))));
    w.set(i, c.unspecified && c.unspecified(output, i) ? 0.0 : (u < 0.5 ? -1.0 : 1.0) * (0.25 + u));
  }
  return w;
}

// Appends the gradient of sum(y * w) over the case's loss outputs.
void append_gradient(const OpCase& c, TypedCase& t, const std::vector<Value>& y) {
  if (op(c.op).gradient == nullptr || !c.gradient) return;
  std::vector<Value> wrt;
  const std::vector<ValueId> inputs = t.graph.inputs();
  for (std::size_t i = 0; i < c.inputs.size(); ++i)
    if (is_floating(c.inputs[i].type.dtype) && c.inputs[i].differentiate)
      wrt.emplace_back(t.graph, inputs[i]);
  Value loss;
  for (const int k : c.loss_outputs) {
    const Value& v = y.at(static_cast<std::size_t>(k));
    if (!is_floating(v.dtype()) || wrt.empty()) continue;
    const Value w = input(t.graph, cat("w", k), v.type());
    t.inputs.push_back(loss_weights(c, k, v.type()));
    const Value term = apply1("reduce_sum", {apply1("mul", {v, w})});
    loss = loss.defined() ? apply1("add", {loss, term}) : term;
  }
  if (!loss.defined()) return;
  const std::vector<Value> grads = differentiate(t.graph, loss, wrt);
  for (std::size_t j = 0; j < grads.size(); ++j) output(cat("g", j), grads[j]);
}

}  // namespace

std::optional<TypedCase> typed_case(const OpCase& c, DType dtype, bool mixed) {
  int rank = 0;
  for (const InputSpec& s : c.inputs)
    if (s.type.dtype == DType::F32) rank = std::max(rank, s.type.shape.rank());
  TypedCase t;
  try {
    std::vector<Value> in;
    const std::vector<Tensor> values = make_inputs(c);
    for (std::size_t i = 0; i < c.inputs.size(); ++i) {
      TensorType type = c.inputs[i].type;
      if (type.dtype == DType::F32 && (!mixed || type.shape.rank() == rank)) type.dtype = dtype;
      in.push_back(input(t.graph, cat("x", i), type));
      t.inputs.push_back(values[i].to(type.dtype));
    }
    const Attrs attrs = retyped(c.attrs.empty() ? op(c.op).attrs : c.attrs,
                                [dtype](DType d) { return d == DType::F32 ? dtype : d; });
    std::vector<Value> y;
    if (in.empty())
      y.push_back(apply0(t.graph, c.op, attrs));
    else
      y = apply(c.op, in, attrs);
    for (std::size_t k = 0; k < y.size(); ++k) output(cat("y", k), y[k]);
    append_gradient(c, t, y);
  } catch (const ShapeError&) {
    if (dtype == DType::F32) throw;
    return std::nullopt;
  }
  return t;
}

std::vector<Graph> image_layouts(const Graph& plain) {
  std::vector<Graph> graphs;
  const std::size_t count = plain.node({0}).inputs.size();
  for (std::size_t only = 0; only <= count; ++only) {
    Graph g = plain;
    bool any = false;
    for (std::size_t i = 0; i < count; ++i) {
      TensorType& type = g.value(g.node({0}).inputs[i]).type;
      if (type.shape.rank() != 4 || (only < count && only != i)) continue;
      type.layout = Layout::channels_last(4);
      any = true;
    }
    if (any) graphs.push_back(std::move(g));
  }
  return graphs;
}

std::vector<Tensor> rounded_reference(const Graph& graph, const Node& node,
                                      const std::vector<Tensor>& operands) {
  const auto widened = [](DType d) { return is_half(d) ? DType::F32 : d; };
  std::vector<Tensor> wide;
  for (const Tensor& t : operands) wide.push_back(t.to(widened(t.dtype())));
  std::vector<Tensor> results = run_reference(op(node.op), retyped(node.attrs, widened), wide);
  for (std::size_t k = 0; k < results.size(); ++k)
    results[k] = results[k].to(graph.type(node.outputs[k]).dtype);
  return results;
}

std::map<std::string, Tensor> rounded_outputs(const TypedCase& t) {
  std::map<ValueId, Tensor> values;
  const std::vector<ValueId> inputs = t.graph.inputs();
  for (std::size_t i = 0; i < inputs.size(); ++i) values[inputs[i]] = t.inputs[i];
  for (const Node& node : t.graph.nodes()) {
    std::vector<Tensor> operands;
    for (const ValueId v : node.inputs) operands.push_back(values.at(v));
    const auto results = rounded_reference(t.graph, node, operands);
    for (std::size_t k = 0; k < results.size(); ++k) values[node.outputs[k]] = results[k];
  }
  std::map<std::string, Tensor> outputs;
  for (const Output& o : t.graph.outputs()) outputs[o.name] = values.at(o.value);
  return outputs;
}

double rounding(DType dtype) {
  return dtype == DType::F16 ? 0x1p-11 : dtype == DType::BF16 ? 0x1p-8 : 0.0;
}

Seen& seen() {
  static Seen s;
  return s;
}

std::vector<CaseIn> all_cases() {
  std::vector<CaseIn> all;
  for (const OpCase& c : op_cases())
    if (op(c.op).reference != nullptr)
      for (const DType d : {DType::F32, DType::F16, DType::BF16}) all.push_back({c, d});
  return all;
}
void PrintTo(const CaseIn& p, std::ostream* out) {
  *out << p.c.op << "." << p.c.name << " in " << name(p.dtype);
}
std::string case_name(const testing::TestParamInfo<CaseIn>& info) {
  return cat(info.param.c.op, "_", info.param.c.name, "_", name(info.param.dtype));
}

}  // namespace ingot::test
