// The trainer's verbs on data small enough to compute everything by hand: exact losses of padded batches,
// metrics, order of predictions, saving and loading, errors.
#include <limits>
#include <set>

#include "io/checkpoint.h"
#include "tests/support/remote_backend.h"
#include "tests/train/small_run.h"

namespace ingot {
namespace {

TrainerOptions with(OptimizerPtr optimizer, std::uint64_t seed = 3) {
  TrainerOptions o;
  o.optimizer = std::move(optimizer);
  o.target = Target::cpu(2);
  o.seed = seed;
  return o;
}

std::shared_ptr<Trainer> linear_trainer(double lr, std::int64_t classes = 3,
                                        const Target& target = Target::cpu(2)) {
  TrainerOptions o = with(sgd({.lr = lr}));
  o.target = target;
  return std::make_shared<Trainer>(std::make_shared<LinearNet>(5, classes), o);
}

// One whose memory is not the host's.
Target remote() {
  test::register_remote_backend();
  return test::remote_target(2);
}

double mean_loss(const LinearReference& r, const InMemoryDataset& d, double smoothing = 0.0) {
  double sum = 0.0;
  for (std::int64_t i = 0; i < d.size(); ++i) sum += r.loss(d, i, smoothing);
  return sum / static_cast<double>(d.size());
}
double accuracy(const LinearReference& r, const InMemoryDataset& d) {
  double right = 0.0;
  for (std::int64_t i = 0; i < d.size(); ++i) right += r.correct(d, i) ? 1.0 : 0.0;
  return right / static_cast<double>(d.size());
}

// --- padded batches
//
// A step's loss is the mean over the real rows, as PyTorch's CrossEntropyLoss of a short batch. An epoch's
// loss is the mean over all samples: each step's loss weighs as many rows as it had.

TEST(Padding, LossAndAccuracyOfAnEpochAreMeansOverTheSamples) {
  for (const std::int64_t batch : {1, 4, 11, 16}) {
    SCOPED_TRACE(batch);
    const auto data = points(11), other = points(7, 5, 3, "other");
    const auto t = linear_trainer(0.0);  // nothing moves, so one set of weights made all losses
    const History h = t->fit(data, {.epochs = 1, .batch_size = batch, .validation = other});
    const LinearReference r(t->states());
    ASSERT_EQ(h.size(), 1u);
    EXPECT_NEAR(h[0].at("loss"), mean_loss(r, *data), 1e-6);
    EXPECT_DOUBLE_EQ(h[0].at("accuracy"), accuracy(r, *data));
    EXPECT_NEAR(h[0].at("val_loss"), mean_loss(r, *other), 1e-6);
    EXPECT_DOUBLE_EQ(h[0].at("val_accuracy"), accuracy(r, *other));
    const Evaluation e = t->evaluate(data, {.batch_size = batch});
    EXPECT_NEAR(e.loss, mean_loss(r, *data), 1e-6);
    EXPECT_DOUBLE_EQ(e.accuracy(), accuracy(r, *data));
    EXPECT_EQ(e.confusion.total(), 11);
  }
}

TEST(Padding, LabelSmoothingIsForTrainingOnly) {
  const auto data = points(11);
  TrainerOptions o = with(sgd({.lr = 0.0}));
  o.label_smoothing = 0.2;
  Trainer t(std::make_shared<LinearNet>(), o);
  const History h = t.fit(data, {.epochs = 1, .batch_size = 4, .validation = data});
  const LinearReference r(t.states());
  EXPECT_NEAR(h[0].at("loss"), mean_loss(r, *data, 0.2), 1e-6);
  EXPECT_NEAR(h[0].at("val_loss"), mean_loss(r, *data), 1e-6);
}

TEST(Padding, TheGradientIsThatOfTheRealRows) {
  for (const std::int64_t rows : {1, 3, 7, 8}) {
    SCOPED_TRACE(rows);
    const auto data = points(rows);
    Trainer t(std::make_shared<LinearNet>(), with(sgd({.lr = 0.5, .clip_norm = 1e6})));
    t.fit(data, {.epochs = 0, .batch_size = 8});
    LinearReference r(t.states());
    t.fit(data, {.epochs = 2, .batch_size = 8});
    std::vector<std::int64_t> all;
    for (std::int64_t i = 0; i < rows; ++i) all.push_back(i);
    for (int step = 0; step < 2; ++step) r.descend(*data, all, 0.5);
    const LinearReference got(t.states());
    for (std::size_t i = 0; i < r.w.size(); ++i) EXPECT_NEAR(got.w[i], r.w[i], 1e-6) << "weight " << i;
    for (std::size_t i = 0; i < r.b.size(); ++i) EXPECT_NEAR(got.b[i], r.b[i], 1e-6) << "bias " << i;
  }
}

// Batch norm and pooling included: five samples in a batch of eight train as five in a batch of five.
TEST(Padding, ChangesNothingInsideTheModel) {
  struct Net : Module {
    Conv2d conv{"conv", 1, 4, 3, {.padding = 1}};
    BatchNorm2d bn{"bn", 4};
    MaxPool2d pool{2};
    Linear fc{"fc", 36, 3};

   protected:
    Value forward(Value x) override { return fc(flatten(pool(relu(bn(conv(x)))))); }
  };
  const auto states = [&](std::int64_t batch) {
    Trainer t(std::make_shared<Net>(), with(sgd({.lr = 0.1, .momentum = 0.9})));
    t.fit(pictures(5), {.epochs = 3, .batch_size = batch});
    return t.states();
  };
  const auto exact = states(5), padded = states(8);
  for (const auto& [name, tensor] : exact)
    for (std::int64_t i = 0; i < tensor.numel(); ++i)
      ASSERT_NEAR(padded.at(name).get(i), tensor.get(i), 2e-5) << name << " " << i;
}

// --- fit

TEST(Fit, LearnsAndReportsEachEpoch) {
  const auto t = std::make_shared<Trainer>(std::make_shared<LinearNet>(),
                                           with(sgd({.lr = 0.5, .schedule = step_lr(6, 0.5)})));
  const History h = t->fit(points(60), {.epochs = 6, .batch_size = 16});
  ASSERT_EQ(h.size(), 6u);
  EXPECT_LT(h.back().at("loss"), 0.8 * h.front().at("loss"));
  EXPECT_GT(h.back().at("accuracy"), 0.7);
  EXPECT_EQ(t->progress().step, 24);
  EXPECT_EQ(t->progress().epoch, 6);
  EXPECT_EQ(t->progress().epochs, 6);
  EXPECT_EQ(t->progress().steps_per_epoch, 4);
  // The rate of the epoch's last step: steps 3, 7, ...
  for (std::size_t e = 0; e < 6; ++e)
    EXPECT_NEAR(h[e].at("lr"), 0.5 * std::pow(0.5, std::floor(static_cast<double>(4 * e + 3) / 6.0)), 1e-7)
        << e;
  for (const Logs& l : h) {
    EXPECT_GT(l.at("seconds"), 0.0);
    EXPECT_GT(l.at("images_per_second"), 0.0);
    EXPECT_GE(l.at("input_bound"), 0.0);
    EXPECT_FALSE(l.contains("val_loss"));
  }
}

// For both half types: LinearNet learns as it does in f32, and nothing that is kept is of the type.
void expect_learns_as_in_f32(DType half) {
  const auto run = [half](const PrecisionOptions& precision) {
    TrainerOptions o = with(sgd({.lr = 0.5}));
    o.precision = precision;
    const auto t = std::make_shared<Trainer>(std::make_shared<LinearNet>(), o);
    const History h = t->fit(points(60), {.epochs = 6, .batch_size = 16});
    const Evaluation e = t->evaluate(points(60), {});
    EXPECT_NEAR(e.loss, h.back().at("loss"), 0.15);
    for (const auto& [name, state] : t->states()) EXPECT_NE(state.dtype(), half) << name;
    EXPECT_EQ(h.back().contains("loss_scale"), precision.compute == DType::F16);
    return std::pair(h.front().at("loss"), h.back().at("loss"));
  };
  const auto f32 = run({}), mixed = run({.compute = half, .overrides = {}});
  EXPECT_NE(mixed.second, f32.second) << "it was computed in " << name(half);
  EXPECT_NEAR(mixed.second, f32.second, 0.02 * f32.first);
}

TEST(Fit, LearnsInBf16AsInF32) {
  expect_learns_as_in_f32(DType::BF16);
}

TEST(Fit, LearnsInF16AsInF32) {
  expect_learns_as_in_f32(DType::F16);
}

TrainerOptions scaled(const OptimizerPtr& optimizer, const LossScale& scale) {
  TrainerOptions o = with(optimizer);
  o.precision.compute = DType::F16;
  o.loss_scale = scale;
  return o;
}

// 2^30 overflows f16 for sure; 2^10 does not.
TEST(Fit, ReportsTheLossScaleAndSkippedSteps) {
  Trainer t(std::make_shared<LinearNet>(),
            scaled(sgd({.lr = 0.1}), dynamic_loss_scale({.init_scale = 0x1p30})));
  double last = 0x1p30, skipped = 0.0;
  const auto hook = std::make_shared<Hook>();
  hook->batch_end = [&](Trainer&, std::int64_t step, const Logs& l) {
    if (l.at("skipped_steps") > skipped) last /= 2.0;
    EXPECT_EQ(l.at("loss_scale"), last) << "after step " << step;
    skipped = l.at("skipped_steps");
  };
  const History h = t.fit(points(80), {.epochs = 2, .batch_size = 4, .callbacks = {hook}});
  EXPECT_GT(skipped, 8.0);
  EXPECT_LT(skipped, 20.0);
  EXPECT_EQ(h.back().at("skipped_steps"), skipped);
  EXPECT_EQ(t.states().at("optim/step").item(), 40.0 - skipped);
  EXPECT_EQ(t.progress().step, 40);
}

TEST(Fit, GivesUpWhenNoLossScaleWillDo) {
  Trainer t(std::make_shared<LinearNet>(), scaled(sgd({.lr = 0.1}), fixed_loss_scale(0x1p40)));
  EXPECT_TRUE(says(message_of<NumericError>([&] { t.fit(points(64), {.epochs = 1, .batch_size = 1}); }),
                   "the last 50 steps were skipped", "1.09951e+12", "bf16"));
  EXPECT_EQ(t.progress().step, 50);
}

TEST(Fit, CheckNumericsWantsAFixedLossScale) {
  TrainerOptions o = scaled(sgd({.lr = 0.1}), fixed_loss_scale(256.0));
  o.check_numerics = true;
  Trainer(std::make_shared<LinearNet>(), o).fit(points(8), {.epochs = 1, .batch_size = 4});
  o.loss_scale = {};
  EXPECT_TRUE(says(message_of<UsageError>([&] { Trainer(std::make_shared<LinearNet>(), o); }),
                   "check_numerics", "--loss-scale 1024"));
}

TEST(Fit, SameSeedSameBitsWhateverTheWorkers) {
  const auto run = [](std::uint64_t seed, int workers) {
    Trainer t(std::make_shared<DropoutNet>(), with(adam({.lr = 0.01}), seed));
    t.fit(pictures(20), {.epochs = 2,
                         .batch_size = 8,
                         .augment = {.crop_padding = 1, .horizontal_flip = true},
                         .workers = workers});
    return t.states();
  };
  const auto first = run(5, 1);
  expect_same_states(first, run(5, 1));
  expect_same_states(first, run(5, 0));
  expect_same_states(first, run(5, 3));
  EXPECT_FALSE(bitwise_equal(first.at("fc.weight"), run(6, 1).at("fc.weight")));
}

TEST(Fit, CallsCallbacksInOrder) {
  struct Recorder final : Callback {
    std::string seen;
    void on_train_begin(Trainer& t) override { seen += cat("begin", t.progress().steps_per_epoch, " "); }
    void on_epoch_begin(Trainer&, std::int64_t e) override { seen += cat("epoch", e, " "); }
    void on_batch_end(Trainer& t, std::int64_t s, const Logs& l) override {
      seen += cat("step", s, " ");
      EXPECT_EQ(t.progress().step, s);
      EXPECT_TRUE(l.contains("loss") && l.contains("accuracy") && l.contains("lr"));
    }
    void on_epoch_end(Trainer&, std::int64_t e, const Logs& l) override {
      seen += cat("end", e, l.contains("val_loss") ? "+val " : " ");
    }
    void on_train_end(Trainer&, const Logs&) override { seen += "done"; }
  };
  const auto r = std::make_shared<Recorder>();
  linear_trainer(0.1)->fit(points(6),
                           {.epochs = 2, .batch_size = 4, .validation = points(3), .callbacks = {r}});
  EXPECT_EQ(r->seen, "begin2 epoch0 step1 step2 end0+val epoch1 step3 step4 end1+val done");
}

TEST(Fit, LogsOfABatchAreMeansSoFar) {
  const auto data = points(11);
  const auto t = linear_trainer(0.0);
  std::vector<double> losses;
  auto hook = std::make_shared<Hook>();
  hook->batch_end = [&](Trainer&, std::int64_t, const Logs& l) { losses.push_back(l.at("loss")); };
  const History h = t->fit(data, {.epochs = 1, .batch_size = 4, .callbacks = {hook}});
  ASSERT_EQ(losses.size(), 3u);
  EXPECT_EQ(losses[2], h[0].at("loss"));
  std::vector<std::int64_t> order;
  shuffled_order(3, 0, order, 11);
  const LinearReference r(t->states());
  double sum = 0.0;
  for (std::size_t i = 0; i < 8; ++i) sum += r.loss(*data, order[i]);
  EXPECT_NEAR(losses[1], sum / 8.0, 1e-6);
}

TEST(Fit, StopEndsAfterTheStepAndLeavesTheEpochOut) {
  const auto t = linear_trainer(0.1);
  const History h = t->fit(
      points(20), {.epochs = 5, .batch_size = 4, .callbacks = {at_step(7, [](Trainer& s) { s.stop(); })}});
  EXPECT_EQ(h.size(), 1u);
  EXPECT_EQ(t->progress().step, 7);
  EXPECT_EQ(t->progress().epoch, 1);
  EXPECT_TRUE(t->stopping());
  EXPECT_EQ(t->fit(points(20), {.epochs = 1, .batch_size = 4}).size(), 1u) << "a new fit() begins anew";
  EXPECT_FALSE(t->stopping());
}

// Weights, optimiser and schedule go on; another batch size compiles another program.
TEST(Fit, AgainGoesOnFromTheWeights) {
  const auto data = points(12);
  const auto a = linear_trainer(0.1);
  a->fit(data, {.epochs = 1, .batch_size = 4});
  const auto before = a->states();
  a->fit(data, {.epochs = 0, .batch_size = 6});
  expect_same_states(before, a->states());
  a->fit(data, {.epochs = 1, .batch_size = 6});
  EXPECT_EQ(a->states().at("optim/step").item(), 5.0);
}

TEST(Fit, RefusesWhatCannotWork) {
  const auto t = linear_trainer(0.1);
  const auto data = points(6);
  EXPECT_TRUE(says(message_of<UsageError>([&] { t->fit(nullptr, {}); }), "fit", "data set"));
  EXPECT_TRUE(says(message_of<UsageError>([&] { t->evaluate(nullptr); }), "evaluate", "data set"));
  EXPECT_TRUE(says(message_of<UsageError>([&] { t->fit(data, {.epochs = -1}); }), "epochs", "-1"));
  EXPECT_TRUE(says(message_of<UsageError>([&] { t->fit(data, {.batch_size = 0}); }), "batch size", "0"));
  EXPECT_TRUE(says(message_of<UsageError>([&] { t->fit(points(6, 5, 4), {}); }), "4 classes", "the model 3"));
  EXPECT_TRUE(
      says(message_of<UsageError>([&] { t->fit(data, {.validation = points(6, 5, 9)}); }), "9 classes"));
  EXPECT_TRUE(says(message_of<ShapeError>([&] { linear_trainer(0.1)->fit(points(6, 7), {}); }), "fc", "7"));
  EXPECT_TRUE(says(message_of<UsageError>([] { Trainer(nullptr); }), "model"));
  EXPECT_THROW(DataLoader(nullptr, {}), UsageError);
  EXPECT_TRUE(says(message_of<UsageError>([] { linear_trainer(0.1)->session(); }), "fit()"));
  EXPECT_TRUE(
      says(message_of<UsageError>([] { linear_trainer(0.1)->save("x"); }), "fit(), load() or predict()"));
  EXPECT_TRUE(
      says(message_of<UsageError>([] { linear_trainer(0.1)->save_checkpoint("x"); }), "nothing was trained"));
  struct Image : Module {
   protected:
    Value forward(Value x) override { return x; }
  };
  Trainer image(std::make_shared<Image>());
  EXPECT_TRUE(says(message_of<ShapeError>([&] { image.fit(pictures(4), {}); }), "logits", "[64, 1, 6, 6]"));
}

TEST(Fit, AnErrorLeavesNothingToGoOnFrom) {
  const TempDir dir;
  const auto t = linear_trainer(0.1);
  const auto boom = at_step(2, [](Trainer&) { throw std::runtime_error("boom"); });
  EXPECT_THROW(t->fit(points(12), {.epochs = 1, .batch_size = 4, .callbacks = {boom}}), std::runtime_error);
  EXPECT_TRUE(
      says(message_of<UsageError>([&] { t->save_checkpoint(dir / "c.safetensors"); }), "error", "save()"));
  t->save(dir / "w.safetensors");
  EXPECT_THROW(t->fit(points(12), {.callbacks = {nullptr}}), UsageError);
}

TEST(Fit, NamesTheSampleThatIsNotFinite) {
  const auto good = points(6);
  const Tensor x = good->inputs().clone();
  x.set(4 * 5 + 2, std::numeric_limits<double>::quiet_NaN());
  const auto bad = std::make_shared<InMemoryDataset>(x, formula::labels("points", 6, 3), 3);
  for (const Target& target : {Target::cpu(2), remote()}) {
    const auto t = linear_trainer(0.1, 3, target);
    EXPECT_TRUE(
        says(message_of<NumericError>([&] { t->fit(bad, {.epochs = 1, .batch_size = 4}); }), "sample 4 "));
    EXPECT_TRUE(says(message_of<NumericError>([&] { t->evaluate(bad, {.batch_size = 4}); }), "sample 4 "));
    EXPECT_TRUE(says(message_of<NumericError>([&] { t->predict(x, 4); }), "row 4 "));
  }
}

// There results must be fetched after each batch.
TEST(Fit, ADeviceWithMemoryOfItsOwnGivesTheSame) {
  const auto data = points(11);
  const auto here = linear_trainer(0.3), there = linear_trainer(0.3, 3, remote());
  for (const auto& t : {here, there}) t->fit(data, {.epochs = 2, .batch_size = 4});
  const Evaluation want = here->evaluate(data, {.batch_size = 4}),
                   got = there->evaluate(data, {.batch_size = 4});
  EXPECT_EQ(got.loss, want.loss);
  EXPECT_EQ(got.accuracy(), want.accuracy());
  EXPECT_TRUE(bitwise_equal(there->predict(data->inputs(), 4), here->predict(data->inputs(), 4)));
}

// --- evaluate

TEST(Evaluate, ConfusionAndTopFiveFollowTheLogits) {
  const auto data = points(23, 5, 12);
  const auto t = linear_trainer(0.1, 12);
  t->fit(data, {.epochs = 1, .batch_size = 8});
  const Evaluation e = t->evaluate(data, {.batch_size = 5});
  const LinearReference r(t->states());
  ConfusionMatrix want(12);
  double top5 = 0.0;
  for (std::int64_t i = 0; i < 23; ++i) {
    const auto z = r.logits(*data, i);
    const std::int64_t label = data->labels()[static_cast<std::size_t>(i)];
    want.add(label, std::max_element(z.begin(), z.end()) - z.begin());
    int above = 0;
    for (const double v : z) above += v > z[static_cast<std::size_t>(label)] ? 1 : 0;
    top5 += above < 5 ? 1.0 / 23.0 : 0.0;
  }
  for (std::int64_t a = 0; a < 12; ++a)
    for (std::int64_t p = 0; p < 12; ++p)
      EXPECT_EQ(e.confusion.count(a, p), want.count(a, p)) << a << " " << p;
  EXPECT_NEAR(e.top5, top5, 1e-12);
  EXPECT_LT(e.top5, 1.0);
  EXPECT_GT(e.top5, e.accuracy());
  EXPECT_EQ(linear_trainer(0.1)->evaluate(points(9)).top5, 1.0) << "of three classes";
}

// The random parts of an augmentation stay out, mean and deviation are used.
TEST(Evaluate, NormalisesWithoutAugmenting) {
  const auto data = pictures(10);
  const auto t = std::make_shared<Trainer>(std::make_shared<LinearNet>(36), with(sgd({.lr = 0.1})));
  const double plain = t->evaluate(data, {.batch_size = 4}).loss;
  EXPECT_EQ(
      t->evaluate(data, {.batch_size = 4, .augment = {.crop_padding = 3, .horizontal_flip = true}}).loss,
      plain);
  const Augment normal{.mean = {0.4f}, .stddev = {0.2f}};
  EXPECT_NE(t->evaluate(data, {.batch_size = 4, .augment = normal}).loss, plain);
  const Tensor x = data->inputs().to(DType::F32);
  for (std::int64_t i = 0; i < x.numel(); ++i) x.set(i, (x.get(i) / 255.0 - 0.4) / 0.2);
  const InMemoryDataset scaled(x.reshaped({10, 36}), formula::labels("pictures", 10, 3), 3);
  EXPECT_NEAR(t->evaluate(data, {.batch_size = 4, .augment = normal}).loss,
              mean_loss(LinearReference(t->states()), scaled), 1e-5);
}

TEST(Evaluate, ChangesNoState) {
  Trainer t(std::make_shared<DropoutNet>(), with(sgd({.lr = 0.1})));
  t.fit(pictures(10), {.epochs = 1, .batch_size = 4});
  const auto before = t.states();
  const double loss = t.evaluate(pictures(10)).loss;
  EXPECT_EQ(t.evaluate(pictures(10)).loss, loss);
  t.predict(pictures(10)->inputs());
  expect_same_states(before, t.states());
}

// --- predict

TEST(Predict, GivesRowsInOrder) {
  const auto data = points(11);
  const auto t = linear_trainer(0.1);
  t->fit(data, {.epochs = 1, .batch_size = 4});
  const LinearReference r(t->states());
  for (const std::int64_t batch : {1, 4, 11, 256}) {
    const Tensor y = t->predict(data->inputs(), batch);
    ASSERT_EQ(y.shape(), Shape({11, 3}));
    for (std::int64_t i = 0; i < 11; ++i)
      for (std::int64_t c = 0; c < 3; ++c)
        EXPECT_NEAR(y.get(i * 3 + c), r.logits(*data, i)[static_cast<std::size_t>(c)], 1e-5)
            << "row " << i << " batch " << batch;
  }
  EXPECT_EQ(t->predict(Tensor::zeros({DType::F32, {0, 5}})).shape(), Shape({0, 3}));
  EXPECT_THROW(t->predict(Tensor::zeros({DType::F32, {}})), ShapeError);
  EXPECT_TRUE(says(message_of<UsageError>([&] { t->predict(data->inputs(), 0); }), "batch size", "0"));
  EXPECT_TRUE(says(message_of<ShapeError>([&] {
                     t->predict(Tensor::zeros({DType::F32, {2, 4}}));
                   }),
                   "fc", "[2, 4]"));
}

TEST(Predict, FollowsTheTraining) {
  const auto data = points(12);
  const auto t = linear_trainer(0.5);
  const Tensor first = t->predict(data->inputs());
  t->fit(data, {.epochs = 1, .batch_size = 4});
  const Tensor second = t->predict(data->inputs());
  EXPECT_FALSE(bitwise_equal(first, second));
  EXPECT_NEAR(second.get(0), LinearReference(t->states()).logits(*data, 0)[0], 1e-5);
}

// --- save and load

TEST(Save, LoadedWeightsPredictTheSameBits) {
  const TempDir dir;
  const auto data = pictures(13);
  Trainer t(std::make_shared<DropoutNet>(), with(adam({.lr = 0.01})));
  t.fit(data, {.epochs = 2, .batch_size = 4});
  t.save(dir / "w.safetensors");
  t.save_checkpoint(dir / "c.safetensors");
  const Tensor want = t.predict(data->inputs(), 5);
  for (const char* file : {"w.safetensors", "c.safetensors"}) {
    Trainer u(std::make_shared<DropoutNet>(), with(sgd({.lr = 0.1}), 99));
    u.load(dir / file);
    EXPECT_TRUE(bitwise_equal(u.predict(data->inputs(), 5), want)) << file;
    const Evaluation a = t.evaluate(data), b = u.evaluate(data);
    EXPECT_EQ(a.loss, b.loss);
    EXPECT_EQ(a.accuracy(), b.accuracy());
    u.fit(data, {.epochs = 0, .batch_size = 4});
    EXPECT_TRUE(bitwise_equal(u.predict(data->inputs(), 5), want))
        << "training starts from the loaded weights";
  }
}

TEST(Save, HoldsTheStateDictAndNoMore) {
  const TempDir dir;
  Trainer t(std::make_shared<DropoutNet>(), with(adam({.lr = 0.01})));
  t.fit(pictures(8), {.epochs = 1, .batch_size = 4});
  t.save(dir / "w.safetensors");
  const TensorFile f = read_safetensors(dir / "w.safetensors");
  std::set<std::string> keys;
  for (const auto& [name, tensor] : f.tensors) keys.insert(name);
  EXPECT_EQ(keys,
            (std::set<std::string>{"bn.bias", "bn.num_batches_tracked", "bn.running_mean", "bn.running_var",
                                   "bn.weight", "conv.bias", "conv.weight", "fc.bias", "fc.weight"}));
  EXPECT_EQ(f.metadata.at("format"), "pt");
}

TEST(Load, ThenSaveIsTheSameFile) {
  const TempDir dir;
  const auto t = linear_trainer(0.1);
  t->fit(points(6), {.epochs = 1, .batch_size = 4});
  t->save(dir / "a.safetensors");
  const auto u = linear_trainer(0.1);
  u->load(dir / "a.safetensors");
  u->save(dir / "b.safetensors");
  EXPECT_EQ(read_raw(dir / "a.safetensors"), read_raw(dir / "b.safetensors"));
}

TEST(Load, NamesEveryKeyThatDiffers) {
  const TempDir dir;
  const auto t = linear_trainer(0.1);
  t->fit(points(6), {.epochs = 1, .batch_size = 4});
  t->save(dir / "w.safetensors");
  // Another model; the keys are known as soon as a graph is.
  Trainer other(std::make_shared<DropoutNet>(), with(sgd({.lr = 0.1})));
  other.load(dir / "w.safetensors");
  const auto expect_named = [&](const std::string& message) {
    EXPECT_TRUE(says(message, "w.safetensors", "missing", "conv.weight", "bn.running_mean",
                     "fc.weight: expected", "f32[3, 36]", "found f32[3, 5]"));
  };
  expect_named(message_of<FormatError>([&] { other.predict(pictures(2)->inputs()); }));
  expect_named(message_of<FormatError>([&] { other.fit(pictures(2), {}); }));
  // With a session there, load() itself refuses, and the weights stay.
  Trainer running(std::make_shared<DropoutNet>(), with(sgd({.lr = 0.1})));
  running.fit(pictures(8), {.epochs = 1, .batch_size = 4});
  const Tensor before = running.predict(pictures(8)->inputs());
  expect_named(message_of<FormatError>([&] { running.load(dir / "w.safetensors"); }));
  EXPECT_TRUE(bitwise_equal(running.predict(pictures(8)->inputs()), before));

  running.save(dir / "d.safetensors");
  EXPECT_TRUE(says(message_of<FormatError>([&] {
                     const auto linear = linear_trainer(0.1);
                     linear->load(dir / "d.safetensors");
                     linear->predict(points(2)->inputs());
                   }),
                   "unexpected", "conv.bias", "bn.num_batches_tracked"));
  EXPECT_THROW(running.load(dir / "none.safetensors"), FormatError);
}

TEST(Save, RefusesWeightsThatAreNotFinite) {
  const TempDir dir;
  const auto t = linear_trainer(0.1);
  t->fit(points(6), {.epochs = 1, .batch_size = 4});
  t->save(dir / "w.safetensors");
  const std::string before = read_raw(dir / "w.safetensors");
  t->session().set_state("fc.bias", Tensor::full({DType::F32, {3}}, std::numeric_limits<double>::infinity()));
  EXPECT_TRUE(
      says(message_of<NumericError>([&] { t->save(dir / "w.safetensors"); }), "fc.bias", "left as it was"));
  EXPECT_TRUE(says(message_of<NumericError>([&] { t->save_checkpoint(dir / "w.safetensors"); }), "fc.bias"));
  EXPECT_EQ(read_raw(dir / "w.safetensors"), before);
}

}  // namespace
}  // namespace ingot
