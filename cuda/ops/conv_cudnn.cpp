#include "cuda/ops/conv_cudnn.h"

#include "core/ops/conv.h"
#include "cuda/libs/cudnn.h"
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
        output_(b.outputs[0]),
        workspace_(b.workspace) {}
  void run() override { plan_->run(*handle_, inputs_.data(), output_, workspace_); }

 private:
  std::shared_ptr<const CudnnPlan> plan_;
  std::shared_ptr<CudnnHandle> handle_;
  std::vector<void*> inputs_;
  void* output_;
  void* workspace_;
};

class CudnnStep final : public Step {
 public:
  explicit CudnnStep(std::shared_ptr<const CudnnPlan> plan) : plan_(std::move(plan)) {
    kernel = cat("cudnn:", plan_->name);
    workspace_bytes = plan_->workspace_bytes;
    library_calls = 1;
  }
  std::unique_ptr<BoundStep> bind(const Bindings& b) const override {
    return std::make_unique<BoundCudnn>(plan_, cudnn_handle(stream_of(*this, b)), b);
  }

 private:
  std::shared_ptr<const CudnnPlan> plan_;
};

template <class A>
std::unique_ptr<Step> planned(const Problem& p, const A& a, ConvDirection direction, const TensorType& x,
                              const TensorType& w, const TensorType& y, CudnnConv q = {}) {
  for (const TensorType* t : {&x, &w, &y}) {
    if (t->numel() == 0) return p.decline("cuDNN has no empty tensors");
    if (t->numel() >= kMostElements)
      return p.decline("cuDNN counts elements in 32 bits, and ", to_string(t->shape), " has ", t->numel());
  }
  q.direction = direction;
  q.dtype = x.dtype;
  q.n = x.shape[0], q.c = x.shape[1], q.h = x.shape[2], q.w = x.shape[3];
  q.o = w.shape[0], q.kh = w.shape[2], q.kw = w.shape[3];
  q.oh = y.shape[2], q.ow = y.shape[3];
  q.stride = a.stride, q.padding = a.padding, q.dilation = a.dilation;
  q.groups = a.groups;
  q.allow_tf32 = p.target.allow_tf32;
  q.deterministic = p.target.deterministic;
  // Most nodes take the first plan; only for others are more of them built.
  const bool limited = p.target.workspace_limit != Target().workspace_limit;
  const CudnnPlans found = cudnn_plans(q, p.target, p.alternative > 0 || limited ? kCudnnPlans : 1);
  if (found.plans.empty()) return p.decline(found.why);
  int skip = p.alternative;
  for (const auto& plan : found.plans)
    if (plan->workspace_bytes <= p.target.workspace_limit && skip-- == 0)
      return std::make_unique<CudnnStep>(plan);
  return p.decline("none of cuDNN's first ", found.plans.size(), " plans wants at most ",
                   p.target.workspace_limit, " bytes of workspace; the first, ", found.plans[0]->name,
                   ", wants ", found.plans[0]->workspace_bytes);
}

constexpr const char* kLayouts = "cuDNN is used for channels-last f32, f16 and bf16";

}  // namespace

std::unique_ptr<Step> cudnn_conv2d(const Problem& p) {
  if (!all_operands(p, lies_as_convolutions_want)) return p.decline(kLayouts);
  const auto& a = p.attrs<Conv2dAttrs>();
  if (!a.activation.empty() && a.activation != "relu")
    return p.decline("cuDNN's precompiled engines have no activation ", a.activation);
  CudnnConv q;
  q.bias = a.has_bias, q.residual = a.has_residual, q.relu = !a.activation.empty();
  return planned(p, a, ConvDirection::Forward, p.in(0), p.in(1), p.out(), q);
}

std::unique_ptr<Step> cudnn_conv2d_grad_input(const Problem& p) {
  if (!all_operands(p, lies_as_convolutions_want)) return p.decline(kLayouts);
  return planned(p, p.attrs<Conv2dGradInputAttrs>(), ConvDirection::GradInput, p.out(), p.in(1), p.in(0));
}

std::unique_ptr<Step> cudnn_conv2d_grad_weight(const Problem& p) {
  if (!all_operands(p, lies_as_convolutions_want)) return p.decline(kLayouts);
  return planned(p, p.attrs<Conv2dGradWeightAttrs>(), ConvDirection::GradWeight, p.in(0), p.out(), p.in(1));
}

}  // namespace ingot::cuda
