#include "models/models.h"

#include <vector>

#include "models/airbench.h"
#include "models/convnext.h"
#include "models/densenet.h"
#include "models/efficientnet.h"
#include "models/googlenet.h"
#include "models/mobilenet.h"
#include "models/resnet.h"
#include "models/small.h"
#include "models/squeezenet.h"
#include "models/text_cnn.h"
#include "models/vgg.h"

namespace ingot {

namespace {

struct Sizes {
  std::int64_t channels, image, classes;
  std::int64_t vocabulary, length;  // of texts
};

struct Row {
  ModelInfo info;
  std::shared_ptr<Module> (*make)(const Sizes&);
};

// clang-format off
const Row kRows[] = {
    {{"mlp", "Two hidden layers of 256 and 128 units with ReLU", 1, 28, 10},
     [](const Sizes& s) { return make_mlp(s.channels * s.image * s.image, s.classes); }},
    {{"lenet5", "LeNet-5 (LeCun et al. 1998) with ReLU and max-pooling", 1, 28, 10, 14},
     [](const Sizes& s) { return make_lenet5(s.channels, s.image, s.classes); }},
    {{"simple_cnn", "Three 3x3 convolutions with batch norm and pooling, 32-64-128 channels", 1, 28, 10, 8},
     [](const Sizes& s) { return make_simple_cnn(s.channels, s.image, s.classes); }},
    {{"resnet20", "ResNet-20 for 32 x 32 images (arXiv 1512.03385, section 4.2)", 3, 32, 10},
     [](const Sizes& s) { return make_cifar_resnet(3, s.channels, s.classes); }},
    {{"resnet32", "ResNet-32 for 32 x 32 images (arXiv 1512.03385, section 4.2)", 3, 32, 10},
     [](const Sizes& s) { return make_cifar_resnet(5, s.channels, s.classes); }},
    {{"resnet56", "ResNet-56 for 32 x 32 images (arXiv 1512.03385, section 4.2)", 3, 32, 10},
     [](const Sizes& s) { return make_cifar_resnet(9, s.channels, s.classes); }},
    {{"resnet110", "ResNet-110 for 32 x 32 images (arXiv 1512.03385, section 4.2)", 3, 32, 10},
     [](const Sizes& s) { return make_cifar_resnet(18, s.channels, s.classes); }},
    {{"airbench94", "airbench's CIFAR-10 net (arXiv 2404.00498)", 3, 32, 10, 25},
     [](const Sizes& s) { return make_airbench94(s.channels, s.image, s.classes); }},
    {{"resnet18", "ResNet-18 (arXiv 1512.03385)", 3, 224, 1000},
     [](const Sizes& s) { return make_resnet({.blocks = {2, 2, 2, 2}}, s.channels, s.classes); }},
    {{"resnet34", "ResNet-34 (arXiv 1512.03385)", 3, 224, 1000},
     [](const Sizes& s) { return make_resnet({.blocks = {3, 4, 6, 3}}, s.channels, s.classes); }},
    {{"resnet50", "ResNet-50 v1.5 (arXiv 1512.03385)", 3, 224, 1000},
     [](const Sizes& s) { return make_resnet({.bottleneck = true, .blocks = {3, 4, 6, 3}}, s.channels, s.classes); }},
    {{"resnet101", "ResNet-101 v1.5 (arXiv 1512.03385)", 3, 224, 1000},
     [](const Sizes& s) { return make_resnet({.bottleneck = true, .blocks = {3, 4, 23, 3}}, s.channels, s.classes); }},
    {{"resnet152", "ResNet-152 v1.5 (arXiv 1512.03385)", 3, 224, 1000},
     [](const Sizes& s) { return make_resnet({.bottleneck = true, .blocks = {3, 8, 36, 3}}, s.channels, s.classes); }},
    {{"resnext50_32x4d", "ResNeXt-50, 32 groups of 4 channels (arXiv 1611.05431)", 3, 224, 1000},
     [](const Sizes& s) { return make_resnet({true, {3, 4, 6, 3}, 32, 4}, s.channels, s.classes); }},
    {{"wide_resnet50_2", "Wide ResNet-50-2 (arXiv 1605.07146)", 3, 224, 1000},
     [](const Sizes& s) { return make_resnet({true, {3, 4, 6, 3}, 1, 128}, s.channels, s.classes); }},
    {{"vgg11", "VGG-11 (arXiv 1409.1556)", 3, 224, 1000, 32},
     [](const Sizes& s) { return make_vgg({.convolutions = {1, 1, 2, 2, 2}}, s.channels, s.classes); }},
    {{"vgg11_bn", "VGG-11 with batch norm (arXiv 1409.1556)", 3, 224, 1000, 32},
     [](const Sizes& s) { return make_vgg({.convolutions = {1, 1, 2, 2, 2}, .batch_norm = true}, s.channels, s.classes); }},
    {{"vgg16", "VGG-16 (arXiv 1409.1556)", 3, 224, 1000, 32},
     [](const Sizes& s) { return make_vgg({.convolutions = {2, 2, 3, 3, 3}}, s.channels, s.classes); }},
    {{"vgg16_bn", "VGG-16 with batch norm (arXiv 1409.1556)", 3, 224, 1000, 32},
     [](const Sizes& s) { return make_vgg({.convolutions = {2, 2, 3, 3, 3}, .batch_norm = true}, s.channels, s.classes); }},
    {{"squeezenet1_0", "SqueezeNet 1.0 (arXiv 1602.07360)", 3, 224, 1000, 21},
     [](const Sizes& s) { return make_squeezenet(SqueezeNetVersion::V1_0, s.channels, s.classes); }},
    {{"squeezenet1_1", "SqueezeNet 1.1 (arXiv 1602.07360)", 3, 224, 1000, 17},
     [](const Sizes& s) { return make_squeezenet(SqueezeNetVersion::V1_1, s.channels, s.classes); }},
    {{"mobilenet_v2", "MobileNetV2 (arXiv 1801.04381)", 3, 224, 1000},
     [](const Sizes& s) { return make_mobilenet_v2(s.channels, s.classes); }},
    {{"mobilenet_v3_small", "MobileNetV3-Small (arXiv 1905.02244)", 3, 224, 1000},
     [](const Sizes& s) { return make_mobilenet_v3(MobileNetV3Size::Small, s.channels, s.classes); }},
    {{"mobilenet_v3_large", "MobileNetV3-Large (arXiv 1905.02244)", 3, 224, 1000},
     [](const Sizes& s) { return make_mobilenet_v3(MobileNetV3Size::Large, s.channels, s.classes); }},
    {{"densenet121", "DenseNet-121 (arXiv 1608.06993)", 3, 224, 1000, 29},
     [](const Sizes& s) { return make_densenet({}, s.channels, s.classes); }},
    {{"googlenet", "GoogLeNet with batch norm (arXiv 1409.4842)", 3, 224, 1000, 15},
     [](const Sizes& s) { return make_googlenet(s.channels, s.classes); }},
    {{"efficientnet_b0", "EfficientNet-B0 (arXiv 1905.11946)", 3, 224, 1000},
     [](const Sizes& s) { return make_efficientnet({.width = 1.0, .depth = 1.0, .dropout = 0.2}, s.channels, s.classes); }},
    {{"efficientnet_b1", "EfficientNet-B1 (arXiv 1905.11946)", 3, 240, 1000},
     [](const Sizes& s) { return make_efficientnet({.width = 1.0, .depth = 1.1, .dropout = 0.2}, s.channels, s.classes); }},
    {{"efficientnet_b2", "EfficientNet-B2 (arXiv 1905.11946)", 3, 288, 1000},
     [](const Sizes& s) { return make_efficientnet({.width = 1.1, .depth = 1.2, .dropout = 0.3}, s.channels, s.classes); }},
    {{"efficientnet_b3", "EfficientNet-B3 (arXiv 1905.11946)", 3, 300, 1000},
     [](const Sizes& s) { return make_efficientnet({.width = 1.2, .depth = 1.4, .dropout = 0.3}, s.channels, s.classes); }},
    {{"convnext_tiny", "ConvNeXt-T (arXiv 2201.03545)", 3, 224, 1000, 32},
     [](const Sizes& s) { return make_convnext({}, s.channels, s.classes); }},
    // Of texts: image, channels and least image are 0, then vocabulary, sequence length and its least.
    {{"text_cnn", "Filters over 3, 4 and 5 words (Kim 2014, arXiv 1408.5882)", 0, 0, 2, 0, 30000, 64, 5},
     [](const Sizes& s) { return make_text_cnn({.vocabulary = s.vocabulary, .classes = s.classes}); }},
};
// clang-format on

const Row& find(std::string_view name) {
  for (const Row& r : kRows)
    if (r.info.name == name) return r;
  std::vector<std::string_view> names;
  for (const Row& r : kRows) names.push_back(r.info.name);
  throw UsageError(cat("unknown model '", name, "'; use one of ", join(names)));
}

Sizes sizes(const ModelInfo& m, const ModelOptions& o) {
  if (m.takes_text() && (o.in_channels || o.image_size))
    throw UsageError(cat("model '", m.name, "' takes texts; it has no channels and no image size"));
  if (!m.takes_text() && (o.vocabulary || o.sequence_length))
    throw UsageError(cat("model '", m.name, "' takes images; it has no vocabulary and no sequence length"));
  const Sizes s{o.in_channels.value_or(m.in_channels), o.image_size.value_or(m.image_size),
                o.num_classes.value_or(m.num_classes), o.vocabulary.value_or(m.vocabulary),
                o.sequence_length.value_or(m.sequence_length)};
  if (m.takes_text()) {
    for (const std::int64_t v : {s.vocabulary, s.length, s.classes})
      if (v <= 0)
        throw UsageError(
            cat("model '", m.name, "': vocabulary, sequence length and classes must be positive, got ", v));
    if (s.length < m.least_length)
      throw UsageError(
          cat(m.name, " needs sequences of at least ", m.least_length, " tokens, got ", s.length));
    return s;
  }
  for (const std::int64_t v : {s.channels, s.image, s.classes})
    if (v <= 0)
      throw UsageError(
          cat("model '", m.name, "': channels, image size and classes must be positive, got ", v));
  if (s.image < m.least_image)
    throw UsageError(cat(m.name, " needs images of at least ", m.least_image, " x ", m.least_image,
                         " pixels, got ", s.image, " x ", s.image));
  return s;
}

std::vector<ModelInfo> infos(bool of_texts) {
  std::vector<ModelInfo> v;
  for (const Row& r : kRows)
    if (r.info.takes_text() == of_texts) v.push_back(r.info);
  return v;
}

}  // namespace

std::span<const ModelInfo> models() {
  static const std::vector<ModelInfo> list = infos(false);
  return list;
}

std::span<const ModelInfo> text_models() {
  static const std::vector<ModelInfo> list = infos(true);
  return list;
}

const ModelInfo& model_info(std::string_view name) {
  return find(name).info;
}

std::shared_ptr<Module> make_model(std::string_view name, const ModelOptions& options) {
  const Row& r = find(name);
  return r.make(sizes(r.info, options));
}

TensorType model_input_type(std::string_view name, std::int64_t batch, const ModelOptions& options) {
  if (batch <= 0) throw UsageError(cat("the batch size must be positive, got ", batch));
  const ModelInfo& info = find(name).info;
  const Sizes s = sizes(info, options);
  if (info.takes_text()) return {DType::I32, {batch, s.length}};
  return {DType::F32, {batch, s.channels, s.image, s.image}};
}

Shape model_input(std::string_view name, std::int64_t batch, const ModelOptions& options) {
  return model_input_type(name, batch, options).shape;
}

std::vector<std::string> head_parameters(std::string_view name, const ModelOptions& options) {
  const auto graph_of = [&](std::int64_t classes) {
    ModelOptions o = options;
    o.num_classes = classes;
    Graph g;
    const auto net = make_model(name, o);
    (*net)(input(g, "x", model_input_type(name, 1, o)));
    return g;
  };
  const std::int64_t classes = options.num_classes.value_or(find(name).info.num_classes);
  const Graph a = graph_of(classes), b = graph_of(classes + 1);
  std::vector<std::string> head;
  for (const State& s : a.states())
    if (s.role == StateRole::Parameter && a.type(s.value) != b.type(b.find_state(s.name)->value))
      head.push_back(s.name);
  return head;
}

ModelSize model_size(std::string_view name, const ModelOptions& options) {
  Graph g;
  const auto net = make_model(name, options);
  output("logits", (*net)(input(g, "x", model_input_type(name, 1, options))));
  ModelSize size;
  for (const State& s : g.states())
    if (s.role == StateRole::Parameter) {
      size.parameters += g.type(s.value).numel();
      size.parameter_bytes += static_cast<std::int64_t>(g.type(s.value).bytes());
    }
  for (const Node& n : g.nodes()) {
    if (n.op != "conv2d" && n.op != "matmul") continue;
    // A third operand is the bias, one operation for each result.
    const std::int64_t bias = n.inputs.size() > 2 ? g.type(n.outputs[0]).numel() : 0;
    size.multiply_adds += (static_cast<std::int64_t>(cost(g, n).flops) - bias) / 2;
  }
  return size;
}

}  // namespace ingot
