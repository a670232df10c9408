// What every layer computes, against plain loops in double.
#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>

#include "core/autodiff/differentiate.h"
#include "core/ops/reduce.h"
#include "tests/layers/layer_run.h"

namespace ingot {
namespace {

// Row-major access by coordinates.
double at(const Tensor& t, std::initializer_list<std::int64_t> where) {
  std::int64_t i = 0;
  int axis = 0;
  for (const std::int64_t w : where) i = i * t.shape()[axis++] + w;
  return t.get(i);
}

struct Window {
  Pair kernel, stride = 1, padding = 0, dilation = 1;
  std::int64_t out_h = 0, out_w = 0;
};

// Calls f(n, c, oh, ow) for each output pixel, in row-major order, and collects what it returns.
std::vector<double> each_pixel(
    std::int64_t n, std::int64_t c, const Window& w,
    const std::function<double(std::int64_t, std::int64_t, std::int64_t, std::int64_t)>& f) {
  std::vector<double> out;
  for (std::int64_t in = 0; in < n; ++in)
    for (std::int64_t ic = 0; ic < c; ++ic)
      for (std::int64_t oh = 0; oh < w.out_h; ++oh)
        for (std::int64_t ow = 0; ow < w.out_w; ++ow) out.push_back(f(in, ic, oh, ow));
  return out;
}

// Calls f(kh, kw, h, w) for each cell of the window of output pixel (oh, ow), also those outside the image.
void each_cell(const Window& w, std::int64_t oh, std::int64_t ow,
               const std::function<void(std::int64_t, std::int64_t, std::int64_t, std::int64_t)>& f) {
  for (std::int64_t kh = 0; kh < w.kernel.h; ++kh)
    for (std::int64_t kw = 0; kw < w.kernel.w; ++kw)
      f(kh, kw, oh * w.stride.h - w.padding.h + kh * w.dilation.h,
        ow * w.stride.w - w.padding.w + kw * w.dilation.w);
}

bool inside(const Tensor& x, std::int64_t h, std::int64_t w) {
  return h >= 0 && w >= 0 && h < x.shape()[2] && w < x.shape()[3];
}

void check_conv(const Conv2dOptions& options, Pair kernel, std::int64_t out_h, std::int64_t out_w) {
  constexpr std::int64_t kIn = 4, kOut = 6;
  Conv2d conv("conv", kIn, kOut, kernel, options);
  const Tensor x = formula::unit("x", {2, kIn, 7, 8});
  LayerRun run(conv, x.type());
  const Tensor y = run.with_formula()(x), weight = run.state("conv.weight");
  ASSERT_EQ(y.shape(), Shape({2, kOut, out_h, out_w}));
  const Window w{kernel, options.stride, options.padding, options.dilation, out_h, out_w};
  const std::int64_t per_group = kIn / options.groups;
  expect_near(y, each_pixel(2, kOut, w, [&](auto n, auto o, auto oh, auto ow) {
                double sum = options.bias ? run.state("conv.bias").get(o) : 0.0;
                each_cell(w, oh, ow, [&](auto kh, auto kw, auto h, auto v) {
                  if (!inside(x, h, v)) return;
                  const std::int64_t first = o / (kOut / options.groups) * per_group;
                  for (std::int64_t c = 0; c < per_group; ++c)
                    sum += at(weight, {o, c, kh, kw}) * at(x, {n, first + c, h, v});
                });
                return sum;
              }));
}

TEST(LayerValues, Conv2d) {
  check_conv({}, 3, 5, 6);
  check_conv({.padding = 1}, 3, 7, 8);
  check_conv({.stride = 2, .padding = {1, 2}, .bias = false}, {3, 5}, 4, 4);
  check_conv({.stride = {2, 1}, .padding = {0, 2}, .dilation = {1, 2}, .groups = 2}, {2, 3}, 3, 8);
  check_conv({.bias = false}, 1, 7, 8);
}

TEST(LayerValues, Linear) {
  for (const bool bias : {true, false})
    for (const Shape& shape : {Shape{4, 5}, Shape{2, 3, 5}}) {
      Linear fc("fc", 5, 3, {.bias = bias});
      const Tensor x = formula::unit("x", shape);
      LayerRun run(fc, x.type());
      const Tensor y = run.with_formula()(x), w = run.state("fc.weight");
      std::vector<double> want;
      for (std::int64_t row = 0; row < x.numel() / 5; ++row)
        for (std::int64_t o = 0; o < 3; ++o) {
          double sum = bias ? run.state("fc.bias").get(o) : 0.0;
          for (std::int64_t i = 0; i < 5; ++i) sum += x.get(row * 5 + i) * at(w, {o, i});
          want.push_back(sum);
        }
      expect_near(y, want);
    }
}

// Statistics of channel `c` of x[N, C, ...] over the first `rows` rows.
struct Moments {
  double mean = 0.0, var = 0.0, unbiased = 0.0;
};
Moments moments(const Tensor& x, std::int64_t c, std::int64_t rows) {
  const std::int64_t channels = x.shape()[1], pixels = x.numel() / (x.shape()[0] * channels);
  const auto count = static_cast<double>(rows * pixels);
  Moments m;
  const auto each = [&](const auto& f) {
    for (std::int64_t n = 0; n < rows; ++n)
      for (std::int64_t p = 0; p < pixels; ++p) f(x.get((n * channels + c) * pixels + p));
  };
  each([&](double v) { m.mean += v / count; });
  each([&](double v) { m.var += (v - m.mean) * (v - m.mean); });
  m.unbiased = m.var / (count - 1.0);
  m.var /= count;
  return m;
}

// torch.nn.BatchNorm2d: training normalises with the batch's mean and biased variance; the running variance
// follows the unbiased one.
TEST(LayerValues, BatchNormTrainsOnTheBatchAndRemembersIt) {
  for (const Shape& shape : {Shape{4, 3, 2, 5}, Shape{5, 3}}) {
    BatchNorm2d bn("bn", 3, {.eps = 1e-3, .momentum = 0.25});
    const Tensor x = formula::unit("x", shape), x2 = formula::unit("x2", shape);
    LayerRun run(bn, x.type(), true);
    const Tensor y = run.with_formula()(x), gamma = run.state("bn.weight"), beta = run.state("bn.bias");
    const std::int64_t pixels = x.numel() / (shape[0] * 3);
    std::vector<double> want, mean(3, 0.0), var(3, 1.0);
    for (std::int64_t i = 0; i < x.numel(); ++i) {
      const std::int64_t c = i / pixels % 3;
      const Moments m = moments(x, c, shape[0]);
      want.push_back((x.get(i) - m.mean) / std::sqrt(m.var + 1e-3) * gamma.get(c) + beta.get(c));
    }
    expect_near(y, want);
    run(x2);
    for (const Tensor& t : {x, x2})
      for (std::size_t c = 0; c < 3; ++c) {
        const Moments m = moments(t, static_cast<std::int64_t>(c), shape[0]);
        mean[c] = 0.75 * mean[c] + 0.25 * m.mean;
        var[c] = 0.75 * var[c] + 0.25 * m.unbiased;
      }
    expect_near(run.state("bn.running_mean"), mean, 1e-6);
    expect_near(run.state("bn.running_var"), var, 1e-6);
    EXPECT_EQ(run.state("bn.num_batches_tracked").get(0), 2.0);
  }
}

TEST(LayerValues, BatchNormUsesWhatItRememberedInInference) {
  BatchNorm2d bn("bn", 3);
  const Tensor x = formula::unit("x", {4, 3, 2, 5});
  LayerRun run(bn, x.type());
  run.with_formula();
  run.session().set_state("bn.running_mean", Tensor::of({0.5f, -1.0f, 2.0f}));
  run.session().set_state("bn.running_var", Tensor::of({0.25f, 4.0f, 1.5f}));
  const Tensor y = run(x), gamma = run.state("bn.weight"), beta = run.state("bn.bias");
  std::vector<double> want;
  for (std::int64_t i = 0; i < x.numel(); ++i) {
    const std::int64_t c = i / 10 % 3;
    want.push_back((x.get(i) - run.state("bn.running_mean").get(c)) /
                       std::sqrt(run.state("bn.running_var").get(c) + 1e-5) * gamma.get(c) +
                   beta.get(c));
  }
  expect_near(y, want);
  expect_near(run.state("bn.running_mean"), {0.5, -1.0, 2.0}, 0.0);
  expect_near(run.state("bn.running_var"), {0.25, 4.0, 1.5}, 0.0);
  EXPECT_EQ(run.state("bn.num_batches_tracked").get(0), 0.0);
}

// A padded batch gives the numbers of the batch without its padding, whatever stands in the padding.
TEST(LayerValues, BatchNormLeavesPaddedRowsOut) {
  BatchNorm2d bn("bn", 3, {.momentum = 0.5});
  const Tensor x = formula::unit("x", {4, 3, 2, 2});
  for (std::int64_t i = 2 * 12; i < x.numel(); ++i) x.set(i, 1000.0);
  Graph g;
  g.build.training = true;
  const Value in = input(g, "x", x.type());
  g.build.valid_rows = input(g, "valid_rows", {DType::I32, {}}).id();
  output("y", bn(in));
  LayerRun run(g);
  run.session().input("valid_rows").set(0, 2);
  const Tensor y = run(x);
  for (std::int64_t c = 0; c < 3; ++c) {
    const Moments m = moments(x, c, 2);
    EXPECT_NEAR(run.state("bn.running_mean").get(c), 0.5 * m.mean, 1e-6);
    EXPECT_NEAR(run.state("bn.running_var").get(c), 0.5 + 0.5 * m.unbiased, 1e-6);
    EXPECT_NEAR(at(y, {1, c, 1, 0}), (at(x, {1, c, 1, 0}) - m.mean) / std::sqrt(m.var + 1e-5), 1e-5);
  }
}

TEST(LayerValues, LayerNorm) {
  for (const bool both : {true, false}) {
    LayerNorm ln("ln", both ? Shape{3, 4} : Shape{4}, 1e-3);
    const Tensor x = formula::unit("x", {5, 3, 4});
    LayerRun run(ln, x.type());
    const Tensor gain = formula::unit("gain", both ? Shape{3, 4} : Shape{4});
    const Tensor shift = formula::unit("shift", gain.shape());
    run.session().set_state("ln.weight", gain);
    run.session().set_state("ln.bias", shift);
    const Tensor y = run(x);
    const std::int64_t cells = gain.numel();
    std::vector<double> want;
    for (std::int64_t row = 0; row < x.numel() / cells; ++row) {
      double mean = 0.0, var = 0.0;
      for (std::int64_t i = 0; i < cells; ++i) mean += x.get(row * cells + i) / static_cast<double>(cells);
      for (std::int64_t i = 0; i < cells; ++i)
        var += std::pow(x.get(row * cells + i) - mean, 2.0) / static_cast<double>(cells);
      for (std::int64_t i = 0; i < cells; ++i)
        want.push_back((x.get(row * cells + i) - mean) / std::sqrt(var + 1e-3) * gain.get(i) + shift.get(i));
    }
    expect_near(y, want);
  }
}

TEST(LayerValues, Embedding) {
  Embedding e("e", 7, 3);
  const Tensor ids(TensorType{DType::I64, {2, 2}});
  const std::int64_t rows[] = {6, 0, 3, 6};
  for (std::int64_t i = 0; i < 4; ++i) ids.set(i, static_cast<double>(rows[i]));
  LayerRun run(e, ids.type());
  const Tensor y = run(ids), w = run.state("e.weight");
  std::vector<double> want;
  for (const std::int64_t r : rows)
    for (std::int64_t i = 0; i < 3; ++i) want.push_back(at(w, {r, i}));
  expect_near(y, want, 0.0);
}

TEST(LayerValues, MaxPool2d) {
  const Tensor x = formula::unit("x", {2, 3, 7, 8});
  const auto check = [&](MaxPool2d pool, const Window& w) {
    expect_near(LayerRun(pool, x.type())(x),
                each_pixel(2, 3, w,
                           [&](auto n, auto c, auto oh, auto ow) {
                             double best = -std::numeric_limits<double>::infinity();
                             each_cell(w, oh, ow, [&](auto, auto, auto h, auto v) {
                               if (inside(x, h, v)) best = std::max(best, at(x, {n, c, h, v}));
                             });
                             return best;
                           }),
                0.0);
  };
  check(MaxPool2d(2), {.kernel = 2, .stride = 2, .out_h = 3, .out_w = 4});
  check(MaxPool2d({3, 2}, {.stride = Pair(2, 1), .padding = {1, 0}}),
        {.kernel = {3, 2}, .stride = {2, 1}, .padding = {1, 0}, .out_h = 4, .out_w = 7});
  check(MaxPool2d(2, {.stride = Pair(1), .dilation = 3}),
        {.kernel = 2, .stride = 1, .dilation = 3, .out_h = 4, .out_w = 5});
  check(MaxPool2d(2, {.ceil_mode = true}), {.kernel = 2, .stride = 2, .out_h = 4, .out_w = 4});
}

TEST(LayerValues, AvgPool2d) {
  const Tensor x = formula::unit("x", {2, 3, 7, 8});
  const auto check = [&](AvgPool2d pool, const Window& w, bool count_padding) {
    expect_near(LayerRun(pool, x.type())(x), each_pixel(2, 3, w, [&](auto n, auto c, auto oh, auto ow) {
                  double sum = 0.0, count = 0.0;
                  each_cell(w, oh, ow, [&](auto, auto, auto h, auto v) {
                    if (inside(x, h, v)) sum += at(x, {n, c, h, v});
                    // Cells beyond the padding, which ceil_mode reaches, never count.
                    const bool padding = h < 7 + w.padding.h && v < 8 + w.padding.w;
                    if (inside(x, h, v) || (count_padding && padding)) count += 1.0;
                  });
                  return sum / count;
                }));
  };
  check(AvgPool2d(2), {.kernel = 2, .stride = 2, .out_h = 3, .out_w = 4}, true);
  const Window padded{.kernel = 3, .stride = 2, .padding = 1, .out_h = 4, .out_w = 4};
  check(AvgPool2d(3, {.stride = Pair(2), .padding = 1}), padded, true);
  check(AvgPool2d(3, {.stride = Pair(2), .padding = 1, .count_include_pad = false}), padded, false);
  check(AvgPool2d(2, {.ceil_mode = true}), {.kernel = 2, .stride = 2, .out_h = 4, .out_w = 4}, true);
}

TEST(LayerValues, AdaptiveAvgPool2d) {
  const Tensor x = formula::unit("x", {2, 3, 7, 8});
  for (const Pair size : {Pair(1), Pair(3, 5), Pair(7, 8)}) {
    AdaptiveAvgPool2d pool(size);
    expect_near(LayerRun(pool, x.type())(x), each_pixel(2, 3, {.kernel = 1, .out_h = size.h, .out_w = size.w},
                                                        [&](auto n, auto c, auto oh, auto ow) {
                                                          double sum = 0.0, count = 0.0;
                                                          for (std::int64_t h = oh * 7 / size.h;
                                                               h < ((oh + 1) * 7 + size.h - 1) / size.h; ++h)
                                                            for (std::int64_t v = ow * 8 / size.w;
                                                                 v < ((ow + 1) * 8 + size.w - 1) / size.w;
                                                                 ++v, count += 1.0)
                                                              sum += at(x, {n, c, h, v});
                                                          return sum / count;
                                                        }));
  }
}

TEST(LayerValues, ActivationsFlattenAndSoftmax) {
  const Tensor x = formula::unit("x", {3, 4, 2});
  for (std::int64_t i = 0; i < x.numel(); ++i) x.set(i, 4.0 * x.get(i));
  const auto check = [&](Module&& layer, const std::function<double(double)>& f) {
    std::vector<double> want;
    for (std::int64_t i = 0; i < x.numel(); ++i) want.push_back(f(x.get(i)));
    expect_near(LayerRun(layer, x.type())(x), want);
  };
  const auto sigmoid = [](double v) { return 1.0 / (1.0 + std::exp(-v)); };
  check(ReLU(), [](double v) { return std::max(v, 0.0); });
  check(GELU(), [](double v) { return 0.5 * v * (1.0 + std::erf(v / std::sqrt(2.0))); });
  check(SiLU(), [&](double v) { return v * sigmoid(v); });
  check(Tanh(), [](double v) { return std::tanh(v); });
  check(Sigmoid(), sigmoid);
  check(Activation("hard_swish"), [](double v) { return v * std::clamp(v + 3.0, 0.0, 6.0) / 6.0; });
  check(Flatten(), [](double v) { return v; });

  for (const std::int64_t axis : {-1, 1}) {
    Softmax softmax(axis);
    const Tensor y = LayerRun(softmax, x.type())(x);
    std::vector<double> want;
    for (std::int64_t n = 0; n < 3; ++n)
      for (std::int64_t c = 0; c < 4; ++c)
        for (std::int64_t p = 0; p < 2; ++p) {
          double total = 0.0;
          for (std::int64_t k = 0; k < (axis == 1 ? 4 : 2); ++k)
            total += std::exp(axis == 1 ? at(x, {n, k, p}) : at(x, {n, c, k}));
          want.push_back(std::exp(at(x, {n, c, p})) / total);
        }
    expect_near(y, want);
  }
}

// --- dropout

// torch.nn.functional.relu6, hardswish and hardsigmoid of these x, and the gradients of their sums.
TEST(LayerValues, MobileActivations) {
  const double kNan = std::nan("");
  const std::vector<double> x{-4, -3, -1.5, 0, 1.5, 3, 5.5, 6, 7, kNan};
  struct Case {
    std::shared_ptr<Module> layer;
    std::vector<double> y, slope;
  };
  const Case cases[] = {
      {std::make_shared<ReLU6>(), {0, 0, 0, 0, 1.5, 3, 5.5, 6, 6, kNan}, {0, 0, 0, 0, 1, 1, 1, 0, 0}},
      {std::make_shared<Hardswish>(),
       {0, 0, -0.375, 0, 1.125, 3, 5.5, 6, 7, kNan},
       {0, 0, 0, 0.5, 1, 1, 1, 1, 1}},
      {std::make_shared<Hardsigmoid>(),
       {0, 0, 0.25, 0.5, 0.75, 1, 1, 1, 1, kNan},
       {0, 0, 1.0 / 6, 1.0 / 6, 1.0 / 6, 0, 0, 0, 0}},
  };
  for (const Case& c : cases) {
    Graph g;
    const Value in = input(g, "x", {DType::F32, {10}});
    const Value y = (*c.layer)(in);
    output("y", y);
    output("slope", differentiate(g, sum(y), std::array{in})[0]);
    LayerRun run(g);
    Tensor given(TensorType{DType::F32, {10}});
    for (std::int64_t i = 0; i < 10; ++i) given.set(i, x[static_cast<std::size_t>(i)]);
    const Tensor got = run(given), slope = run.session().output("slope");
    for (std::size_t i = 0; i < 9; ++i) {
      EXPECT_NEAR(got.get(static_cast<std::int64_t>(i)), c.y[i], 1e-6) << "x = " << x[i];
      EXPECT_NEAR(slope.get(static_cast<std::int64_t>(i)), c.slope[i], 1e-6) << "slope at x = " << x[i];
    }
    EXPECT_TRUE(std::isnan(got.get(9)));
  }
}

TEST(LayerValues, StochasticDepthDropsWholeRows) {
  const Tensor x = Tensor::full({DType::F32, {1000, 2, 3, 1}}, 3.0);
  StochasticDepth quarter(0.25);
  EXPECT_TRUE(bitwise_equal(LayerRun(quarter, x.type())(x), x));
  StochasticDepth none(0.0), all(1.0);
  EXPECT_TRUE(bitwise_equal(LayerRun(none, x.type(), true)(x), x));
  expect_near(LayerRun(all, x.type(), true)(x), std::vector<double>(6000, 0.0), 0.0);
  LayerRun run(quarter, x.type(), true);
  const Tensor y = run(x), y2 = run(x);
  std::int64_t zeros = 0, both = 0;
  for (std::int64_t row = 0; row < 1000; ++row) {
    const double first = y.get(6 * row);
    ASSERT_NEAR(first, first == 0.0 ? 0.0 : 4.0, 1e-6) << "row " << row;
    for (std::int64_t i = 1; i < 6; ++i) ASSERT_EQ(y.get(6 * row + i), first) << "row " << row;
    zeros += first == 0.0 ? 1 : 0;
    both += first == 0.0 && y2.get(6 * row) == 0.0 ? 1 : 0;
  }
  // Six standard deviations of a binomial.
  EXPECT_NEAR(static_cast<double>(zeros), 250.0, 83.0);
  EXPECT_NEAR(static_cast<double>(both), 62.5, 46.0) << "every step must draw anew";
}

TEST(LayerValues, DropoutInInferenceIsTheIdentity) {
  Dropout drop("drop", 0.9);
  const Tensor x = formula::unit("x", {4, 5});
  EXPECT_TRUE(bitwise_equal(LayerRun(drop, x.type())(x), x));
  Dropout none("drop", 0.0);
  EXPECT_TRUE(bitwise_equal(LayerRun(none, x.type(), true)(x), x));
}

TEST(LayerValues, DropoutOfEverythingGivesZeros) {
  Dropout all("drop", 1.0);  // legal, as in PyTorch
  const Tensor x = formula::unit("x", {4, 5});
  expect_near(LayerRun(all, x.type(), true)(x), std::vector<double>(20, 0.0), 0.0);
}

TEST(LayerValues, DropoutKeepsTheRestScaled) {
  Dropout drop("drop", 0.25);
  const Tensor x = Tensor::full({DType::F32, {100, 100}}, 3.0);
  LayerRun run(drop, x.type(), true);
  const Tensor y = run(x), y2 = run(x);
  std::int64_t zeros = 0, both = 0;
  for (std::int64_t i = 0; i < y.numel(); ++i) {
    if (y.get(i) == 0.0)
      ++zeros;
    else
      ASSERT_NEAR(y.get(i), 4.0, 1e-6);
    both += y.get(i) == 0.0 && y2.get(i) == 0.0 ? 1 : 0;
  }
  // Six standard deviations of a binomial.
  EXPECT_NEAR(static_cast<double>(zeros), 2500.0, 260.0);
  EXPECT_NEAR(static_cast<double>(both), 625.0, 146.0) << "every step must draw anew";
  EXPECT_EQ(run.state("generator").get(1), 2.0) << "the offset counts the steps";

  LayerRun again(drop, x.type(), true);
  EXPECT_TRUE(bitwise_equal(again(x), y)) << "the same generator, the same mask";
  const std::int64_t other[2] = {77, 0};
  again.session().set_state("generator", Tensor::from<std::int64_t>({2}, other));
  EXPECT_FALSE(bitwise_equal(again(x), y)) << "another seed, another mask";
}

TEST(LayerValues, EveryDropoutOfAStepDrawsItsOwnMask) {
  Dropout a("a", 0.5), b("b", 0.5);
  const TensorType type{DType::F32, {50, 100}};
  Graph g;
  g.build.training = true;
  const Value x = input(g, "x", type);
  const Value first = a(x);
  output("y", first);
  output("second", b(x));
  output("third", a(x));  // the same layer once more
  LayerRun run(g);
  const Tensor y = run(Tensor::full(type, 1.0));
  for (const char* other : {"second", "third"}) {
    const Tensor z = run.session().output(other);
    int equal = 0;
    for (std::int64_t i = 0; i < y.numel(); ++i) equal += y.get(i) == z.get(i) ? 1 : 0;
    EXPECT_NEAR(equal, 2500, 212) << other;
  }
  EXPECT_EQ(run.state("generator").get(1), 1.0) << "one step, however many layers draw";
}

}  // namespace
}  // namespace ingot
