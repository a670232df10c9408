// cuda/kernels/loss on the simulated device against the ops' references: rows of a warp and of a block,
// smoothing, ignored labels, labels of no class, three dtypes.
#include <cmath>

#include "core/base/error.h"
#include "core/op/reference.h"
#include "core/ops/loss.h"
#include "cuda/kernels/loss.h"
#include "tests/cuda_sim/operand.h"

namespace ingot {
namespace {

using cuda::CrossEntropyShape;
using cuda::DeviceBuffer;
using cuda::Stream;

struct Problem {
  CrossEntropyShape shape{};
  double smoothing = 0.0;
  bool wide = false;  // labels of i64
  std::int64_t ignore = -100;
  double mean = 0.0, spread = 4.0;
  std::size_t shift = 0;
};

// Every third row is ignored when there are three.
std::vector<std::int64_t> labels_of(const Problem& p) {
  std::vector<std::int64_t> labels;
  for (std::int64_t r = 0; r < p.shape.rows; ++r)
    labels.push_back(r % 3 == 2 ? p.ignore : (r * 7919 + 5) % p.shape.classes);
  return labels;
}

template <class T>
void check(const Problem& p) {
  const DType dtype = kType<T>;
  SCOPED_TRACE(cat(name(dtype), " [", p.shape.rows, ", ", p.shape.classes, "] smoothing ", p.smoothing,
                   " wide ", p.wide, " shift ", p.shift, " mean ", p.mean));
  const auto rows = static_cast<std::size_t>(p.shape.rows);
  const std::size_t n = rows * static_cast<std::size_t>(p.shape.classes);
  const Stream stream;
  const Operand x = operand_of<T>(n, 1, p.mean, p.spread, p.shift, stream),
                dloss = operand_of<T>(rows, 2, 0.5, 0.5, 0, stream),
                loss = operand_of<T>(rows, 3, 0, 0, 0, stream), lse = operand_of<T>(rows, 3, 0, 0, 0, stream);
  const auto labels = labels_of(p);
  const std::vector<std::int32_t> narrow(labels.begin(), labels.end());
  const Tensor label_tensor = p.wide ? Tensor::from<std::int64_t>(Shape{p.shape.rows}, labels)
                                     : Tensor::from<std::int32_t>(Shape{p.shape.rows}, narrow);
  const DeviceBuffer label_buffer(label_tensor.bytes());
  cuda::copy_to_device(label_buffer.data(), label_tensor.raw(), label_tensor.bytes(), stream);

  const cuda::CrossEntropyConfig config{dtype, label_tensor.dtype(), p.smoothing, p.ignore};
  cuda::cross_entropy(config, p.shape, x.data(), label_buffer.data(), loss.data(), lse.data(), stream);
  const auto lse_host = read(dtype, lse.data(), rows, stream);
  // dlogits over the logits.
  cuda::cross_entropy_grad(config, p.shape, dloss.data(), x.data(), label_buffer.data(), lse.data(), x.data(),
                           stream);

  const SoftmaxCrossEntropyAttrs attrs{p.smoothing, p.ignore};
  const std::vector<Tensor> in{matrix(x.values, p.shape.classes), label_tensor};
  const auto want = run_reference(op("softmax_cross_entropy"), attrs, in);
  // Of the loss, which is made of differences: a large mean costs nothing.
  expect_near("loss", read(dtype, loss.data(), rows, stream), want[0], dtype, 4e-6 * (1 + p.spread));
  expect_near("lse", lse_host, want[1], dtype, 1e-6 * (4 + std::abs(p.mean)));
  const std::vector<Tensor> grad_in{vector_of(dloss.values), in[0], in[1], vector_of(lse_host)};
  const auto grad = run_reference(op("softmax_cross_entropy_grad"), attrs, grad_in);
  expect_near("dlogits", read(dtype, x.data(), n, stream), grad[0], dtype,
              2e-6 * (1 + 0.1 * std::abs(p.mean)));
}

class Loss : public SimTest {};

// A warp's rows end at 2048 classes.
TEST_F(Loss, EveryKindOfRowInEveryDtype) {
  for (const CrossEntropyShape& s : {CrossEntropyShape{4, 1},
                                     {17, 10},
                                     {5, 33},
                                     {3, 256},
                                     {4, 1000},
                                     {3, 2048},
                                     {3, 2049},
                                     {2, 5000},
                                     {3, 2600}})
    for (const double smoothing : {0.0, 0.1}) {
      check<float>({.shape = s, .smoothing = smoothing});
      check<f16>({.shape = s, .smoothing = smoothing, .wide = true});
      check<bf16>({.shape = s, .smoothing = smoothing});
    }
}

TEST_F(Loss, LabelsOfBothTypesAndAnyIgnoredOne) {
  for (const bool wide : {false, true}) {
    check<float>({.shape = {6, 10}, .wide = wide, .ignore = 3});  // also a class
    check<float>({.shape = {6, 10}, .wide = wide, .ignore = -1});
    check<float>({.shape = {6, 10}, .wide = wide, .ignore = 255});
  }
}

TEST_F(Loss, RowsThatDoNotStartAtSixteenBytes) {
  check<float>({.shape = {5, 64}, .smoothing = 0.2, .shift = 1});
  check<f16>({.shape = {3, 4096}, .shift = 3});
}

// Logits of 1000: the loss is of the size of their differences, and so is its error.
TEST_F(Loss, LargeLogits) {
  check<float>({.shape = {5, 10}, .smoothing = 0.1, .mean = 1000, .spread = 0.5});
  check<float>({.shape = {2, 4000}, .mean = -1000, .spread = 0.5});
}

TEST_F(Loss, InfinitiesAndNan) {
  for (const std::size_t classes : {std::size_t{8}, std::size_t{9}, std::size_t{2056}})
    for (const double smoothing : {0.0, 0.1}) {
      constexpr std::size_t kRows = 6;
      std::vector<float> x(kRows * classes, 0.0f);
      const auto row = [&](std::size_t r) { return x.data() + r * classes; };
      for (std::size_t c = 0; c < classes; ++c) row(0)[c] = -INFINITY;
      row(1)[3] = NAN;
      row(2)[5] = INFINITY;
      row(3)[0] = -INFINITY;                                                // a mask, not on the label
      row(4)[1] = -INFINITY;                                                // on the label
      for (std::size_t c = 0; c < classes / 2; ++c) row(5)[c] = -INFINITY;  // a mask at the front
      const std::vector<std::int32_t> labels{1, 1, 1, 1, 1, static_cast<std::int32_t>(classes - 1)};
      const Stream stream;
      const DeviceBuffer dx = to_device(x, stream), dlabels = to_device(labels, stream),
                         loss(kRows * sizeof(float)), lse(kRows * sizeof(float));
      const CrossEntropyShape s{kRows, static_cast<std::int64_t>(classes)};
      cuda::cross_entropy({.label_smoothing = smoothing}, s, dx.data(), dlabels.data(), loss.data(),
                          lse.data(), stream);
      const std::vector<Tensor> in{Tensor::from<float>(Shape{s.rows, s.classes}, x),
                                   Tensor::from<std::int32_t>(Shape{s.rows}, labels)};
      const auto want = run_reference(op("softmax_cross_entropy"), SoftmaxCrossEntropyAttrs{smoothing}, in);
      const auto got = to_host<float>(loss, stream), got_lse = to_host<float>(lse, stream);
      for (std::size_t r = 0; r < kRows; ++r) {
        const float values[][2] = {{got[r], want[0].data<float>()[r]},
                                   {got_lse[r], want[1].data<float>()[r]}};
        for (const auto& [g, w] : values) {
          SCOPED_TRACE(
              cat("row ", r, " classes ", classes, " smoothing ", smoothing, " want ", w, " got ", g));
          EXPECT_EQ(std::isnan(g), std::isnan(w));
          EXPECT_EQ(std::isinf(g), std::isinf(w));
          if (std::isfinite(w)) {
            EXPECT_NEAR(g, w, 1e-5f * (1 + std::abs(w)));
          }
        }
      }
    }
}

TEST_F(Loss, LabelsOfNoClassAreSeen) {
  for (const std::int64_t classes : {10, 3000}) {
    const auto n = static_cast<std::size_t>(classes);
    const Stream stream;
    const DeviceBuffer x = to_device(std::vector<float>(3 * n, 0.5f), stream),
                       labels = to_device(std::vector<std::int64_t>{classes, -1, 0}, stream),
                       ones = to_device(std::vector<float>(3, 1.0f), stream), loss(3 * sizeof(float)),
                       lse(3 * sizeof(float));
    const cuda::CrossEntropyConfig config{.labels = DType::I64};
    cuda::cross_entropy(config, {3, classes}, x.data(), labels.data(), loss.data(), lse.data(), stream);
    cuda::cross_entropy_grad(config, {3, classes}, ones.data(), x.data(), labels.data(), lse.data(), x.data(),
                             stream);
    const auto got = to_host<float>(loss, stream), grad = to_host<float>(x, stream);
    EXPECT_TRUE(std::isnan(got[0]) && std::isnan(got[1]));
    EXPECT_NEAR(static_cast<double>(got[2]), std::log(static_cast<double>(classes)), 1e-5);
    for (std::size_t c = 0; c < n; ++c) {
      ASSERT_TRUE(std::isnan(grad[c]) && std::isnan(grad[n + c])) << c;
      ASSERT_FALSE(std::isnan(grad[2 * n + c])) << c;
    }
  }
}

TEST_F(Loss, NothingToDoAndErrors) {
  const Stream stream;
  cuda::cross_entropy({}, {0, 10}, nullptr, nullptr, nullptr, nullptr, stream);
  const auto run = [&](const cuda::CrossEntropyConfig& config, const CrossEntropyShape& s) {
    cuda::cross_entropy(config, s, nullptr, nullptr, nullptr, nullptr, stream);
  };
  EXPECT_THROW(run({.dtype = DType::F64}, {1, 1}), UsageError);
  EXPECT_THROW(run({.labels = DType::U8}, {1, 1}), UsageError);
  EXPECT_THROW(run({}, {1, std::int64_t{1} << 31}), ShapeError);
}

}  // namespace
}  // namespace ingot
