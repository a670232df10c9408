// A run that was stopped and resumed ends with the bits of one that never was: weights, running statistics,
// optimiser, generator, loader, schedule, and what the epochs logged.
#include <nlohmann/json.hpp>

#include "io/checkpoint.h"
#include "tests/train/small_run.h"

namespace ingot {
namespace {

constexpr std::int64_t kEpochs = 4, kBatch = 8, kSamples = 29, kStepsPerEpoch = 4;

std::shared_ptr<Trainer> trainer(std::shared_ptr<Module> model = std::make_shared<DropoutNet>()) {
  TrainerOptions o;
  o.optimizer = adamw({.lr = 0.01,
                       .weight_decay = 0.05,
                       .schedule = one_cycle(kEpochs * kStepsPerEpoch).warmup(3),
                       .clip_norm = 1.0,
                       .groups = {{.pattern = "*.bias", .weight_decay = 0.0}}});
  o.target = Target::cpu(2);
  o.seed = 11;
  o.model_name = "dropout-net";
  return std::make_shared<Trainer>(std::move(model), o);
}

FitOptions options(std::int64_t epochs, int workers = 1) {
  FitOptions o;
  o.epochs = epochs;
  o.batch_size = kBatch;
  o.validation = pictures(10, "validation");
  o.augment = {.crop_padding = 1, .horizontal_flip = true, .mean = {0.4f}, .stddev = {0.2f}};
  o.workers = workers;
  return o;
}

struct Finished {
  std::map<std::string, Tensor> states;
  History history;
  std::string position;  // the description in a checkpoint, without the callbacks
};

std::string position_of(const std::string& path) {
  auto j = nlohmann::json::parse(load_checkpoint(path).metadata.at("state"));
  j.erase("callbacks");
  return j.dump();
}

Finished finish(const TempDir& dir, Trainer& t, FitOptions o) {
  o.callbacks.push_back(std::make_shared<ModelCheckpoint>(dir / "finished.safetensors"));
  Finished f;
  f.history = t.fit(pictures(kSamples), o);
  f.states = t.states();
  f.position = position_of(dir / "finished.safetensors");
  return f;
}

// The whole run, never stopped.
const Finished& unbroken() {
  static const Finished f = [] {
    const TempDir dir;
    return finish(dir, *trainer(), options(kEpochs));
  }();
  return f;
}

// `rest` are the last epochs of the unbroken run.
void expect_unbroken(const Finished& rest, const Finished& whole = unbroken()) {
  expect_same_states(whole.states, rest.states);
  EXPECT_EQ(rest.position, whole.position);
  const std::size_t skipped = whole.history.size() - rest.history.size();
  for (std::size_t e = 0; e < rest.history.size(); ++e)
    EXPECT_EQ(timeless(rest.history[e]), timeless(whole.history[skipped + e])) << "epoch " << skipped + e;
}

Finished resumed(const TempDir& dir, const std::string& path, int workers = 1) {
  FitOptions o = options(kEpochs, workers);
  o.resume = path;
  return finish(dir, *trainer(), o);
}

TEST(Resume, TheUnbrokenRunUsesAllItsParts) {
  const Finished& f = unbroken();
  ASSERT_EQ(f.history.size(), 4u);
  EXPECT_EQ(f.states.at("optim/step").item(), 16.0);
  EXPECT_EQ(f.states.at("generator").get(0), 11.0) << "the seed";
  EXPECT_EQ(f.states.at("generator").get(1), 16.0) << "one draw a step";
  EXPECT_EQ(f.states.at("bn.num_batches_tracked").item(), 16.0);
  EXPECT_NE(f.history[0].at("lr"), f.history[3].at("lr"));
}

TEST(Resume, BetweenEpochsWithAnyNumberOfWorkers) {
  for (const std::int64_t first : {1, 3})
    for (const int workers : {1, 0, 3}) {
      SCOPED_TRACE(cat(first, " epochs, then ", workers, " workers"));
      const TempDir dir;
      FitOptions o = options(first, 2);
      o.callbacks = {std::make_shared<ModelCheckpoint>(dir / "last.safetensors")};
      EXPECT_EQ(trainer()->fit(pictures(kSamples), o).size(), static_cast<std::size_t>(first));
      const Finished rest = resumed(dir, dir / "last.safetensors", workers);
      EXPECT_EQ(rest.history.size(), static_cast<std::size_t>(kEpochs - first));
      expect_unbroken(rest);
    }
}

// A step is stopped anywhere: at the first and the last of an epoch too. The resumed epoch logs what the
// unbroken one did, although part of it ran before.
TEST(Resume, InTheMiddleOfAnEpoch) {
  for (const std::int64_t step : {1, 5, 6, 8, 15, 16})
    for (const bool after_fit : {false, true}) {
      SCOPED_TRACE(cat("step ", step, after_fit ? ", saved after fit()" : ", saved at the end of fit()"));
      const TempDir dir;
      const std::string path = dir / "stopped.safetensors";
      const auto t = trainer();
      FitOptions o = options(kEpochs);
      const auto hook = at_step(step, [](Trainer& s) { s.stop(); });
      if (!after_fit) hook->train_end = [&](Trainer& s) { s.save_checkpoint(path); };
      o.callbacks = {hook};
      t->fit(pictures(kSamples), o);
      EXPECT_EQ(t->progress().step, step);
      if (after_fit) t->save_checkpoint(path);
      expect_unbroken(resumed(dir, path, step % 2 == 0 ? 0 : 2));
    }
}

// The scale, the steps since it last changed and the skipped ones go on as well: it grows every third good
// step, so it overflows again and again.
TEST(Resume, WithADynamicLossScale) {
  const auto scaled = [] {
    TrainerOptions o = trainer()->options();
    o.precision.compute = DType::F16;
    o.loss_scale = dynamic_loss_scale({.init_scale = 0x1p22, .growth_interval = 3});
    return std::make_shared<Trainer>(std::make_shared<DropoutNet>(), o);
  };
  const TempDir dir;
  const Finished whole = finish(dir, *scaled(), options(kEpochs));
  const double skipped = whole.states.at("optim/skipped_steps").item();
  EXPECT_GT(skipped, 2.0);
  EXPECT_EQ(whole.states.at("optim/step").item(), 16.0 - skipped);
  EXPECT_EQ(whole.history.back().at("skipped_steps"), skipped);
  for (const std::int64_t step : {1, 2, 8, 9, 10, 15}) {
    SCOPED_TRACE(cat("step ", step));
    const auto t = scaled();
    FitOptions o = options(kEpochs);
    o.callbacks = {at_step(step, [](Trainer& s) { s.stop(); })};
    t->fit(pictures(kSamples), o);
    t->save_checkpoint(dir / "stopped.safetensors");
    o = options(kEpochs);
    o.resume = dir / "stopped.safetensors";
    expect_unbroken(finish(dir, *scaled(), o), whole);
  }
}

// The process dies: the last checkpoint of every two steps is what is left.
TEST(Resume, AfterACrash) {
  const TempDir dir;
  FitOptions o = options(kEpochs);
  o.callbacks = {std::make_shared<ModelCheckpoint>(dir / "last.safetensors", 2),
                 at_step(7, [](Trainer&) { throw std::runtime_error("power cut"); })};
  EXPECT_THROW(trainer()->fit(pictures(kSamples), o), std::runtime_error);
  const Finished rest = resumed(dir, dir / "last.safetensors");
  EXPECT_EQ(rest.history.size(), 3u);
  expect_unbroken(rest);
}

TEST(Resume, Twice) {
  const TempDir dir;
  const std::string path = dir / "stopped.safetensors";
  for (const std::int64_t step : {3, 10}) {
    FitOptions o = options(kEpochs, static_cast<int>(step % 3));
    if (step != 3) o.resume = path;
    o.callbacks = {at_step(step, [](Trainer& s) { s.stop(); })};
    const auto t = trainer();
    t->fit(pictures(kSamples), o);
    t->save_checkpoint(path);
  }
  expect_unbroken(resumed(dir, path));
}

// On the same trainer, whose weights have moved on meanwhile.
TEST(Resume, OnATrainerThatHasTrainedOn) {
  const TempDir dir;
  const auto t = trainer();
  FitOptions o = options(1);
  o.callbacks = {std::make_shared<ModelCheckpoint>(dir / "last.safetensors")};
  t->fit(pictures(kSamples), o);
  t->fit(pictures(kSamples), options(2));
  o = options(kEpochs);
  o.resume = dir / "last.safetensors";
  expect_unbroken(finish(dir, *t, o));
}

TEST(Resume, OfAFinishedRunDoesNothing) {
  const TempDir dir;
  FitOptions o = options(kEpochs);
  o.callbacks = {std::make_shared<ModelCheckpoint>(dir / "last.safetensors")};
  trainer()->fit(pictures(kSamples), o);
  o.resume = dir / "last.safetensors";
  o.callbacks = {};
  const auto t = trainer();
  EXPECT_TRUE(t->fit(pictures(kSamples), o).empty());
  expect_same_states(unbroken().states, t->states());
}

// A checkpoint saved after fit() knows its callbacks as well.
TEST(Resume, AfterFitKnowsTheCallbacks) {
  const TempDir dir;
  FitOptions o = options(2);
  o.callbacks = {std::make_shared<CsvLogger>(dir / "log.csv")};
  const auto t = trainer();
  t->fit(pictures(kSamples), o);
  t->save_checkpoint(dir / "after.safetensors");
  o = options(3);
  o.resume = dir / "after.safetensors";
  o.callbacks = {std::make_shared<CsvLogger>(dir / "log.csv")};
  trainer()->fit(pictures(kSamples), o);
  const std::string text = read_raw(dir / "log.csv");
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 4) << text;
}

class RefusedResume : public testing::Test {
 protected:
  void SetUp() override {
    FitOptions o = options(1);
    o.callbacks = {std::make_shared<ModelCheckpoint>(path_)};
    trainer()->fit(pictures(kSamples), o);
  }
  std::string refused(Trainer& t, const std::shared_ptr<const Dataset>& data, std::int64_t batch = kBatch) {
    FitOptions o = options(kEpochs);
    o.batch_size = batch;
    o.resume = path_;
    return message_of<Error>([&] { t.fit(data, o); });
  }
  TempDir dir_;
  std::string path_ = dir_ / "last.safetensors";
};

TEST_F(RefusedResume, OfAnotherModelNamesBoth) {
  TrainerOptions o;
  o.model_name = "resnet20";
  Trainer t(std::make_shared<DropoutNet>(), o);
  EXPECT_TRUE(says(refused(t, pictures(kSamples)), "last.safetensors", "'dropout-net'", "'resnet20'"));
}

TEST_F(RefusedResume, OfOtherShapesNamesTheKeys) {
  struct Other : Module {
    Conv2d conv{"conv", 1, 6, 3, {.padding = 1}};
    Linear head{"head", 216, 3};

   protected:
    Value forward(Value x) override { return head(flatten(relu(conv(x)))); }
  };
  const auto t = trainer(std::make_shared<Other>());
  EXPECT_TRUE(says(refused(*t, pictures(kSamples)), "last.safetensors", "missing", "head.weight",
                   "unexpected", "bn.running_mean", "fc.weight", "generator",
                   "conv.weight: expected f32[6, 1, 3, 3]", "found f32[4, 1, 3, 3]"));
}

TEST_F(RefusedResume, WithAnotherOptimizerNamesItsStates) {
  TrainerOptions o;
  o.optimizer = sgd({.lr = 0.1, .momentum = 0.9});
  o.model_name = "dropout-net";
  Trainer t(std::make_shared<DropoutNet>(), o);
  EXPECT_TRUE(says(refused(t, pictures(kSamples)), "missing", "optim/fc.weight/momentum", "unexpected",
                   "optim/fc.weight/exp_avg"));
}

TEST_F(RefusedResume, WithOtherDataOrBatchSize) {
  EXPECT_TRUE(says(refused(*trainer(), pictures(kSamples + 1)), "29 samples", "30"));
  EXPECT_TRUE(says(refused(*trainer(), pictures(kSamples), 4), "batches of 8", "batches of 4"));
}

TEST_F(RefusedResume, OfWeightsAlone) {
  const auto t = trainer();
  t->fit(pictures(kSamples), options(1));
  t->save(path_);
  EXPECT_TRUE(says(refused(*trainer(), pictures(kSamples)), "last.safetensors", "not a training checkpoint"));
}

// What the refusing trainer had stays.
TEST_F(RefusedResume, LeavesTheTrainersWeights) {
  TrainerOptions o;
  o.model_name = "resnet20";
  Trainer t(std::make_shared<DropoutNet>(), o);
  t.fit(pictures(kSamples), options(1));
  const auto before = t.states();
  refused(t, pictures(kSamples));
  expect_same_states(before, t.states());
}

}  // namespace
}  // namespace ingot
