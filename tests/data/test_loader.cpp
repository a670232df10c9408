#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <numeric>
#include <stdexcept>
#include <thread>

#include "core/base/error.h"
#include "data/loader.h"
#include "gtest/gtest.h"
#include "tests/support/messages.h"

namespace ingot {
namespace {

// `count` images whose pixels and labels follow from the index.
std::shared_ptr<const Dataset> pattern(std::int64_t count, const Shape& sample = {2, 5, 4},
                                       DType dtype = DType::U8) {
  Shape shape = sample;
  shape.insert(0, count);
  const Tensor images({dtype, shape}), labels({DType::I64, {count}});
  for (std::int64_t i = 0; i < images.numel(); ++i)
    images.set(i, static_cast<double>((i * 37 + i / 41) % 251));
  for (std::int64_t i = 0; i < count; ++i) labels.set(i, static_cast<double>(i % 7));
  return std::make_shared<InMemoryDataset>(images, labels, 7);
}

struct Copy {
  std::string input, target;
  std::vector<std::int64_t> indices;
  std::uint64_t epoch;
  std::int64_t number, valid;
  friend bool operator==(const Copy&, const Copy&) = default;
};
std::string bytes_of(const Tensor& t) {
  return {static_cast<const char*>(t.raw()), t.bytes()};
}
Copy copy_of(const Batch& b) {
  return {bytes_of(b.input), bytes_of(b.target), b.indices, b.epoch, b.number, b.valid};
}

LoaderOptions everything() {
  LoaderOptions o;
  o.batch_size = 4;
  o.shuffle = true;
  o.seed = 99;
  o.augment.crop_padding = 2;
  o.augment.horizontal_flip = true;
  o.augment.mean = {0.3f, 0.4f};
  o.augment.stddev = {0.5f, 0.25f};
  return o;
}

// All batches of `epochs` epochs; an empty Copy marks each end.
std::vector<Copy> drain(DataLoader& loader, int epochs) {
  std::vector<Copy> out;
  while (epochs > 0) {
    const Batch* const b = loader.next();
    out.push_back(b != nullptr ? copy_of(*b) : Copy{});
    if (b == nullptr) --epochs;
  }
  return out;
}

TEST(ShuffledOrder, IsAPermutationOfSeedAndEpoch) {
  std::vector<std::int64_t> a, b, sorted;
  shuffled_order(1, 0, a, 1000);
  shuffled_order(1, 0, b, 1000);
  EXPECT_EQ(a, b);
  sorted = a;
  std::sort(sorted.begin(), sorted.end());
  for (std::int64_t i = 0; i < 1000; ++i) ASSERT_EQ(sorted[static_cast<std::size_t>(i)], i);
  shuffled_order(1, 1, b, 1000);
  EXPECT_NE(a, b);
  shuffled_order(2, 0, b, 1000);
  EXPECT_NE(a, b);
}

TEST(ShuffledOrder, IsUniform) {  // chi-squared over the 24 orders of four, 23 degrees of freedom
  std::array<int, 256> seen{};
  std::vector<std::int64_t> o;
  constexpr int kDraws = 24000;
  for (std::uint64_t e = 0; e < kDraws; ++e) {
    shuffled_order(5, e, o, 4);
    ++seen[static_cast<std::size_t>(o[0] * 64 + o[1] * 16 + o[2] * 4 + o[3])];
  }
  double chi = 0;
  int orders = 0;
  for (const int n : seen)
    if (n != 0) {
      chi += (n - 1000.0) * (n - 1000.0) / 1000.0;
      ++orders;
    }
  EXPECT_EQ(orders, 24);
  EXPECT_LT(chi, 49.7) << "p = 0.001";
}

TEST(DataLoader, VisitsEverySampleOncePerEpoch) {
  DataLoader loader(pattern(23), everything());
  EXPECT_EQ(loader.batches_per_epoch(), 6);
  EXPECT_EQ(to_string(loader.input_type()), "f32[4, 2, 5, 4]");
  EXPECT_EQ(to_string(loader.target_type()), "i64[4]");
  std::vector<std::int64_t> first;
  for (std::uint64_t epoch = 0; epoch < 3; ++epoch) {
    std::vector<std::int64_t> seen;
    std::int64_t number = 0;
    while (const Batch* b = loader.next()) {
      EXPECT_EQ(b->epoch, epoch);
      EXPECT_EQ(b->number, number++);
      EXPECT_EQ(b->valid, number == 6 ? 3 : 4);
      ASSERT_EQ(std::ssize(b->indices), b->valid);
      for (std::int64_t i = 0; i < b->valid; ++i)
        EXPECT_EQ(b->target.get(i), static_cast<double>(b->indices[static_cast<std::size_t>(i)] % 7));
      seen.insert(seen.end(), b->indices.begin(), b->indices.end());
    }
    if (epoch == 0) first = seen;
    if (epoch == 1) {
      EXPECT_NE(seen, first);
    }
    std::sort(seen.begin(), seen.end());
    std::vector<std::int64_t> all(23);
    std::iota(all.begin(), all.end(), std::int64_t{0});
    EXPECT_EQ(seen, all);
  }
}

TEST(DataLoader, WorkersAndQueueChangeNothing) {
  LoaderOptions o = everything();
  o.workers = 0;
  DataLoader reference(pattern(23), o);
  const std::vector<Copy> expected = drain(reference, 3);
  ASSERT_EQ(expected.size(), 21u);
  for (const int workers : {1, 2, 5})
    for (const int prefetch : {1, 3, 20}) {
      o.workers = workers;
      o.prefetch = prefetch;
      DataLoader loader(pattern(23), o);
      EXPECT_EQ(drain(loader, 3), expected) << workers << " workers, " << prefetch << " batches ahead";
    }
}

TEST(DataLoader, PadsTheLastBatchWithZeros) {
  LoaderOptions o = everything();
  o.workers = 0;
  DataLoader loader(pattern(6), o);
  loader.next();
  const Batch* last = loader.next();
  ASSERT_EQ(last->valid, 2);
  for (std::int64_t i = 2 * 40; i < 4 * 40; ++i) ASSERT_EQ(last->input.get(i), 0.0) << i;
  EXPECT_NE(last->input.get(0), 0.0);
  EXPECT_EQ(last->target.get(2), 0.0);
  EXPECT_EQ(last->target.get(3), 0.0);
  o.drop_last = true;
  DataLoader dropping(pattern(6), o);
  EXPECT_EQ(dropping.batches_per_epoch(), 1);
  EXPECT_NE(dropping.next(), nullptr);
  EXPECT_EQ(dropping.next(), nullptr);
  EXPECT_NE(dropping.next(), nullptr);
}

TEST(DataLoader, InOrderWithoutShuffle) {
  DataLoader loader(pattern(5, {3}, DType::F32), {.batch_size = 2});
  EXPECT_EQ(loader.next()->indices, (std::vector<std::int64_t>{0, 1}));
  EXPECT_EQ(loader.next()->indices, (std::vector<std::int64_t>{2, 3}));
  const Batch* b = loader.next();
  EXPECT_EQ(b->indices, (std::vector<std::int64_t>{4}));
  EXPECT_EQ(b->input.get(0), static_cast<double>(12 * 37 % 251));
}

TEST(DataLoader, ResumesAtAnyBatch) {
  for (const int workers : {0, 2}) {
    LoaderOptions o = everything();
    o.workers = workers;
    DataLoader whole(pattern(23), o);
    const std::vector<Copy> expected = drain(whole, 3);
    for (std::size_t stop = 0; stop < 15; ++stop) {
      DataLoader first(pattern(23), o);
      for (std::size_t i = 0; i < stop; ++i) first.next();
      const LoaderState state = first.state();
      LoaderOptions other = o;
      other.seed = 1;  // the state brings the seed
      DataLoader second(pattern(23), other);
      second.next();
      second.restore(state);
      EXPECT_EQ(second.state(), state);
      for (std::size_t i = stop; i < expected.size(); ++i) {
        const Batch* const b = second.next();
        ASSERT_EQ(b != nullptr ? copy_of(*b) : Copy{}, expected[i])
            << "stopped at " << stop << ", batch " << i;
      }
    }
  }
}

TEST(DataLoader, StartsAnEpochFromTheMiddle) {
  LoaderOptions o = everything();
  o.workers = 2;
  DataLoader whole(pattern(23), o), loader(pattern(23), o);
  const std::vector<Copy> expected = drain(whole, 2);
  loader.next();
  loader.next();
  loader.start_epoch(1);
  EXPECT_EQ(copy_of(*loader.next()), expected[7]);
  loader.start_epoch(0);
  EXPECT_EQ(copy_of(*loader.next()), expected[0]);
}

TEST(DataLoader, RefusesForeignStatesAndBadOptions) {
  DataLoader loader(pattern(23), everything());
  LoaderState s = loader.state();
  s.dataset_size = 24;
  EXPECT_TRUE(says(message_of<UsageError>([&] { loader.restore(s); }), "24 samples", "from 23"));
  s = loader.state();
  s.next_batch = 7;
  EXPECT_TRUE(says(message_of<UsageError>([&] { loader.restore(s); }), "batch 7", "has 6"));
  const auto error = [](LoaderOptions o, std::int64_t count = 3, const Shape& sample = {1, 4, 4},
                        DType d = DType::U8) {
    return message_of<UsageError>([&] { DataLoader(pattern(count, sample, d), o); });
  };
  EXPECT_TRUE(says(error({.batch_size = 0}), "batch_size", "got 0"));
  EXPECT_TRUE(says(error({.workers = -1}), "workers"));
  EXPECT_TRUE(says(error({.workers = kMostLoaderWorkers + 1}), "at most 1024", "got 1025"));
  EXPECT_TRUE(says(error({.prefetch = 0}), "prefetch"));
  EXPECT_TRUE(says(error({}, 0), "no samples"));
  EXPECT_TRUE(says(error({.batch_size = 4, .drop_last = true}), "leave nothing of 3"));
  EXPECT_TRUE(says(error({.augment = {.crop_padding = -1}}), "got -1"));
  EXPECT_TRUE(says(error({.augment = {.crop_padding = 1}}, 3, {5}), "need images", "u8[5]"));
  EXPECT_TRUE(says(error({.augment = {.horizontal_flip = true}}, 3, {1, 2, 2}, DType::I64), "u8 or f32",
                   "i64[1, 2, 2]"));
  EXPECT_TRUE(says(error({.augment = {.mean = {0.5f}}}), "both"));
  EXPECT_TRUE(says(error({.augment = {.mean = {0.5f, 1}, .stddev = {1, 1}}}), "expected 1", "got 2"));
  EXPECT_TRUE(says(error({.augment = {.mean = {0.5f}, .stddev = {0}}}), "stddev must be positive"));
  EXPECT_TRUE(says(message_of<UsageError>([] { DataLoader(nullptr, {}); }), "got none"));
}

// Fails at sample `bad`; with a pause in each read, so that destructors meet workers in the middle of a
// batch.
class Faulty : public InMemoryDataset {
 public:
  Faulty(std::int64_t count, std::int64_t bad)
      : InMemoryDataset(Tensor::zeros({DType::F32, {count, 1}}), Tensor::zeros({DType::I64, {count}}), 1),
        bad_(bad) {}
  void read(std::int64_t index, std::span<std::byte> input, std::span<std::byte> target) const override {
    std::this_thread::sleep_for(std::chrono::microseconds(200));
    if (index == bad_) throw FormatError(cat("sample ", index, " is damaged"));
    InMemoryDataset::read(index, input, target);
  }

 private:
  std::int64_t bad_;
};

TEST(DataLoader, ErrorsComeInTheirBatchsTurn) {
  for (const int workers : {0, 1, 3}) {
    LoaderOptions o;
    o.batch_size = 2;
    o.workers = workers;
    DataLoader loader(std::make_shared<Faulty>(10, 5), o);
    EXPECT_NE(loader.next(), nullptr);
    EXPECT_NE(loader.next(), nullptr);
    for (int again = 0; again < 2; ++again)
      EXPECT_TRUE(says(message_of<FormatError>([&] { loader.next(); }), "sample 5 is damaged"));
    EXPECT_EQ(loader.state().next_batch, 2);
    LoaderState after = loader.state();
    after.next_batch = 3;
    loader.restore(after);
    EXPECT_EQ(loader.next()->indices.at(0), 6);
  }
}

TEST(DataLoader, EarlyDestructionJoins) {
  for (int taken = 0; taken < 4; ++taken) {
    LoaderOptions o;
    o.batch_size = 3;
    o.workers = 4;
    o.prefetch = 2;
    DataLoader loader(std::make_shared<Faulty>(40, taken == 3 ? 0 : -1), o);
    for (int i = 0; i < taken % 3; ++i) loader.next();
    DataLoader moved = std::move(loader);
  }
}

TEST(DataLoader, CountsTheTimeItMakesTheCallerWait) {
  LoaderOptions o;
  o.batch_size = 5;
  o.workers = 0;
  DataLoader slow(std::make_shared<Faulty>(10, -1), o);
  EXPECT_EQ(slow.wait_seconds(), 0.0);
  slow.next();
  EXPECT_GE(slow.wait_seconds(), 0.001);
  o.workers = 1;
  o.prefetch = 3;
  DataLoader ahead(std::make_shared<Faulty>(10, -1), o);
  EXPECT_EQ(ahead.buffer_bytes(), 4u * (5 * 4 + 5 * 8));
}

// The crop that a choice describes, pixel by pixel.
double expected_pixel(const Tensor& image, const SampleTransform::Choice& choice, std::int64_t c,
                      std::int64_t y, std::int64_t x) {
  const std::int64_t height = image.shape()[1], width = image.shape()[2];
  const std::int64_t sy = y + choice.top, sx = (choice.flip ? width - 1 - x : x) + choice.left;
  if (sy < 0 || sy >= height || sx < 0 || sx >= width) return 0.0;
  return image.get((c * height + sy) * width + sx);
}

TEST(SampleTransform, CropsFlipsAndNormalisesEveryWay) {
  constexpr std::int64_t kChannels = 2, kHeight = 5, kWidth = 4;
  const Augment augment{
      .crop_padding = 6, .horizontal_flip = true, .mean = {0.3f, 0.4f}, .stddev = {0.5f, 0.25f}};
  for (const DType dtype : {DType::U8, DType::F32})
    for (const bool channels_last : {false, true})
      for (const bool normalise : {false, true}) {
        Augment a = augment;
        if (!normalise) a.mean = a.stddev = {};
        const Tensor image({dtype, {kChannels, kHeight, kWidth}});
        for (std::int64_t i = 0; i < image.numel(); ++i) image.set(i, static_cast<double>(i * 6 + 3));
        const SampleTransform transform(image.type(), a, channels_last);
        const Tensor out = Tensor::zeros(transform.output_type());
        for (std::int64_t top = -6; top <= 6; ++top)
          for (std::int64_t left = -6; left <= 6; ++left)
            for (const bool flip : {false, true}) {
              const SampleTransform::Choice choice{top, left, flip};
              std::memset(out.raw(), 0xff, out.bytes());
              transform.apply(image.as_bytes().data(), out.as_bytes().data(), choice);
              for (std::int64_t i = 0; i < out.numel(); ++i) {
                const std::int64_t c = i / (kHeight * kWidth), y = i / kWidth % kHeight, x = i % kWidth;
                float v = static_cast<float>(expected_pixel(image, choice, c, y, x));
                if (dtype == DType::U8) v /= 255.0f;
                if (normalise) {
                  v -= a.mean[static_cast<std::size_t>(c)];
                  v /= a.stddev[static_cast<std::size_t>(c)];
                }
                ASSERT_EQ(static_cast<float>(out.get(i)), v)
                    << name(dtype) << ' ' << channels_last << ' ' << top << ' ' << left << ' ' << flip
                    << " at " << i;
              }
            }
      }
}

// torchvision 0.30: normalize(to_tensor(image), [0.286], [0.353]) of the pixels 0, 1, 7, 100, 201, 255.
TEST(SampleTransform, NormalisesToTorchvisionsBits) {
  constexpr std::array<std::uint8_t, 6> kPixels = {0, 1, 7, 100, 201, 255};
  constexpr std::array<std::uint32_t, 6> kBits = {0xbf4f6929, 0xbf4c911b, 0xbf3b80c4,
                                                  0x3e99f8f9, 0x3fb61d18, 0x4001734f};
  const SampleTransform transform({DType::U8, {1, 1, 6}}, {.mean = {0.286f}, .stddev = {0.353f}}, false);
  std::array<float, 6> out;
  transform.apply(reinterpret_cast<const std::byte*>(kPixels.data()),
                  reinterpret_cast<std::byte*>(out.data()), {});
  for (std::size_t i = 0; i < 6; ++i) EXPECT_EQ(std::bit_cast<std::uint32_t>(out[i]), kBits[i]) << i;
}

TEST(SampleTransform, ChoosesEveryPlaceAboutEquallyOften) {
  const SampleTransform transform({DType::U8, {1, 8, 8}}, {.crop_padding = 2, .horizontal_flip = true},
                                  false);
  std::array<int, 5> top{}, left{};
  int flips = 0;
  constexpr int kDraws = 10000;
  for (std::int64_t i = 0; i < kDraws; ++i) {
    const auto c = transform.choose(3, 1, i);
    ++top.at(static_cast<std::size_t>(c.top + 2));
    ++left.at(static_cast<std::size_t>(c.left + 2));
    flips += c.flip ? 1 : 0;
  }
  for (const int n : top) EXPECT_NEAR(n, kDraws / 5, 200);
  for (const int n : left) EXPECT_NEAR(n, kDraws / 5, 200);
  EXPECT_NEAR(flips, kDraws / 2, 250);
  int changed = 0;
  for (std::int64_t i = 0; i < 100; ++i) {
    const auto a = transform.choose(3, 1, i), b = transform.choose(3, 2, i), c = transform.choose(4, 1, i);
    changed += a.top != b.top || a.left != b.left || a.flip != b.flip ? 1 : 0;
    changed += a.top != c.top || a.left != c.left || a.flip != c.flip ? 1 : 0;
  }
  EXPECT_GT(changed, 180) << "seed and epoch must both count";
}

TEST(DataLoader, ChannelsLastIsALayout) {
  LoaderOptions o = everything();
  DataLoader rows(pattern(8), o);
  o.channels_last = true;
  DataLoader last(pattern(8), o);
  const Tensor a = rows.next()->input, b = last.next()->input;
  EXPECT_EQ(to_string(b.type()), "f32[4, 2, 5, 4]@0231");
  EXPECT_TRUE(bitwise_equal(a, b.contiguous()));
}

TEST(DataLoader, PassesOtherTypesUnchanged) {
  DataLoader loader(pattern(4, {3}, DType::I64), {.batch_size = 2});
  const Batch* b = loader.next();
  EXPECT_EQ(to_string(b->input.type()), "i64[2, 3]");
  EXPECT_EQ(b->input.get(4), 4 * 37);
}

}  // namespace
}  // namespace ingot
