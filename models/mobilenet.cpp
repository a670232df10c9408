#include "models/mobilenet.h"

#include <span>

#include "core/ops/elementwise.h"
#include "models/detail/blocks.h"

namespace ingot {

using namespace detail;

namespace {

LinearOptions linear() {
  return {.weight_init = Init::normal(0.0, 0.01), .bias_init = Init::constant(0.0)};
}

// Its own class and not an InvertedResidual: the keys differ (conv.<i>, and the last convolution and its
// batch norm stand beside each other).
class BottleneckV2 final : public Module {
 public:
  BottleneckV2(std::string name, std::int64_t in, std::int64_t out, std::int64_t stride,
               std::int64_t expansion)
      : Module(std::move(name)), adds_(stride == 1 && in == out) {
    const std::int64_t width = in * expansion;
    if (expansion != 1)
      path_.add<ConvNorm>("", in, width, ConvNormOptions{.kernel = 1, .activation = Act::Relu6});
    path_.add<ConvNorm>("", width, width,
                        ConvNormOptions{.stride = stride, .groups = width, .activation = Act::Relu6});
    path_.add(std::make_shared<Conv2d>(conv_without_bias("", width, out, 1)));
    path_.add<BatchNorm2d>("", out);
  }

 protected:
  Value forward(Value x) override {
    const Value y = path_(x);
    return adds_ ? x + y : y;
  }

 private:
  Sequential path_{"conv"};
  bool adds_;
};

class MobileNetV2 final : public Module {
 public:
  MobileNetV2(std::int64_t in, std::int64_t classes) {
    struct Stage {
      std::int64_t expansion, channels, blocks, stride;
    };
    constexpr Stage kStages[] = {{1, 16, 1, 1}, {6, 24, 2, 2},  {6, 32, 3, 2}, {6, 64, 4, 2},
                                 {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1}};
    features_.add<ConvNorm>("", in, 32, ConvNormOptions{.stride = 2, .activation = Act::Relu6});
    in = 32;
    for (const Stage& s : kStages)
      for (std::int64_t i = 0; i < s.blocks; ++i) {
        features_.add<BottleneckV2>("", in, s.channels, i == 0 ? s.stride : 1, s.expansion);
        in = s.channels;
      }
    features_.add<ConvNorm>("", in, 1280, ConvNormOptions{.kernel = 1, .activation = Act::Relu6});
    classifier_.add<Dropout>("", 0.2);
    classifier_.add<Linear>("", 1280, classes, linear());
  }

 protected:
  Value forward(Value x) override { return classifier_(pooled(features_(x))); }

 private:
  Sequential features_{"features"}, classifier_{"classifier"};
};

// One row of the paper's tables 1 and 2.
struct RowV3 {
  std::int64_t kernel, expanded, out;
  bool squeeze;
  Act act;
  std::int64_t stride;
};
constexpr Act RE = Act::Relu, HS = Act::HardSwish;
constexpr RowV3 kLarge[] = {
    {3, 16, 16, false, RE, 1},  {3, 64, 24, false, RE, 2},  {3, 72, 24, false, RE, 1},
    {5, 72, 40, true, RE, 2},   {5, 120, 40, true, RE, 1},  {5, 120, 40, true, RE, 1},
    {3, 240, 80, false, HS, 2}, {3, 200, 80, false, HS, 1}, {3, 184, 80, false, HS, 1},
    {3, 184, 80, false, HS, 1}, {3, 480, 112, true, HS, 1}, {3, 672, 112, true, HS, 1},
    {5, 672, 160, true, HS, 2}, {5, 960, 160, true, HS, 1}, {5, 960, 160, true, HS, 1}};
constexpr RowV3 kSmall[] = {{3, 16, 16, true, RE, 2},  {3, 72, 24, false, RE, 2}, {3, 88, 24, false, RE, 1},
                            {5, 96, 40, true, HS, 2},  {5, 240, 40, true, HS, 1}, {5, 240, 40, true, HS, 1},
                            {5, 120, 48, true, HS, 1}, {5, 144, 48, true, HS, 1}, {5, 288, 96, true, HS, 2},
                            {5, 576, 96, true, HS, 1}, {5, 576, 96, true, HS, 1}};

class MobileNetV3 final : public Module {
 public:
  MobileNetV3(std::span<const RowV3> rows, std::int64_t hidden, std::int64_t in, std::int64_t classes) {
    const BatchNormOptions norm{.eps = 0.001, .momentum = 0.01};
    features_.add<ConvNorm>("", in, 16, ConvNormOptions{.stride = 2, .activation = HS, .norm = norm});
    in = 16;
    for (const RowV3& r : rows) {
      features_.add<InvertedResidual>(
          "", InvertedResidualConfig{
                  .in = in,
                  .expanded = r.expanded,
                  .out = r.out,
                  .kernel = r.kernel,
                  .stride = r.stride,
                  .squeeze = r.squeeze ? multiple_of_8(static_cast<double>(r.expanded / 4)) : 0,
                  .activation = r.act,
                  .hard_gate = true,
                  .norm = norm});
      in = r.out;
    }
    features_.add<ConvNorm>("", in, 6 * in, ConvNormOptions{.kernel = 1, .activation = HS, .norm = norm});
    classifier_.add<Linear>("", 6 * in, hidden, linear());
    classifier_.add<Hardswish>();
    classifier_.add<Dropout>("", 0.2);
    classifier_.add<Linear>("", hidden, classes, linear());
  }

 protected:
  Value forward(Value x) override { return classifier_(pooled(features_(x))); }

 private:
  Sequential features_{"features"}, classifier_{"classifier"};
};

}  // namespace

std::shared_ptr<Module> make_mobilenet_v2(std::int64_t in_channels, std::int64_t classes) {
  return std::make_shared<MobileNetV2>(in_channels, classes);
}

std::shared_ptr<Module> make_mobilenet_v3(MobileNetV3Size size, std::int64_t in_channels,
                                          std::int64_t classes) {
  const bool small = size == MobileNetV3Size::Small;
  return std::make_shared<MobileNetV3>(small ? std::span<const RowV3>(kSmall) : kLarge, small ? 1024 : 1280,
                                       in_channels, classes);
}

}  // namespace ingot
