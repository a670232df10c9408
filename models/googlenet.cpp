#include "models/googlenet.h"

#include "core/ops/elementwise.h"
#include "core/ops/view.h"
#include "models/detail/blocks.h"

namespace ingot {

using namespace detail;

namespace {

class BasicConv final : public Module {
 public:
  BasicConv(std::string name, std::int64_t in, std::int64_t out, std::int64_t kernel, std::int64_t stride = 1)
      : Module(std::move(name)),
        conv_(
            "conv", in, out, kernel,
            {.stride = stride, .padding = kernel / 2, .bias = false, .weight_init = Init::normal(0.0, 0.01)}),
        bn_("bn", out, {.eps = 0.001}) {}

 protected:
  Value forward(Value x) override { return relu(bn_(conv_(x))); }

 private:
  Conv2d conv_;
  BatchNorm2d bn_;
};

// Channels of the four branches: 1x1; 1x1 and 3x3; 1x1 and the second 3x3; 1x1 behind max-pooling.
struct Branches {
  std::int64_t one, reduce3, three, reduce5, five, pool;
  std::int64_t out() const { return one + three + five + pool; }
};

class Inception final : public Module {
 public:
  Inception(std::string name, std::int64_t in, const Branches& b)
      : Module(std::move(name)), branch1_("branch1", in, b.one, 1) {
    branch2_.add<BasicConv>("", in, b.reduce3, 1).add<BasicConv>("", b.reduce3, b.three, 3);
    branch3_.add<BasicConv>("", in, b.reduce5, 1).add<BasicConv>("", b.reduce5, b.five, 3);
    branch4_.add<MaxPool2d>(3, PoolOptions{.stride = Pair(1), .padding = 1, .ceil_mode = true});
    branch4_.add<BasicConv>("", in, b.pool, 1);
  }

 protected:
  Value forward(Value x) override {
    const Value one = branch1_(x), three = branch2_(x), five = branch3_(x), pool = branch4_(x);
    return concat({one, three, five, pool}, 1);
  }

 private:
  BasicConv branch1_;
  Sequential branch2_{"branch2"}, branch3_{"branch3"}, branch4_{"branch4"};
};

class GoogLeNet final : public Module {
 public:
  GoogLeNet(std::int64_t in, std::int64_t classes)
      : fc_("fc", 1024, classes, {.weight_init = Init::normal(0.0, 0.01)}) {
    const PoolOptions halve{.stride = Pair(2), .ceil_mode = true};
    body_.add<BasicConv>("conv1", in, 64, 7, 2).add<MaxPool2d>(3, halve);
    body_.add<BasicConv>("conv2", 64, 64, 1).add<BasicConv>("conv3", 64, 192, 3).add<MaxPool2d>(3, halve);
    in = 192;
    const auto inception = [&](const char* name, const Branches& b) {
      body_.add<Inception>(name, in, b);
      in = b.out();
    };
    inception("inception3a", {64, 96, 128, 16, 32, 32});
    inception("inception3b", {128, 128, 192, 32, 96, 64});
    body_.add<MaxPool2d>(3, halve);
    inception("inception4a", {192, 96, 208, 16, 48, 64});
    inception("inception4b", {160, 112, 224, 24, 64, 64});
    inception("inception4c", {128, 128, 256, 24, 64, 64});
    inception("inception4d", {112, 144, 288, 32, 64, 64});
    inception("inception4e", {256, 160, 320, 32, 128, 128});
    body_.add<MaxPool2d>(2, halve);
    inception("inception5a", {256, 160, 320, 32, 128, 128});
    inception("inception5b", {384, 192, 384, 48, 128, 128});
  }

 protected:
  Value forward(Value x) override { return fc_(dropout_(pooled(body_(x)))); }

 private:
  Sequential body_;  // without a name: its children's keys stand at the top
  Dropout dropout_{"dropout", 0.2};
  Linear fc_;
};

}  // namespace

std::shared_ptr<Module> make_googlenet(std::int64_t in_channels, std::int64_t classes) {
  return std::make_shared<GoogLeNet>(in_channels, classes);
}

}  // namespace ingot
