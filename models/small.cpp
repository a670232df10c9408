#include "models/small.h"

#include "core/ops/elementwise.h"
#include "core/ops/view.h"
#include "layers/layers.h"

namespace ingot {

namespace {

class Mlp final : public Module {
 public:
  Mlp(std::int64_t in, std::int64_t classes)
      : fc1_("fc1", in, 256), fc2_("fc2", 256, 128), fc3_("fc3", 128, classes) {}

 protected:
  Value forward(Value x) override {
    Value h = flatten(x);
    h = relu(fc1_(h));
    h = relu(fc2_(h));
    return fc3_(h);
  }

 private:
  Linear fc1_, fc2_, fc3_;
};

class LeNet5 final : public Module {
 public:
  LeNet5(std::int64_t in, std::int64_t size, std::int64_t classes)
      : conv1_("conv1", in, 6, 5, {.padding = 2}),
        conv2_("conv2", 6, 16, 5),
        pool_(2),
        fc1_("fc1", 16 * ((size / 2 - 4) / 2) * ((size / 2 - 4) / 2), 120),
        fc2_("fc2", 120, 84),
        fc3_("fc3", 84, classes) {}

 protected:
  Value forward(Value x) override {
    Value h = pool_(relu(conv1_(x)));
    h = pool_(relu(conv2_(h)));
    h = flatten(h);
    h = relu(fc1_(h));
    h = relu(fc2_(h));
    return fc3_(h);
  }

 private:
  Conv2d conv1_, conv2_;
  MaxPool2d pool_;
  Linear fc1_, fc2_, fc3_;
};

class SimpleCnn final : public Module {
 public:
  SimpleCnn(std::int64_t in, std::int64_t size, std::int64_t classes)
      : conv1_("conv1", in, 32, 3, {.padding = 1, .bias = false}),
        bn1_("bn1", 32),
        conv2_("conv2", 32, 64, 3, {.padding = 1, .bias = false}),
        bn2_("bn2", 64),
        conv3_("conv3", 64, 128, 3, {.padding = 1, .bias = false}),
        bn3_("bn3", 128),
        pool_(2),
        fc_("fc", 128 * (size / 8) * (size / 8), classes) {}

 protected:
  Value forward(Value x) override {
    Value h = pool_(relu(bn1_(conv1_(x))));
    h = pool_(relu(bn2_(conv2_(h))));
    h = pool_(relu(bn3_(conv3_(h))));
    return fc_(flatten(h));
  }

 private:
  Conv2d conv1_;
  BatchNorm2d bn1_;
  Conv2d conv2_;
  BatchNorm2d bn2_;
  Conv2d conv3_;
  BatchNorm2d bn3_;
  MaxPool2d pool_;
  Linear fc_;
};

}  // namespace

std::shared_ptr<Module> make_mlp(std::int64_t in, std::int64_t classes) {
  return std::make_shared<Mlp>(in, classes);
}

std::shared_ptr<Module> make_lenet5(std::int64_t in, std::int64_t size, std::int64_t classes) {
  return std::make_shared<LeNet5>(in, size, classes);
}

std::shared_ptr<Module> make_simple_cnn(std::int64_t in, std::int64_t size, std::int64_t classes) {
  return std::make_shared<SimpleCnn>(in, size, classes);
}

}  // namespace ingot
