// The callbacks of the library: when they stop, save and log.
#include "train/callbacks.h"

#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>

#include "io/checkpoint.h"
#include "tests/train/small_run.h"

namespace ingot {
namespace {

std::shared_ptr<Trainer> trainer(double lr = 0.1) {
  TrainerOptions o;
  o.optimizer = sgd({.lr = lr});
  o.target = Target::cpu(1);
  return std::make_shared<Trainer>(std::make_shared<LinearNet>(), o);
}

FitOptions options(std::int64_t epochs, std::vector<std::shared_ptr<Callback>> callbacks) {
  FitOptions o;
  o.epochs = epochs;
  o.batch_size = 4;
  o.validation = points(5, 5, 3, "validation");
  o.callbacks = std::move(callbacks);
  return o;
}

// --- any callback

TEST(Callbacks, FitWithinFitIsRefused) {
  struct Again final : Callback {
    std::string message;
    void on_batch_end(Trainer& t, std::int64_t, const Logs&) override {
      try {
        t.fit(points(8), {.epochs = 1, .batch_size = 4});
      } catch (const UsageError& e) {
        message = e.what();
      }
    }
  };
  const auto again = std::make_shared<Again>();
  trainer()->fit(points(8), options(1, {again}));
  EXPECT_NE(again->message.find("in the middle of fit()"), std::string::npos) << again->message;
}

// --- early stopping

// The number of the value that stops, from 1; 0 when none does.
int stops_at(EarlyStopping&& c, const std::string& key, const std::vector<double>& values) {
  const auto t = trainer();
  for (std::size_t i = 0; i < values.size(); ++i) {
    c.on_epoch_end(*t, static_cast<std::int64_t>(i), {{key, values[i]}});
    if (t->stopping()) return static_cast<int>(i) + 1;
  }
  return 0;
}

TEST(EarlyStopping, WaitsForItsPatience) {
  using E = EarlyStopping;
  EXPECT_EQ(stops_at(E("val_loss", 1), "val_loss", {3, 2, 2}), 3) << "equal is no improvement";
  EXPECT_EQ(stops_at(E("val_loss", 2), "val_loss", {3, 2, 2.5, 1, 1.5, 1.2}), 6) << "counted from the best";
  EXPECT_EQ(stops_at(E("val_loss", 3), "val_loss", {1, 2, 2, 0.5, 2, 2}), 0);
  EXPECT_EQ(stops_at(E("val_loss", 3), "val_loss", {1, 5, 4, 3}), 4) << "better than the last is not enough";
  EXPECT_EQ(stops_at(E(), "val_loss", {1, 1, 1, 1, 1}), 4) << "three by default";
}

TEST(EarlyStopping, KnowsWhichWayIsBetter) {
  using E = EarlyStopping;
  EXPECT_EQ(stops_at(E("val_accuracy", 1), "val_accuracy", {0.1, 0.2, 0.3}), 0);
  EXPECT_EQ(stops_at(E("val_accuracy", 1), "val_accuracy", {0.3, 0.2}), 2);
  EXPECT_EQ(stops_at(E("val_f1", 1), "val_f1", {0.1, 0.2, 0.1}), 3);
  EXPECT_EQ(stops_at(E("loss", 1), "loss", {0.3, 0.2, 0.1}), 0);
}

TEST(EarlyStopping, AsksForAtLeastMinDelta) {
  using E = EarlyStopping;
  EXPECT_EQ(stops_at(E("val_loss", 1, 0.5), "val_loss", {3, 2, 1.6}), 3);
  EXPECT_EQ(stops_at(E("val_loss", 2, 0.5), "val_loss", {3, 2.6, 2.4, 2.0, 2.1}), 5) << "2.4 improves on 3";
  EXPECT_EQ(stops_at(E("val_accuracy", 1, 0.1), "val_accuracy", {0.5, 0.55}), 2);
}

TEST(EarlyStopping, NotANumberIsNoImprovement) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(stops_at(EarlyStopping("val_loss", 2), "val_loss", {1, nan, nan}), 3);
}

TEST(EarlyStopping, RefusesWhatItCannotWatch) {
  const auto t = trainer();
  EarlyStopping c("val_loss", 1);
  EXPECT_TRUE(says(message_of<UsageError>([&] {
                     c.on_epoch_end(*t, 0, {{"loss", 1.0}, {"lr", 0.1}});
                   }),
                   "EarlyStopping", "'val_loss'", "loss, lr", "validation data"));
  EXPECT_TRUE(says(message_of<UsageError>([] { EarlyStopping bad("loss", 0); }), "patience", "0"));
}

TEST(EarlyStopping, EndsFit) {
  // A rate of zero never improves: the first epoch sets the best, two more use up the patience.
  const auto t = trainer(0.0);
  const auto c = std::make_shared<EarlyStopping>("val_loss", 2);
  EXPECT_EQ(t->fit(points(9), options(10, {c})).size(), 3u);
  EXPECT_TRUE(t->stopping());
  EXPECT_EQ(t->fit(points(9), options(10, {c})).size(), 3u) << "a new run begins to count anew";
}

// Whatever the order of the callbacks, the checkpoint of an epoch holds what all of them made of it.
TEST(EarlyStopping, CountsOnAfterAResume) {
  for (const bool checkpoint_first : {false, true}) {
    SCOPED_TRACE(checkpoint_first);
    const TempDir dir;
    const auto callbacks = [&] {
      std::vector<std::shared_ptr<Callback>> c{std::make_shared<EarlyStopping>("val_loss", 3),
                                               std::make_shared<ModelCheckpoint>(dir / "last.safetensors")};
      if (checkpoint_first) std::swap(c[0], c[1]);
      return c;
    };
    trainer(0.0)->fit(points(9), options(3, callbacks()));  // the best, and two epochs without improvement
    FitOptions o = options(10, callbacks());
    o.resume = dir / "last.safetensors";
    const auto t = trainer(0.0);
    EXPECT_EQ(t->fit(points(9), o).size(), 1u);
    EXPECT_EQ(t->progress().epoch, 4);
    // The run is over: another resume trains no more, unless the patience grows.
    EXPECT_EQ(trainer(0.0)->fit(points(9), options(10, callbacks())).size(), 4u);
    o.callbacks = callbacks();
    EXPECT_EQ(trainer(0.0)->fit(points(9), o).size(), 0u);
    o.callbacks = {std::make_shared<EarlyStopping>("val_loss", 5)};
    EXPECT_EQ(trainer(0.0)->fit(points(9), o).size(), 2u);
  }
}

TEST(EarlyStopping, StateSurvivesText) {
  EarlyStopping a("val_loss", 3), b("val_loss", 3);
  const auto t = trainer();
  a.on_epoch_end(*t, 0, {{"val_loss", 2.0 / 3.0}});
  a.on_epoch_end(*t, 1, {{"val_loss", 0.75}});
  b.restore(a.state());
  EXPECT_EQ(b.state(), a.state());
  for (EarlyStopping* c : {&a, &b}) c->on_epoch_end(*t, 2, {{"val_loss", 2.0 / 3.0}});
  EXPECT_EQ(b.state(), a.state()) << "every digit counts";
  EarlyStopping fresh("val_loss", 3);
  b.restore(fresh.state());  // infinity
  EXPECT_EQ(b.state(), fresh.state());
  b.on_epoch_end(*t, 0, {{"val_loss", 1e300}});
  EXPECT_NE(b.state(), fresh.state()) << "anything is better than nothing";
}

// --- checkpoints

std::int64_t step_of(const std::string& path) {
  return nlohmann::json::parse(load_checkpoint(path).metadata.at("state")).at("step");
}

TEST(ModelCheckpoint, SavesAfterEachEpochAndEverySoManySteps) {
  const TempDir dir;
  const std::string path = dir / "c.safetensors";
  std::string saved;
  const auto look = [&](Trainer&, std::int64_t, const Logs&) {
    saved += std::filesystem::exists(path) ? cat(step_of(path), " ") : "- ";
  };
  auto hook = std::make_shared<Hook>();
  hook->batch_end = look;
  trainer()->fit(points(18), options(2, {std::make_shared<ModelCheckpoint>(path), hook}));
  EXPECT_EQ(saved, "- - - - - 5 5 5 5 5 ");
  EXPECT_EQ(step_of(path), 10);
  saved.clear();
  std::filesystem::remove(path);
  trainer()->fit(points(18), options(2, {std::make_shared<ModelCheckpoint>(path, 2), hook}));
  EXPECT_EQ(step_of(path), 10);
  EXPECT_EQ(saved, "- - 2 2 4 5 6 6 8 8 ");
}

TEST(ModelCheckpoint, KeepsTheBest) {
  const TempDir dir;
  const std::string path = dir / "best.safetensors";
  const auto t = trainer();
  t->fit(points(9), options(1, {}));
  ModelCheckpoint low(path, 0, true), high(path, 0, true, "val_accuracy");
  const auto saves = [&](ModelCheckpoint& c, const std::string& key, double value) {
    std::filesystem::remove(path);
    c.on_epoch_end(*t, 0, {{key, value}});
    return std::filesystem::exists(path);
  };
  EXPECT_TRUE(saves(low, "val_loss", 2.0));
  EXPECT_FALSE(saves(low, "val_loss", 2.0));
  EXPECT_FALSE(saves(low, "val_loss", 2.5));
  EXPECT_TRUE(saves(low, "val_loss", 1.5));
  ModelCheckpoint again(path, 0, true);
  again.restore(low.state());
  EXPECT_FALSE(saves(again, "val_loss", 1.75)) << "it remembers the best through a resume";
  EXPECT_TRUE(saves(high, "val_accuracy", 0.2));
  EXPECT_FALSE(saves(high, "val_accuracy", 0.1));
  EXPECT_TRUE(saves(high, "val_accuracy", 0.3));
  EXPECT_FALSE(saves(high, "val_accuracy", std::numeric_limits<double>::quiet_NaN()));
  EXPECT_TRUE(says(message_of<UsageError>([&] {
                     low.on_epoch_end(*t, 0, {{"loss", 1.0}});
                   }),
                   "ModelCheckpoint", "'val_loss'"));
}

TEST(ModelCheckpoint, HoldsTheWeightsOfTheBestEpoch) {
  const TempDir dir;
  std::vector<Tensor> weights;
  auto hook = std::make_shared<Hook>();
  hook->epoch_end = [&](Trainer& t, std::int64_t, const Logs&) {
    weights.push_back(t.states().at("fc.weight"));
  };
  const History h = trainer(5.0)->fit(  // so high that later epochs are worse
      points(9), options(6, {std::make_shared<ModelCheckpoint>(dir / "b.safetensors", 0, true), hook}));
  std::size_t best = 0;
  for (std::size_t e = 1; e < h.size(); ++e)
    if (h[e].at("val_loss") < h[best].at("val_loss")) best = e;
  ASSERT_NE(best, h.size() - 1) << "the test wants an earlier epoch to be the best";
  const auto t = trainer();
  t->load(dir / "b.safetensors");
  EXPECT_TRUE(bitwise_equal(t->states().at("fc.weight"), weights[best]));
}

// --- logs

using Rows = std::vector<std::vector<std::string>>;
Rows read_csv(const std::string& path) {
  Rows rows;
  std::istringstream file(read_raw(path));
  std::string line, cell;
  while (std::getline(file, line)) {
    rows.emplace_back();
    std::istringstream cells(line);
    while (std::getline(cells, cell, ',')) rows.back().push_back(cell);
    if (line.ends_with(',')) rows.back().emplace_back();
  }
  return rows;
}

TEST(CsvLogger, WritesOneRowPerEpoch) {
  const TempDir dir;
  const History h = trainer()->fit(points(9), options(3, {std::make_shared<CsvLogger>(dir / "log.csv")}));
  const Rows rows = read_csv(dir / "log.csv");
  ASSERT_EQ(rows.size(), 4u);
  EXPECT_EQ(rows[0][0], "epoch");
  ASSERT_EQ(rows[0].size(), h[0].size() + 1);
  for (std::size_t e = 0; e < 3; ++e) {
    ASSERT_EQ(rows[e + 1].size(), rows[0].size());
    EXPECT_EQ(rows[e + 1][0], std::to_string(e + 1));
    for (std::size_t k = 1; k < rows[0].size(); ++k) {
      const double want = h[e].at(rows[0][k]);
      EXPECT_NEAR(std::stod(rows[e + 1][k]), want, 1e-8 * std::abs(want)) << rows[0][k];
    }
  }
}

TEST(CsvLogger, KeepsItsRowsAndColumnsThroughAResume) {
  for (const bool checkpoint_first : {false, true}) {
    const TempDir dir;
    const auto callbacks = [&] {
      std::vector<std::shared_ptr<Callback>> c{std::make_shared<CsvLogger>(dir / "log.csv"),
                                               std::make_shared<ModelCheckpoint>(dir / "last.safetensors")};
      if (checkpoint_first) std::swap(c[0], c[1]);
      return c;
    };
    trainer()->fit(points(9), options(2, callbacks()));
    const Rows first = read_csv(dir / "log.csv");
    FitOptions o = options(4, callbacks());
    o.resume = dir / "last.safetensors";
    o.validation = nullptr;  // its columns stay, empty
    trainer()->fit(points(9), o);
    const Rows rows = read_csv(dir / "log.csv");
    ASSERT_EQ(rows.size(), 5u);
    for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(rows[i], first[i]);
    for (std::size_t i = 3; i < 5; ++i) {
      ASSERT_EQ(rows[i].size(), rows[0].size());
      EXPECT_EQ(rows[i][0], std::to_string(i));
      for (std::size_t k = 1; k < rows[0].size(); ++k)
        EXPECT_EQ(rows[i][k].empty(), rows[0][k].starts_with("val_")) << rows[0][k];
    }
  }
}

TEST(CsvLogger, ANewRunBeginsANewFile) {
  const TempDir dir;
  for (int run = 0; run < 2; ++run)
    trainer()->fit(points(9), options(2, {std::make_shared<CsvLogger>(dir / "log.csv")}));
  EXPECT_EQ(read_csv(dir / "log.csv").size(), 3u);
}

TEST(JsonLinesLogger, WritesEveryFigureExactly) {
  const TempDir dir;
  const auto log = [&] { return std::make_shared<JsonLinesLogger>(dir / "log.jsonl"); };
  const auto last = [&] { return std::make_shared<ModelCheckpoint>(dir / "last.safetensors"); };
  History h = trainer()->fit(points(9), options(2, {last(), log()}));
  FitOptions o = options(3, {last(), log()});
  o.resume = dir / "last.safetensors";
  h.push_back(trainer()->fit(points(9), o).at(0));
  std::istringstream file(read_raw(dir / "log.jsonl"));
  std::string line;
  std::size_t e = 0;
  for (; std::getline(file, line); ++e) {
    ASSERT_LT(e, h.size());
    auto j = nlohmann::json::parse(line);
    EXPECT_EQ(j.at("epoch"), e + 1);
    j.erase("epoch");
    EXPECT_EQ(j.get<Logs>(), h[e]);
  }
  EXPECT_EQ(e, 3u);
}

// --- progress

TEST(ProgressLine, OffATerminalIsOneLinePerEpoch) {
  testing::internal::CaptureStderr();  // a file
  trainer()->fit(points(9), options(2, {std::make_shared<ProgressLine>()}));
  FitOptions plain = options(1, {std::make_shared<ProgressLine>()});
  plain.validation = nullptr;
  trainer()->fit(points(9), plain);
  std::istringstream text(testing::internal::GetCapturedStderr());
  std::vector<std::string> lines;
  for (std::string line; std::getline(text, line);) lines.push_back(line);
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_TRUE(says(lines[0], "epoch 1/2 ", "loss ", "accuracy ", "val_loss ", "images/s"));
  EXPECT_TRUE(says(lines[1], "epoch 2/2 "));
  EXPECT_TRUE(says(lines[2], "epoch 1/1 "));
  EXPECT_EQ(lines[2].find("val_loss"), std::string::npos);
  for (const std::string& l : lines) EXPECT_EQ(l.find_first_of("\r\033"), std::string::npos) << l;
}

TEST(ProgressLine, TellsTheLossScaleAndSkippedSteps) {
  const auto line = [](double scale) {
    TrainerOptions o = trainer()->options();
    o.precision.compute = DType::F16;
    o.loss_scale = fixed_loss_scale(scale);
    testing::internal::CaptureStderr();
    Trainer(std::make_shared<LinearNet>(), o).fit(points(9), options(1, {std::make_shared<ProgressLine>()}));
    return testing::internal::GetCapturedStderr();
  };
  EXPECT_TRUE(says(line(512.0), "  scale 512  ", "images/s"));
  EXPECT_EQ(line(512.0).find("skipped"), std::string::npos);
  EXPECT_TRUE(says(line(0x1p40), "  scale 1.09951e+12  skipped "));
}

TEST(ProgressLine, SaysNothingBetweenEpochs) {
  std::string between;
  auto hook = std::make_shared<Hook>();
  hook->batch_end = [&](Trainer&, std::int64_t, const Logs&) {
    between += testing::internal::GetCapturedStderr();
    testing::internal::CaptureStderr();
  };
  testing::internal::CaptureStderr();
  trainer()->fit(points(9), options(1, {std::make_shared<ProgressLine>(), hook}));
  testing::internal::GetCapturedStderr();
  EXPECT_EQ(between, "");
}

}  // namespace
}  // namespace ingot
