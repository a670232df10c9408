#include "cuda/ops/launch_step.h"

#include "cuda/base/launch.h"
#include "cuda/base/nvtx.h"

namespace ingot::cuda {

namespace {

class BoundLaunch final : public BoundStep {
 public:
  BoundLaunch(std::shared_ptr<const LaunchFn> fn, std::string kernel, const Bindings& b, const Stream& stream)
      : fn_(std::move(fn)),
        kernel_(std::move(kernel)),
        inputs_(b.inputs.begin(), b.inputs.end()),
        outputs_(b.outputs.begin(), b.outputs.end()),
        workspace_(b.workspace),
        stream_(stream) {}
  void run() override {
    const NvtxRange range(kernel_.c_str());
    (*fn_)(inputs_.data(), outputs_.data(), workspace_, stream_);
  }

 private:
  std::shared_ptr<const LaunchFn> fn_;  // outlives the Step it came from, as does the name
  std::string kernel_;
  std::vector<void*> inputs_, outputs_;
  void* workspace_;
  const Stream& stream_;
};

class LaunchStep final : public Step {
 public:
  explicit LaunchStep(LaunchFn fn) : fn_(std::make_shared<const LaunchFn>(std::move(fn))) {}
  std::unique_ptr<BoundStep> bind(const Bindings& b) const override {
    return std::make_unique<BoundLaunch>(fn_, kernel, b, stream_of(*this, b));
  }
  int launches(std::size_t inputs, std::size_t outputs) const override {
    const std::vector<void*> in(inputs, nullptr), out(outputs, nullptr);
    const LaunchCount count;
    (*fn_)(in.data(), out.data(), nullptr, Stream::borrow(nullptr));
    return count.issued();
  }

 private:
  std::shared_ptr<const LaunchFn> fn_;
};

}  // namespace

const Stream& stream_of(const Step& step, const Bindings& b) {
  if (b.stream == nullptr)
    throw UsageError(cat("the CUDA step '", step.kernel,
                         "' was bound without a stream; bind it with the one of ",
                         "a queue of the cuda backend"));
  return *static_cast<const Stream*>(b.stream);
}

std::unique_ptr<Step> launch_step(std::string kernel, LaunchFn fn, std::size_t workspace_bytes,
                                  std::vector<std::array<int, 2>> in_place) {
  auto step = std::make_unique<LaunchStep>(std::move(fn));
  step->kernel = std::move(kernel);
  step->workspace_bytes = workspace_bytes;
  step->in_place = std::move(in_place);
  return step;
}

std::unique_ptr<Step> view_step() {
  auto step = launch_step("view", [](void* const*, void* const*, void*, const Stream&) {});
  step->is_view = true;
  return step;
}

}  // namespace ingot::cuda
