#include "models/densenet.h"

#include <cmath>

#include "core/ops/elementwise.h"
#include "core/ops/view.h"
#include "models/detail/blocks.h"

namespace ingot {

using namespace detail;

namespace {

// He's normal distribution by fan-in.
Conv2d convolution(std::string name, std::int64_t in, std::int64_t out, std::int64_t kernel,
                   std::int64_t stride = 1) {
  const double stddev = std::sqrt(2.0 / static_cast<double>(in * kernel * kernel));
  return {std::move(name),
          in,
          out,
          kernel,
          {.stride = stride, .padding = kernel / 2, .bias = false, .weight_init = Init::normal(0.0, stddev)}};
}

// x[N, C, H, W] -> [N, C + growth, H, W]: x and what the layer makes of it. Joining one layer's output at a
// time gives the values of joining all of them in each layer, and gradients of two parts.
class DenseLayer final : public Module {
 public:
  DenseLayer(std::string name, std::int64_t in, std::int64_t width, std::int64_t growth)
      : Module(std::move(name)),
        norm1_("norm1", in),
        conv1_(convolution("conv1", in, width, 1)),
        norm2_("norm2", width),
        conv2_(convolution("conv2", width, growth, 3)) {}

 protected:
  Value forward(Value x) override {
    const Value y = conv1_(relu(norm1_(x)));
    return concat({x, conv2_(relu(norm2_(y)))}, 1);
  }

 private:
  BatchNorm2d norm1_;
  Conv2d conv1_;
  BatchNorm2d norm2_;
  Conv2d conv2_;
};

class Transition final : public Module {
 public:
  Transition(std::string name, std::int64_t in, std::int64_t out)
      : Module(std::move(name)), norm_("norm", in), conv_(convolution("conv", in, out, 1)) {}

 protected:
  Value forward(Value x) override { return pool_(conv_(relu(norm_(x)))); }

 private:
  BatchNorm2d norm_;
  Conv2d conv_;
  AvgPool2d pool_{2};
};

class DenseNet final : public Module {
 public:
  DenseNet(const DenseNetConfig& c, std::int64_t in, std::int64_t classes) {
    features_.add(std::make_shared<Conv2d>(convolution("conv0", in, c.stem, 7, 2)));
    features_.add<BatchNorm2d>("norm0", c.stem);
    features_.add<ReLU>();
    features_.add<MaxPool2d>(3, PoolOptions{.stride = Pair(2), .padding = 1});
    std::int64_t width = c.stem;
    for (std::size_t b = 0; b < c.layers.size(); ++b) {
      auto block = std::make_shared<Sequential>(cat("denseblock", b + 1));
      for (std::int64_t i = 0; i < c.layers[b]; ++i, width += c.growth)
        block->add<DenseLayer>(cat("denselayer", i + 1), width, c.bottleneck * c.growth, c.growth);
      features_.add(block);
      if (b + 1 == c.layers.size()) break;
      features_.add<Transition>(cat("transition", b + 1), width, width / 2);
      width /= 2;
    }
    features_.add<BatchNorm2d>("norm5", width);
    classifier_ = std::make_shared<Linear>("classifier", width, classes,
                                           LinearOptions{.bias_init = Init::constant(0.0)});
  }

 protected:
  Value forward(Value x) override { return (*classifier_)(pooled(relu(features_(x)))); }

 private:
  Sequential features_{"features"};
  std::shared_ptr<Linear> classifier_;
};

}  // namespace

std::shared_ptr<Module> make_densenet(const DenseNetConfig& config, std::int64_t in_channels,
                                      std::int64_t classes) {
  return std::make_shared<DenseNet>(config, in_channels, classes);
}

}  // namespace ingot
