// Gradients of max pooled convolutions: the unpooled gradient is made in the workspace, then the
// convolution's own gradient reads it. They exist so that every op of the registry runs, and are not what the
// pass fuse-unpooling looks for (CudaBackend::accelerates is false).
#include "core/ops/unpooled_conv.h"

#include "core/ops/elementwise.h"
#include "cuda/ops/table.h"

namespace ingot::cuda {

namespace {

constexpr std::size_t kAlign = 64;

// Ops one after another as one step. Results of all but the last lie in the workspace.
class Chain final : public Step {
 public:
  explicit Chain(const Problem& p) : target_(p.target) {
    for (int i = 0; i < p.num_inputs(); ++i) types_.push_back(p.in(i));
    operands_ = types_.size();
  }

  // Appends an op of `operands` (the node's, then the results so far, by number) and gives its result's
  // number; -1 when no candidate takes it, and for operands that are -1.
  int add(std::string_view op, Attrs attrs, const std::vector<int>& operands, const TensorType& result) {
    std::vector<TensorType> in;
    for (const int o : operands) {
      if (o < 0) return -1;
      in.push_back(types_[static_cast<std::size_t>(o)]);
    }
    Node node;
    node.op = op;
    node.attrs = std::move(attrs);
    const Graph alone = node_alone(node, in, std::span(&result, 1));
    Link link{first_step(lowerings(), {alone, alone.nodes()[0], target_}), operands, results_bytes_};
    if (link.step == nullptr) return -1;
    results_bytes_ += (result.bytes() + kAlign - 1) / kAlign * kAlign;
    rest_bytes_ = std::max(rest_bytes_, link.step->workspace_bytes);
    workspace_bytes = results_bytes_ + rest_bytes_;
    kernel += cat(links_.empty() ? "" : "+", link.step->kernel);
    library_calls += link.step->library_calls;
    links_.push_back(std::move(link));
    types_.push_back(result);
    return static_cast<int>(types_.size()) - 1;
  }

  // The operand in f32, whatever it is.
  int widened(int operand) {
    TensorType type = types_[static_cast<std::size_t>(operand)];
    if (type.dtype == DType::F32) return operand;
    type.dtype = DType::F32;
    return add("cast", CastAttrs{DType::F32}, {operand}, type);
  }

  std::unique_ptr<BoundStep> bind(const Bindings& b) const override {
    auto* const memory = static_cast<std::byte*>(b.workspace);
    std::vector<std::unique_ptr<BoundStep>> steps;
    for (std::size_t k = 0; k < links_.size(); ++k) {
      std::vector<void*> in;
      for (const int o : links_[k].operands) {
        const auto i = static_cast<std::size_t>(o);
        in.push_back(i < operands_ ? b.inputs[i] : memory + links_[i - operands_].offset);
      }
      const std::array<void*, 1> out{k + 1 == links_.size() ? b.outputs[0] : memory + links_[k].offset};
      steps.push_back(links_[k].step->bind({in, out, memory + results_bytes_, b.stream}));
    }
    return std::make_unique<Bound>(std::move(steps));
  }
  int launches(std::size_t, std::size_t) const override {
    int sum = 0;
    for (const Link& l : links_) sum += l.step->launches(l.operands.size(), 1);
    return sum;
  }

 private:
  struct Link {
    std::shared_ptr<const Step> step;
    std::vector<int> operands;
    std::size_t offset;  // of its result
  };
  class Bound final : public BoundStep {
   public:
    explicit Bound(std::vector<std::unique_ptr<BoundStep>> steps) : steps_(std::move(steps)) {}
    void run() override {
      for (const auto& s : steps_) s->run();
    }

   private:
    std::vector<std::unique_ptr<BoundStep>> steps_;
  };

  const Target& target_;  // while links are added
  std::vector<TensorType> types_;
  std::size_t operands_ = 0, results_bytes_ = 0, rest_bytes_ = 0;
  std::vector<Link> links_;
};

// `dy` is the place of the pooled gradient among the operands, the offsets follow it; in the convolution's
// step the unpooled gradient stands there for both. Where windows overlap, their gradients are summed: in
// f32, and so is all that follows, because a sum that was rounded on the way is another number.
std::unique_ptr<Step> lower(const Problem& p, const UnpooledConvAttrs& a, int dy, std::string_view conv_op,
                            Attrs conv_attrs) {
  const bool overlap = a.pool_stride[0] < a.pool_kernel[0] || a.pool_stride[1] < a.pool_kernel[1];
  const DType dtype = overlap ? DType::F32 : p.in(dy).dtype;
  auto chain = std::make_unique<Chain>(p);
  const auto ready = [&](int operand) { return overlap ? chain->widened(operand) : operand; };
  std::vector<int> operands;
  for (int i = 0; i < p.num_inputs(); ++i) {
    if (i == dy + 1) continue;
    operands.push_back(i != dy ? ready(i)
                               : chain->add("max_pool2d_grad", a.pool(), {ready(dy), dy + 1},
                                            {dtype, a.pool_input_shape, Layout::channels_last(4)}));
  }
  int result = chain->add(conv_op, std::move(conv_attrs), operands, {dtype, p.out().shape, p.out().layout});
  if (dtype != p.out().dtype && result >= 0)
    result = chain->add("cast", CastAttrs{p.out().dtype}, {result}, p.out());
  return result >= 0 ? std::move(chain) : nullptr;
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
