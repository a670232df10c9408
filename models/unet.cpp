#include "models/unet.h"

#include <string>
#include <vector>

#include "core/ops/elementwise.h"
#include "core/ops/view.h"
#include "layers/image_layers.h"

namespace ingot {

namespace {

constexpr int kLevels = 4;

// Two 3x3 convolutions, each with batch norm and ReLU; `prefix` opens the names of their layers.
class Block final : public Module {
 public:
  Block(std::string name, const std::string& prefix, std::int64_t in, std::int64_t out)
      : Module(std::move(name)),
        conv1_(prefix + "conv1", in, out, 3, {.padding = 1, .bias = false}),
        norm1_(prefix + "norm1", out),
        conv2_(prefix + "conv2", out, out, 3, {.padding = 1, .bias = false}),
        norm2_(prefix + "norm2", out) {}

 protected:
  Value forward(Value x) override { return relu(norm2_(conv2_(relu(norm1_(conv1_(x)))))); }

 private:
  Conv2d conv1_;
  BatchNorm2d norm1_;
  Conv2d conv2_;
  BatchNorm2d norm2_;
};

class UNet final : public Module {
 public:
  UNet(const UNetConfig& c, std::int64_t in)
      : bottleneck_("bottleneck", "bottleneck", c.features << (kLevels - 1), c.features << kLevels),
        conv_("conv", c.features, c.classes, 1) {
    for (int i = 1; i <= kLevels; ++i) {
      const std::int64_t width = c.features << (i - 1);
      down_.emplace_back(cat("encoder", i), cat("enc", i), i == 1 ? in : width / 2, width);
      up_.emplace_back(cat("upconv", i), 2 * width, width, 2, ConvTranspose2dOptions{.stride = 2});
      join_.emplace_back(cat("decoder", i), cat("dec", i), 2 * width, width);
    }
  }

 protected:
  Value forward(Value x) override {
    if (x.rank() != 4 || x.dim(2) % (1 << kLevels) != 0 || x.dim(3) % (1 << kLevels) != 0)
      throw UsageError(
          cat("unet: expected images [N, C, H, W] whose height and width are multiples of 16, got ",
              to_string(x.shape())));
    std::vector<Value> skipped;
    for (Block& block : down_) {
      skipped.push_back(block(x));
      x = pool_(skipped.back());
    }
    x = bottleneck_(x);
    for (std::size_t i = kLevels; i-- > 0;) x = join_[i](concat({up_[i](x), skipped[i]}, 1));
    return conv_(x);
  }

 private:
  std::vector<Block> down_;
  std::vector<ConvTranspose2d> up_;
  std::vector<Block> join_;
  MaxPool2d pool_{2};
  Block bottleneck_;
  Conv2d conv_;
};

}  // namespace

std::shared_ptr<Module> make_unet(const UNetConfig& config, std::int64_t in_channels) {
  if (config.classes < 1 || config.features < 1)
    throw UsageError(
        cat("unet: classes and features must be positive, got ", config.classes, " and ", config.features));
  return std::make_shared<UNet>(config, in_channels);
}

}  // namespace ingot
