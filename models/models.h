// The model zoo: networks by name, with the state-dict keys and shapes of torchvision where it has them.
// Most classify images, some texts.
//
//   auto net = make_model("resnet18", {.num_classes = 10});
//   Value logits = (*net)(x);                       // x: f32[N, 3, H, W]
//   for (const ModelInfo& m : models()) ...
//   auto of_texts = make_model("text_cnn", {.num_classes = 28, .vocabulary = 20000});   // i32[N, T]
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/shape.h"
#include "core/ir/type.h"
#include "layers/module.h"

namespace ingot {

struct ModelOptions {
  std::optional<std::int64_t> in_channels{}, num_classes{};  // default: the model's own
  std::optional<std::int64_t> image_size{};  // height and width; most models take any from their least on
  std::optional<std::int64_t> vocabulary{}, sequence_length{};  // of models of texts
};

struct ModelInfo {
  std::string_view name;
  std::string_view doc;                               // one line, with its source
  std::int64_t in_channels, image_size, num_classes;  // defaults
  std::int64_t least_image = 1;                       // the smallest height and width
  // Of models of texts, whose input are token numbers; 0 of all others.
  std::int64_t vocabulary = 0, sequence_length = 0, least_length = 0;
  bool takes_text() const { return vocabulary > 0; }
};

struct ModelSize {
  std::int64_t parameters = 0, parameter_bytes = 0;
  // Of the convolutions and matrix products for one image or text; torchvision publishes them as "GFLOPS".
  std::int64_t multiply_adds = 0;
};

std::span<const ModelInfo> models();       // of images
std::span<const ModelInfo> text_models();  // of texts
// Throws UsageError that lists the models.
const ModelInfo& model_info(std::string_view name);
// Throws UsageError for an unknown name or impossible options.
std::shared_ptr<Module> make_model(std::string_view name, const ModelOptions& options = {});
// Of the model's input: f32[N, C, H, W], or i32[N, T] of texts.
TensorType model_input_type(std::string_view name, std::int64_t batch, const ModelOptions& options = {});
// Its shape.
Shape model_input(std::string_view name, std::int64_t batch, const ModelOptions& options = {});
// The parameters whose shape follows the number of classes, by name: what weights of a network for other
// classes have no values for. "fc.weight" and "fc.bias" of a ResNet.
std::vector<std::string> head_parameters(std::string_view name, const ModelOptions& options = {});
ModelSize model_size(std::string_view name, const ModelOptions& options = {});

}  // namespace ingot
