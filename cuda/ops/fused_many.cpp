// One tape on many tensors: a generated kernel that finds each block's tensor
// (cuda/jit/elementwise_source.h), and one more for every so many tensors as the arguments of a kernel have
// room for.
#include "core/ops/fused_many.h"

#include <algorithm>
#include <cstdint>

#include "cuda/base/nvtx.h"
#include "cuda/jit/elementwise_source.h"
#include "cuda/ops/generated_kernel.h"
#include "cuda/ops/launch_step.h"

namespace ingot::cuda {

namespace {

// Groups that one kernel does.
struct Part {
  std::size_t first = 0;
  std::vector<std::int64_t> counts;
  KernelSource source;  // for addresses that are multiples of 16, as the memory plan gives them
};

class BoundMany final : public BoundStep {
 public:
  BoundMany(const FusedManyAttrs& m, const std::vector<Part>& parts, const Bindings& b, const Stream& stream)
      : stream_(stream) {
    for (const Part& part : parts) {
      Launch l;
      for (std::size_t i = 0; i < m.expr.inputs().size(); ++i)
        for (std::size_t g = 0; g < (i < static_cast<std::size_t>(m.shared) ? 1 : part.counts.size()); ++g)
          l.pointers.push_back(b.inputs[m.operand(i, part.first + g)]);
      for (std::size_t g = 0; g < part.counts.size(); ++g) l.pointers.push_back(b.outputs[part.first + g]);
      int alignment = 16;
      const auto scalars = static_cast<std::ptrdiff_t>(m.shared);
      for (auto p = l.pointers.begin() + scalars; p != l.pointers.end(); ++p)
        while (reinterpret_cast<std::uintptr_t>(*p) % static_cast<unsigned>(alignment) != 0) alignment /= 2;
      l.kernel =
          generated_kernel(alignment == 16 ? part.source
                                           : elementwise_many_source(m.expr, static_cast<int>(m.shared),
                                                                     part.counts, alignment));
      launches_.push_back(std::move(l));
    }
    for (Launch& l : launches_)
      for (void*& p : l.pointers) l.arguments.push_back(&p);
  }
  void run() override {
    const NvtxRange range("fused_many");
    for (const Launch& l : launches_) l.kernel->launch(l.arguments, stream_);
  }

 private:
  struct Launch {
    std::shared_ptr<GeneratedKernel> kernel;
    std::vector<void*> pointers, arguments;
  };
  std::vector<Launch> launches_;
  const Stream& stream_;
};

class ManyStep final : public Step {
 public:
  ManyStep(const FusedManyAttrs& m, std::vector<Part> parts) : m_(m), parts_(std::move(parts)) {}
  std::unique_ptr<BoundStep> bind(const Bindings& b) const override {
    return std::make_unique<BoundMany>(m_, parts_, b, stream_of(*this, b));
  }
  int launches(std::size_t, std::size_t) const override {
    return static_cast<int>(
        std::count_if(parts_.begin(), parts_.end(), [](const Part& part) { return part.source.blocks > 0; }));
  }

 private:
  const FusedManyAttrs m_;
  const std::vector<Part> parts_;
};

std::unique_ptr<Step> lower_fused_many(const Problem& p) {
  const FusedManyAttrs m = p.attrs<FusedManyAttrs>();
  const int shared = static_cast<int>(m.shared);
  const auto count = static_cast<std::size_t>(m.count);
  std::vector<TensorType> in, out;
  for (int i = 0; i < p.num_inputs(); ++i) in.push_back(p.in(i));
  for (int o = 0; o < p.num_outputs(); ++o) out.push_back(p.out(o));
  if (!groups_are_vectors(m, in, out)) return p.decline("the tensors of a group lie differently, or padded");
  std::vector<Part> parts;
  std::string name;
  const std::size_t most = most_groups(m.expr, shared);
  for (std::size_t k = 0; k < count; k += most) {
    Part part{k, {}, {}};
    for (std::size_t g = k; g < std::min(k + most, count); ++g)
      part.counts.push_back(out[g].physical_numel());
    part.source = elementwise_many_source(m.expr, shared, part.counts);
    if (name.empty()) name = "generated:" + part.source.name;
    parts.push_back(std::move(part));
  }
  std::vector<std::array<int, 2>> in_place;
  for (const auto& pair : op(p.node.op).in_place(p.node.attrs, p.num_inputs()))
    if (p.in(pair[0]).dtype == p.out(pair[1]).dtype) in_place.push_back(pair);
  auto step = std::make_unique<ManyStep>(m, std::move(parts));
  step->kernel = std::move(name);
  step->in_place = std::move(in_place);
  return step;
}

Backend::Layouts fused_many_layouts(const Problem& p, const std::vector<bool>&) {
  const auto& m = p.attrs<FusedManyAttrs>();
  return grouped_layouts(p, static_cast<int>(m.shared), m.count);
}

}  // namespace

void add_fused_many(LoweringTable& table) {
  table.add("fused_many", {.lower = lower_fused_many, .layouts = fused_many_layouts});
}

}  // namespace ingot::cuda
