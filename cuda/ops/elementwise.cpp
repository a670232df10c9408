// Scalar functions, casts and fused tapes: one generated kernel each (cuda/jit/elementwise_source.h), for
// every dtype, broadcast and layout that a tape serves.
#include <algorithm>
#include <bit>
#include <cstdint>
#include <optional>

#include "cuda/base/nvtx.h"
#include "cuda/jit/elementwise_source.h"
#include "cuda/jit/node_source.h"
#include "cuda/ops/generated_kernel.h"
#include "cuda/ops/launch_step.h"

namespace ingot::cuda {

namespace {

constexpr int kAligned = 16;  // what the memory plan gives, and the widest access needs

int alignment_of(const void* address) {
  const auto bits = reinterpret_cast<std::uintptr_t>(address);
  return bits % kAligned == 0 ? kAligned : 1 << std::countr_zero(bits);
}

class BoundElementwise final : public BoundStep {
 public:
  BoundElementwise(std::shared_ptr<GeneratedKernel> kernel, const Bindings& b, const Stream& stream)
      : kernel_(std::move(kernel)), stream_(stream) {
    pointers_.assign(b.inputs.begin(), b.inputs.end());
    pointers_.insert(pointers_.end(), b.outputs.begin(), b.outputs.end());
    for (void*& p : pointers_) arguments_.push_back(&p);
  }
  void run() override {
    const NvtxRange range("elementwise");
    kernel_->launch(arguments_, stream_);
  }

 private:
  std::shared_ptr<GeneratedKernel> kernel_;
  std::vector<void*> pointers_, arguments_;
  const Stream& stream_;
};

// The addresses decide how wide accesses may be, so the text is final when the step is bound.
class ElementwiseStep final : public Step {
 public:
  ElementwiseStep(NodeTape tape, KernelSource source) : tape_(std::move(tape)), source_(std::move(source)) {}

  std::unique_ptr<BoundStep> bind(const Bindings& b) const override {
    const Stream& stream = stream_of(*this, b);
    ElementwiseOptions options;
    bool aligned = true;
    const auto see = [&](std::span<void* const> addresses, std::vector<int>& list) {
      for (const void* p : addresses) {
        list.push_back(alignment_of(p));
        aligned = aligned && list.back() == kAligned;
      }
    };
    see(b.inputs, options.input_alignment);
    see(b.outputs, options.output_alignment);
    return std::make_unique<BoundElementwise>(
        generated_kernel(aligned ? source_
                                 : elementwise_source(tape_.expr, tape_.inputs, tape_.outputs, options)),
        b, stream);
  }
  int launches(std::size_t, std::size_t) const override { return source_.blocks == 0 ? 0 : 1; }

 private:
  const NodeTape tape_;
  const KernelSource source_;  // for aligned addresses
};

// A pair is dropped when the same value is another operand too and may not share that result's memory.
std::vector<std::array<int, 2>> safe_pairs(const Problem& p, const KernelSource& source) {
  const auto& pairs = source.in_place;
  std::vector<std::array<int, 2>> safe;
  for (const auto& [operand, result] : pairs) {
    bool all = true;
    for (int j = 0; j < p.num_inputs(); ++j)
      if (p.node.inputs[static_cast<std::size_t>(j)] == p.node.inputs[static_cast<std::size_t>(operand)])
        all = all && std::find(pairs.begin(), pairs.end(), std::array<int, 2>{j, result}) != pairs.end();
    if (all) safe.push_back({operand, result});
  }
  return safe;
}

std::unique_ptr<Step> lower_tape(const Problem& p) {
  std::optional<NodeTape> tape = node_tape(p.graph, p.node);
  if (!tape) return nullptr;
  KernelSource source = elementwise_source(tape->expr, tape->inputs, tape->outputs);
  std::string name = "generated:" + source.name;
  auto in_place = safe_pairs(p, source);
  auto step = std::make_unique<ElementwiseStep>(*std::move(tape), std::move(source));
  step->kernel = std::move(name);
  step->in_place = std::move(in_place);
  return step;
}

}  // namespace

void add_elementwise(LoweringTable& table) {
  for (const ScalarOpInfo& row : scalar_op_table())
    table.add(row.name, {.lower = lower_tape, .layouts = elementwise_layouts});
  table.add("cast", {.lower = lower_tape, .layouts = elementwise_layouts});
  table.add("fused", {.lower = lower_tape, .layouts = elementwise_layouts});
}

}  // namespace ingot::cuda
