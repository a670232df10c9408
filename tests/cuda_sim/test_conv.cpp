// cuda/kernels/conv on the simulated device against double loops: the three passes with vectors and single
// channels, stride, padding, dilation, groups, depthwise and pointwise kernels, slices, epilogues, each
// dtype.
#include "cuda/kernels/conv.h"

#include <cmath>

#include "core/base/error.h"
#include "tests/cuda_sim/element.h"
#include "tests/cuda_sim/sim_test.h"

namespace ingot {
namespace {

using cuda::ConvProblem;
using cuda::DeviceBuffer;
using cuda::Epilogue;
using cuda::Stream;

template <class T>
double tolerance(double want, double magnitude) {
  const double rounding = std::is_same_v<T, float> ? 6e-8 : std::is_same_v<T, f16> ? 5e-4 : 4e-3;
  return rounding * std::abs(want) + 1e-6 * magnitude + 1e-7;
}

struct Options {
  bool bias = false, residual = false;
  ScalarOp activation = ScalarOp::None;
  float most = std::numeric_limits<float>::infinity();
  std::size_t shift = 0;  // elements in front of each operand
  double operand_rounding = 0;
};

// Sums of terms and of their magnitudes.
struct Sums {
  std::vector<double> sum, magnitude;
  explicit Sums(std::size_t n) : sum(n, 0.0), magnitude(n, 0.0) {}
  void add(std::int64_t at, double term) {
    sum[static_cast<std::size_t>(at)] += term;
    magnitude[static_cast<std::size_t>(at)] += std::abs(term);
  }
};

// visit(offset in x, in w, in y) for every term of the convolution; images and weights channels-last.
template <class Visit>
void for_each_term(const ConvProblem& p, Visit visit) {
  const std::int64_t cg = p.c / p.groups, og = p.o / p.groups;
  for (std::int64_t n = 0; n < p.n; ++n)
    for (std::int64_t i = 0; i < p.oh(); ++i)
      for (std::int64_t j = 0; j < p.ow(); ++j)
        for (std::int64_t k = 0; k < p.kh; ++k)
          for (std::int64_t l = 0; l < p.kw; ++l) {
            const std::int64_t row = i * p.stride[0] - p.padding[0] + k * p.dilation[0];
            const std::int64_t col = j * p.stride[1] - p.padding[1] + l * p.dilation[1];
            if (row < 0 || row >= p.h || col < 0 || col >= p.w) continue;
            for (std::int64_t o = 0; o < p.o; ++o)
              for (std::int64_t c = 0; c < cg; ++c)
                visit(((n * p.h + row) * p.w + col) * p.c + o / og * cg + c,
                      ((o * p.kh + k) * p.kw + l) * cg + c, ((n * p.oh() + i) * p.ow() + j) * p.o + o);
          }
}

template <class T>
struct Operand {
  std::vector<T> host;
  DeviceBuffer buffer;
  std::size_t shift;

  Operand(std::int64_t n, unsigned seed, std::size_t shift_, const Stream& stream)
      : buffer((static_cast<std::size_t>(n) + shift_) * sizeof(T) + 16), shift(shift_) {
    for (const float f : sequence(static_cast<std::size_t>(n), seed))
      host.push_back(rounded<T>(static_cast<double>(f)));
    if (n != 0) cuda::copy_to_device(device(), host.data(), host.size() * sizeof(T), stream);
  }
  T* device() const { return buffer.as<T>() + shift; }
  double operator[](std::int64_t i) const { return value(host[static_cast<std::size_t>(i)]); }
};

template <class T>
void compare(const char* what, const DeviceBuffer& buffer, std::size_t shift, const std::vector<double>& want,
             const std::vector<double>& magnitude, double operand_rounding, const Stream& stream) {
  std::vector<T> got(want.size());
  if (!got.empty()) cuda::copy_to_host(got.data(), buffer.as<T>() + shift, got.size() * sizeof(T), stream);
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double near = tolerance<T>(want[i], magnitude[i]) + operand_rounding * magnitude[i];
    ASSERT_NEAR(value(got[i]), want[i], near) << what << ", element " << i << " of " << got.size();
  }
}

template <class T>
void check(ConvProblem p, const Options& o = {}) {
  p.dtype = kType<T>;
  SCOPED_TRACE(cat(name(p.dtype), " x [", p.n, ", ", p.h, ", ", p.w, ", ", p.c, "] w [", p.o, ", ", p.kh,
                   ", ", p.kw, ", ", p.c / p.groups, "] stride ", p.stride[0], " ", p.stride[1], " padding ",
                   p.padding[0], " ", p.padding[1], " dilation ", p.dilation[0], " ", p.dilation[1],
                   " groups ", p.groups, p.allow_tf32 ? " tf32" : "", " shift ", o.shift));
  const Stream stream;
  const std::int64_t xs = p.n * p.h * p.w * p.c, ws = p.o * p.kh * p.kw * (p.c / p.groups);
  const std::int64_t ys = p.n * p.oh() * p.ow() * p.o;
  const Operand<T> x(xs, 1, o.shift, stream), w(ws, 2, o.shift, stream), dy(ys, 3, o.shift, stream);
  const Operand<T> bias(p.o, 4, o.shift, stream), residual(ys, 5, o.shift, stream);
  const auto result = [&](std::int64_t n) {
    return DeviceBuffer((static_cast<std::size_t>(n) + o.shift) * sizeof(T) + 16);
  };
  const auto workspace = [](std::size_t bytes) { return DeviceBuffer(bytes == 0 ? 16 : bytes); };
  const DeviceBuffer y = result(ys), dx = result(xs), dw = result(ws);
  {
    Epilogue epilogue;
    epilogue.activation = o.activation;
    epilogue.most = o.most;
    if (o.bias) epilogue.bias = bias.device();
    if (o.residual) epilogue.residual = residual.device();
    const DeviceBuffer space = workspace(cuda::conv_forward_workspace(p, o.activation));
    cuda::conv_forward(p, x.device(), w.device(), y.as<T>() + o.shift, epilogue, space.data(), stream);
    const DeviceBuffer space_x = workspace(cuda::conv_grad_input_workspace(p));
    cuda::conv_grad_input(p, dy.device(), w.device(), dx.as<T>() + o.shift, space_x.data(), stream);
    const DeviceBuffer space_w = workspace(cuda::conv_grad_weight_workspace(p));
    cuda::conv_grad_weight(p, x.device(), dy.device(), dw.as<T>() + o.shift, space_w.data(), stream);
    stream.synchronize();
  }
  Sums forward(static_cast<std::size_t>(ys)), to_x(static_cast<std::size_t>(xs)),
      to_w(static_cast<std::size_t>(ws));
  for_each_term(p, [&](std::int64_t ix, std::int64_t iw, std::int64_t iy) {
    forward.add(iy, x[ix] * w[iw]);
    to_x.add(ix, dy[iy] * w[iw]);
    to_w.add(iw, x[ix] * dy[iy]);
  });
  for (std::int64_t i = 0; i < ys; ++i) {
    double& want = forward.sum[static_cast<std::size_t>(i)];
    if (o.bias) want += bias[i % p.o];
    if (o.residual) want += residual[i];
    if (o.activation != ScalarOp::None) want = evaluate(o.activation, std::vector<double>{want}, DType::F64);
    want = std::min(want, static_cast<double>(o.most));
  }
  compare<T>("y", y, o.shift, forward.sum, forward.magnitude, o.operand_rounding, stream);
  compare<T>("dx", dx, o.shift, to_x.sum, to_x.magnitude, o.operand_rounding, stream);
  compare<T>("dw", dw, o.shift, to_w.sum, to_w.magnitude, o.operand_rounding, stream);
}

void check_all(const ConvProblem& p, const Options& o = {}) {
  check<float>(p, o);
  check<f16>(p, o);
  check<bf16>(p, o);
}

class Conv : public SimTest {};

TEST_F(Conv, WholeVectorsOfChannels) {
  check_all({.n = 2, .c = 8, .h = 6, .w = 5, .o = 16, .kh = 3, .kw = 3, .padding = {1, 1}});
  check_all({.n = 1, .c = 16, .h = 7, .w = 9, .o = 8, .kh = 3, .kw = 2, .stride = {2, 1}, .padding = {0, 1}});
  check_all({.n = 1, .c = 72, .h = 5, .w = 5, .o = 72, .kh = 3, .kw = 3, .padding = {1, 1}}, {.bias = true});
}

TEST_F(Conv, AnyNumberOfChannels) {
  check_all({.n = 2, .c = 3, .h = 9, .w = 8, .o = 5, .kh = 3, .kw = 3, .stride = {2, 2}, .padding = {1, 1}});
  check_all({.n = 1, .c = 1, .h = 7, .w = 6, .o = 8, .kh = 5, .kw = 3, .padding = {2, 0}}, {.bias = true});
  check_all(
      {.n = 1, .c = 3, .h = 11, .w = 11, .o = 16, .kh = 7, .kw = 7, .stride = {2, 2}, .padding = {3, 3}});
  check_all({.n = 2, .c = 17, .h = 3, .w = 3, .o = 70, .kh = 2, .kw = 2});
}

TEST_F(Conv, StridePaddingDilation) {
  check_all(
      {.n = 1, .c = 8, .h = 9, .w = 10, .o = 8, .kh = 3, .kw = 3, .padding = {2, 3}, .dilation = {2, 3}});
  check_all({.n = 2,
             .c = 8,
             .h = 8,
             .w = 7,
             .o = 8,
             .kh = 2,
             .kw = 3,
             .stride = {3, 2},
             .padding = {4, 5},
             .dilation = {1, 2}});
  check_all(
      {.n = 2, .c = 16, .h = 9, .w = 8, .o = 24, .kh = 3, .kw = 3, .stride = {2, 2}, .padding = {1, 1}});
  check_all({.n = 2,
             .c = 5,
             .h = 7,
             .w = 8,
             .o = 3,
             .kh = 5,
             .kw = 4,
             .stride = {2, 3},
             .padding = {2, 1},
             .dilation = {1, 2},
             .groups = 1});
  check_all({.n = 1,
             .c = 8,
             .h = 10,
             .w = 11,
             .o = 8,
             .kh = 5,
             .kw = 5,
             .stride = {4, 5},
             .padding = {2, 1}});  // 20 phases
  // Pixels over at the end that no window reads.
  check_all({.n = 1, .c = 8, .h = 8, .w = 9, .o = 8, .kh = 1, .kw = 1, .stride = {3, 4}});
  check_all({.n = 1, .c = 4, .h = 1, .w = 6, .o = 4, .kh = 1, .kw = 3, .stride = {5, 1}, .dilation = {7, 1}});
}

TEST_F(Conv, Groups) {
  check_all({.n = 2, .c = 16, .h = 5, .w = 4, .o = 32, .kh = 3, .kw = 3, .padding = {1, 1}, .groups = 2},
            {.bias = true, .residual = true, .activation = ScalarOp::Relu});
  check_all({.n = 1, .c = 6, .h = 5, .w = 4, .o = 9, .kh = 3, .kw = 3, .stride = {2, 1}, .groups = 3},
            {.bias = true});
  check_all({.n = 1, .c = 4, .h = 4, .w = 4, .o = 8, .kh = 3, .kw = 3, .padding = {1, 1}, .groups = 4});
  check_all({.n = 1, .c = 16, .h = 3, .w = 3, .o = 16, .kh = 1, .kw = 1, .groups = 2}, {.bias = true});
}

TEST_F(Conv, Depthwise) {
  for (const std::int64_t c : {8, 11, 72, 128}) {
    check_all({.n = 2, .c = c, .h = 7, .w = 6, .o = c, .kh = 3, .kw = 3, .padding = {1, 1}, .groups = c},
              {.bias = true, .residual = true, .activation = ScalarOp::Relu});
    check_all({.n = 1,
               .c = c,
               .h = 9,
               .w = 8,
               .o = c,
               .kh = 3,
               .kw = 2,
               .stride = {2, 1},
               .padding = {1, 0},
               .dilation = {2, 1},
               .groups = c});
  }
  // More taps than one turn of the shared memory holds; several slices of pixels.
  check_all({.n = 1, .c = 8, .h = 13, .w = 12, .o = 8, .kh = 7, .kw = 6, .padding = {3, 3}, .groups = 8});
  check_all({.n = 4, .c = 8, .h = 16, .w = 17, .o = 8, .kh = 3, .kw = 3, .padding = {1, 1}, .groups = 8});
  check_all({.n = 1, .c = 8, .h = 4, .w = 4, .o = 8, .kh = 3, .kw = 3, .groups = 8},
            {.bias = true, .activation = ScalarOp::Gelu});
  check_all({.n = 1, .c = 16, .h = 4, .w = 4, .o = 16, .kh = 3, .kw = 3, .groups = 16},
            {.bias = true, .shift = 1});
}

TEST_F(Conv, Pointwise) {
  check_all({.n = 2, .c = 16, .h = 5, .w = 4, .o = 24},
            {.bias = true, .residual = true, .activation = ScalarOp::Relu});
  check_all({.n = 1, .c = 5, .h = 3, .w = 4, .o = 9}, {.bias = true});
  check_all({.n = 1, .c = 8, .h = 4, .w = 4, .o = 8, .padding = {1, 1}});
  check_all({.n = 1, .c = 8, .h = 4, .w = 4, .o = 1});
}

TEST_F(Conv, EveryEpilogue) {
  for (const ScalarOp f :
       {ScalarOp::None, ScalarOp::Relu, ScalarOp::Tanh, ScalarOp::Sigmoid, ScalarOp::HardSwish})
    for (const bool bias : {false, true})
      for (const bool residual : {false, true})
        for (const std::int64_t o : {8, 7})
          check_all({.n = 1, .c = 8, .h = 3, .w = 3, .o = o, .kh = 3, .kw = 3, .padding = {1, 1}},
                    {.bias = bias, .residual = residual, .activation = f});
}

// By the tiles, a product, the kernel for single channels, and the second pass.
TEST_F(Conv, CutAtAnUpperBound) {
  for (const ScalarOp f : {ScalarOp::Relu, ScalarOp::HardSwish})
    for (const std::int64_t o : {8, 7}) {
      check_all({.n = 1, .c = 8, .h = 3, .w = 3, .o = o, .kh = 3, .kw = 3, .padding = {1, 1}},
                {.bias = true, .residual = true, .activation = f, .most = 0.25f});
      check_all({.n = 2, .c = 8, .h = 3, .w = 3, .o = o}, {.bias = true, .activation = f, .most = 0.25f});
      check_all({.n = 2, .c = o, .h = 4, .w = 4, .o = o, .kh = 3, .kw = 3, .padding = {1, 1}, .groups = o},
                {.bias = true, .residual = true, .activation = f, .most = 0.25f});
    }
}

TEST_F(Conv, PointersThatAreNotAligned) {
  check_all({.n = 1, .c = 8, .h = 4, .w = 4, .o = 8, .kh = 3, .kw = 3, .padding = {1, 1}},
            {.bias = true, .residual = true, .shift = 1});
}

TEST_F(Conv, ManyPixelsInSlices) {
  const ConvProblem p{.n = 8, .c = 8, .h = 12, .w = 13, .o = 16, .kh = 3, .kw = 3, .padding = {1, 1}};
  EXPECT_GT(cuda::conv_grad_weight_workspace(p), 0u);
  check_all(p);
  check_all(
      {.n = 5, .c = 3, .h = 13, .w = 12, .o = 8, .kh = 3, .kw = 3, .stride = {1, 2}, .padding = {1, 1}});
}

// Large tiles take many blocks: groups of one tile each.
TEST_F(Conv, LargeTiles) {
  const ConvProblem forward{
      .n = 1, .c = 8 * 132, .h = 7, .w = 11, .o = 72 * 132, .kh = 1, .kw = 2, .groups = 132};
  check<bf16>(forward, {.bias = true, .activation = ScalarOp::Relu});
  check<float>(forward, {.residual = true});
  check<f16>({.n = 1, .c = 72 * 132, .h = 7, .w = 11, .o = 8 * 132, .kh = 1, .kw = 2, .groups = 132});
  check<f16>({.n = 3, .c = 72 * 66, .h = 1, .w = 3, .o = 72 * 66, .kh = 1, .kw = 2, .groups = 66});
}

TEST_F(Conv, Tf32OnlyWhenAllowed) {
  ConvProblem p{.n = 2, .c = 8, .h = 6, .w = 5, .o = 16, .kh = 3, .kw = 3, .padding = {1, 1}};
  p.allow_tf32 = true;
  check<float>(p, {.bias = true, .operand_rounding = 4e-4});
}

TEST_F(Conv, NothingToSumAndNothingToMake) {
  check_all({.n = 0, .c = 8, .h = 4, .w = 4, .o = 8, .kh = 3, .kw = 3});                  // dw is zero
  check_all({.n = 1, .c = 8, .h = 4, .w = 4, .o = 0, .kh = 3, .kw = 3});                  // dx is zero
  check_all({.n = 1, .c = 0, .h = 4, .w = 4, .o = 8, .kh = 3, .kw = 3}, {.bias = true});  // y is the bias
  check_all({.n = 0, .c = 8, .h = 4, .w = 4, .o = 8, .kh = 3, .kw = 3, .groups = 8});
  check_all({.n = 1, .c = 8, .h = 0, .w = 4, .o = 8, .kh = 3, .kw = 3, .padding = {2, 0}}, {.bias = true});
}

TEST_F(Conv, WhatIsRefused) {
  const Stream stream;
  ConvProblem p{.dtype = DType::I32, .n = 1, .c = 1, .h = 1, .w = 1, .o = 1};
  EXPECT_THROW(cuda::conv_forward(p, nullptr, nullptr, nullptr, {}, nullptr, stream), UsageError);
  p.dtype = DType::F32;
  p.padding = {std::int64_t{1} << 30, 0};
  EXPECT_THROW(cuda::conv_forward(p, nullptr, nullptr, nullptr, {}, nullptr, stream), UsageError);
  EXPECT_THROW(cuda::conv_grad_weight_workspace(p), UsageError);
}

}  // namespace
}  // namespace ingot
