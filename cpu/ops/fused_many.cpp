// One tape on many tensors: a single pass over all of them, cut into pieces that the threads share evenly.
#include "core/ops/fused_many.h"

#include <algorithm>
#include <array>
#include <memory>

#include "core/runtime/lowering.h"
#include "cpu/parallel.h"
#include "cpu/pieces.h"
#include "cpu/tape.h"

namespace ingot::cpu {

namespace {

constexpr std::size_t kMaxInputs = 64;  // of a tape

std::unique_ptr<Step> lower_fused_many(const Problem& p) {
  const FusedManyAttrs m = p.attrs<FusedManyAttrs>();
  std::vector<TensorType> operands, results;
  for (int i = 0; i < p.num_inputs(); ++i) operands.push_back(p.in(i));
  for (int o = 0; o < p.num_outputs(); ++o) results.push_back(p.out(o));
  if (m.expr.inputs().size() > kMaxInputs || !groups_are_vectors(m, operands, results)) return nullptr;
  std::vector<std::int64_t> sizes;
  std::int64_t total = 0, largest = 2;  // of one element, operands would look like the shared scalars
  for (const TensorType& t : results) {
    sizes.push_back(t.physical_numel());
    total += sizes.back();
    largest = std::max(largest, sizes.back());
  }
  // A tape of vectors as long as the largest tensor, of which each piece runs a part.
  std::vector<TensorType> in;
  for (std::size_t i = 0; i < m.expr.inputs().size(); ++i)
    in.emplace_back(m.expr.inputs()[i], i < static_cast<std::size_t>(m.shared) ? Shape{} : Shape{largest});
  const TensorType out(p.out().dtype, {largest});
  const auto tape = std::make_shared<const Tape>(m.expr, in, std::span(&out, 1));
  const int parts = useful_threads(p.target.threads, tape->work(total));
  const auto pieces = std::make_shared<const Pieces>(sizes, parts);
  std::vector<std::array<int, 2>> in_place;
  for (const auto& [input, output] : tape->in_place())
    if (input >= m.shared)
      for (std::size_t k = 0; k < sizes.size(); ++k)
        in_place.push_back(
            {static_cast<int>(m.operand(static_cast<std::size_t>(input), k)), static_cast<int>(k)});
  return make_step(
      cat("tape:", name(cpu_level())),
      [m, tape, pieces, parts](void* const* inputs, void* const* outputs, void* workspace) {
        parallel_parts(parts, [&](int part) {
          std::array<void*, kMaxInputs> mine;
          for (const Piece& piece : pieces->of(part)) {
            const auto k = static_cast<std::size_t>(piece.tensor);
            for (std::size_t i = 0; i < m.expr.inputs().size(); ++i) mine[i] = inputs[m.operand(i, k)];
            tape->run_part(mine.data(), outputs + k, workspace, part, piece.begin, piece.begin + piece.n);
          }
        });
      },
      tape->workspace_bytes(parts), std::move(in_place));
}

Backend::Layouts fused_many_layouts(const Problem& p, const std::vector<bool>&) {
  const auto& m = p.attrs<FusedManyAttrs>();
  return grouped_layouts(p, static_cast<int>(m.shared), m.count);
}

}  // namespace

void add_fused_many(LoweringTable& table) {
  table.add("fused_many", {.lower = lower_fused_many, .layouts = fused_many_layouts});
}

}  // namespace ingot::cpu
