#include "core/ops/fused_many.h"

#include "core/ops/check.h"
#include "core/ops/support.h"

namespace ingot {

namespace {

std::vector<TensorType> infer_fused_many(const InferArgs& a) {
  const auto& m = a.attrs.as<FusedManyAttrs>();
  const std::int64_t inputs = m.expr.num_inputs();
  if (m.count < 1) throw UsageError(cat(a.op, ": attribute 'count' must be at least 1, got ", m.count));
  if (m.expr.outputs().size() != 1)
    throw UsageError(cat(a.op, ": the tape must have one output, it has ", m.expr.outputs().size()));
  if (m.shared < 0 || m.shared >= inputs)
    throw UsageError(cat(a.op, ": attribute 'shared' must lie in [0, ", inputs,
                         "), so that one input of the tape at least is a list, got ", m.shared));
  ops::check_count(a, static_cast<std::size_t>(m.shared + (inputs - m.shared) * m.count),
                   "(shared scalars, then a list for each further input of the tape)");
  std::vector<TensorType> out;
  for (std::size_t k = 0; k < static_cast<std::size_t>(m.count); ++k) {
    const TensorType& first = a.inputs[m.operand(static_cast<std::size_t>(m.shared), k)];
    for (std::size_t i = 0; i < static_cast<std::size_t>(inputs); ++i) {
      const int at = static_cast<int>(m.operand(i, k));
      const std::string what = cat("input ", i, " of the tape, operand ", at, ",");
      ops::check_dtype(a, at, what, m.expr.inputs()[i]);
      if (i < static_cast<std::size_t>(m.shared))
        ops::check_rank(a, at, what, 0);
      else
        ops::check_shape(a, at, what, first.shape);
    }
    out.emplace_back(m.expr.dtype(m.expr.outputs()[0]), first.shape, first.layout);
  }
  return out;
}

// Each group is the node `fused` of its operands.
void reference_fused_many(const RefArgs& a) {
  const auto& m = a.attrs.as<FusedManyAttrs>();
  const OpDef& fused = op("fused");
  const Attrs attrs = fused.attrs.with("expr", m.expr);
  for (std::size_t k = 0; k < a.outputs.size(); ++k) {
    std::vector<Tensor> mine;
    for (std::size_t i = 0; i < m.expr.inputs().size(); ++i) mine.push_back(a.inputs[m.operand(i, k)]);
    fused.reference({attrs, mine, a.outputs.subspan(k, 1)});
  }
}

Cost cost_fused_many(const Attrs& attrs, std::span<const TensorType> inputs,
                     std::span<const TensorType> outputs) {
  Cost c{0.0, ops::operand_bytes(inputs, outputs)};
  double instructions = 0.0;
  for (const auto& i : attrs.as<FusedManyAttrs>().expr.instrs()) instructions += i.op != ScalarOp::Const;
  for (const auto& t : outputs) c.flops += instructions * static_cast<double>(t.numel());
  return c;
}

std::vector<std::array<int, 2>> fused_many_in_place(const Attrs& attrs, int num_inputs) {
  const auto& m = attrs.as<FusedManyAttrs>();
  std::vector<std::array<int, 2>> pairs;
  for (int i = static_cast<int>(m.shared); i < num_inputs; ++i)
    pairs.push_back({i, (i - static_cast<int>(m.shared)) % static_cast<int>(m.count)});
  return pairs;
}

}  // namespace

namespace ops {

OpDef def_fused_many() {
  OpDef d;
  d.name = "fused_many";
  d.doc = "One tape of scalar functions on many groups of tensors.";
  d.max_inputs = -1;
  d.attrs = FusedManyAttrs{};
  d.infer = infer_fused_many;
  d.not_differentiable = "nodes are joined after differentiation; build the gradient from the single ones";
  d.reference = reference_fused_many;
  d.cost = cost_fused_many;
  d.in_place = fused_many_in_place;
  return d;
}

}  // namespace ops

bool groups_are_vectors(const FusedManyAttrs& attrs, std::span<const TensorType> inputs,
                        std::span<const TensorType> outputs) {
  const auto& tape = attrs.expr;
  const bool cast = tape.instrs().size() == 1 && tape.instrs()[0].op == ScalarOp::Cast;
  for (std::size_t k = 0; k < outputs.size(); ++k) {
    if (!cast && outputs[k].physical_numel() != outputs[k].numel()) return false;
    for (auto i = static_cast<std::size_t>(attrs.shared); i < tape.inputs().size(); ++i)
      if (inputs[attrs.operand(i, k)].layout.canonical() != outputs[k].layout.canonical()) return false;
  }
  return true;
}

}  // namespace ingot
