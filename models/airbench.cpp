#include "models/airbench.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "core/ops/elementwise.h"
#include "core/ops/view.h"
#include "layers/layers.h"

namespace ingot {

namespace {

constexpr std::int64_t kPatch = 2;  // height and width of the whitening filters
constexpr std::array<std::int64_t, 3> kWidths = {64, 256, 256};
// What keeps patches in which nearly nothing varies from being blown up.
constexpr double kWhiteningEps = 5e-4;

class ConvGroup final : public Module {
 public:
  ConvGroup(std::string name, std::int64_t in, std::int64_t out)
      : Module(std::move(name)),
        conv1_("conv1", in, out, 3, {.padding = 1, .bias = false}),
        norm1_("norm1", out, kNorm),
        conv2_("conv2", out, out, 3, {.padding = 1, .bias = false}),
        norm2_("norm2", out, kNorm) {}

 protected:
  Value forward(Value x) override {
    x = gelu(norm1_(pool_(conv1_(x))));
    return gelu(norm2_(conv2_(x)));
  }

 private:
  static constexpr BatchNormOptions kNorm{.eps = 1e-12, .momentum = 0.4};
  Conv2d conv1_;
  MaxPool2d pool_{2};
  BatchNorm2d norm1_;
  Conv2d conv2_;
  BatchNorm2d norm2_;
};

class Airbench final : public Module {
 public:
  // Keys are places in the sequence of its code; those in between have no states.
  Airbench(std::int64_t in, std::int64_t size, std::int64_t classes)
      : whiten_("0", in, filters(in), kPatch, {.bias_init = Init::constant(0.0)}),
        group1_("2", filters(in), kWidths[0]),
        group2_("3", kWidths[0], kWidths[1]),
        group3_("4", kWidths[1], kWidths[2]),
        head_("7", kWidths[2] * places(size) * places(size), classes, {.bias = false}) {}

 protected:
  Value forward(Value x) override {
    x = group3_(group2_(group1_(gelu(whiten_(x)))));
    return head_(flatten(pool_(x))) * (1.0 / 9.0);
  }

 private:
  static std::int64_t filters(std::int64_t in) { return 2 * in * kPatch * kPatch; }
  static std::int64_t places(std::int64_t size) { return (size - 1) / 8 / 3; }

  Conv2d whiten_;
  ConvGroup group1_, group2_, group3_;
  MaxPool2d pool_{3};
  Linear head_;
};

// Eigenvalues, and eigenvectors in the rows of `vectors`, of a symmetric n x n matrix: cyclic Jacobi
// rotations (Golub and Van Loan, Matrix Computations, section 8.5).
std::vector<double> eigen(std::vector<double> a, std::size_t n, std::vector<double>& vectors) {
  vectors.assign(n * n, 0.0);
  for (std::size_t i = 0; i < n; ++i) vectors[i * n + i] = 1.0;
  for (int sweep = 0; sweep < 50; ++sweep) {
    double off = 0.0, all = 0.0;
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = 0; j < n; ++j) (i == j ? all : off) += a[i * n + j] * a[i * n + j];
    if (off <= 1e-28 * all) break;
    for (std::size_t p = 0; p + 1 < n; ++p)
      for (std::size_t q = p + 1; q < n; ++q) {
        if (a[p * n + q] == 0.0) continue;
        const double theta = (a[q * n + q] - a[p * n + p]) / (2.0 * a[p * n + q]);
        const double t = std::copysign(1.0 / (std::abs(theta) + std::sqrt(theta * theta + 1.0)), theta);
        const double c = 1.0 / std::sqrt(t * t + 1.0), s = t * c;
        const auto rotate = [&](double& x, double& y) {
          const double before = x;
          x = c * x - s * y;
          y = s * before + c * y;
        };
        for (std::size_t k = 0; k < n; ++k) rotate(a[k * n + p], a[k * n + q]);
        for (std::size_t k = 0; k < n; ++k) rotate(a[p * n + k], a[q * n + k]);
        for (std::size_t k = 0; k < n; ++k) rotate(vectors[p * n + k], vectors[q * n + k]);
      }
  }
  std::vector<double> values(n);
  for (std::size_t i = 0; i < n; ++i) values[i] = a[i * n + i];
  return values;
}

// Mean of the products of any two numbers of a patch, over all patches of all images.
std::vector<double> patch_covariance(const Tensor& images) {
  const Shape& s = images.shape();
  const Tensor x = images.contiguous();
  const auto n = static_cast<std::size_t>(s[1] * kPatch * kPatch);
  std::vector<double> sum(n * n), patch(n);
  const float* data = x.data<float>();
  for (std::int64_t i = 0; i < s[0]; ++i)
    for (std::int64_t y = 0; y + kPatch <= s[2]; ++y)
      for (std::int64_t z = 0; z + kPatch <= s[3]; ++z) {
        for (std::size_t k = 0; k < n; ++k) {
          const auto at = static_cast<std::int64_t>(k);
          const std::int64_t c = at / (kPatch * kPatch), dy = at / kPatch % kPatch, dx = at % kPatch;
          patch[k] = static_cast<double>(data[((i * s[1] + c) * s[2] + y + dy) * s[3] + z + dx]);
        }
        for (std::size_t p = 0; p < n; ++p)
          for (std::size_t q = 0; q < n; ++q) sum[p * n + q] += patch[p] * patch[q];
      }
  const auto patches = static_cast<double>(s[0] * (s[2] - kPatch + 1) * (s[3] - kPatch + 1));
  for (double& v : sum) v /= patches;
  return sum;
}

}  // namespace

std::shared_ptr<Module> make_airbench94(std::int64_t in, std::int64_t size, std::int64_t classes) {
  return std::make_shared<Airbench>(in, size, classes);
}

std::vector<std::string> airbench_frozen() {
  return {"0.weight", "*.norm1.weight", "*.norm2.weight"};
}

void start_airbench(std::map<std::string, Tensor>& states, const Tensor& images) {
  const auto whiten = states.find("0.weight");
  if (whiten == states.end() || !states.contains("4.conv2.weight"))
    throw UsageError(
        "start_airbench: the states must be those of airbench94; '0.weight' or '4.conv2.weight' is missing");
  const Shape& filters = whiten->second.shape();
  if (images.dtype() != DType::F32 || images.shape().rank() != 4 || images.shape()[0] < 1 ||
      images.shape()[1] != filters[1] || images.shape()[2] < kPatch || images.shape()[3] < kPatch)
    throw ShapeError(cat("start_airbench: expected images f32[N, ", filters[1], ", height, width], got ",
                         to_string(images.type())));
  const auto n = static_cast<std::size_t>(filters[1] * kPatch * kPatch);
  std::vector<double> vectors;
  const std::vector<double> values = eigen(patch_covariance(images), n, vectors);
  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return values[a] > values[b]; });
  const Tensor w = Tensor::zeros(whiten->second.type());
  for (std::size_t i = 0; i < n; ++i) {
    const double scale = 1.0 / std::sqrt(std::max(values[order[i]], 0.0) + kWhiteningEps);
    for (std::size_t k = 0; k < n; ++k) {
      const double v = vectors[order[i] * n + k] * scale;
      w.set(static_cast<std::int64_t>(i * n + k), v);
      w.set(static_cast<std::int64_t>((n + i) * n + k), -v);  // GELU then loses neither sign
    }
  }
  whiten->second = w;
  for (auto& [key, t] : states) {
    if (!key.ends_with(".conv1.weight") && !key.ends_with(".conv2.weight")) continue;
    const Tensor dirac = t.clone();
    const std::int64_t in = t.shape()[1], taps = t.shape()[2] * t.shape()[3];
    for (std::int64_t i = 0; i < in * in * taps; ++i) dirac.set(i, 0.0);
    for (std::int64_t c = 0; c < in; ++c) dirac.set((c * in + c) * taps + taps / 2, 1.0);
    t = dirac;
  }
}

}  // namespace ingot
