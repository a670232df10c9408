#include "models/efficientnet.h"

#include <algorithm>
#include <cmath>

#include "models/detail/blocks.h"

namespace ingot {

using namespace detail;

namespace {

// B0's stages, table 1 of the paper.
struct Stage {
  std::int64_t expansion, kernel, stride, out, blocks;
};
constexpr Stage kStages[] = {{1, 3, 1, 16, 1},  {6, 3, 2, 24, 2},  {6, 5, 2, 40, 2}, {6, 3, 2, 80, 3},
                             {6, 5, 1, 112, 3}, {6, 5, 2, 192, 4}, {6, 3, 1, 320, 1}};

class EfficientNet final : public Module {
 public:
  EfficientNet(const EfficientNetConfig& c, std::int64_t in, std::int64_t classes) {
    const auto channels = [&](std::int64_t n) { return multiple_of_8(static_cast<double>(n) * c.width); };
    const auto blocks = [&](const Stage& s) {
      return static_cast<std::int64_t>(std::ceil(static_cast<double>(s.blocks) * c.depth));
    };
    std::int64_t all = 0, made = 0;
    for (const Stage& s : kStages) all += blocks(s);
    features_.add<ConvNorm>("", in, channels(32), ConvNormOptions{.stride = 2, .activation = Act::Silu});
    in = channels(32);
    for (const Stage& s : kStages) {
      auto stage = std::make_shared<Sequential>();
      for (std::int64_t i = 0; i < blocks(s); ++i, ++made) {
        stage->add<InvertedResidual>(
            "", InvertedResidualConfig{.in = in,
                                       .expanded = multiple_of_8(static_cast<double>(in * s.expansion)),
                                       .out = channels(s.out),
                                       .kernel = s.kernel,
                                       .stride = i == 0 ? s.stride : 1,
                                       .squeeze = std::max<std::int64_t>(1, in / 4),
                                       .activation = Act::Silu,
                                       .squeeze_activation = Act::Silu,
                                       .drop = 0.2 * static_cast<double>(made) / static_cast<double>(all)});
        in = channels(s.out);
      }
      features_.add(stage);
    }
    features_.add<ConvNorm>("", in, 4 * in, ConvNormOptions{.kernel = 1, .activation = Act::Silu});
    const double bound = 1.0 / std::sqrt(static_cast<double>(classes));
    classifier_.add<Dropout>("", c.dropout);
    classifier_.add<Linear>(
        "", 4 * in, classes,
        LinearOptions{.weight_init = Init::uniform(-bound, bound), .bias_init = Init::constant(0.0)});
  }

 protected:
  Value forward(Value x) override { return classifier_(pooled(features_(x))); }

 private:
  Sequential features_{"features"}, classifier_{"classifier"};
};

}  // namespace

std::shared_ptr<Module> make_efficientnet(const EfficientNetConfig& config, std::int64_t in_channels,
                                          std::int64_t classes) {
  return std::make_shared<EfficientNet>(config, in_channels, classes);
}

}  // namespace ingot
