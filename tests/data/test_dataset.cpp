#include <array>
#include <cmath>
#include <limits>

#include "core/base/error.h"
#include "data/dataset.h"
#include "data/npy.h"
#include "gtest/gtest.h"
#include "tests/data/idx_writer.h"
#include "tests/support/messages.h"
#include "tests/support/temp_dir.h"

namespace ingot {
namespace {

Tensor labels_of(std::initializer_list<std::int64_t> values) {
  return Tensor::from<std::int64_t>({std::ssize(values)}, std::span(values.begin(), values.size()));
}

std::int64_t label_at(const Dataset& data, std::int64_t index) {
  std::vector<std::byte> input(data.input_type().bytes());
  std::int64_t label = -1;
  data.read(index, input, std::as_writable_bytes(std::span(&label, 1)));
  return label;
}

TEST(InMemoryDataset, GivesSamples) {
  const Tensor images = Tensor::zeros({DType::U8, {3, 1, 2, 2}});
  images.set(5, 77);
  const InMemoryDataset data(images, labels_of({2, 0, 1}).to(DType::I32));
  EXPECT_EQ(data.size(), 3);
  EXPECT_EQ(data.num_classes(), 3);
  EXPECT_EQ(to_string(data.input_type()), "u8[1, 2, 2]");
  EXPECT_EQ(to_string(data.target_type()), "i64[]");
  std::array<std::byte, 4> image;
  std::array<std::byte, 8> target;
  data.read(1, image, target);
  EXPECT_EQ(image[1], std::byte{77});
  EXPECT_EQ(label_at(data, 0), 2);
  EXPECT_THROW(data.read(3, image, target), UsageError);
  EXPECT_THROW(data.read(-1, image, target), UsageError);
  EXPECT_THROW(data.read(0, std::span(image).first(3), target), UsageError);
}

TEST(InMemoryDataset, NamesBadLabels) {
  const Tensor images = Tensor::zeros({DType::F32, {3, 2}});
  const auto error = [&](const Tensor& labels, std::int64_t classes) {
    return message_of<FormatError>([&] { InMemoryDataset(images, labels, classes, {}, "y.npy"); });
  };
  EXPECT_TRUE(says(error(labels_of({0, 1, 10}), 10), "'y.npy': label 10 at index 2", "0 to 9"));
  EXPECT_TRUE(says(error(labels_of({0, -1, 1}), 0), "label -1 at index 1"));
  EXPECT_TRUE(says(error(labels_of({0, 1}), 0), "one label for each of f32[3, 2], found i64[2]"));
  EXPECT_TRUE(says(error(Tensor::of({0, 1, 1}), 0), "holds f32"));
  const std::int64_t most = std::numeric_limits<std::int64_t>::max();
  EXPECT_TRUE(says(error(labels_of({0, most, 1}), 0), cat("label ", most, " at index 1 is out of range")));
}

TEST(Take, Shortens) {
  const auto data =
      std::make_shared<InMemoryDataset>(Tensor::zeros({DType::F32, {3, 2}}), labels_of({0, 1, 2}));
  EXPECT_EQ(take(data, 2)->size(), 2);
  EXPECT_EQ(take(data, 9)->size(), 3);
  EXPECT_EQ(take(data, 2)->num_classes(), 3);
  EXPECT_EQ(label_at(*take(data, 2), 1), 1);
  EXPECT_THROW(label_at(*take(data, 2), 2), UsageError);
  EXPECT_TRUE(says(message_of<UsageError>([] { take(nullptr, 3); }), "the data set is null"));
}

TEST(Folder, ReadsIdxAndNpy) {
  const TempDir dir;
  write_raw(dir / "train-images-idx3-ubyte.gz", gzip(idx_bytes(8, {2, 2, 2}, "abcdefgh")));
  write_raw(dir / "train-labels-idx1-ubyte", idx_bytes(8, {2}, {"\x01\x03", 2}));
  const auto train = open_dataset(dir.path(), Split::Train);
  EXPECT_EQ(train->size(), 2);
  EXPECT_EQ(train->num_classes(), 4);
  EXPECT_EQ(to_string(train->input_type()), "u8[1, 2, 2]");
  write_npy(dir / "x_test.npy", Tensor::zeros({DType::F32, {1, 3, 4, 4}}));
  write_npy(dir / "y_test.npy", labels_of({2}));
  const auto test = load_folder(dir.path(), Split::Test);
  EXPECT_EQ(to_string(test->input_type()), "f32[3, 4, 4]");
  EXPECT_EQ(test->num_classes(), 4) << "the training labels say how many classes there are";
  write_raw(dir / "classes.txt", "a\nb\r\nc\nd\ne\n");
  EXPECT_EQ(load_folder(dir.path(), Split::Train)->num_classes(), 5);
  EXPECT_EQ(load_folder(dir.path(), Split::Train)->class_names()[1], "b");
}

TEST(Folder, NamesWhatIsWrong) {
  const TempDir dir;
  const auto error = [&](Split split) {
    return message_of<FormatError>([&] { load_folder(dir.path(), split); });
  };
  EXPECT_TRUE(
      says(message_of<FormatError>([&] { open_dataset(dir / "none", Split::Train); }), "is no folder"));
  EXPECT_TRUE(says(error(Split::Train), "no train images", "train-images-idx3-ubyte.gz"));
  write_raw(dir / "train-images-idx3-ubyte", idx_bytes(8, {2, 2, 2}, "abcdefgh"));
  EXPECT_TRUE(says(error(Split::Train), "no train labels"));
  write_raw(dir / "train-labels-idx1-ubyte", idx_bytes(8, {3}, {"\x01\x03\x02", 3}));
  EXPECT_TRUE(says(error(Split::Train), "train-labels-idx1-ubyte", "found u8[3]"));
  write_raw(dir / "train-labels-idx1-ubyte", idx_bytes(8, {2}, {"\x01\x03", 2}));
  write_raw(dir / "t10k-images-idx3-ubyte", idx_bytes(8, {1, 2, 2}, "abcd"));
  write_raw(dir / "t10k-labels-idx1-ubyte", idx_bytes(8, {1}, {"\x04", 1}));
  EXPECT_TRUE(says(error(Split::Test), "label 4 at index 0", "0 to 3"));
  write_npy(dir / "x_test.npy", Tensor::zeros({DType::U8, {1, 32, 32, 3}}));
  std::filesystem::remove(dir / "t10k-images-idx3-ubyte");
  EXPECT_TRUE(says(error(Split::Test), "[N, C, H, W]"));
}

TEST(FashionMnist, SaysHowToGetIt) {
  EXPECT_TRUE(says(message_of<FormatError>([] { fashion_mnist(Split::Train, "/nowhere"); }), "/nowhere",
                   "apt-get install dataset-fashion-mnist"));
}

TEST(FashionMnist, ReadsThePackage) {
  std::unique_ptr<Dataset> test, train;
  try {
    test = open_dataset("fashion-mnist", Split::Test);
    train = fashion_mnist(Split::Train);
  } catch (const FormatError& e) {
    GTEST_SKIP() << e.what();
  }
  EXPECT_EQ(train->size(), 60000);
  ASSERT_EQ(test->size(), 10000);
  EXPECT_EQ(test->num_classes(), 10);
  EXPECT_EQ(to_string(test->input_type()), "u8[1, 28, 28]");
  EXPECT_EQ(test->class_names()[9], "Ankle boot");
  EXPECT_EQ(label_at(*test, 0), 9);
  const ChannelStats stats = channel_stats(*train);
  EXPECT_NEAR(stats.mean.at(0), 0.2860f, 1e-4);
  EXPECT_NEAR(stats.stddev.at(0), 0.3530f, 1e-4);
}

TEST(ChannelStats, PerChannel) {
  const Tensor x = Tensor::zeros({DType::F32, {2, 2, 1, 2}});
  for (std::int64_t i = 0; i < 8; ++i)
    x.set(i, static_cast<double>(i));  // channel 0: 0 1 4 5, channel 1: 2 3 6 7
  const ChannelStats s = channel_stats(InMemoryDataset(x, labels_of({0, 0})));
  ASSERT_EQ(s.mean.size(), 2u);
  EXPECT_FLOAT_EQ(s.mean[0], 2.5f);
  EXPECT_FLOAT_EQ(s.mean[1], 4.5f);
  EXPECT_FLOAT_EQ(s.stddev[0], std::sqrt(4.25f));
  const ChannelStats constant =
      channel_stats(InMemoryDataset(Tensor::full({DType::U8, {2, 3}}, 255), labels_of({0, 0})));
  EXPECT_EQ(constant.mean.at(0), 1.0f);
  EXPECT_EQ(constant.stddev.at(0), 1.0f) << "a constant channel must not be divided by zero";
}

}  // namespace
}  // namespace ingot
