// Face verification: a network learns identities by ArcFace, a triplet loss or both, and is then asked of
// people whom it has never seen whether two images show the same one.
//
// The "faces" are made here, so that it runs anywhere: every identity is a smooth random pattern, every image
// of it is shifted, turned, lit and disturbed in its own way.
//
//   build/release/bin/example_verify_faces [arcface|triplet|both] [STEPS]
#include <ingot/ingot.h>

#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <numbers>
#include <span>
#include <string>

using namespace ingot;

namespace {

constexpr std::int64_t kSize = 32, kPixels = kSize * kSize, kFeatures = 64;
constexpr std::int64_t kPeople = 200, kStrangers = 60;  // learned from, and asked about
constexpr std::int64_t kTriplets = 16;                  // a step: anchors, positives and negatives

// Image number `take` of a person.
void make_face(std::int64_t person, std::int64_t take, std::span<float> out) {
  Draws own(11, "person", 0, person), chance(11, "take", static_cast<std::uint64_t>(person), take);
  struct Wave {
    double x, y, phase, height;
  };
  std::array<Wave, 6> waves{};
  for (Wave& w : waves)
    w = {own.uniform(-9, 9), own.uniform(-9, 9), own.uniform(0, 2 * std::numbers::pi), own.uniform(0.4, 1.0)};
  const double dx = chance.uniform(-0.12, 0.12), dy = chance.uniform(-0.12, 0.12),
               turn = chance.uniform(-0.4, 0.4);
  const double zoom = chance.uniform(0.8, 1.25), light = chance.uniform(-0.5, 0.5),
               contrast = chance.uniform(0.7, 1.3);
  const double u = std::cos(turn) * zoom, v = std::sin(turn) * zoom;
  for (std::int64_t i = 0; i < kPixels; ++i) {
    const double a = static_cast<double>(i % kSize) / kSize - 0.5,
                 b = static_cast<double>(i / kSize) / kSize - 0.5;
    const double x = u * a - v * b + dx, y = v * a + u * b + dy;
    double sum = 0.0;
    for (const Wave& w : waves) sum += w.height * std::sin(w.x * x + w.y * y + w.phase);
    out[static_cast<std::size_t>(i)] =
        static_cast<float>(contrast * sum + light + 1.5 * (chance.uniform() + chance.uniform() - 1.0));
  }
}

// x[N, 1, 32, 32] -> [N, 64].
std::shared_ptr<Module> embedding_network() {
  auto net = std::make_shared<Sequential>();
  std::int64_t in = 1;
  for (const std::int64_t width : {16, 32, 64}) {
    net->add<Conv2d>("", in, width, 3, Conv2dOptions{.stride = 2, .padding = 1, .bias = false});
    net->add<BatchNorm2d>("", width);
    net->add<ReLU>();
    in = width;
  }
  net->add<Flatten>();
  net->add<Linear>("", in * kSize * kSize / 64, kFeatures);
  net->add<BatchNorm1d>("", kFeatures);
  return net;
}

std::span<float> row(const Tensor& t, std::int64_t i) {
  return {t.data<float>() + i * kPixels, static_cast<std::size_t>(kPixels)};
}

}  // namespace

int main(int argc, char** argv) try {
  const std::string by = argc > 1 ? argv[1] : "arcface";
  const std::int64_t steps = argc > 2 ? std::atoll(argv[2]) : 200, rows = 3 * kTriplets;
  if ((by != "arcface" && by != "triplet" && by != "both") || steps < 0)
    throw UsageError("usage: example_verify_faces [arcface|triplet|both] [STEPS]");
  const auto net = embedding_network();
  const ArcFace head("head", kFeatures, kPeople, {.scale = 16.0, .margin = 0.5});

  Graph g;
  g.build.training = true;
  const Value labels = input(g, "labels", {DType::I64, {rows}});
  const Value features = (*net)(input(g, "x", {DType::F32, {rows, 1, kSize, kSize}}));
  Value loss = scalar_like(features, 0.0);
  if (by != "triplet") loss = loss + cross_entropy(head(features, labels), labels);
  if (by != "arcface") {  // a third of the rows each: anchors, the same people again, others
    const Value unit = normalize(features);
    const auto third = [&](std::int64_t i) { return slice(unit, 0, i * kTriplets, (i + 1) * kTriplets); };
    loss = loss + triplet_margin_loss(third(0), third(1), third(2), {.margin = 0.5});
  }
  output("loss", loss);
  adam({.lr = 2e-3, .schedule = cosine(std::max<std::int64_t>(steps, 1))})->minimize(loss);
  Session session(compile(g), {.seed = 1, .guard = "loss"});
  for (std::int64_t step = 0; step < steps; ++step) {
    Draws draws(1, "step", 0, step);
    for (std::int64_t i = 0; i < kTriplets; ++i) {
      const std::int64_t person = draws.below(kPeople),
                         other = (person + 1 + draws.below(kPeople - 1)) % kPeople;
      for (std::int64_t k = 0; k < 3; ++k) {
        const std::int64_t at = k * kTriplets + i, who = k == 2 ? other : person;
        session.input("labels").data<std::int64_t>()[at] = who;
        make_face(who, 3 * step + k, row(session.input("x"), at));
      }
    }
    session.run();
    if ((step + 1) % 50 == 0 || step == 0)
      std::printf("step %lld  loss %.4f\n", static_cast<long long>(step + 1), session.output("loss").item());
  }

  // Pairs of strangers, every second one of the same person, and their embeddings two rows at a time.
  Graph test;
  output("features", (*net)(input(test, "x", {DType::F32, {2, 1, kSize, kSize}})));
  Session eval(compile(test));
  eval.copy_states_from(session);
  VerificationScores scores;
  for (std::int64_t pair = 0; pair < 600; ++pair) {
    Draws draws(2, "pair", 0, pair);
    const bool same = pair % 2 == 0;
    const std::int64_t a = draws.below(kStrangers),
                       b = same ? a : (a + 1 + draws.below(kStrangers - 1)) % kStrangers;
    make_face(kPeople + a, 2 * pair, row(eval.input("x"), 0));
    make_face(kPeople + b, 2 * pair + 1, row(eval.input("x"), 1));
    eval.run();
    const Tensor f = eval.output("features").contiguous();
    const std::span<const float> all = f.values<float>();
    scores.add(cosine_similarity(all.first(kFeatures), all.last(kFeatures)), same);
  }
  const auto accuracy = scores.accuracy();
  std::printf("%lld pairs of strangers: accuracy %.3f +- %.3f (threshold %.2f, ten folds)\n",
              static_cast<long long>(scores.pairs()), accuracy.mean, accuracy.stddev, accuracy.threshold);
  std::printf("AUC %.4f  TAR %.3f at FAR 0.01\n", scores.auc(), scores.true_accepts(0.01));
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return 1;
}
