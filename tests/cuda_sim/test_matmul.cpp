// cuda/kernels/matmul on the simulated device against double loops: each kernel (tiles of both sizes and both
// kinds of operand, slices, skinny products), each form of storage, epilogue and dtype.
#include "cuda/kernels/matmul.h"

#include <cmath>
#include <functional>

#include "core/base/error.h"
#include "tests/cuda_sim/element.h"
#include "tests/cuda_sim/sim_test.h"

namespace ingot {
namespace {

using cuda::DeviceBuffer;
using cuda::Epilogue;
using cuda::MatmulProblem;
using cuda::Stream;

// The rounding of the result, and of the sums: f32 sums differ from double ones by a few units for each of
// the magnitudes that were added.
template <class T>
double tolerance(double want, double magnitude) {
  const double rounding = std::is_same_v<T, float> ? 6e-8 : std::is_same_v<T, f16> ? 5e-4 : 4e-3;
  return rounding * std::abs(want) + 1e-6 * magnitude + 1e-7;
}

struct Options {
  bool bias = false, residual = false, in_place = false;
  ScalarOp activation = ScalarOp::None;
  std::size_t shift = 0;  // elements in front of each operand
  double operand_rounding = 0;
};

std::size_t elements(const MatmulProblem& p, std::int64_t rows, std::int64_t columns, bool second) {
  std::int64_t most = rows * columns;
  for (int i = 0; i < p.batch_rank; ++i) {
    const auto& axis = p.batch[static_cast<std::size_t>(i)];
    most += (axis.size - 1) * (second ? axis.stride_b : axis.stride_a);
  }
  return static_cast<std::size_t>(most);
}

template <class T>
std::vector<T> draw(std::size_t n, unsigned seed) {
  std::vector<T> v;
  for (const float f : sequence(n, seed)) v.push_back(rounded<T>(static_cast<double>(f)));
  return v;
}

template <class T>
DeviceBuffer place(const std::vector<T>& v, std::size_t shift, const Stream& stream) {
  std::vector<T> shifted(shift, T{});
  shifted.insert(shifted.end(), v.begin(), v.end());
  DeviceBuffer buffer(shifted.size() * sizeof(T));
  cuda::copy_to_device(buffer.data(), shifted.data(), buffer.bytes(), stream);
  return buffer;
}

template <class T>
std::vector<T> check(MatmulProblem p, const Options& o = {}) {
  p.dtype = kType<T>;
  SCOPED_TRACE(cat(p.m, " x ", p.n, " x ", p.k, p.transpose_a ? " ta" : "", p.transpose_b ? " tb" : "", " ",
                   name(p.dtype), " batch axes ", p.batch_rank, o.bias ? " bias" : "",
                   o.residual ? " residual" : "", " shift ", o.shift, p.allow_tf32 ? " tf32" : ""));
  std::int64_t batches = 1;
  for (int i = 0; i < p.batch_rank; ++i) batches *= p.batch[static_cast<std::size_t>(i)].size;
  const auto count = static_cast<std::size_t>(batches * p.m * p.n);
  const auto a = draw<T>(elements(p, p.m, p.k, false), 1), b = draw<T>(elements(p, p.k, p.n, true), 2);
  const auto bias = draw<T>(static_cast<std::size_t>(p.n), 3), residual = draw<T>(count, 4);
  const Stream stream;
  const DeviceBuffer da = place(a, o.shift, stream), db = place(b, o.shift, stream);
  const DeviceBuffer dbias = place(bias, o.shift, stream);
  const DeviceBuffer dresidual = place(residual, o.shift, stream);
  const DeviceBuffer dy((count + o.shift) * sizeof(T));
  const std::size_t bytes = cuda::matmul_workspace(p, o.activation);
  const DeviceBuffer workspace(bytes == 0 ? 16 : bytes);
  Epilogue epilogue;
  epilogue.activation = o.activation;
  if (o.bias) epilogue.bias = dbias.as<T>() + o.shift;
  if (o.residual) epilogue.residual = dresidual.as<T>() + o.shift;
  T* const to = (o.in_place ? dresidual : dy).template as<T>() + o.shift;
  cuda::matmul(p, da.as<T>() + o.shift, db.as<T>() + o.shift, to, epilogue, workspace.data(), stream);
  std::vector<T> y(count);
  cuda::copy_to_host(y.data(), to, count * sizeof(T), stream);

  std::size_t at = 0;
  for (std::int64_t z = 0; z < batches; ++z) {
    std::int64_t rest = z, offset_a = 0, offset_b = 0;
    for (int i = p.batch_rank - 1; i >= 0; --i) {
      const auto& axis = p.batch[static_cast<std::size_t>(i)];
      offset_a += rest % axis.size * axis.stride_a;
      offset_b += rest % axis.size * axis.stride_b;
      rest /= axis.size;
    }
    for (std::int64_t i = 0; i < p.m; ++i)
      for (std::int64_t j = 0; j < p.n; ++j, ++at) {
        double want = 0, magnitude = 0;
        for (std::int64_t k = 0; k < p.k; ++k) {
          const auto ia = static_cast<std::size_t>(offset_a + (p.transpose_a ? k * p.m + i : i * p.k + k));
          const auto ib = static_cast<std::size_t>(offset_b + (p.transpose_b ? j * p.k + k : k * p.n + j));
          const double term = value(a[ia]) * value(b[ib]);
          want += term;
          magnitude += std::abs(term);
        }
        if (o.bias) want += value(bias[static_cast<std::size_t>(j)]);
        if (o.residual) want += value(residual[at]);
        if (o.activation != ScalarOp::None)
          want = evaluate(o.activation, std::vector<double>{want}, DType::F64);
        const double near = tolerance<T>(want, magnitude) + o.operand_rounding * magnitude;
        EXPECT_NEAR(value(y[at]), want, near) << "product " << z << ", row " << i << ", column " << j;
        if (std::abs(value(y[at]) - want) > near || std::isnan(value(y[at]))) return y;
      }
  }
  return y;
}

template <class T>
void check_forms(MatmulProblem p, const Options& o = {}) {
  for (const bool ta : {false, true})
    for (const bool tb : {false, true}) {
      p.transpose_a = ta;
      p.transpose_b = tb;
      check<T>(p, o);
    }
}

void check_all(const MatmulProblem& p, const Options& o = {}) {
  check_forms<float>(p, o);
  check_forms<f16>(p, o);
  check_forms<bf16>(p, o);
}

class Matmul : public SimTest {};

TEST_F(Matmul, SmallTilesAlignedAndRagged) {
  check_all({.m = 64, .n = 64, .k = 64});
  check_all({.m = 72, .n = 80, .k = 40});
  check_all({.m = 16, .n = 136, .k = 200});
}

TEST_F(Matmul, SingleElementsWhereSizesAreOdd) {
  check_all({.m = 65, .n = 67, .k = 33});
  check_all({.m = 9, .n = 11, .k = 1});
  check_all({.m = 13, .n = 10, .k = 7}, {.bias = true, .residual = true});
}

TEST_F(Matmul, PointersThatAreNotAligned) {
  check_all({.m = 24, .n = 24, .k = 24}, {.bias = true, .residual = true, .shift = 1});
}

// Large tiles take many blocks: batch entries of one tile each.
TEST_F(Matmul, LargeTiles) {
  MatmulProblem p{.m = 72, .n = 88, .k = 40, .batch_rank = 1};
  p.batch[0] = {132, 8, 16};  // operands that overlap
  const Options o{.bias = true, .activation = ScalarOp::Relu};
  for (const bool ta : {false, true})
    for (const bool tb : {false, true}) {
      p.transpose_a = ta;
      p.transpose_b = tb;
      if (ta == tb)
        check<f16>(p, o);
      else
        check<bf16>(p, o);
    }
  check<float>(p, o);
  p.transpose_b = false;
  check<float>(p, o);
}

TEST_F(Matmul, EveryEpilogue) {
  for (const ScalarOp f :
       {ScalarOp::None, ScalarOp::Relu, ScalarOp::Tanh, ScalarOp::Sigmoid, ScalarOp::Gelu, ScalarOp::Silu})
    for (const bool bias : {false, true})
      for (const bool residual : {false, true}) {
        const Options o{.bias = bias, .residual = residual, .activation = f};
        check<float>({.m = 20, .n = 36, .k = 12}, o);
        check<bf16>({.m = 20, .n = 35, .k = 16}, o);
        check<f16>({.m = 3, .n = 36, .k = 16}, o);
      }
  check<f16>({.m = 24, .n = 24, .k = 8}, {.residual = true, .in_place = true});
}

TEST_F(Matmul, BatchAxesBroadcast) {
  MatmulProblem p{.m = 12, .n = 20, .k = 16, .batch_rank = 3};
  p.batch[0] = {2, 12 * 16, 0};
  p.batch[1] = {3, 0, 16 * 20};
  p.batch[2] = {1, 0, 0};
  check_all(p, {.residual = true});
  // Merged into one product over all rows, and not where a is transposed.
  MatmulProblem shared{.m = 12, .n = 20, .k = 16, .batch_rank = 2};
  shared.batch[0] = {2, 3 * 12 * 16, 0};
  shared.batch[1] = {3, 12 * 16, 0};
  check_all(shared, {.bias = true});
}

TEST_F(Matmul, LongSumsInSlices) {
  const MatmulProblem p{.m = 16, .n = 24, .k = 2000};
  EXPECT_EQ(cuda::matmul_workspace(p), 7u * 16 * 24 * 4);
  check_all(p, {.bias = true, .residual = true, .activation = ScalarOp::Relu});
  check<float>({.m = 9, .n = 9, .k = 1001});
  check<bf16>({.m = 9, .n = 9, .k = 1001});
}

TEST_F(Matmul, FewRowsOrColumns) {
  for (const std::int64_t few : {1, 2, 8})
    for (const std::int64_t many : {1, 8, 9, 70, 72}) {
      check_all({.m = few, .n = many, .k = 40});
      check_all({.m = many, .n = few, .k = 40}, {.bias = true, .residual = true});
    }
  check_all({.m = 3, .n = 21, .k = 37}, {.bias = true});
  check_all({.m = 24, .n = 1, .k = 2056});
  check_all({.m = 1, .n = 17, .k = 1100}, {.residual = true, .activation = ScalarOp::Tanh});
  check_all({.m = 2, .n = 24, .k = 24}, {.bias = true, .shift = 1});
  MatmulProblem p{.m = 2, .n = 24, .k = 16, .batch_rank = 1};
  p.batch[0] = {3, 2 * 16, 16 * 24};
  check_all(p, {.residual = true});
}

TEST_F(Matmul, NothingToSumAndNothingToMake) {
  check_all({.m = 5, .n = 7, .k = 0}, {.bias = true, .residual = true, .activation = ScalarOp::Relu});
  check<float>({.m = 5, .n = 7, .k = 0});
  check<f16>({.m = 0, .n = 7, .k = 3});
  check<bf16>({.m = 5, .n = 0, .k = 3});
  MatmulProblem p{.m = 5, .n = 7, .k = 3, .batch_rank = 1};
  p.batch[0] = {0, 15, 21};
  check<float>(p);
}

// Operands keep 10 bits of mantissa: each product is off by 2^-10 at most, of which the sum takes an average.
TEST_F(Matmul, Tf32OnlyWhenAllowed) {
  const Options o{.bias = true, .operand_rounding = 4e-4};
  MatmulProblem p{.m = 72, .n = 72, .k = 64, .allow_tf32 = true};
  check_forms<float>(p, o);
  MatmulProblem large{.m = 72, .n = 88, .k = 20, .batch_rank = 1, .allow_tf32 = true};
  large.batch[0] = {132, 0, 20 * 88};
  check<float>(large, o);
  const auto rounded_sums = check<float>(p, {.operand_rounding = 4e-4});
  p.allow_tf32 = false;
  EXPECT_NE(check<float>(p), rounded_sums);
  large.allow_tf32 = false;
  check<float>(large, {.bias = true});
}

TEST_F(Matmul, OtherTypesAreRefused) {
  const Stream stream;
  EXPECT_THROW(cuda::matmul({.dtype = DType::I32, .m = 1, .n = 1, .k = 1}, nullptr, nullptr, nullptr, {},
                            nullptr, stream),
               UsageError);
}

}  // namespace
}  // namespace ingot
