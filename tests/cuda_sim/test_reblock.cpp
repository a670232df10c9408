// cuda/kernels/reblock on the simulated device against the plain copies of Tensor::to: blocks on one axis and
// on two, nested ones, padded axes, permuted outer axes, both directions, four element sizes.
#include <cstring>

#include "core/base/error.h"
#include "core/ir/tensor.h"
#include "cuda/kernels/reblock.h"
#include "tests/cuda_sim/bytes.h"
#include "tests/cuda_sim/sim_test.h"

namespace ingot {
namespace {

using cuda::Stream;

class Reblock : public SimTest {};

TEST_F(Reblock, EqualsPlainCopies) {
  const Stream stream;
  for (const char* dtype : {"u8", "f16", "f32", "i64"})
    for (const char* shape : {"[3, 20, 4, 5]", "[16, 32, 3, 3]", "[1, 5, 2, 2]"})
      for (const char* layouts :
           {" @0123:1x16", "@0231 @0123:1x8", "@0123:0x16,1x4 @1023:1x8", "@0123:0x4,1x16,0x4 @0231",
            "@0123:1x16 @0123:1x16", " @3210:0x2,2x2,3x2,1x2"}) {
        const std::string text = layouts;
        const auto space = text.find(' ');
        const TensorType from = parse_type(cat(dtype, shape, text.substr(0, space)));
        const TensorType to = parse_type(cat(dtype, shape, text.substr(space + 1)));
        Tensor x({from.dtype, from.shape});
        for (std::int64_t i = 0; i < x.numel(); ++i) x.set(i, static_cast<double>(i % 251 + 1));
        const Tensor source = x.to(from.layout), want = x.to(to.layout);
        Bytes raw(source.bytes());
        std::memcpy(raw.data(), source.raw(), raw.size());
        const Placed dx(raw, 0, stream), dy(want.bytes(), 0);
        cuda::reblock(from, to, dx.data(), dy.data(), stream);
        EXPECT_EQ(std::memcmp(dy.bytes(stream).data(), want.raw(), want.bytes()), 0)
            << to_string(from) << " to " << to_string(to);
      }
  cuda::reblock({DType::F32, {0, 4}}, {DType::F32, {0, 4}}, nullptr, nullptr, stream);
  EXPECT_THROW(cuda::reblock({DType::F32, {4}}, {DType::F16, {4}}, nullptr, nullptr, stream), UsageError);
}

}  // namespace
}  // namespace ingot
