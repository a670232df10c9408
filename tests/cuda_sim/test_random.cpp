// cuda/kernels/random on the simulated device against the ops' references and the CPU backend's arithmetic:
// the same bits for every dtype, length, alignment and order in memory.
#include "core/ops/random.h"

#include <cmath>

#include "core/base/error.h"
#include "core/base/philox.h"
#include "core/op/registry.h"
#include "cuda/kernels/random.h"
#include "tests/cuda_sim/sim_test.h"

namespace ingot {
namespace {

using cuda::DeviceBuffer;
using cuda::DropoutShape;
using cuda::RandomSource;
using cuda::Stream;

constexpr DType kTypes[] = {DType::F32, DType::F16, DType::BF16};
constexpr std::int64_t kSeed = -5, kOffset = 9, kStreamNumber = 11;

class RandomKernels : public SimTest {
 protected:
  static Tensor state() { return Tensor::from<std::int64_t>({2}, std::vector<std::int64_t>{kSeed, kOffset}); }
  // A device buffer with `shift` elements in front.
  struct Placed {
    DeviceBuffer buffer;
    std::byte* at;
  };
  static Placed room(DType dtype, std::int64_t count, std::size_t shift) {
    Placed p{DeviceBuffer((static_cast<std::size_t>(count) + shift) * size_of(dtype) + 1), nullptr};
    p.at = p.buffer.as<std::byte>() + shift * size_of(dtype);
    return p;
  }
  static Placed place(const Tensor& t, std::size_t shift, const Stream& stream) {
    Placed p = room(t.dtype(), t.numel(), shift);
    if (t.bytes() != 0) cuda::copy_to_device(p.at, t.raw(), t.bytes(), stream);
    return p;
  }
  static Tensor fetch(const Placed& p, DType dtype, std::int64_t count, const Stream& stream) {
    const Tensor t({dtype, {count}});
    if (count != 0) cuda::copy_to_host(t.raw(), p.at, t.bytes(), stream);
    return t;
  }
};

Tensor reference(const std::string& name, const Attrs& attrs, const std::vector<Tensor>& in, DType dtype,
                 std::int64_t count) {
  const Tensor out({dtype, {count}});
  op(name).reference({attrs, in, {&out, 1}});
  return out;
}

TEST_F(RandomKernels, UniformHasTheReferencesBits) {
  for (const DType dtype : kTypes)
    for (const std::int64_t count : {0, 1, 7, 8, 100, 2055})
      for (const std::size_t shift : {0u, 1u})
        for (const auto& [lo, hi] : {std::pair(0.0, 1.0), std::pair(-3.0, 0.1), std::pair(2.0, 2.0),
                                     std::pair(1.0, 1.0 + 0x1p-20)}) {
          const Stream stream;
          const DeviceBuffer rng = to_device(std::vector<std::int64_t>{kSeed, kOffset}, stream);
          const Placed y = room(dtype, count, shift);
          cuda::uniform(dtype, y.at, count, {rng.as<std::int64_t>(), kStreamNumber}, lo, hi, stream);
          const UniformAttrs attrs{{count}, lo, hi, kStreamNumber, dtype};
          EXPECT_TRUE(bitwise_equal(fetch(y, dtype, count, stream),
                                    reference("uniform", attrs, {state()}, dtype, count)))
              << name(dtype) << " " << count << " [" << lo << ", " << hi << ")";
        }
}

// The simulated device has the C library's functions, so here these are the same bits too; CUDA's may end in
// another last place.
TEST_F(RandomKernels, NormalFollowsTheReference) {
  for (const DType dtype : kTypes)
    for (const std::int64_t count : {0, 1, 2, 7, 1000, 1003}) {
      const Stream stream;
      const DeviceBuffer rng = to_device(std::vector<std::int64_t>{kSeed, kOffset}, stream);
      const Placed y = room(dtype, count, 1);
      cuda::normal(dtype, y.at, count, {rng.as<std::int64_t>(), kStreamNumber}, 0.25, 1.5, stream);
      const NormalAttrs attrs{{count}, 0.25, 1.5, kStreamNumber, dtype};
      const Tensor got = fetch(y, dtype, count, stream);
      const Tensor want = reference("normal", attrs, {state()}, dtype, count);
      if (!runs_cuda_functions()) {
        EXPECT_TRUE(bitwise_equal(got, want)) << name(dtype) << " " << count;
      }
      const double unit = dtype == DType::F32 ? 0x1p-23 : dtype == DType::F16 ? 0x1p-10 : 0x1p-7;
      for (std::int64_t i = 0; i < count; ++i)
        ASSERT_NEAR(got.get(i), want.get(i), unit * std::abs(want.get(i))) << name(dtype) << " at " << i;
    }
}

Tensor operand(DType dtype, std::int64_t count) {
  const Tensor x({dtype, {count}});
  const auto v = sequence(static_cast<std::size_t>(count), 7);
  for (std::int64_t i = 0; i < count; ++i)
    x.set(i, (i % 50 == 3   ? INFINITY
              : i % 50 == 4 ? static_cast<double>(-INFINITY)
                            : 3.0 * static_cast<double>(v[static_cast<std::size_t>(i)])));
  return x;
}

// The CPU backend multiplies f32 by an f32; for the half types it runs the reference.
Tensor kept_and_scaled(const Tensor& x, const Tensor& mask, double p) {
  const Tensor y(x.type());
  const double scale = p < 1.0 ? 1.0 / (1.0 - p) : 0.0;
  for (std::int64_t i = 0; i < x.numel(); ++i) {
    if (!mask.data<bool>()[i])
      y.set(i, 0.0);
    else if (x.dtype() == DType::F32)
      y.data<float>()[i] = x.data<float>()[i] * static_cast<float>(scale);
    else
      y.set(i, x.get(i) * scale);
  }
  return y;
}

TEST_F(RandomKernels, DropoutHasTheCpusBits) {
  for (const DType dtype : kTypes)
    for (const std::int64_t count : {0, 1, 7, 8, 4099})
      for (const std::size_t shift : {0u, 1u})
        for (const double p : {0.0, 0.1, 0.3, 0.5, 0.9, 1.0}) {
          SCOPED_TRACE(cat(name(dtype), " ", count, " p ", p, " shift ", shift));
          const Tensor x = operand(dtype, count);
          const Tensor want({dtype, {count}}), want_mask({DType::Bool, {count}});
          const Tensor in[] = {x, state()}, out[] = {want, want_mask};
          op("dropout").reference({DropoutAttrs{p, kStreamNumber}, in, out});
          const Stream stream;
          const DeviceBuffer rng = to_device(std::vector<std::int64_t>{kSeed, kOffset}, stream);
          const Placed y = place(x, shift, stream), mask = room(DType::Bool, count, shift);  // in place
          cuda::dropout(dtype, y.at, y.at, reinterpret_cast<bool*>(mask.at), {count},
                        {rng.as<std::int64_t>(), kStreamNumber}, p, stream);
          EXPECT_TRUE(bitwise_equal(fetch(mask, DType::Bool, count, stream), want_mask));
          const Tensor got = fetch(y, dtype, count, stream);
          EXPECT_TRUE(bitwise_equal(got, kept_and_scaled(x, want_mask, p)));
          if (dtype != DType::F32) {
            EXPECT_TRUE(bitwise_equal(got, want));
          }
          const Placed dx = place(x, shift, stream);
          cuda::dropout_grad(dtype, dx.at, reinterpret_cast<bool*>(mask.at), dx.at, count, p, stream);
          EXPECT_TRUE(bitwise_equal(fetch(dx, dtype, count, stream), got));
        }
}

// Every half number times scales of all kinds: what two f32 give is what f64 gives.
TEST_F(RandomKernels, HalfTypesAreScaledAsInDouble) {
  for (const DType dtype : {DType::F16, DType::BF16}) {
    const Tensor all({dtype, {65536}});
    for (std::uint32_t i = 0; i < 65536; ++i)
      reinterpret_cast<std::uint16_t*>(all.raw())[i] = static_cast<std::uint16_t>(i);
    const Tensor kept = Tensor::full({DType::Bool, {65536}}, 1.0);
    for (const double p : {0.1, 0.3, 1.0 / 3.0, 0.99}) {
      const Stream stream;
      const Placed x = place(all, 0, stream), mask = place(kept, 0, stream);
      cuda::dropout_grad(dtype, x.at, reinterpret_cast<bool*>(mask.at), x.at, 65536, p, stream);
      const Tensor got = fetch(x, dtype, 65536, stream), want = kept_and_scaled(all, kept, p);
      for (std::int64_t i = 0; i < 65536; ++i) {
        if (std::isnan(want.get(i))) {
          ASSERT_TRUE(std::isnan(got.get(i))) << i;
        } else {
          ASSERT_EQ(got.get(i), want.get(i)) << name(dtype) << " bits " << i << " p " << p;
        }
      }
    }
  }
}

TEST_F(RandomKernels, DropoutOfImagesCountsElementsInRowMajorOrder) {
  for (const DType dtype : kTypes)
    for (const auto& [images, channels, height, width] :
         {std::array<std::int64_t, 4>{2, 3, 5, 7}, {1, 64, 3, 3}, {3, 1, 4, 4}, {3, 4, 1, 1}}) {
      const Shape shape{images, channels, height, width};
      const std::int64_t count = shape.numel();
      const Tensor x = operand(dtype, count).reshaped(shape);
      const Tensor want({dtype, shape}), want_mask({DType::Bool, shape});
      const Tensor in[] = {x, state()}, out[] = {want, want_mask};
      op("dropout").reference({DropoutAttrs{0.3, kStreamNumber}, in, out});
      const Stream stream;
      const DeviceBuffer rng = to_device(std::vector<std::int64_t>{kSeed, kOffset}, stream);
      const Placed from = place(x.to(Layout::channels_last(4)), 0, stream), y = room(dtype, count, 0),
                   mask = room(DType::Bool, count, 0);
      cuda::dropout(dtype, from.at, y.at, reinterpret_cast<bool*>(mask.at), {count, channels, height * width},
                    {rng.as<std::int64_t>(), kStreamNumber}, 0.3, stream);
      const Tensor got = fetch(y, dtype, count, stream), got_mask = fetch(mask, DType::Bool, count, stream);
      const Tensor wanted = kept_and_scaled(x, want_mask, 0.3).to(Layout::channels_last(4));
      EXPECT_TRUE(std::equal(got.as_bytes().begin(), got.as_bytes().end(), wanted.as_bytes().begin()));
      const Tensor masked = want_mask.to(Layout::channels_last(4));
      EXPECT_TRUE(
          std::equal(got_mask.as_bytes().begin(), got_mask.as_bytes().end(), masked.as_bytes().begin()));
    }
}

TEST_F(RandomKernels, OtherTypesAreRefused) {
  const Stream stream;
  EXPECT_THROW(cuda::uniform(DType::I32, nullptr, 1, {}, 0, 1, stream), UsageError);
  EXPECT_THROW(cuda::normal(DType::F64, nullptr, 1, {}, 0, 1, stream), UsageError);
  EXPECT_THROW(cuda::dropout(DType::I64, nullptr, nullptr, nullptr, {}, {}, 0.5, stream), UsageError);
  EXPECT_THROW(cuda::dropout_grad(DType::Bool, nullptr, nullptr, nullptr, 1, 0.5, stream), UsageError);
}

}  // namespace
}  // namespace ingot
