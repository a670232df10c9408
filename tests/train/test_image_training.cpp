// Training from folders of image files: what it ends with, what a checkpoint keeps, and mixed samples.

#include <filesystem>

#include "data/image.h"
#include "io/checkpoint.h"
#include "models/models.h"
#include "tests/support/image_files.h"
#include "tests/train/small_run.h"

namespace ingot {
namespace {

namespace fs = std::filesystem;

// The samples of `data`, as files in folders of classes "c0", "c1", ..., in the order of their names.
void write_folder(const InMemoryDataset& data, const std::string& dir, bool as_jpeg) {
  const Shape s = data.inputs().shape();
  for (std::int64_t i = 0; i < data.size(); ++i) {
    const std::string folder = cat(dir, "/c", data.labels()[static_cast<std::size_t>(i)]);
    fs::create_directories(folder);
    RawImage image{static_cast<int>(s[3]), static_cast<int>(s[2]), 1, {}};
    const std::uint8_t* const p = data.inputs().data<std::uint8_t>() + i * s[2] * s[3];
    image.pixels.assign(p, p + s[2] * s[3]);
    const std::string name = std::to_string(1000 + i);
    write_raw(cat(folder, "/", name, as_jpeg ? ".jpg" : ".png"), as_jpeg ? jpeg(image) : png(image));
  }
}

// The same samples in the order in which a folder has them: class by class.
std::shared_ptr<InMemoryDataset> by_class(const InMemoryDataset& data) {
  std::vector<std::int64_t> order;
  for (std::int64_t c = 0; c < data.num_classes(); ++c)
    for (std::int64_t i = 0; i < data.size(); ++i)
      if (data.labels()[static_cast<std::size_t>(i)] == c) order.push_back(i);
  const Tensor x(data.inputs().type()), y({DType::I64, {data.size()}});
  const std::int64_t row = x.numel() / data.size();
  for (std::int64_t to = 0; to < data.size(); ++to) {
    const std::int64_t from = order[static_cast<std::size_t>(to)];
    std::copy_n(data.inputs().data<std::uint8_t>() + from * row, row, x.data<std::uint8_t>() + to * row);
    y.data<std::int64_t>()[to] = data.labels()[static_cast<std::size_t>(from)];
  }
  return std::make_shared<InMemoryDataset>(x, y, data.num_classes());
}

struct Ending {
  double accuracy = 0.0;
  std::map<std::string, Tensor> states;
};

Ending train(const std::string& model, std::shared_ptr<const Dataset> data,
             std::shared_ptr<const Dataset> test, std::int64_t epochs, int workers = 1) {
  const Shape s = data->input_type().shape;
  ModelOptions mo;
  mo.in_channels = s[0];
  mo.image_size = s[1];
  mo.num_classes = data->num_classes();
  TrainerOptions to;
  to.optimizer =
      sgd({.lr = 0.05, .momentum = 0.9, .schedule = one_cycle(epochs * ((data->size() - 1) / 32 + 1))});
  to.target = Target::cpu(2);
  to.seed = 3;
  Trainer t(make_model(model, mo), to);
  FitOptions fit;
  fit.epochs = epochs;
  fit.batch_size = 32;
  fit.workers = workers;
  fit.augment = {.crop_padding = 1, .horizontal_flip = true, .mean = {0.4f}, .stddev = {0.3f}};
  t.fit(data, fit);
  EvaluateOptions eo;
  eo.augment = {.mean = {0.4f}, .stddev = {0.3f}};
  return {t.evaluate(test, eo).accuracy(), t.states()};
}

std::shared_ptr<const Dataset> folder(const TempDir& dir, Split split, std::int64_t size) {
  ImageFolderOptions o;
  o.prepare = {size, 1, size};
  return image_folder(dir.path(), split, o);
}

// PNG keeps every bit, so a folder of them trains to the very weights, whatever the number of workers.
TEST(ImageTraining, PngFoldersTrainToTheBitsOfTheSameSamplesInMemory) {
  const TempDir dir;
  write_folder(*pictures(60), dir / "train", false);
  write_folder(*pictures(20, "validation"), dir / "val", false);
  const Ending memory = train("mlp", by_class(*pictures(60)), by_class(*pictures(20, "validation")), 2);
  for (const int workers : {0, 3}) {
    const Ending files = train("mlp", folder(dir, Split::Train, 6), folder(dir, Split::Test, 6), 2, workers);
    EXPECT_EQ(files.accuracy, memory.accuracy);
    expect_same_states(files.states, memory.states);
  }
}

TEST(ImageTraining, JpegFoldersReachTheAccuracyOfIdxFilesSlow) {
  std::shared_ptr<const Dataset> all, held;
  try {
    all = fashion_mnist(Split::Train);
    held = fashion_mnist(Split::Test);
  } catch (const FormatError& e) {
    GTEST_SKIP() << e.what();
  }
  const auto first = [](const Dataset& d, std::int64_t count) {
    const auto& m = dynamic_cast<const InMemoryDataset&>(d);
    const Tensor x({DType::U8, {count, 1, 28, 28}}), y({DType::I64, {count}});
    std::copy_n(m.inputs().data<std::uint8_t>(), x.numel(), x.data<std::uint8_t>());
    std::copy_n(m.labels().data(), count, y.data<std::int64_t>());
    return InMemoryDataset(x, y, 10);
  };
  const InMemoryDataset train_part = first(*all, 4000), test_part = first(*held, 1000);
  const TempDir dir;
  write_folder(train_part, dir / "train", true);
  write_folder(test_part, dir / "val", true);
  const Ending idx = train("lenet5", by_class(train_part), by_class(test_part), 4);
  const Ending files = train("lenet5", folder(dir, Split::Train, 28), folder(dir, Split::Test, 28), 4);
  EXPECT_GT(idx.accuracy, 0.75);
  EXPECT_NEAR(files.accuracy, idx.accuracy, 0.02);  // twice the deviation that 1000 images have
}

TEST(ImageTraining, WeightsKeepClassesAndPreparation) {
  const TempDir dir;
  write_folder(*pictures(30), dir / "train", false);
  write_folder(*pictures(9, "validation"), dir / "val", false);
  Trainer t(std::make_shared<DropoutNet>(), {.seed = 1});
  t.fit(folder(dir, Split::Train, 6), {.epochs = 1, .batch_size = 8});
  t.save(dir / "w.safetensors");
  Trainer other(std::make_shared<DropoutNet>(), {});
  other.load(dir / "w.safetensors");
  EXPECT_EQ(other.sample_notes().class_names, (std::vector<std::string>{"c0", "c1", "c2"}));
  EXPECT_EQ(ImagePreparation::parse(other.sample_notes().preparation), (ImagePreparation{6, 1, 6}));
}

TEST(ImageTraining, DamagedImagesAreSkippedAndCounted) {
  const TempDir dir;
  write_folder(*pictures(30), dir / "train", false);
  write_folder(*pictures(9, "validation"), dir / "val", false);
  write_raw(dir / "train/c0/0000.png", read_raw(dir / "train/c0/1001.png").substr(0, 60));
  fs::create_directories(dir / "val/c1");
  write_raw(dir / "val/c1/0000.png", "nothing");
  ImageFolderOptions o;
  o.prepare = {6, 1, 6};
  o.check_headers = false;
  Trainer t(std::make_shared<DropoutNet>(), {.seed = 1});
  FitOptions fit{.epochs = 2, .batch_size = 8};
  EXPECT_THROW(t.fit(image_folder(dir.path(), Split::Train, o), fit), BadSample);
  fit.bad_samples = BadSamples::Skip;
  t.fit(image_folder(dir.path(), Split::Train, o), fit);
  EXPECT_EQ(t.skipped().count, 1);
  EvaluateOptions eo;
  eo.bad_samples = BadSamples::Skip;
  const Evaluation e = t.evaluate(image_folder(dir.path(), Split::Test, o), eo);
  EXPECT_EQ(e.skipped.count, 1);
  EXPECT_EQ(e.confusion.total(), 9);

  // Where all are damaged, training says so instead of ending with the weights that it began with.
  const TempDir none;
  fs::create_directories(none / "train/a");
  fs::create_directories(none / "train/b");
  for (const char* name : {"train/a/1.png", "train/b/1.png", "train/b/2.png"})
    write_raw(none / name, "nothing");
  fs::create_directories(none / "val/a");
  write_raw(none / "val/a/1.png", png(gradient(6, 6, 1)));
  EXPECT_TRUE(says(message_of<BadSample>([&] { t.fit(image_folder(none.path(), Split::Train, o), fit); }),
                   "no sample", "train/"));
}

// A mixed target costs as much of either label as its share: one step of descent, by hand, on all samples.
TEST(MixedTraining, TheLossIsThatOfBothLabels) {
  const auto data = pictures(12);
  Augment augment;
  augment.mixup = 0.5;
  TrainerOptions to;
  to.optimizer = sgd({.lr = 0.1});
  to.seed = 5;
  Trainer t(std::make_shared<LinearNet>(36, 3), to);
  std::map<std::string, Tensor> before;
  {
    Trainer plain(std::make_shared<LinearNet>(36, 3), to);
    plain.fit(data, {.epochs = 0, .batch_size = 12});
    before = plain.states();
  }
  const History h = t.fit(data, {.epochs = 1, .batch_size = 12, .augment = augment});

  DataLoader loader(data, {.batch_size = 12, .shuffle = true, .seed = 5, .workers = 0, .augment = augment});
  const Batch* const b = loader.next();
  const InMemoryDataset own(b->input, b->target, 3), other(b->input, b->other_target, 3);
  const LinearReference reference(before);
  double loss = 0.0;
  for (std::int64_t i = 0; i < 12; ++i)
    loss += (b->share * reference.loss(own, i) + (1.0 - b->share) * reference.loss(other, i)) / 12.0;
  ASSERT_GT(b->share, 0.01);
  ASSERT_LT(b->share, 0.99);
  EXPECT_NEAR(h.at(0).at("loss"), loss, 1e-5);
}

TEST(MixedTraining, ResumesToTheSameBits) {
  const TempDir dir;
  FitOptions fit{.epochs = 3, .batch_size = 8, .workers = 2, .balance_classes = true};
  fit.augment.mixup = 0.3;
  fit.augment.cutmix = 1.0;
  fit.augment.rand_augment.emplace();
  const auto data = pictures(29);
  Trainer whole(std::make_shared<DropoutNet>(), {.target = Target::cpu(2), .seed = 2});
  whole.fit(data, fit);
  Trainer first(std::make_shared<DropoutNet>(), {.target = Target::cpu(2), .seed = 2});
  FitOptions part = fit;
  part.callbacks.push_back(at_step(6, [&](Trainer& t) {
    t.save_checkpoint(dir / "c.safetensors");
    t.stop();
  }));
  first.fit(data, part);
  Trainer second(std::make_shared<DropoutNet>(), {.target = Target::cpu(2), .seed = 2});
  fit.resume = dir / "c.safetensors";
  fit.workers = 0;
  second.fit(data, fit);
  expect_same_states(second.states(), whole.states());
}

}  // namespace
}  // namespace ingot
