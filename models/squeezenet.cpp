#include "models/squeezenet.h"

#include <cmath>

#include "core/ops/elementwise.h"
#include "core/ops/view.h"
#include "models/detail/blocks.h"

namespace ingot {

using namespace detail;

namespace {

// He's uniform distribution by fan-in, and no bias at the start.
Conv2dOptions convolution(std::int64_t in, std::int64_t kernel, std::int64_t stride, std::int64_t padding) {
  const double bound = std::sqrt(6.0 / static_cast<double>(in * kernel * kernel));
  return {.stride = stride,
          .padding = padding,
          .weight_init = Init::uniform(-bound, bound),
          .bias_init = Init::constant(0.0)};
}

class Fire final : public Module {
 public:
  Fire(std::string name, std::int64_t in, std::int64_t squeeze, std::int64_t expand)
      : Module(std::move(name)),
        squeeze_("squeeze", in, squeeze, 1, convolution(in, 1, 1, 0)),
        expand1_("expand1x1", squeeze, expand, 1, convolution(squeeze, 1, 1, 0)),
        expand3_("expand3x3", squeeze, expand, 3, convolution(squeeze, 3, 1, 1)) {}

 protected:
  Value forward(Value x) override {
    x = relu(squeeze_(x));
    return concat({relu(expand1_(x)), relu(expand3_(x))}, 1);
  }

 private:
  Conv2d squeeze_, expand1_, expand3_;
};

class SqueezeNet final : public Module {
 public:
  SqueezeNet(SqueezeNetVersion version, std::int64_t in, std::int64_t classes) {
    const bool first = version == SqueezeNetVersion::V1_0;
    const std::int64_t stem = first ? 96 : 64, kernel = first ? 7 : 3;
    features_.add<Conv2d>("", in, stem, kernel, convolution(in, kernel, 2, 0));
    features_.add<ReLU>();
    // Squeezed and expanded channels, and after which of them is pooled.
    constexpr std::int64_t kFires[8][2] = {{16, 64},  {16, 64},  {32, 128}, {32, 128},
                                           {48, 192}, {48, 192}, {64, 256}, {64, 256}};
    in = stem;
    for (int i = 0; i < 8; ++i) {
      if (first ? i == 0 || i == 3 || i == 7 : i == 0 || i == 2 || i == 4)
        features_.add<MaxPool2d>(3, PoolOptions{.stride = Pair(2), .ceil_mode = true});
      features_.add<Fire>("", in, kFires[i][0], kFires[i][1]);
      in = 2 * kFires[i][1];
    }
    classifier_.add<Dropout>("", 0.5);
    classifier_.add<Conv2d>(
        "", in, classes, 1,
        Conv2dOptions{.weight_init = Init::normal(0.0, 0.01), .bias_init = Init::constant(0.0)});
    classifier_.add<ReLU>();
  }

 protected:
  Value forward(Value x) override { return pooled(classifier_(features_(x))); }

 private:
  Sequential features_{"features"}, classifier_{"classifier"};
};

}  // namespace

std::shared_ptr<Module> make_squeezenet(SqueezeNetVersion version, std::int64_t in_channels,
                                        std::int64_t classes) {
  return std::make_shared<SqueezeNet>(version, in_channels, classes);
}

}  // namespace ingot
