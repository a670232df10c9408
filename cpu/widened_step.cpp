#include "cpu/widened_step.h"

#include "core/base/half_types.h"
#include "core/op/registry.h"
#include "cpu/parallel.h"
#include "cpu/simd/level.h"
#include "cpu/simd/tape_kernels.h"
#include "cpu/workspace.h"

namespace ingot::cpu {

namespace {

TensorType in_f32(TensorType t) {
  if (is_half(t.dtype)) t.dtype = DType::F32;
  return t;
}

// The node alone in f32. Nothing when nothing of it is half, or its types then do not follow: an attribute
// says its result's.
std::optional<Graph> node_in_f32(const Problem& p) {
  std::vector<TensorType> in, out, plain;
  bool any = false;
  const auto widen = [&](const TensorType& t) {
    any |= is_half(t.dtype);
    return in_f32(t);
  };
  for (int i = 0; i < p.num_inputs(); ++i) in.push_back(widen(p.in(i)));
  for (int i = 0; i < p.num_outputs(); ++i) out.push_back(widen(p.out(i)));
  const OpDef* def = Registry::instance().find(p.node.op);
  if (!any || def == nullptr) return std::nullopt;
  for (const TensorType& t : in) plain.emplace_back(t.dtype, t.shape);
  const std::vector<TensorType> inferred = infer(*def, p.node.attrs, plain);
  for (std::size_t i = 0; i < out.size(); ++i)
    if (inferred.at(i).dtype != out[i].dtype) return std::nullopt;
  return node_alone(p.node, in, out);
}

// Between a half operand and its copy in f32; padding of blocks takes part.
struct Copy {
  DType dtype = DType::F32;
  std::int64_t count = 0;
  void* half = nullptr;
  float* wide = nullptr;
};

void run_copies(const std::vector<Copy>& copies, bool widen, int threads) {
  const TapeKernels& k = tape_kernels(cpu_level());
  for (const Copy& c : copies) {
    const bool f16 = c.dtype == DType::F16;
    parallel_ranges(useful_threads(threads, c.count), c.count, 64, [&](std::int64_t begin, std::int64_t end) {
      auto* const half = static_cast<std::uint16_t*>(c.half) + begin;
      float* const wide = c.wide + begin;
      if (widen)
        (f16 ? k.load_f16 : k.load_bf16)(wide, half, nullptr, nullptr, end - begin);
      else
        (f16 ? k.store_f16 : k.store_bf16)(half, wide, nullptr, nullptr, end - begin);
    });
  }
}

class BoundWidened final : public BoundStep {
 public:
  BoundWidened(std::vector<Copy> in, std::vector<Copy> out, std::unique_ptr<BoundStep> inner, int threads)
      : in_(std::move(in)), out_(std::move(out)), inner_(std::move(inner)), threads_(threads) {}
  void run() override {
    run_copies(in_, true, threads_);
    inner_->run();
    run_copies(out_, false, threads_);
  }

 private:
  std::vector<Copy> in_, out_;
  std::unique_ptr<BoundStep> inner_;
  int threads_;
};

class WidenedStep final : public Step {
 public:
  WidenedStep(const Problem& p, std::unique_ptr<Step> inner)
      : inner_(std::move(inner)), threads_(p.target.threads) {
    for (int i = 0; i < p.num_inputs(); ++i) in_.push_back(p.in(i));
    for (int i = 0; i < p.num_outputs(); ++i) out_.push_back(p.out(i));
    kernel = cat("f32:", inner_->kernel);
    arithmetic = inner_->arithmetic;
    for (const auto& [i, o] : inner_->in_place)
      if (in_[static_cast<std::size_t>(i)].dtype == out_[static_cast<std::size_t>(o)].dtype)
        in_place.push_back({i, o});
    Workspace w(nullptr);
    for (const auto* types : {&in_, &out_})
      for (const TensorType& t : *types)
        if (is_half(t.dtype)) w.take<float>(t.physical_numel());
    wide_bytes_ = w.used();
    workspace_bytes = wide_bytes_ + inner_->workspace_bytes;
  }

  std::unique_ptr<BoundStep> bind(const Bindings& b) const override {
    Workspace w(b.workspace);
    const auto widened = [&](const std::vector<TensorType>& types, std::span<void* const> at,
                             std::vector<Copy>& copies) {
      std::vector<void*> seen(at.begin(), at.end());
      for (std::size_t i = 0; i < types.size(); ++i) {
        if (!is_half(types[i].dtype)) continue;
        const std::int64_t n = types[i].physical_numel();
        copies.push_back({types[i].dtype, n, at[i], w.take<float>(n)});
        seen[i] = copies.back().wide;
      }
      return seen;
    };
    std::vector<Copy> in, out;
    const std::vector<void*> inputs = widened(in_, b.inputs, in), outputs = widened(out_, b.outputs, out);
    auto inner =
        inner_->bind({inputs, outputs, static_cast<std::byte*>(b.workspace) + wide_bytes_, b.stream});
    return std::make_unique<BoundWidened>(std::move(in), std::move(out), std::move(inner), threads_);
  }

 private:
  std::unique_ptr<Step> inner_;
  std::vector<TensorType> in_, out_;
  std::size_t wide_bytes_ = 0;
  int threads_;
};

}  // namespace

std::unique_ptr<Step> widened_step(const LoweringTable& table, const Problem& p) {
  const auto alone = node_in_f32(p);
  if (!alone) return nullptr;
  auto inner = first_step(table, {*alone, alone->nodes()[0], p.target});
  if (inner == nullptr || inner->is_view) return nullptr;
  return std::make_unique<WidenedStep>(p, std::move(inner));
}

std::optional<Backend::Layouts> widened_layouts(const LoweringTable& table, const Problem& p,
                                                const std::vector<bool>& state_free) {
  const auto alone = node_in_f32(p);
  if (!alone) return std::nullopt;
  return kernel_layouts(table, {*alone, alone->nodes()[0], p.target}, state_free);
}

}  // namespace ingot::cpu
