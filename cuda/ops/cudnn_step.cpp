#include "cuda/ops/cudnn.h"
#include "cuda/ops/launch_step.h"
#include "cuda/ops/operands.h"

namespace ingot::cuda {

namespace {

// cuDNN counts in 32 bits.
constexpr std::int64_t kMostElements = std::int64_t{1} << 31;

class BoundCudnn final : public BoundStep {
 public:
  BoundCudnn(std::shared_ptr<const CudnnPlan> plan, std::shared_ptr<CudnnHandle> handle, const Bindings& b)
      : plan_(std::move(plan)),
        handle_(std::move(handle)),
        inputs_(b.inputs.begin(), b.inputs.end()),
        outputs_(b.outputs.begin(), b.outputs.end()),
        workspace_(b.workspace) {}
  void run() override { plan_->run(*handle_, inputs_.data(), outputs_.data(), workspace_); }

 private:
  std::shared_ptr<const CudnnPlan> plan_;
  std::shared_ptr<CudnnHandle> handle_;
  std::vector<void*> inputs_, outputs_;
  void* workspace_;
};

class CudnnStep final : public Step {
 public:
  CudnnStep(std::shared_ptr<const CudnnPlan> plan, std::vector<std::array<int, 2>> pairs)
      : plan_(std::move(plan)) {
    kernel = cat("cudnn:", plan_->name);
    workspace_bytes = plan_->workspace_bytes;
    in_place = std::move(pairs);
    library_calls = 1;
  }
  std::unique_ptr<BoundStep> bind(const Bindings& b) const override {
    return std::make_unique<BoundCudnn>(plan_, cudnn_handle(stream_of(*this, b)), b);
  }

 private:
  std::shared_ptr<const CudnnPlan> plan_;
};

}  // namespace

std::string cudnn_refuses(const Problem& p) {
  std::string why;
  all_operands(p, [&](const TensorType& t) {
    if (t.numel() == 0)
      why = "cuDNN has no empty tensors";
    else if (t.numel() >= kMostElements)
      why = cat("cuDNN counts elements in 32 bits, and ", to_string(t.shape), " has ", t.numel());
    return why.empty();
  });
  return why;
}

std::unique_ptr<Step> cudnn_step(const Problem& p, const CudnnProblem& problem, int most,
                                 std::vector<std::array<int, 2>> in_place) {
  // Most nodes take the first plan; only for others are more of them built.
  const CudnnPlans found = cudnn_plans(problem, p.target, p.alternative > 0 ? most : 1);
  if (found.plans.empty()) return p.decline(found.why);
  const auto wanted = static_cast<std::size_t>(p.alternative);
  if (wanted >= found.plans.size()) return p.decline("cuDNN has ", found.plans.size(), " plans for it");
  return std::make_unique<CudnnStep>(found.plans[wanted], std::move(in_place));
}

}  // namespace ingot::cuda
