#include <algorithm>

#include "core/ops/elementwise.h"
#include "core/ops/view.h"
#include "models/detail/blocks.h"

namespace ingot::detail {

namespace {

// With torchvision's key names fc1 and fc2, which are convolutions.
class SqueezeExcitation final : public Module {
 public:
  SqueezeExcitation(std::string name, const InvertedResidualConfig& c)
      : Module(std::move(name)),
        fc1_(convolution("fc1", c.expanded, c.squeeze)),
        fc2_(convolution("fc2", c.squeeze, c.expanded)),
        act_(c.squeeze_activation),
        hard_(c.hard_gate) {}

 protected:
  Value forward(Value x) override {
    const Value gate = fc2_(activate(fc1_(average_(x)), act_));
    return x * (hard_ ? hard_sigmoid(gate) : sigmoid(gate));
  }

 private:
  static Conv2d convolution(std::string name, std::int64_t in, std::int64_t out) {
    return {std::move(name),
            in,
            out,
            1,
            {.weight_init = kaiming_normal_fan_out(out, 1), .bias_init = Init::constant(0.0)}};
  }

  AdaptiveAvgPool2d average_{1};
  Conv2d fc1_, fc2_;
  Act act_;
  bool hard_;
};

}  // namespace

Value activate(Value x, Act act) {
  switch (act) {
    case Act::Relu:
      return relu(x);
    case Act::Relu6:
      return ReLU6()(x);
    case Act::HardSwish:
      return hard_swish(x);
    case Act::Silu:
      return silu(x);
    case Act::None:
      break;
  }
  return x;
}

Conv2d conv_without_bias(std::string name, std::int64_t in, std::int64_t out, std::int64_t kernel,
                         std::int64_t stride, std::int64_t groups) {
  return {std::move(name),
          in,
          out,
          kernel,
          {.stride = stride,
           .padding = kernel / 2,
           .groups = groups,
           .bias = false,
           .weight_init = kaiming_normal_fan_out(out, kernel)}};
}

Value pooled(Value x, SourceLoc loc) {
  return flatten(AdaptiveAvgPool2d(1)(x, loc), 1, loc);
}

std::int64_t multiple_of_8(double v) {
  const auto near = std::max<std::int64_t>(8, static_cast<std::int64_t>(v + 4.0) / 8 * 8);
  return static_cast<double>(near) < 0.9 * v ? near + 8 : near;
}

ConvNorm::ConvNorm(std::string name, std::int64_t in, std::int64_t out, const ConvNormOptions& o)
    : Module(std::move(name)),
      conv_(conv_without_bias("0", in, out, o.kernel, o.stride, o.groups)),
      norm_("1", out, o.norm),
      act_(o.activation) {}

Value ConvNorm::forward(Value x) {
  return activate(norm_(conv_(x)), act_);
}

InvertedResidual::InvertedResidual(std::string name, const InvertedResidualConfig& c)
    : Module(std::move(name)), block_("block"), drop_(c.drop), adds_(c.stride == 1 && c.in == c.out) {
  if (c.expanded != c.in)
    block_.add<ConvNorm>("", c.in, c.expanded,
                         ConvNormOptions{.kernel = 1, .activation = c.activation, .norm = c.norm});
  block_.add<ConvNorm>("", c.expanded, c.expanded,
                       ConvNormOptions{.kernel = c.kernel,
                                       .stride = c.stride,
                                       .groups = c.expanded,
                                       .activation = c.activation,
                                       .norm = c.norm});
  if (c.squeeze > 0) block_.add<SqueezeExcitation>("", c);
  block_.add<ConvNorm>("", c.expanded, c.out,
                       ConvNormOptions{.kernel = 1, .activation = Act::None, .norm = c.norm});
}

Value InvertedResidual::forward(Value x) {
  const Value y = block_(x);
  return adds_ ? drop_(y) + x : y;
}

}  // namespace ingot::detail
