#include "core/runtime/step.h"

#include <memory>

namespace ingot {

namespace {

class BoundFn final : public BoundStep {
 public:
  BoundFn(std::shared_ptr<const StepFn> fn, const Bindings& b)
      : fn_(std::move(fn)),
        inputs_(b.inputs.begin(), b.inputs.end()),
        outputs_(b.outputs.begin(), b.outputs.end()),
        workspace_(b.workspace) {}
  void run() override { (*fn_)(inputs_.data(), outputs_.data(), workspace_); }

 private:
  std::shared_ptr<const StepFn> fn_;  // outlives the Step it came from
  std::vector<void*> inputs_, outputs_;
  void* workspace_;
};

class FnStep final : public Step {
 public:
  explicit FnStep(StepFn fn) : fn_(std::make_shared<const StepFn>(std::move(fn))) {}
  std::unique_ptr<BoundStep> bind(const Bindings& b) const override {
    return std::make_unique<BoundFn>(fn_, b);
  }

 private:
  std::shared_ptr<const StepFn> fn_;
};

}  // namespace

std::unique_ptr<Step> make_step(std::string kernel, StepFn fn, std::size_t workspace_bytes,
                                std::vector<std::array<int, 2>> in_place) {
  auto step = std::make_unique<FnStep>(std::move(fn));
  step->kernel = std::move(kernel);
  step->workspace_bytes = workspace_bytes;
  step->in_place = std::move(in_place);
  return step;
}

}  // namespace ingot
