// Folders of images as data sets: which files, which classes, which parts; and damaged files on the way.

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>
#include <set>

#include "core/base/error.h"
#include "data/image.h"
#include "data/loader.h"
#include "gtest/gtest.h"
#include "tests/support/image_files.h"
#include "tests/support/messages.h"
#include "tests/support/temp_dir.h"

namespace ingot {
namespace {

namespace fs = std::filesystem;

void put(const std::string& path, const std::string& bytes) {
  fs::create_directories(fs::path(path).parent_path());
  write_raw(path, bytes);
}

// A flat square; its grey level says which image it is.
std::string square(int level, int side = 16) {
  return png({side, side, 3,
              std::vector<std::uint8_t>(static_cast<std::size_t>(side * side * 3),
                                        static_cast<std::uint8_t>(level))});
}

ImageFolderOptions small(std::int64_t size = 8) {
  ImageFolderOptions o;
  o.prepare.size = size;
  return o;
}

std::vector<float> values(const Tensor& t) {
  const Tensor plain = t.contiguous();
  return {plain.data<float>(), plain.data<float>() + plain.numel()};
}

TEST(ImageFolder, ClassesAreFoldersInTheOrderOfTheirNames) {
  const TempDir dir;
  put(dir / "train/dog/a.PNG", square(10));
  put(dir / "train/cat/deep/b.png", square(20));
  put(dir / "train/cat/c.jpeg", jpeg(gradient(20, 20, 3)));
  put(dir / "train/cat/notes.txt", "no image");
  put(dir / "train/.cache/x.png", square(1));
  put(dir / "val/dog/d.png", square(30));
  ASSERT_TRUE(is_image_folder(dir.path()));
  const auto train = image_folder(dir.path(), Split::Train, small()),
             val = image_folder(dir.path(), Split::Test, small());
  EXPECT_EQ(train->class_names(), (std::vector<std::string>{"cat", "dog"}));
  EXPECT_EQ(train->size(), 3);
  EXPECT_EQ(val->size(), 1);
  EXPECT_EQ(val->num_classes(), 2);
  std::vector<std::byte> pixels(8 * 8 * 3);
  std::int64_t label = -1;
  const auto target = std::as_writable_bytes(std::span(&label, 1));
  train->read(2, pixels, target);
  EXPECT_EQ(label, 1);
  EXPECT_EQ(pixels[0], std::byte{10});
  val->read(0, pixels, target);
  EXPECT_EQ(label, 1);
  EXPECT_EQ(pixels[191], std::byte{30});
  EXPECT_EQ(train->label(0), 0);
}

TEST(ImageFolder, WithoutATestPartEachClassIsDivided) {
  const TempDir dir;
  for (int i = 0; i < 20; ++i) put(dir / cat("a/", i, ".png"), square(i));
  for (int i = 0; i < 5; ++i) put(dir / cat("b/", i, ".png"), square(100 + i));
  put(dir / "c/only.png", square(200));
  const auto levels = [&](Split split) {
    const auto data = image_folder(dir.path(), split, small());
    std::multiset<int> found;
    std::vector<std::byte> pixels(8 * 8 * 3), target(8);
    for (std::int64_t i = 0; i < data->size(); ++i) {
      data->read(i, pixels, target);
      found.insert(static_cast<int>(pixels[0]));
    }
    return found;
  };
  const std::multiset<int> train = levels(Split::Train), test = levels(Split::Test);
  EXPECT_EQ(train.size(), 16u + 4u + 1u);
  EXPECT_EQ(test.size(), 4u + 1u);
  for (const int level : test) EXPECT_EQ(train.count(level), 0u) << level;
  // Whatever else is there, a file's side stays: one more image moves few.
  put(dir / "a/more.png", square(50));
  const std::multiset<int> now = levels(Split::Test);
  int moved = 0;
  for (const int level : test) moved += now.count(level) == 0 ? 1 : 0;
  EXPECT_LE(moved, 1);
}

TEST(ImageFolder, WhatIsMissingIsSaid) {
  const TempDir dir;
  EXPECT_FALSE(is_image_folder(dir.path()));
  EXPECT_TRUE(says(message_of<FormatError>([&] { image_folder(dir.path(), Split::Train, small()); }),
                   dir.path(), "a folder per class"));
  EXPECT_TRUE(
      says(message_of<FormatError>([&] { open_dataset(dir.path(), Split::Train); }), "a folder per class"));
  put(dir / "train/a/1.png", square(1));
  put(dir / "val/b/1.png", square(1));
  EXPECT_TRUE(says(message_of<FormatError>([&] { image_folder(dir.path(), Split::Test, small()); }), "val/b",
                   "expected one of a"));
  ImageFolderOptions two = small();
  two.prepare.channels = 2;
  EXPECT_TRUE(says(message_of<UsageError>([&] { image_folder(dir.path(), Split::Train, two); }), "got 2"));
  two = small();
  two.prepare.resize = 4;
  EXPECT_TRUE(says(message_of<UsageError>([&] { image_folder(dir.path(), Split::Train, two); }), "got 4"));
}

TEST(ImageFolder, BadHeadersAreNamedWhenItIsOpened) {
  const TempDir dir;
  for (int i = 0; i < 4; ++i) put(dir / cat("train/a/", i, ".png"), square(i));
  put(dir / "val/a/1.png", square(9));
  put(dir / "train/a/empty.jpg", "");
  put(dir / "train/a/text.jpg", "hello");
  const std::string message = message_of<BadSample>([&] { image_folder(dir.path(), Split::Train, small()); });
  EXPECT_TRUE(says(message, "2 of 6", "empty.jpg", "text.jpg", "--bad-images skip"));
}

// Batches of a folder of flat images and damaged ones, as (epoch, number) -> levels.
TEST(ImageFolder, DamagedImagesAreLeftOutWhateverTheWorkers) {
  const TempDir dir;
  for (int i = 0; i < 12; ++i) put(dir / cat("train/a/", i, ".png"), square(i + 1));
  const std::string whole = jpeg(gradient(64, 64, 3));
  for (int i = 0; i < 5; ++i) put(dir / cat("train/b/", i, ".jpg"), whole.substr(0, whole.size() / 2));
  put(dir / "val/a/1.png", square(99));
  ImageFolderOptions options = small();
  options.check_headers = false;
  const std::shared_ptr<const Dataset> data = image_folder(dir.path(), Split::Train, options);
  std::vector<std::vector<float>> first;
  for (const int workers : {0, 1, 3}) {
    DataLoader loader(
        data,
        {.batch_size = 4, .shuffle = true, .seed = 3, .workers = workers, .bad_samples = BadSamples::Skip});
    std::vector<std::vector<float>> found;
    std::int64_t samples = 0;
    for (int epoch = 0; epoch < 2; ++epoch)
      while (const Batch* batch = loader.next()) {
        samples += batch->valid;
        EXPECT_EQ(batch->valid, std::ssize(batch->indices));
        found.push_back(values(batch->input));
        for (std::int64_t row = batch->valid; row < 4; ++row)
          EXPECT_EQ(found.back()[static_cast<std::size_t>(row) * 192], 0.0f);
      }
    EXPECT_EQ(samples, 24);
    EXPECT_EQ(loader.skipped().count, 5);
    ASSERT_EQ(loader.skipped().messages.size(), 5u);
    EXPECT_TRUE(says(loader.skipped().messages[0], "train/b/", "Premature end"));
    if (first.empty()) first = found;
    EXPECT_EQ(found, first) << workers << " workers";
  }
  DataLoader strict(data, {.batch_size = 17, .workers = 2});
  EXPECT_TRUE(says(message_of<BadSample>([&] { strict.next(); }), "train/b/"));
}

TEST(ImageFolder, RandomCropsAreAFunctionOfSeedAndEpoch) {
  const TempDir dir;
  for (int i = 0; i < 6; ++i) put(dir / cat("train/a/", i, ".jpg"), jpeg(gradient(90 + i, 70, 3)));
  put(dir / "val/a/1.png", square(99));
  const std::shared_ptr<const Dataset> data = image_folder(dir.path(), Split::Train, small(16));
  const auto epoch = [&](std::uint64_t seed, std::uint64_t number, int workers) {
    Augment augment;
    augment.random_resized_crop.emplace();
    augment.horizontal_flip = true;
    DataLoader loader(data, {.batch_size = 6, .seed = seed, .workers = workers, .augment = augment});
    loader.start_epoch(number);
    return values(loader.next()->input);
  };
  EXPECT_EQ(epoch(1, 0, 0), epoch(1, 0, 2));
  EXPECT_EQ(epoch(1, 3, 1), epoch(1, 3, 2));
  EXPECT_NE(epoch(1, 0, 1), epoch(1, 1, 1));
  EXPECT_NE(epoch(1, 0, 1), epoch(2, 0, 1));
}

// Crops of a gradient show where they were cut: their size and place vary as asked for, and stay inside.
TEST(ImageFolder, CropsAreOfTheSizesAskedFor) {
  const TempDir dir;
  put(dir / "train/a/1.png", png(gradient(200, 200, 3)));
  const std::shared_ptr<const Dataset> data = image_folder(dir.path(), Split::Train, small(32));
  Augment augment;
  augment.random_resized_crop = RandomResizedCrop{.least = 0.25, .most = 0.5};
  DataLoader loader(data, {.batch_size = 1, .seed = 5, .workers = 0, .augment = augment});
  double least = 1.0, most = 0.0, narrowest = 10.0, widest = 0.0, leftmost = 1.0, rightmost = 0.0;
  for (std::uint64_t n = 0; n < 200; ++n) {
    loader.start_epoch(n);
    const std::vector<float> v = values(loader.next()->input);
    const double width = static_cast<double>(v[31] - v[0]) * 32 / 31;  // red goes to the right,
    const double height = static_cast<double>(v[32 * 32 + 31 * 32] - v[32 * 32]) * 32 / 31;  // green down
    least = std::min(least, width * height);
    most = std::max(most, width * height);
    narrowest = std::min(narrowest, width / height);
    widest = std::max(widest, width / height);
    leftmost = std::min(leftmost, static_cast<double>(v[0]));
    rightmost = std::max(rightmost, static_cast<double>(v[31]));
  }
  EXPECT_NEAR(least, 0.25, 0.02);
  EXPECT_NEAR(most, 0.5, 0.02);
  EXPECT_NEAR(narrowest, 0.75, 0.06);
  EXPECT_NEAR(widest, 4.0 / 3.0, 0.09);
  EXPECT_LT(leftmost, 0.03);
  EXPECT_GT(rightmost, 0.97);
}

TEST(ImageFolder, ChannelsLastBatchesHoldTheSame) {
  const TempDir dir;
  put(dir / "train/a/1.jpg", jpeg(gradient(40, 30, 3)));
  const std::shared_ptr<const Dataset> data = image_folder(dir.path(), Split::Train, small(16));
  Augment augment;
  augment.horizontal_flip = true;
  augment.crop_padding = 2;
  augment.mean = {0.1f, 0.2f, 0.3f};
  augment.stddev = {0.5f, 0.6f, 0.7f};
  DataLoader plain(data, {.batch_size = 1, .workers = 0, .augment = augment});
  DataLoader last(data, {.batch_size = 1, .workers = 0, .channels_last = true, .augment = augment});
  const Batch* const b = last.next();
  EXPECT_EQ(b->input.type().layout, Layout::channels_last(4));
  EXPECT_EQ(values(b->input), values(plain.next()->input));
}

// Without a crop RGB is normalised in one pass; the same samples in planes take the other way.
TEST(ImageFolder, EveryWayOfNormalisingGivesTheSame) {
  const TempDir dir;
  for (int i = 0; i < 8; ++i) put(dir / cat("train/a/", i, ".png"), png(gradient(16 + i, 18, 3)));
  put(dir / "val/a/1.png", square(1));
  const std::shared_ptr<const Dataset> data = image_folder(dir.path(), Split::Train, small(16));
  const Tensor planes({DType::U8, {8, 3, 16, 16}}), labels = Tensor::zeros({DType::I64, {8}});
  std::vector<std::byte> target(8);
  for (std::int64_t i = 0; i < 8; ++i) {
    const Tensor sample(data->input_type());
    data->read(i, sample.as_bytes(), target);
    std::memcpy(planes.data<std::uint8_t>() + i * 768, sample.contiguous().raw(), 768);
  }
  const auto memory = std::make_shared<InMemoryDataset>(planes, labels, 1);
  Augment augment;
  augment.horizontal_flip = true;
  augment.mean = {0.1f, 0.2f, 0.3f};
  augment.stddev = {0.5f, 0.6f, 0.7f};
  for (const bool last : {false, true}) {
    DataLoader files(data, {.batch_size = 8, .workers = 0, .channels_last = last, .augment = augment});
    DataLoader expected(memory, {.batch_size = 8, .workers = 0, .channels_last = last, .augment = augment});
    EXPECT_EQ(values(files.next()->input), values(expected.next()->input));
  }
}

TEST(ImageFolder, ChannelStatsReadBothLayouts) {
  const TempDir dir;
  std::vector<std::uint8_t> pixels;
  for (int i = 0; i < 64; ++i)
    for (const int v : {51, 102, i % 2 * 204}) pixels.push_back(static_cast<std::uint8_t>(v));
  put(dir / "train/a/1.png", png({8, 8, 3, pixels}));
  const ChannelStats s = channel_stats(*image_folder(dir.path(), Split::Train, small()));
  EXPECT_NEAR(s.mean[0], 0.2f, 1e-6f);
  EXPECT_NEAR(s.mean[1], 0.4f, 1e-6f);
  EXPECT_NEAR(s.mean[2], 0.4f, 1e-6f);
  EXPECT_NEAR(s.stddev[2], 0.4f, 1e-6f);
}

}  // namespace
}  // namespace ingot
