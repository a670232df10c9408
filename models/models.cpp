#include "models/models.h"

#include <vector>

#include "models/resnet.h"
#include "models/small.h"

namespace ingot {

namespace {

struct Sizes {
  std::int64_t channels, image, classes;
};

struct Row {
  ModelInfo info;
  std::shared_ptr<Module> (*make)(const Sizes&);
};

const Row kRows[] = {
    {{"mlp", "Two hidden layers of 256 and 128 units with ReLU", 1, 28, 10},
     [](const Sizes& s) { return make_mlp(s.channels * s.image * s.image, s.classes); }},
    {{"lenet5", "LeNet-5 (LeCun et al. 1998) with ReLU and max-pooling", 1, 28, 10},
     [](const Sizes& s) { return make_lenet5(s.channels, s.image, s.classes); }},
    {{"simple_cnn", "Three 3x3 convolutions with batch norm and pooling, 32-64-128 channels", 1, 28, 10},
     [](const Sizes& s) { return make_simple_cnn(s.channels, s.image, s.classes); }},
    {{"resnet20", "ResNet-20 for 32 x 32 images (arXiv 1512.03385, section 4.2)", 3, 32, 10},
     [](const Sizes& s) { return make_cifar_resnet(3, s.channels, s.classes); }},
    {{"resnet18", "ResNet-18 (arXiv 1512.03385)", 3, 224, 1000},
     [](const Sizes& s) {
       return make_resnet({false, {2, 2, 2, 2}}, s.channels, s.classes);
     }},
    {{"resnet50", "ResNet-50 v1.5 (arXiv 1512.03385)", 3, 224, 1000},
     [](const Sizes& s) {
       return make_resnet({true, {3, 4, 6, 3}}, s.channels, s.classes);
     }},
};

const Row& find(std::string_view name) {
  for (const Row& r : kRows)
    if (r.info.name == name) return r;
  std::vector<std::string_view> names;
  for (const Row& r : kRows) names.push_back(r.info.name);
  throw UsageError(cat("unknown model '", name, "'; use one of ", join(names)));
}

Sizes sizes(const ModelInfo& m, const ModelOptions& o) {
  const Sizes s{o.in_channels.value_or(m.in_channels), o.image_size.value_or(m.image_size),
                o.num_classes.value_or(m.num_classes)};
  for (const std::int64_t v : {s.channels, s.image, s.classes})
    if (v <= 0)
      throw UsageError(
          cat("model '", m.name, "': channels, image size and classes must be positive, got ", v));
  return s;
}

}  // namespace

std::span<const ModelInfo> models() {
  static const std::vector<ModelInfo> list = [] {
    std::vector<ModelInfo> v;
    for (const Row& r : kRows) v.push_back(r.info);
    return v;
  }();
  return list;
}

const ModelInfo& model_info(std::string_view name) {
  return find(name).info;
}

std::shared_ptr<Module> make_model(std::string_view name, const ModelOptions& options) {
  const Row& r = find(name);
  return r.make(sizes(r.info, options));
}

Shape model_input(std::string_view name, std::int64_t batch, const ModelOptions& options) {
  if (batch <= 0) throw UsageError(cat("the batch size must be positive, got ", batch));
  const Sizes s = sizes(find(name).info, options);
  return {batch, s.channels, s.image, s.image};
}

}  // namespace ingot
