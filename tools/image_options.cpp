#include "tools/image_options.h"

#include <cstdio>

#include "tools/commands.h"

namespace ingot::tools {

namespace {

// Smaller samples are cut out of padded ones, as is usual for CIFAR-10.
constexpr std::int64_t kLeastRandomResizedCrop = 128;

ImageFolderOptions folder_options(const BadImageArguments& bad) {
  ImageFolderOptions o;
  o.check_headers = bad.option() == BadSamples::Refuse;
  return o;
}

}  // namespace

void report_skipped(const SkippedSamples& skipped, const std::string& what) {
  if (skipped.count == 0) return;
  for (const std::string& message : skipped.messages)
    std::fprintf(stderr, "ingot: skipped: %s\n", message.c_str());
  std::fprintf(stderr, "ingot: %lld images of %s were skipped%s\n", static_cast<long long>(skipped.count),
               what.c_str(),
               skipped.count > std::ssize(skipped.messages) ? ", of which the first are named above" : "");
}

void BadImageArguments::add_to(CLI::App& app) {
  app.add_option(
         "--bad-images", bad_images,
         "Damaged images of a folder: refuse names them and stops, skip names them and leaves them out")
      ->capture_default_str()
      ->check(CLI::IsMember({"refuse", "skip"}));
}

void ImageArguments::add_to(CLI::App& app) {
  bad.add_to(app);
  app.add_option("--resize", resize,
                 "Shorter side of a folder's images before their middle is cut out (default: 8/7 of "
                 "--image-size from "
                 "128 on, as 256 for 224; else the same)")
      ->check(at_least(1));
  app.add_option("--test-share", test_share,
                 "Share of each class to test on, where the folder has no val or test folder")
      ->capture_default_str();
  app.add_option("--crop-scale", crop_scale,
                 "Train on random parts of a folder's images with this least share of their area, and most "
                 "(default: 0.08 1 from 128 pixels on, else the whole image; 1 1: only the form varies)")
      ->expected(1, 2);
  app.add_option(
         "--color-jitter", color_jitter,
         "Change brightness, contrast, saturation and hue at random by up to so much, e.g. 0.4 0.4 0.4 0.1")
      ->expected(1, 4);
  app.add_option("--rand-augment", rand_augment,
                 "So many of RandAugment's operations, at a magnitude of 0 to 30: 2 9")
      ->expected(2);
  app.add_option("--mixup", mixup, "Mix each image with another, by Beta(alpha, alpha); 0.2 is usual")
      ->check(nonnegative_number());
  app.add_option("--cutmix", cutmix,
                 "Paste a box of another image, of a size by Beta(alpha, alpha); 1 is usual")
      ->check(nonnegative_number());
  app.add_flag("--balance-classes", balance,
               "Visit the images of rare classes more often, so that all occur alike");
}

ImageArguments::Splits ImageArguments::open(const std::string& data, const ModelInfo& model,
                                            std::int64_t size, std::int64_t channels) const {
  if (data == "fashion-mnist" || !is_image_folder(data))
    return {open_dataset(data, Split::Train), open_dataset(data, Split::Test)};
  ImageFolderOptions o = folder_options(bad);
  o.prepare.size = size > 0 ? size : model.image_size;
  o.prepare.channels = channels > 0 ? channels : model.in_channels;
  o.prepare.resize = resize;
  o.test_share = test_share;
  Splits found{image_folder(data, Split::Train, o), image_folder(data, Split::Test, o)};
  if (found.train->num_classes() == 1)
    throw UsageError(cat("'", data, "' has one folder of images, '", found.train->class_names()[0],
                         "', and so one class; expected a folder for each of several classes"));
  return found;
}

void ImageArguments::augment(const Dataset& train, Augment& out) const {
  out.mixup = mixup;
  out.cutmix = cutmix;
  if (!rand_augment.empty()) out.rand_augment = RandAugment{rand_augment[0], rand_augment[1]};
  if (!color_jitter.empty()) {
    const auto given = [&](std::size_t i) { return i < color_jitter.size() ? color_jitter[i] : 0.0; };
    out.color_jitter = ColorJitter{given(0), given(1), given(2), given(3)};
  }
  if (!train.has_crops()) {
    if (!crop_scale.empty())
      throw UsageError("--crop-scale is for folders of images; use --crop-padding here");
    return;
  }
  if (crop_scale.empty() && train.input_type().shape[1] < kLeastRandomResizedCrop) return;
  RandomResizedCrop crop;
  if (!crop_scale.empty()) crop.least = crop_scale[0];
  if (crop_scale.size() > 1) crop.most = crop_scale[1];
  out.random_resized_crop = crop;
}

std::map<std::string, std::string> ImageArguments::describe(const Dataset& train) const {
  std::map<std::string, std::string> d;
  if (train.has_crops())
    d = {{"images", train.preparation()}, {"test_share", cat(test_share)}, {"crop_scale", join(crop_scale)}};
  d["color_jitter"] = join(color_jitter);
  d["rand_augment"] = join(rand_augment);
  d["mixup"] = cat(mixup);
  d["cutmix"] = cat(cutmix);
  d["balance_classes"] = balance ? "yes" : "no";
  return d;
}

const std::map<std::string, std::string>& ImageArguments::before() {
  static const std::map<std::string, std::string> none{
      {"color_jitter", ""}, {"rand_augment", ""}, {"mixup", "0"}, {"cutmix", "0"}, {"balance_classes", "no"}};
  return none;
}

std::shared_ptr<const Dataset> open_part(const std::string& data, Split split, const std::string& preparation,
                                         const BadImageArguments& bad) {
  if (data == "fashion-mnist" || !is_image_folder(data)) return open_dataset(data, split);
  if (preparation.empty())
    throw UsageError(
        cat("'", data, "' is a folder of images, and the weights do not say how to make samples of images: ",
            "they were trained on samples of one size; train with --data on a folder of images"));
  ImageFolderOptions o = folder_options(bad);
  o.prepare = ImagePreparation::parse(preparation);
  return image_folder(data, split, o);
}

}  // namespace ingot::tools
