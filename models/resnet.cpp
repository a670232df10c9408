#include "models/resnet.h"

#include <vector>

#include "core/ops/elementwise.h"
#include "models/detail/blocks.h"

namespace ingot {

using namespace detail;

namespace {

// The identity, or 1x1 convolution + batch norm where the block changes the shape.
class Shortcut {
 public:
  Shortcut(std::int64_t in, std::int64_t out, std::int64_t stride) {
    if (in == out && stride == 1) return;
    path_ = std::make_shared<Sequential>("downsample");
    path_->add(std::make_shared<Conv2d>(conv_without_bias("", in, out, 1, stride)));
    path_->add<BatchNorm2d>("", out);
  }
  Value operator()(Value x) const { return path_ ? (*path_)(x) : x; }

 private:
  std::shared_ptr<Sequential> path_;
};

class BasicBlock final : public Module {
 public:
  static constexpr std::int64_t kExpansion = 1;
  BasicBlock(std::string name, std::int64_t in, std::int64_t width, std::int64_t stride, const ResNetConfig&)
      : Module(std::move(name)),
        conv1_(conv_without_bias("conv1", in, width, 3, stride)),
        bn1_("bn1", width),
        conv2_(conv_without_bias("conv2", width, width, 3)),
        bn2_("bn2", width),
        shortcut_(in, width, stride) {}

 protected:
  Value forward(Value x) override {
    Value y = relu(bn1_(conv1_(x)));
    y = bn2_(conv2_(y));
    return relu(y + shortcut_(x));
  }

 private:
  Conv2d conv1_;
  BatchNorm2d bn1_;
  Conv2d conv2_;
  BatchNorm2d bn2_;
  Shortcut shortcut_;
};

class Bottleneck final : public Module {
 public:
  static constexpr std::int64_t kExpansion = 4;
  Bottleneck(std::string name, std::int64_t in, std::int64_t width, std::int64_t stride,
             const ResNetConfig& c)
      : Bottleneck(std::move(name), in, width * c.width_per_group / 64 * c.groups, width * kExpansion, stride,
                   c.groups) {}

 protected:
  Value forward(Value x) override {
    Value y = relu(bn1_(conv1_(x)));
    y = relu(bn2_(conv2_(y)));
    y = bn3_(conv3_(y));
    return relu(y + shortcut_(x));
  }

 private:
  Bottleneck(std::string name, std::int64_t in, std::int64_t inner, std::int64_t out, std::int64_t stride,
             std::int64_t groups)
      : Module(std::move(name)),
        conv1_(conv_without_bias("conv1", in, inner, 1)),
        bn1_("bn1", inner),
        conv2_(conv_without_bias("conv2", inner, inner, 3, stride, groups)),
        bn2_("bn2", inner),
        conv3_(conv_without_bias("conv3", inner, out, 1)),
        bn3_("bn3", out),
        shortcut_(in, out, stride) {}

  Conv2d conv1_;
  BatchNorm2d bn1_;
  Conv2d conv2_;
  BatchNorm2d bn2_;
  Conv2d conv3_;
  BatchNorm2d bn3_;
  Shortcut shortcut_;
};

template <class Block>
std::shared_ptr<Sequential> stage(std::string name, std::int64_t& in, std::int64_t width, std::int64_t blocks,
                                  std::int64_t stride, const ResNetConfig& c = {}) {
  auto s = std::make_shared<Sequential>(std::move(name));
  for (std::int64_t i = 0; i < blocks; ++i) {
    s->add<Block>("", in, width, i == 0 ? stride : 1, c);
    in = width * Block::kExpansion;
  }
  return s;
}

class ResNet final : public Module {
 public:
  ResNet(const ResNetConfig& c, std::int64_t in_channels, std::int64_t classes)
      : conv1_(conv_without_bias("conv1", in_channels, 64, 7, 2)),
        bn1_("bn1", 64),
        pool_(3, {.stride = 2, .padding = 1}) {
    std::int64_t in = 64;
    for (std::size_t i = 0; i < 4; ++i) {
      const std::int64_t width = 64 << i, stride = i == 0 ? 1 : 2;
      const std::string name = cat("layer", i + 1);
      stages_.push_back(c.bottleneck ? stage<Bottleneck>(name, in, width, c.blocks[i], stride, c)
                                     : stage<BasicBlock>(name, in, width, c.blocks[i], stride));
    }
    fc_ = std::make_shared<Linear>("fc", in, classes);
  }

 protected:
  Value forward(Value x) override {
    x = pool_(relu(bn1_(conv1_(x))));
    for (const auto& s : stages_) x = (*s)(x);
    return (*fc_)(pooled(x));
  }

 private:
  Conv2d conv1_;
  BatchNorm2d bn1_;
  MaxPool2d pool_;
  std::vector<std::shared_ptr<Sequential>> stages_;
  std::shared_ptr<Linear> fc_;
};

class CifarResNet final : public Module {
 public:
  CifarResNet(std::int64_t n, std::int64_t in_channels, std::int64_t classes)
      : conv1_(conv_without_bias("conv1", in_channels, 16, 3)), bn1_("bn1", 16), fc_("fc", 64, classes) {
    std::int64_t in = 16;
    for (std::int64_t i = 0; i < 3; ++i)
      stages_.push_back(stage<BasicBlock>(cat("layer", i + 1), in, 16 << i, n, i == 0 ? 1 : 2));
  }

 protected:
  Value forward(Value x) override {
    x = relu(bn1_(conv1_(x)));
    for (const auto& s : stages_) x = (*s)(x);
    return fc_(pooled(x));
  }

 private:
  Conv2d conv1_;
  BatchNorm2d bn1_;
  std::vector<std::shared_ptr<Sequential>> stages_;
  Linear fc_;
};

}  // namespace

std::shared_ptr<Module> make_resnet(const ResNetConfig& config, std::int64_t in_channels,
                                    std::int64_t classes) {
  if (config.groups < 1 || config.width_per_group < 1)
    throw UsageError(cat("a ResNet's groups and width_per_group must be positive, got ", config.groups,
                         " and ", config.width_per_group));
  if (!config.bottleneck && (config.groups != 1 || config.width_per_group != 64))
    throw UsageError("groups and width_per_group are for ResNets of bottlenecks");
  return std::make_shared<ResNet>(config, in_channels, classes);
}

std::shared_ptr<Module> make_cifar_resnet(std::int64_t n, std::int64_t in_channels, std::int64_t classes) {
  return std::make_shared<CifarResNet>(n, in_channels, classes);
}

}  // namespace ingot
