// From image files to normalised batches: how many images a second one loader prepares. image_loading.py runs
// it beside torchvision.
//
//   image_loading FOLDER [SIZE] [WORKERS] [SECONDS] [nchw|nhwc] [crop|center]
#include <chrono>
#include <cstdio>
#include <ctime>
#include <exception>
#include <string>

#include "data/image.h"
#include "data/loader.h"

int main(int argc, char** argv) try {
  using namespace ingot;
  const auto argument = [&](int i, const char* otherwise) {
    return std::string(i < argc ? argv[i] : otherwise);
  };
  ImageFolderOptions options;
  options.prepare.size = std::stoll(argument(2, "224"));
  LoaderOptions loading{.batch_size = 32, .shuffle = true, .seed = 1, .workers = 0};
  loading.channels_last = argument(4, "nhwc") == "nhwc";
  loading.augment.mean = {0.485f, 0.456f, 0.406f};
  loading.augment.stddev = {0.229f, 0.224f, 0.225f};
  if (argument(5, "crop") == "crop") {
    loading.augment.random_resized_crop.emplace();
    loading.augment.horizontal_flip = true;
  }
  DataLoader loader(image_folder(argument(1, "."), Split::Train, options), loading);
  const double seconds = std::stod(argument(3, "5"));
  std::int64_t images = 0;
  loader.next();  // the first batch allocates
  const std::clock_t start = std::clock();
  double elapsed = 0.0;
  do {
    if (const Batch* batch = loader.next()) images += batch->valid;
    elapsed = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  } while (elapsed < seconds);
  std::printf("%.1f\n", static_cast<double>(images) / elapsed);
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "image_loading: %s\n", e.what());
  return 1;
}
