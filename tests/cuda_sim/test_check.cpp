// cuda/kernels/check on the simulated device: NaN and infinity of every floating dtype are found wherever
// they are, the first of several wins, and the largest and smallest numbers are numbers.
#include "cuda/kernels/check.h"

#include <limits>

#include "core/base/error.h"
#include "core/ir/tensor.h"
#include "tests/cuda_sim/sim_test.h"

namespace ingot {
namespace {

using cuda::CheckOperand;
using cuda::DeviceBuffer;
using cuda::Stream;

class CheckKernel : public SimTest {
 protected:
  // Tensors of the given content, `shift` elements into their buffers.
  std::optional<cuda::NotFinite> find(const std::vector<Tensor>& tensors, std::size_t shift = 0) {
    const Stream stream;
    std::vector<DeviceBuffer> buffers;
    std::vector<CheckOperand> operands;
    for (const Tensor& t : tensors) {
      const std::size_t front = shift * size_of(t.dtype());
      buffers.emplace_back(t.bytes() + front + 1);  // all the rest is NaN
      std::byte* const at = buffers.back().as<std::byte>() + front;
      if (t.bytes() != 0) cuda::copy_to_device(at, t.raw(), t.bytes(), stream);
      operands.push_back({at, t.numel(), t.dtype()});
    }
    const DeviceBuffer first(sizeof(std::uint64_t));
    cuda::find_not_finite(operands, first.as<std::uint64_t>(), stream);
    std::uint64_t answer = 0;
    cuda::copy_to_host(&answer, first.data(), sizeof answer, stream);
    return cuda::not_finite(answer);
  }
};

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr DType kFloating[] = {DType::F32, DType::F64, DType::F16, DType::BF16};

// The largest and the smallest numbers of each dtype.
double most(DType d) {
  return d == DType::F64   ? std::numeric_limits<double>::max()
         : d == DType::F16 ? 65504.0
         : d == DType::F32 ? static_cast<double>(std::numeric_limits<float>::max())
                           : 0x1.fep127;
}

Tensor numbers(DType dtype, std::int64_t count) {
  const Tensor t = Tensor::zeros({dtype, {count}});
  for (std::int64_t i = 0; i < count; ++i)
    t.set(i, i % 3 == 0 ? most(dtype) : i % 3 == 1 ? -most(dtype) : -0x1p-24);
  return t;
}

TEST_F(CheckKernel, EveryPlaceInEveryDtype) {
  for (const DType dtype : kFloating)
    for (const double bad : {kNan, kInf, -kInf})
      for (const std::size_t shift : {0u, 1u})
        for (const std::int64_t count : {1, 7, 16, 100})
          for (std::int64_t at = 0; at < count; at += 1 + count / 9) {
            const Tensor t = numbers(dtype, count);
            EXPECT_FALSE(find({t}, shift)) << name(dtype) << " " << count;
            t.set(at, bad);
            const auto found = find({t}, shift);
            ASSERT_TRUE(found) << name(dtype) << " " << count << " " << at;
            EXPECT_EQ(found->tensor, 0);
            EXPECT_EQ(found->element, at) << name(dtype) << " " << count << " shift " << shift;
          }
}

TEST_F(CheckKernel, TheFirstOfSeveral) {
  std::vector<Tensor> tensors;
  for (int i = 0; i < 130; ++i) tensors.push_back(numbers(kFloating[i % 4], i == 77 ? 70000 : i % 5 * 3));
  EXPECT_FALSE(find(tensors));
  tensors[129].set(3, kNan);  // in a second launch
  EXPECT_EQ(find(tensors)->tensor, 129);
  EXPECT_EQ(find(tensors)->element, 3);
  for (const std::int64_t at : {69999, 40000, 33000}) {  // in several blocks
    tensors[77].set(at, kInf);
    EXPECT_EQ(find(tensors)->tensor, 77);
    EXPECT_EQ(find(tensors)->element, at);
  }
  tensors[77].set(34000, kNan);
  EXPECT_EQ(find(tensors)->element, 33000);
  tensors[77].set(33000 + 512, kNan);  // the same thread's next look
  EXPECT_EQ(find(tensors)->element, 33000);
}

TEST_F(CheckKernel, NothingToDoAndOtherTypes) {
  EXPECT_FALSE(find({}));
  EXPECT_FALSE(find({numbers(DType::F32, 0)}));
  const CheckOperand integers{nullptr, 1, DType::I32};
  EXPECT_THROW(cuda::find_not_finite({&integers, 1}, nullptr, Stream()), UsageError);
  const CheckOperand huge{nullptr, std::int64_t{1} << 41, DType::F32};
  EXPECT_THROW(cuda::find_not_finite({&huge, 1}, nullptr, Stream()), UsageError);
}

}  // namespace
}  // namespace ingot
