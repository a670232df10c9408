#include "models/convnext.h"

#include <numeric>

#include "core/ops/elementwise.h"
#include "core/ops/view.h"
#include "layers/layers.h"

namespace ingot {

namespace {

constexpr double kEps = 1e-6, kLayerScale = 1e-6;

// The initialisation of convolutions and linear layers alike. torchvision cuts the normal distribution off at
// -2 and 2, which are a hundred standard deviations away.
const Init& start() {
  static const Init init = Init::normal(0.0, 0.02);
  return init;
}

Conv2dOptions convolution(std::int64_t stride, std::int64_t padding = 0, std::int64_t groups = 1) {
  return {.stride = stride,
          .padding = padding,
          .groups = groups,
          .weight_init = start(),
          .bias_init = Init::constant(0.0)};
}

LinearOptions linear() {
  return {.weight_init = start(), .bias_init = Init::constant(0.0)};
}

Value channels_last(Value x) {
  return transpose(x, {0, 2, 3, 1});
}
Value channels_first(Value x) {
  return transpose(x, {0, 3, 1, 2});
}

// x[N, C, H, W], normalised over the channels of each pixel.
class LayerNorm2d final : public LayerNorm {
 public:
  LayerNorm2d(std::string name, std::int64_t channels) : LayerNorm(std::move(name), {channels}, kEps) {}

 protected:
  Value forward(Value x) override { return channels_first(LayerNorm::forward(channels_last(x))); }
};

class Block final : public Module {
 public:
  Block(std::string name, std::int64_t channels, double drop)
      : Module(std::move(name)),
        channels_(channels),
        conv_("0", channels, channels, 7, convolution(1, 3, channels)),
        norm_("2", {channels}, kEps),
        wide_("3", channels, 4 * channels, linear()),
        narrow_("5", 4 * channels, channels, linear()),
        drop_(drop) {}

 protected:
  Value forward(Value x) override {
    const Value scale =
        parameter(x.graph(), "layer_scale", {DType::F32, {channels_, 1, 1}}, Init::constant(kLayerScale));
    return drop_(scale * branch(x)) + x;
  }

 private:
  Value branch(Value x) {
    const Scope scope(x.graph(), "block");
    const Value y = norm_(channels_last(conv_(x)));
    return channels_first(narrow_(gelu(wide_(y))));
  }

  std::int64_t channels_;
  Conv2d conv_;
  LayerNorm norm_;
  Linear wide_, narrow_;
  StochasticDepth drop_;
};

class ConvNext final : public Module {
 public:
  ConvNext(const ConvNextConfig& c, std::int64_t in, std::int64_t classes) {
    auto stem = std::make_shared<Sequential>();
    stem->add<Conv2d>("", in, c.channels[0], 4, convolution(4));
    stem->add<LayerNorm2d>("", c.channels[0]);
    features_.add(stem);
    const double last =
        static_cast<double>(std::accumulate(c.blocks.begin(), c.blocks.end(), std::int64_t{-1}));
    double made = 0.0;
    for (std::size_t s = 0; s < c.channels.size(); ++s) {
      auto stage = std::make_shared<Sequential>();
      for (std::int64_t i = 0; i < c.blocks[s]; ++i, made += 1.0)
        stage->add<Block>("", c.channels[s], last > 0.0 ? c.drop * made / last : 0.0);
      features_.add(stage);
      if (s + 1 == c.channels.size()) break;
      auto halve = std::make_shared<Sequential>();
      halve->add<LayerNorm2d>("", c.channels[s]);
      halve->add<Conv2d>("", c.channels[s], c.channels[s + 1], 2, convolution(2));
      features_.add(halve);
    }
    classifier_.add<LayerNorm2d>("", c.channels.back());
    classifier_.add<Flatten>();
    classifier_.add<Linear>("", c.channels.back(), classes, linear());
  }

 protected:
  Value forward(Value x) override { return classifier_(average_(features_(x))); }

 private:
  Sequential features_{"features"};
  AdaptiveAvgPool2d average_{1};
  Sequential classifier_{"classifier"};
};

}  // namespace

std::shared_ptr<Module> make_convnext(const ConvNextConfig& config, std::int64_t in_channels,
                                      std::int64_t classes) {
  return std::make_shared<ConvNext>(config, in_channels, classes);
}

}  // namespace ingot
