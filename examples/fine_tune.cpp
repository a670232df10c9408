// Fine-tunes ResNet-18: the weights of another training, its first layers frozen, a new head for the folder's
// classes that learns ten times as fast as the rest.
//
//   build/release/bin/example_fine_tune WEIGHTS.safetensors FOLDER [EPOCHS]     # FOLDER/train/<class>/*.jpg,
//   FOLDER/val/<class>/*.jpg
#include <ingot/ingot.h>

#include <cstdio>
#include <cstdlib>
#include <memory>

using namespace ingot;

int main(int argc, char** argv) try {
  if (argc < 3) throw UsageError("usage: example_fine_tune WEIGHTS.safetensors FOLDER [EPOCHS]");
  ImageFolderOptions images;
  images.prepare.size = 64;  // 224 is usual
  const std::shared_ptr<const Dataset> train = image_folder(argv[2], Split::Train, images);
  const std::shared_ptr<const Dataset> test = image_folder(argv[2], Split::Test, images);

  ModelOptions model;
  model.image_size = images.prepare.size;
  model.num_classes = train->num_classes();
  TrainerOptions options;
  options.optimizer =
      adamw({.lr = 1e-4, .weight_decay = 0.05, .groups = {{"fc.*", 10.0, {}}, {"*.bias", 1.0, 0.0}}});
  options.freeze = {.patterns = {"conv1.*", "bn1.*", "layer1.*", "layer2.*"}, .batch_norm = true};
  Trainer trainer(make_model("resnet18", model), options);
  // All but the head must fit.
  const KeyReport keys = trainer.load(argv[1], {.except = {"fc.*"}}, {3, 64, 64});
  for (const KeyReport::Changed& c : keys.mismatched_keys)
    std::printf("starts anew: %s, %s in the file, %s here\n", c.name.c_str(), to_string(c.found).c_str(),
                to_string(c.expected).c_str());

  FitOptions fit{
      .epochs = argc > 3 ? std::atoll(argv[3]) : 3, .batch_size = 16, .validation = test, .workers = 2};
  fit.augment.random_resized_crop.emplace();
  fit.augment.horizontal_flip = true;
  fit.augment.mean = {0.485f, 0.456f, 0.406f};  // as the weights were trained
  fit.augment.stddev = {0.229f, 0.224f, 0.225f};
  fit.callbacks = {std::make_shared<ProgressLine>()};
  trainer.fit(train, fit);
  trainer.save("fine_tuned.safetensors");
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return 1;
}
