#include "models/vgg.h"

#include <algorithm>

#include "core/ops/view.h"
#include "layers/layers.h"

namespace ingot {

namespace {

Conv2dOptions convolution(std::int64_t out) {
  return {.padding = 1, .weight_init = kaiming_normal_fan_out(out, 3), .bias_init = Init::constant(0.0)};
}

LinearOptions linear() {
  return {.weight_init = Init::normal(0.0, 0.01), .bias_init = Init::constant(0.0)};
}

class Vgg final : public Module {
 public:
  Vgg(const VggConfig& c, std::int64_t in, std::int64_t classes) {
    std::int64_t width = 64;
    for (const std::int64_t convolutions : c.convolutions) {
      for (std::int64_t i = 0; i < convolutions; ++i) {
        features_.add<Conv2d>("", in, width, 3, convolution(width));
        if (c.batch_norm) features_.add<BatchNorm2d>("", width);
        features_.add<ReLU>();
        in = width;
      }
      features_.add<MaxPool2d>(2);
      width = std::min<std::int64_t>(2 * width, 512);
    }
    classifier_.add<Linear>("", in * 7 * 7, c.hidden, linear());
    classifier_.add<ReLU>();
    classifier_.add<Dropout>("", 0.5);
    classifier_.add<Linear>("", c.hidden, c.hidden, linear());
    classifier_.add<ReLU>();
    classifier_.add<Dropout>("", 0.5);
    classifier_.add<Linear>("", c.hidden, classes, linear());
  }

 protected:
  Value forward(Value x) override { return classifier_(flatten(average_(features_(x)))); }

 private:
  Sequential features_{"features"};
  AdaptiveAvgPool2d average_{7};
  Sequential classifier_{"classifier"};
};

}  // namespace

std::shared_ptr<Module> make_vgg(const VggConfig& config, std::int64_t in_channels, std::int64_t classes) {
  return std::make_shared<Vgg>(config, in_channels, classes);
}

}  // namespace ingot
