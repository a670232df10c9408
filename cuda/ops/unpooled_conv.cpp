// Gradients of max pooled convolutions: the unpooled gradient is made in the workspace, then the
// convolution's own gradient reads it. Two launches; they exist so that every op of the registry runs, and
// are not what the pass fuse-unpooling looks for (CudaBackend::accelerates is false).
#include "core/ops/unpooled_conv.h"

#include "cuda/ops/table.h"

namespace ingot::cuda {

namespace {

constexpr std::size_t kAlign = 64;

std::shared_ptr<const Step> step_of(std::string_view op, Attrs attrs, const std::vector<TensorType>& operands,
                                    const TensorType& result, const Target& target) {
  Node node;
  node.op = op;
  node.attrs = std::move(attrs);
  const Graph alone = node_alone(node, operands, std::span(&result, 1));
  return first_step(lowerings(), {alone, alone.nodes()[0], target});
}

class BoundPair final : public BoundStep {
 public:
  BoundPair(std::unique_ptr<BoundStep> first, std::unique_ptr<BoundStep> second)
      : first_(std::move(first)), second_(std::move(second)) {}
  void run() override {
    first_->run();
    second_->run();
  }

 private:
  std::unique_ptr<BoundStep> first_, second_;
};

// `dy` is the place of the pooled gradient among the operands, the offsets follow it; in the convolution's
// step the unpooled gradient stands there for both.
class UnpooledStep final : public Step {
 public:
  UnpooledStep(std::shared_ptr<const Step> unpool, std::shared_ptr<const Step> conv, std::size_t dy,
               std::size_t unpooled_bytes)
      : unpool_(std::move(unpool)), conv_(std::move(conv)), dy_(dy) {
    shared_bytes_ = (unpooled_bytes + kAlign - 1) / kAlign * kAlign;
    kernel = cat(unpool_->kernel, "+", conv_->kernel);
    workspace_bytes = shared_bytes_ + std::max(unpool_->workspace_bytes, conv_->workspace_bytes);
  }

  std::unique_ptr<BoundStep> bind(const Bindings& b) const override {
    void* const unpooled = b.workspace;
    void* const rest = static_cast<std::byte*>(b.workspace) + shared_bytes_;
    const std::array<void*, 1> made{unpooled};
    std::vector<void*> operands(b.inputs.begin(), b.inputs.end());
    operands.erase(operands.begin() + static_cast<std::ptrdiff_t>(dy_));
    operands[dy_] = unpooled;
    return std::make_unique<BoundPair>(unpool_->bind({b.inputs.subspan(dy_, 2), made, rest, b.stream}),
                                       conv_->bind({operands, b.outputs, rest, b.stream}));
  }

 private:
  std::shared_ptr<const Step> unpool_, conv_;
  std::size_t dy_, shared_bytes_ = 0;
};

std::unique_ptr<Step> lower(const Problem& p, const UnpooledConvAttrs& a, int dy, std::string_view conv_op,
                            Attrs conv_attrs) {
  // Where windows overlap, sums of their gradients would be rounded on the way.
  const bool apart = a.pool_stride[0] >= a.pool_kernel[0] && a.pool_stride[1] >= a.pool_kernel[1];
  if (!apart && p.in(dy).dtype != DType::F32) return nullptr;
  const TensorType unpooled(p.in(dy).dtype, a.pool_input_shape, Layout::channels_last(4));
  const auto unpool = step_of("max_pool2d_grad", a.pool(), {p.in(dy), p.in(dy + 1)}, unpooled, p.target);
  std::vector<TensorType> operands;
  for (int i = 0; i < p.num_inputs(); ++i)
    if (i != dy + 1) operands.push_back(i == dy ? unpooled : p.in(i));
  const auto conv = step_of(conv_op, std::move(conv_attrs), operands, p.out(), p.target);
  if (unpool == nullptr || conv == nullptr) return nullptr;
  return std::make_unique<UnpooledStep>(unpool, conv, static_cast<std::size_t>(dy), unpooled.bytes());
}

std::unique_ptr<Step> lower_grad_input(const Problem& p) {
  const auto& a = p.attrs<Conv2dGradInputUnpooledAttrs>();
  return lower(p, a, 0, "conv2d_grad_input", a.conv());
}

std::unique_ptr<Step> lower_grad_weight(const Problem& p) {
  const auto& a = p.attrs<Conv2dGradWeightUnpooledAttrs>();
  return lower(p, a, 1, "conv2d_grad_weight", a.conv());
}

}  // namespace

void add_unpooled_conv(LoweringTable& table) {
  table.add("conv2d_grad_input_unpooled", {.lower = lower_grad_input, .layouts = channels_last_layouts});
  table.add("conv2d_grad_weight_unpooled", {.lower = lower_grad_weight, .layouts = channels_last_layouts});
}

}  // namespace ingot::cuda
