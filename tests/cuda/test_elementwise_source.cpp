// The text of generated kernels: what it looks like, that NVRTC takes all of it, and what its accesses
// become.
#include <map>
#include <regex>
#include <set>
#include <string>

#include "core/base/error.h"
#include "cuda/jit/tape_text.h"
#include "tests/cuda/kernel_run.h"
#include "tests/support/messages.h"

namespace ingot {
namespace {

using cuda::elementwise_source;
using cuda::KernelFormat;
using cuda::KernelSource;
using cuda::Nvrtc;
using Reg = ScalarExpr::Reg;

KernelSource source_of(std::string_view tape, const std::vector<std::string>& in,
                       const std::vector<std::string>& out, const cuda::ElementwiseOptions& options = {}) {
  std::vector<TensorType> inputs, outputs;
  for (const auto& t : in) inputs.push_back(parse_type(t));
  for (const auto& t : out) outputs.push_back(parse_type(t));
  return elementwise_source(parse_scalar_expr(tape), inputs, outputs, options);
}

// A bias per channel, channels last: everything in a row, no tail.
TEST(ElementwiseSource, GoldenBiasRelu) {
  const KernelSource k = source_of("f32,f32;%2=add(%0,%1);%3=relu(%2)->%3",
                                   {"f32[2, 8, 5, 3]@0231", "f32[8, 1, 1]"}, {"f32[2, 8, 5, 3]@0231"});
  EXPECT_EQ(k.text, R"(// f32,f32;%2=add(%0,%1);%3=relu(%2)->%3
// f32[2, 8, 5, 3]@0231, f32[8, 1, 1] -> f32[2, 8, 5, 3]@0231
#include "core/expr/scalar_ops.h"
#include "cuda/jit/element.h"

using namespace ingot::cuda;
namespace scalar = ingot::scalar;

__device__ static inline void tape(const float x0, const float x1, float& y0) {
  const float r0 = x0;
  const float r1 = x1;
  const float r2 = scalar::add(r0, r1);
  const float r3 = scalar::relu(r2);
  y0 = r3;
}

extern "C" __global__ void __launch_bounds__(256)
ew_add_relu(const float* x0, const float* x1, float* y0) {
  const u32 first = (blockIdx.x * 256u + threadIdx.x) * 4u;
  if (first + 4u <= 240u) {
    float a0[4];
    load<16>(x0 + first, a0);
    float a1[4];
    load<16>(x1 + (first % 8u), a1);
    float b0[4];
    INGOT_UNROLL
    for (int j = 0; j < 4; ++j) tape(a0[j], a1[j], b0[j]);
    store<16>(y0 + first, b0);
  }
}
)");
  EXPECT_EQ(k.name, "ew_add_relu");
  EXPECT_EQ(k.blocks, 1);
  EXPECT_EQ(k.threads, 256);
  EXPECT_EQ(k.elements_per_thread, 4);
  EXPECT_EQ(k.in_place, (std::vector<std::array<int, 2>>{{0, 0}}));
  EXPECT_EQ(k.alignment, (std::vector<int>{16, 16, 16}));
}

// Mixed precision with a tail, a value that changes between steps, a column, and a second result.
TEST(ElementwiseSource, GoldenMixedPrecision) {
  const KernelSource k = source_of(
      "bf16,f32,i64;%3=cast.f32(%0);%4=mul(%3,%1);%5=cast.bf16(%4);%6=const.f32(0.1);%7=gt(%3,%6);"
      "%8=cast.bool(%2);%9=logical_and(%7,%8)->%5,%9",
      {"bf16[3, 7]", "f32[]", "i64[3, 1]"}, {"bf16[3, 7]", "bool[3, 7]"});
  EXPECT_EQ(k.text,
            R"(// bf16,f32,i64;%3=cast.f32(%0);%4=mul(%3,%1);%5=cast.bf16(%4);)"
            R"(%6=const.f32(0.10000000000000001);%7=gt(%3,%6);%8=cast.bool(%2);%9=logical_and(%7,%8)->%5,%9
// bf16[3, 7], f32[], i64[3, 1] -> bf16[3, 7], bool[3, 7]
#include "core/expr/scalar_ops.h"
#include "cuda/jit/element.h"

using namespace ingot::cuda;
namespace scalar = ingot::scalar;

__device__ static inline void tape(const bf16_bits x0, const float x1, const long long x2, bf16_bits& y0, u8& y1) {
  const float r0 = widen(x0);
  const float r1 = x1;
  const long long r2 = x2;
  const float r3 = static_cast<float>(r0);
  const float r4 = scalar::mul(r3, r1);
  const float r5 = widen(narrow_bf16(r4));
  const float r6 = 0x1.99999ap-4f;
  const u8 r7 = scalar::gt(r3, r6);
  const u8 r8 = r2 != 0ll;
  const u8 r9 = scalar::logical_and(r7, r8);
  y0 = narrow_bf16(r5);
  y1 = r9;
}

extern "C" __global__ void __launch_bounds__(256)
ew_cast_mul_cast_gt_cast_logical_and(const bf16_bits* x0, const float* x1, const long long* x2, bf16_bits* y0, u8* y1) {
  const u32 first = (blockIdx.x * 256u + threadIdx.x) * 8u;
  if (first + 8u <= 21u) {
    bf16_bits a0[8];
    load<16>(x0 + first, a0);
    const float a1 = x1[0];
    bf16_bits b0[8];
    u8 b1[8];
    INGOT_UNROLL
    for (int j = 0; j < 8; ++j) tape(a0[j], a1, x2[(first + j) / 7u], b0[j], b1[j]);
    store<16>(y0 + first, b0);
    store<8>(y1 + first, b1);
  } else {
    for (u32 i = first; i < 21u; ++i) tape(x0[i], x1[0], x2[i / 7u], y0[i], y1[i]);
  }
}
)");
}

// A transposed operand at a distance, addresses aligned to less than 16 bytes, 64-bit indices, no
// instruction.
TEST(ElementwiseSource, GoldenLayoutChange) {
  const KernelSource k = source_of("u8->%0", {"u8[1, 3, 4, 16]"}, {"u8[1, 3, 4, 16]@0312"},
                                   {.output_alignment = {4}, .wide_index = true});
  EXPECT_EQ(k.text, R"(// u8->%0
// u8[1, 3, 4, 16] -> u8[1, 3, 4, 16]@0312
#include "core/expr/scalar_ops.h"
#include "cuda/jit/element.h"

using namespace ingot::cuda;
namespace scalar = ingot::scalar;

__device__ static inline void tape(const u8 x0, u8& y0) {
  const u8 r0 = x0;
  y0 = r0;
}

extern "C" __global__ void __launch_bounds__(256)
ew_copy(const u8* x0, u8* y0) {
  const unsigned long long first = (blockIdx.x * 256ull + threadIdx.x) * 16ull;
  if (first + 16ull <= 192ull) {
    u8 b0[16];
    INGOT_UNROLL
    for (int j = 0; j < 16; ++j) tape(x0[(first + j) / 12ull + (first + j) % 12ull * 16ull], b0[j]);
    store<4>(y0 + first, b0);
  }
}
)");
  EXPECT_EQ(k.alignment, (std::vector<int>{1, 4}));
  const KernelSource far = source_of("u8->%0", {"u8[3, 16]"}, {"u8[3, 16]@10"});
  EXPECT_NE(far.text.find("tape(x0[(first + j) / 3u + (first + j) % 3u * 16u], b0[j])"), std::string::npos)
      << far.text;
  const KernelSource column = source_of("f32->%0", {"f32[8, 3]"}, {"f32[8, 3]@10"});
  EXPECT_NE(column.text.find("const float* a0 = x0 + (first / 8u + first % 8u * 3u);"), std::string::npos)
      << column.text;
  EXPECT_NE(column.text.find("tape(a0[j * 3], b0[j])"), std::string::npos) << column.text;
}

TEST(ElementwiseSource, IndicesAreAsWideAsNeeded) {
  const auto text = [](const std::string& shape) {
    return source_of("u8,u8;%2=add(%0,%1)->%2", {"u8" + shape, "u8[]"}, {"u8" + shape}).text;
  };
  EXPECT_NE(text("[4294963200]").find("const u32 first"), std::string::npos);
  // The last block ends beyond 2^32 - 1.
  EXPECT_NE(text("[4294967295]").find("const unsigned long long first"), std::string::npos);
  EXPECT_EQ(source_of("u8->%0", {"u8[8589934592]"}, {"u8[8589934592]"}).blocks, 2097152);
}

TEST(ElementwiseSource, ElementsPerThread) {
  const auto count = [](std::string_view d) {
    const std::string t = cat(d, "[64]");
    return source_of(cat(d, "->%0"), {t}, {t}).elements_per_thread;
  };
  EXPECT_EQ(count("f32"), 4);
  EXPECT_EQ(count("bf16"), 8);
  EXPECT_EQ(count("u8"), 16);
  EXPECT_EQ(count("f64"), 4);
}

TEST(ElementwiseSource, Literals) {
  using cuda::literal;
  EXPECT_EQ(literal(0.1, DType::F32), "0x1.99999ap-4f");
  EXPECT_EQ(literal(0.1, DType::F64), "0x1.999999999999ap-4");
  EXPECT_EQ(literal(0.1, DType::BF16), "0x1.9ap-4f");  // as a bf16 holds it
  EXPECT_EQ(literal(-0.0, DType::F16), "-0x0p+0f");
  EXPECT_EQ(literal(1e9, DType::F16), "__builtin_bit_cast(float, 2139095040u)");
  EXPECT_EQ(literal(-2147483648.0, DType::I32), "(-2147483647 - 1)");
  EXPECT_EQ(literal(-9223372036854775808.0, DType::I64), "(-9223372036854775807ll - 1)");
  EXPECT_EQ(literal(5.9, DType::U8), "u8(5)");
  EXPECT_EQ(literal(2, DType::Bool), "u8(1)");
}

TEST(ElementwiseSource, NamesAreShort) {
  ScalarExpr e({DType::F32});
  Reg r = 0;
  for (int i = 0; i < 30; ++i) r = e.emit(ScalarOp::HardSigmoid, {r});
  e.add_output(r);
  EXPECT_EQ(cuda::tape_name(e), "hard_sigmoid_hard_sigmoid_hard_sigmoid");
  EXPECT_EQ(cuda::tape_name(parse_scalar_expr("f32->%0")), "copy");
}

TEST(ElementwiseSource, RefusesWhatDoesNotFit) {
  const auto refusal = [](std::string_view tape, const std::vector<std::string>& in,
                          const std::vector<std::string>& out) {
    return message_of<UsageError>([&] { source_of(tape, in, out); });
  };
  EXPECT_TRUE(says(refusal("f32->%0", {"f32[3]"}, {"f32[4]"}), "elementwise_accepts"));
  EXPECT_TRUE(says(refusal("f32->%0", {}, {"f32[4]"}), "1 inputs"));
  EXPECT_TRUE(says(refusal("f32->%0", {"f16[4]"}, {"f32[4]"}), "operand 0", "f32", "f16"));
  EXPECT_TRUE(says(refusal("f32->%0", {"f32[4]"}, {"f16[4]"}), "result 0", "f32", "f16"));
  EXPECT_TRUE(
      says(refusal("f32->%0", {"f32[20, 4]@01:1x16"}, {"f32[20, 4]@01:1x16"}), "elementwise_accepts"));
  std::string many = "f32", all = "->%0";
  for (int i = 0; i < 500; ++i) many += ",f32";
  EXPECT_TRUE(
      says(refusal(many + all, std::vector<std::string>(501, "f32[2]"), {"f32[2]"}), "500", "502", "split"));
}

// Every function of a dtype as one kernel with as many results, for every architecture.
TEST(ElementwiseSource, NvrtcCompilesEveryFunctionOfEveryDType) {
  INGOT_NEEDS_NVRTC();
  std::set<std::pair<ScalarOp, DType>> seen;
  for (const DType d : kAllDTypes) {
    ScalarExpr e({d, d, DType::Bool});
    for (const ScalarOpInfo& row : scalar_op_table()) {
      if (lone(row, d).empty()) continue;
      const Reg args[] = {0, 1, 1};
      const Reg select[] = {2, 0, 1};
      e.add_output(row.kind == ScalarKind::Select
                       ? e.emit(row.op, select)
                       : e.emit(row.op, std::span(args, static_cast<std::size_t>(row.arity))));
      seen.emplace(row.op, d);
    }
    for (const DType to : kAllDTypes) e.add_output(e.emit_cast(0, to));
    const KernelRun run{
        e,
        {Tensor::zeros({d, {33}}), Tensor::zeros({d, {33}}), Tensor::zeros({DType::Bool, {33}})},
        {d, {33}}};
    const KernelSource k = run.source();
    for (const int arch : kArchitectures) {
      const std::string ptx = Nvrtc::instance().compile(k.name, k.text, arch, KernelFormat::Ptx);
      EXPECT_NE(ptx.find(cat(".target sm_", arch)), std::string::npos);
      EXPECT_NE(ptx.find(cat(".visible .entry ", k.name, "(")), std::string::npos);
    }
  }
  std::size_t rows = 0;
  for (const ScalarOpInfo& row : scalar_op_table())
    for (const DType d : kAllDTypes) rows += lone(row, d).size();
  EXPECT_EQ(seen.size(), rows);
  EXPECT_GT(rows, 200u);
}

TEST(ElementwiseSource, MachineCodeForEveryArchitecture) {
  INGOT_NEEDS_NVRTC();
  const KernelSource k =
      source_of("f16,f16;%2=mul(%0,%1);%3=gelu(%2)->%3", {"f16[64]", "f16[64]"}, {"f16[64]"});
  for (const int arch : kArchitectures) {
    const std::string cubin = Nvrtc::instance().compile(k.name, k.text, arch, KernelFormat::Cubin);
    EXPECT_EQ(cubin.substr(0, 4),
              "\x7f"
              "ELF")
        << arch;
  }
}

// Bytes of each global access in a kernel's text, e.g. {16, 16, 4}.
std::multiset<int> accesses(const std::string& ptx, const std::string& what) {
  static const std::map<std::string, int> sizes{{"8", 1}, {"16", 2}, {"32", 4}, {"64", 8}};
  const std::regex pattern(what + R"(\.global(?:\.nc)?(?:\.v([24]))?\.[busf](8|16|32|64)\s)");
  std::multiset<int> found;
  for (std::sregex_iterator it(ptx.begin(), ptx.end(), pattern), end; it != end; ++it)
    found.insert(((*it)[1].matched ? std::stoi((*it)[1]) : 1) * sizes.at((*it)[2]));
  return found;
}

TEST(ElementwiseSource, AccessesAre16BytesWide) {
  INGOT_NEEDS_NVRTC();
  using Sizes = std::multiset<int>;
  const auto compiled = [](const KernelSource& k) {
    return Nvrtc::instance().compile(k.name, k.text, 90, KernelFormat::Ptx);
  };
  const auto ptx = [&](std::string_view d, std::string_view b, const cuda::ElementwiseOptions& options = {}) {
    const std::string t = cat(d, "[4, 64]");
    return compiled(source_of(cat(d, ",", d, ";%2=add(%0,%1)->%2"), {t, cat(d, b)}, {t}, options));
  };
  const std::string f32 = ptx("f32", "[4, 64]");
  EXPECT_NE(f32.find("ld.global.v4.f32"), std::string::npos);
  EXPECT_NE(f32.find("st.global.v4.f32"), std::string::npos);
  for (const std::string_view d : {"f32", "bf16", "f16", "i32", "u8"}) {
    EXPECT_EQ(accesses(ptx(d, "[4, 64]"), "ld"), (Sizes{16, 16})) << d;
    EXPECT_EQ(accesses(ptx(d, "[64]"), "ld"), (Sizes{16, 16})) << d;
    EXPECT_EQ(accesses(ptx(d, "[4, 64]"), "st"), (Sizes{16})) << d;
    EXPECT_EQ(accesses(ptx(d, "[4, 1]"), "ld").count(16), 1u) << d;
    EXPECT_EQ(accesses(ptx(d, "[4, 1]"), "ld").size(), 2u) << d;
  }
  for (const std::string_view d : {"f64", "i64"}) {
    EXPECT_EQ(accesses(ptx(d, "[4, 64]"), "ld"), (Sizes{16, 16, 16, 16})) << d;
    EXPECT_EQ(accesses(ptx(d, "[4, 64]"), "st"), (Sizes{16, 16})) << d;
  }
  // An address that is aligned to less gets narrower accesses, and only that one.
  EXPECT_EQ(accesses(ptx("f32", "[4, 64]", {.input_alignment = {8}}), "ld"), (Sizes{8, 8, 16}));
  EXPECT_EQ(accesses(ptx("f32", "[4, 64]", {.output_alignment = {4}}), "st"), (Sizes{4, 4, 4, 4}));
  // Rows of 24 halves start at multiples of 8 of them, in both operands.
  const std::string row =
      compiled(source_of("f16,f16;%2=add(%0,%1)->%2", {"f16[2, 3, 24]", "f16[2, 1, 24]"}, {"f16[2, 3, 24]"}));
  EXPECT_EQ(accesses(row, "ld"), (Sizes{16, 16}));
}

TEST(ElementwiseSource, ProductsAndSumsRoundTwice) {
  INGOT_NEEDS_NVRTC();
  const KernelSource k = source_of("f32,f32,f32;%3=mul(%0,%1);%4=add(%3,%2);%5=div(%4,%0);%6=sqrt(%5)->%6",
                                   {"f32[64]", "f32[64]", "f32[64]"}, {"f32[64]"});
  const std::string ptx = Nvrtc::instance().compile(k.name, k.text, 90, KernelFormat::Ptx);
  EXPECT_NE(ptx.find("mul.rn.f32"), std::string::npos) << ptx;
  EXPECT_NE(ptx.find("add.rn.f32"), std::string::npos);
  EXPECT_NE(ptx.find("div.rn.f32"), std::string::npos);
  EXPECT_NE(ptx.find("sqrt.rn.f32"), std::string::npos);
  EXPECT_EQ(ptx.find("fma."), std::string::npos);
  EXPECT_EQ(ptx.find(".ftz"), std::string::npos);
  EXPECT_EQ(ptx.find(".local"), std::string::npos);
}

}  // namespace
}  // namespace ingot
