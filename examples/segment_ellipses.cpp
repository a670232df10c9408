// Segments images with U-Net: which pixels belong to an ellipse. The images are made here, so that it runs
// anywhere: ellipses that are a little brighter than their noisy ground, whose brightness changes across the
// image.
//
//   build/release/bin/example_segment_ellipses [STEPS]
#include <ingot/ingot.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <span>

using namespace ingot;

namespace {

constexpr std::int64_t kSize = 64, kPixels = kSize * kSize, kBatch = 8;

// One image and its mask, of 0 and 1.
void make_image(std::int64_t index, std::span<float> image, std::span<float> mask) {
  Draws draws(7, "ellipses", 0, index);
  const double slope = draws.uniform(-0.5, 0.5), tilt = draws.uniform(-0.5, 0.5);
  for (std::int64_t i = 0; i < kPixels; ++i) {
    const double x = static_cast<double>(i % kSize) / kSize - 0.5,
                 y = static_cast<double>(i / kSize) / kSize - 0.5;
    const double noise = draws.uniform() + draws.uniform() + draws.uniform() - 1.5;
    image[static_cast<std::size_t>(i)] = static_cast<float>(slope * x + tilt * y + noise);
    mask[static_cast<std::size_t>(i)] = 0.0f;
  }
  for (std::int64_t n = 1 + draws.below(3); n > 0; --n) {
    const double cx = draws.uniform(12, 52), cy = draws.uniform(12, 52), turn = draws.uniform(0, 3.14);
    const double a = draws.uniform(6, 14), b = draws.uniform(5, 10), u = std::cos(turn), v = std::sin(turn);
    for (std::int64_t i = 0; i < kPixels; ++i) {
      const double x = static_cast<double>(i % kSize) - cx, y = static_cast<double>(i / kSize) - cy;
      const double p = (u * x + v * y) / a, q = (u * y - v * x) / b;
      if (p * p + q * q > 1.0 || mask[static_cast<std::size_t>(i)] > 0.0f) continue;
      mask[static_cast<std::size_t>(i)] = 1.0f;
      image[static_cast<std::size_t>(i)] += 0.8f;
    }
  }
}

std::span<float> row(const Tensor& t, std::int64_t i) {
  return {t.data<float>() + i * kPixels, static_cast<std::size_t>(kPixels)};
}

}  // namespace

int main(int argc, char** argv) try {
  const std::int64_t steps = argc > 1 ? std::atoll(argv[1]) : 150;
  if (steps < 1) throw UsageError("usage: example_segment_ellipses [STEPS]");
  const auto net = make_unet({.classes = 1, .features = 8}, 1);
  const TensorType type{DType::F32, {kBatch, 1, kSize, kSize}};

  Graph g;
  g.build.training = true;
  const Value mask = input(g, "mask", type), logits = (*net)(input(g, "x", type));
  const Value loss = bce_with_logits(logits, mask) + dice_loss(sigmoid(logits), mask);
  output("loss", loss);
  adam({.lr = 2e-2, .schedule = cosine(steps)})->minimize(loss);
  Session session(compile(g), {.seed = 1, .guard = "loss"});
  for (std::int64_t step = 0; step < steps; ++step) {
    for (std::int64_t i = 0; i < kBatch; ++i)
      make_image(step * kBatch + i, row(session.input("x"), i), row(session.input("mask"), i));
    session.run();
    if ((step + 1) % 25 == 0 || step == 0)
      std::printf("step %lld  loss %.4f\n", static_cast<long long>(step + 1), session.output("loss").item());
  }

  // On images of which none was trained on.
  Graph test;
  output("logits", (*net)(input(test, "x", type)));
  Session eval(compile(test));
  eval.copy_states_from(session);
  ConfusionMatrix pixels(2);
  const Tensor truth(type);
  for (std::int64_t batch = 0; batch < 8; ++batch) {
    for (std::int64_t i = 0; i < kBatch; ++i)
      make_image(1'000'000 + batch * kBatch + i, row(eval.input("x"), i), row(truth, i));
    eval.run();
    const Tensor out = eval.output("logits").contiguous();
    for (std::int64_t i = 0; i < out.numel(); ++i)
      pixels.add(truth.data<float>()[i] > 0.5f ? 1 : 0, out.data<float>()[i] > 0.0f ? 1 : 0);
  }
  std::printf("ellipses: Dice %.3f  IoU %.3f; mean IoU with the ground %.3f\n", pixels.dice(1), pixels.iou(1),
              pixels.mean_iou());
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return 1;
}
