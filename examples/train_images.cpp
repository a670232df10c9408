// Trains ResNet-18 on a folder of images and names what is on one of them.
//
//   build/release/bin/example_train_images FOLDER IMAGE [EPOCHS]     # FOLDER/train/<class>/*.jpg,
//   FOLDER/val/<class>/*.jpg
#include <ingot/ingot.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>

using namespace ingot;

int main(int argc, char** argv) try {
  if (argc < 3) throw UsageError("usage: example_train_images FOLDER IMAGE [EPOCHS]");
  ImageFolderOptions options;
  options.prepare.size = 64;  // what the network sees; 224 is usual
  const std::shared_ptr<const Dataset> train = image_folder(argv[1], Split::Train, options);
  const std::shared_ptr<const Dataset> test = image_folder(argv[1], Split::Test, options);

  ModelOptions model;
  model.image_size = options.prepare.size;
  model.num_classes = train->num_classes();
  Trainer trainer(make_model("resnet18", model),
                  {.optimizer = sgd({.lr = 0.01, .momentum = 0.9}), .seed = 1});
  FitOptions fit{
      .epochs = argc > 3 ? std::atoll(argv[3]) : 3, .batch_size = 16, .validation = test, .workers = 2};
  fit.augment.random_resized_crop.emplace();
  fit.augment.horizontal_flip = true;
  fit.augment.color_jitter = ColorJitter{.brightness = 0.2, .contrast = 0.2, .saturation = 0.2};
  fit.augment.mean = {0.485f, 0.456f, 0.406f};
  fit.augment.stddev = {0.229f, 0.224f, 0.225f};
  fit.bad_samples = BadSamples::Skip;
  fit.callbacks = {std::make_shared<ProgressLine>()};
  trainer.fit(train, fit);
  for (const std::string& message : trainer.skipped().messages)
    std::printf("left out: %s\n", message.c_str());

  // One image through the same preparation: [3, size, size], scaled and normalised.
  const Tensor pixels = read_prepared_image(argv[2], options.prepare).contiguous();
  const Tensor x({DType::F32, {1, 3, options.prepare.size, options.prepare.size}});
  const std::int64_t plane = options.prepare.size * options.prepare.size;
  for (std::int64_t i = 0; i < 3 * plane; ++i) {
    const auto c = static_cast<std::size_t>(i / plane);
    const float v = static_cast<float>(pixels.data<std::uint8_t>()[i]) / 255.0f;
    x.data<float>()[i] = (v - fit.augment.mean[c]) / fit.augment.stddev[c];
  }
  const Tensor logits = trainer.predict(x);
  const float* const p = logits.data<float>();
  const auto best = static_cast<std::size_t>(std::max_element(p, p + logits.numel()) - p);
  std::printf("%s: %s\n", argv[2], train->class_names()[best].c_str());
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return 1;
}
