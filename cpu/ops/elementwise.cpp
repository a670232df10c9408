// Elementwise ops, casts, fused tapes and constants: all run as a Tape (cpu/tape.h), or fill memory.
#include "core/ops/elementwise.h"

#include <algorithm>
#include <cstring>

#include "core/ops/creation.h"
#include "core/runtime/lowering.h"
#include "cpu/parallel.h"
#include "cpu/tape.h"

namespace ingot::cpu {

namespace {

std::vector<TensorType> types_of(const Problem& p, const std::vector<ValueId>& values) {
  std::vector<TensorType> types;
  for (const ValueId v : values) types.push_back(p.graph.type(v));
  return types;
}

// A pair is dropped when the same value is another operand too and may not share that result's memory.
std::vector<std::array<int, 2>> safe_pairs(const Problem& p, const Tape& tape) {
  const auto pairs = tape.in_place();
  std::vector<std::array<int, 2>> safe;
  for (const auto& pair : pairs) {
    bool all = true;
    for (int j = 0; j < p.num_inputs(); ++j)
      if (p.node.inputs[static_cast<std::size_t>(j)] == p.node.inputs[static_cast<std::size_t>(pair[0])])
        all = all && std::find(pairs.begin(), pairs.end(), std::array<int, 2>{j, pair[1]}) != pairs.end();
    if (all) safe.push_back(pair);
  }
  return safe;
}

std::unique_ptr<Step> lower_tape(const Problem& p, const ScalarExpr& expr, const std::vector<TensorType>& in,
                                 const std::vector<TensorType>& out) {
  if (!Tape::accepts(in, out)) return nullptr;
  const auto tape = std::make_shared<const Tape>(expr, in, out);
  const int threads = p.target.threads;
  return make_step(
      cat("tape:", name(cpu_level())),
      [tape, threads](void* const* inputs, void* const* outputs, void* workspace) {
        tape->run(inputs, outputs, workspace, threads);
      },
      tape->workspace_bytes(threads), safe_pairs(p, *tape));
}

std::unique_ptr<Step> lower_expr(const Problem& p, const ScalarExpr& expr) {
  return lower_tape(p, expr, types_of(p, p.node.inputs), types_of(p, p.node.outputs));
}

std::unique_ptr<Step> lower_scalar(const Problem& p) {
  const ScalarOp op = find_scalar_op(p.node.op);
  ScalarExpr e;
  std::vector<ScalarExpr::Reg> args;
  for (int i = 0; i < p.num_inputs(); ++i) args.push_back(e.add_input(p.in(i).dtype));
  e.add_output(op == ScalarOp::Cast ? e.emit_cast(0, p.out().dtype) : e.emit(op, args));
  return lower_expr(p, e);
}

// A cast keeps every layout: of the zeros in a block's padding it makes zeros.
Backend::Layouts cast_layouts(const Problem& p, const std::vector<bool>&) {
  return {{p.in(0).layout}, {p.in(0).layout}};
}

std::unique_ptr<Step> lower_cast(const Problem& p) {
  if (p.in(0).layout.canonical() != p.out().layout.canonical()) return lower_scalar(p);
  const auto flat = [](const TensorType& t) { return TensorType(t.dtype, {t.physical_numel()}); };
  ScalarExpr e;
  e.add_input(p.in(0).dtype);
  e.add_output(e.emit_cast(0, p.out().dtype));
  return lower_tape(p, e, {flat(p.in(0))}, {flat(p.out())});
}

std::unique_ptr<Step> lower_fused(const Problem& p) {
  return lower_expr(p, p.attrs<FusedAttrs>().expr);
}

bool unpadded(const TensorType& t) {
  return t.physical_numel() == t.numel();
}

std::unique_ptr<Step> lower_full(const Problem& p) {
  if (!unpadded(p.out())) return nullptr;
  const Tensor one = Tensor::full({p.out().dtype, {}}, p.attrs<FullAttrs>().value);
  const std::int64_t n = p.out().numel();
  const int parts = useful_threads(p.target.threads, n);
  return make_step("fill", [one, n, parts](void* const*, void* const* out, void*) {
    parallel_ranges(parts, n, 64, [&](std::int64_t begin, std::int64_t end) {
      const auto fill = [&]<class T>(T) {
        T v;
        std::memcpy(&v, one.raw(), sizeof v);
        std::fill(static_cast<T*>(out[0]) + begin, static_cast<T*>(out[0]) + end, v);
      };
      switch (size_of(one.dtype())) {
        case 1:
          return fill(std::uint8_t{});
        case 2:
          return fill(std::uint16_t{});
        case 4:
          return fill(std::uint32_t{});
        default:
          return fill(std::uint64_t{});
      }
    });
  });
}

std::unique_ptr<Step> lower_constant(const Problem& p) {
  const Tensor value = p.attrs<ConstantAttrs>().value.to(p.out().layout);
  return make_step("copy", [value](void* const*, void* const* out, void*) {
    if (value.bytes() != 0) std::memcpy(out[0], value.raw(), value.bytes());
  });
}

std::unique_ptr<Step> lower_iota(const Problem& p) {
  const std::int64_t n = p.out().numel();
  const DType dtype = p.out().dtype;
  return make_step("iota", [n, dtype](void* const*, void* const* out, void*) {
    visit_dtype(dtype, [&]<class T>() {
      for (std::int64_t i = 0; i < n; ++i)
        static_cast<T*>(out[0])[i] = from_double<T>(static_cast<double>(i));
    });
  });
}

}  // namespace

void add_elementwise(LoweringTable& table) {
  for (const ScalarOpInfo& row : scalar_op_table())
    table.add(row.name, {.lower = lower_scalar, .layouts = elementwise_layouts});
  table.add("cast", {.lower = lower_cast, .layouts = cast_layouts});
  table.add("fused", {.lower = lower_fused, .layouts = elementwise_layouts});
  table.add("full", {.lower = lower_full});
  table.add("constant", {.lower = lower_constant});
  table.add("iota", {.lower = lower_iota});
}

}  // namespace ingot::cpu
