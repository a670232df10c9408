// Generated kernels, executed: what NVRTC makes of a tape gives the CPU tape's results. The interpreter
// checks every access on the way: bounds to the byte, alignment, writes to operands, races.
//
// On a processor with FMA the CPU's own transcendental functions round as the GPU's do, because both compile
// core/expr/scalar_math.h; so all but sin, cos and pow (from two C libraries) and functions of f64 are equal
// bit for bit.
#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "cpu/simd/level.h"
#include "tests/cuda/kernel_run.h"

namespace ingot {
namespace {

using Reg = ScalarExpr::Reg;

// What differs between C libraries: units in the last place, of the result or of the largest term in a sum.
struct Slack {
  double ulps = 0, scale = 0;
};

Slack slack(ScalarOp op, DType d) {
  static const std::set<ScalarOp> library{ScalarOp::Sin, ScalarOp::Cos, ScalarOp::Pow};
  static const std::set<ScalarOp> own{ScalarOp::Exp,   ScalarOp::Expm1, ScalarOp::Log,
                                      ScalarOp::Log1p, ScalarOp::Tanh,  ScalarOp::Erf};
  static const std::set<ScalarOp> composed{ScalarOp::Sigmoid,  ScalarOp::Softplus, ScalarOp::Gelu,
                                           ScalarOp::GeluTanh, ScalarOp::Silu,     ScalarOp::Mish,
                                           ScalarOp::Selu,     ScalarOp::Elu};
  const bool half = d == DType::F16 || d == DType::BF16;
  const bool fused = cpu::cpu_level() != cpu::CpuLevel::Base;  // the others have FMA
  if (library.count(op)) return {half ? 1.0 : 4.0, 0.0};
  if (d != DType::F64 && fused) return {};
  if (own.count(op)) return {half ? 1.0 : 4.0, 0.0};
  if (composed.count(op)) return {half ? 1.0 : 4.0, 1.0};
  return {};
}

TEST(ElementwiseKernels, EveryFunctionOfEveryDType) {
  INGOT_NEEDS_PTX();
  int tested = 0;
  for (const ScalarOpInfo& row : scalar_op_table())
    for (const DType d : kAllDTypes)
      for (const ScalarExpr& e : lone(row, d)) {
        KernelRun run{e, {}, {DType::F32, {211}}};
        for (const DType t : e.inputs())
          run.inputs.push_back(sample({t, {211}}, static_cast<unsigned>(7 + run.inputs.size())));
        const std::string what = cat(row.name, " of ", name(d));
        const Slack s = slack(row.op, d);
        if (s.ulps == 0)
          expect_same(run.ptx(), run.cpu(), what);
        else
          expect_close(run.ptx()[0], run.cpu()[0], s.ulps, s.scale, what);
        ++tested;
      }
  EXPECT_GT(tested, 200);
}

TEST(ElementwiseKernels, EveryCast) {
  INGOT_NEEDS_PTX();
  for (const DType from : kAllDTypes)
    for (const DType to : kAllDTypes) {
      ScalarExpr e({from});
      e.add_output(e.emit_cast(0, to));
      Tensor x = sample({from, {133}}, 3);
      // What a float outside an integer's range becomes is not specified.
      if (is_floating(from) && is_integer(to))
        for (std::int64_t i = 0; i < x.numel(); ++i)
          if (!(std::fabs(x.get(i)) < 2e9)) x.set(i, 1000.75);
      const KernelRun run{e, {x}, {to, {133}}};
      expect_same(run.ptx(), run.cpu(), cat(name(from), " to ", name(to)));
    }
}

// Rounding on the way through a half type, and everything that two of them make of a sum.
TEST(ElementwiseKernels, HalfTypesRoundOnlyWhereTheTapeSays) {
  INGOT_NEEDS_PTX();
  for (const DType half : {DType::F16, DType::BF16}) {
    ScalarExpr e({DType::F32, half});
    const Reg there = e.emit_cast(0, half), back = e.emit_cast(there, DType::F32);
    const Reg twice = e.emit(ScalarOp::Mul, {e.emit(ScalarOp::Add, {1, there}), 1});  // kept in float between
    e.add_output(back);
    e.add_output(twice);
    e.add_output(e.emit(ScalarOp::Mul, {1, e.emit_const(0.1, half)}));
    Tensor x = sample({DType::F32, {515}}, 4);
    x.set(100, 65519.9), x.set(101, 65520.0), x.set(102, 1e-6), x.set(103, -6e-8), x.set(104, 3e-5);
    const KernelRun run{e, {x, sample({half, {515}}, 5)}, {half, {515}}};
    expect_same(run.ptx(), run.cpu(), std::string(name(half)));
  }
}

TEST(ElementwiseKernels, IntegersStayExact) {
  INGOT_NEEDS_PTX();
  ScalarExpr e({DType::I64, DType::I64});
  e.add_output(e.emit(ScalarOp::Add, {e.emit(ScalarOp::Mul, {0, 1}), e.emit_const(-5e18, DType::I64)}));
  e.add_output(e.emit(ScalarOp::Div, {0, 1}));
  Tensor a = sample({DType::I64, {9}}, 1), b = sample({DType::I64, {9}}, 2);
  a.data<std::int64_t>()[0] = (std::int64_t{1} << 55) + 1;
  b.data<std::int64_t>()[0] = 3;
  const KernelRun run{e, {a, b}, {DType::I64, {9}}};
  const auto got = run.ptx();
  expect_same(got, run.cpu(), "i64");
  EXPECT_EQ(got[0].data<std::int64_t>()[0], ((std::int64_t{1} << 55) + 1) * 3 - 5000000000000000000);
}

TEST(ElementwiseKernels, ConstantsKeepEveryBit) {
  INGOT_NEEDS_PTX();
  const double inf = std::numeric_limits<double>::infinity();
  for (const DType d : kAllDTypes) {
    ScalarExpr e({d});
    std::vector<double> values{0.0, 1.0};
    if (is_floating(d)) values = {0.1, -0.0, 1e-40, 3.4028234663852886e38, inf, -inf, std::nan(""), 1.0 / 3};
    if (d == DType::I32) values = {-2147483648.0, 2147483647.0, -1.0};
    if (d == DType::I64) values = {-9223372036854775808.0, 9007199254740993.0, -1.0};
    if (d == DType::U8) values = {255.0, 0.0, 128.0};
    for (const double v : values) e.add_output(e.emit_const(v, d));
    const KernelRun run{e, {sample({d, {5}}, 1)}, {d, {5}}};
    expect_same(run.ptx(), run.cpu(), std::string(name(d)));
  }
}

// a * b + c, then relu, a comparison and an operand as further results.
ScalarExpr several(DType d) {
  ScalarExpr e({d, d, d});
  const Reg sum = e.emit(ScalarOp::Add, {e.emit(ScalarOp::Mul, {0, 1}), 2});
  e.add_output(e.emit(ScalarOp::Relu, {sum}));
  e.add_output(e.emit(ScalarOp::Gt, {0, e.emit_const(1, d)}));
  e.add_output(0);
  return e;
}

struct Operands {
  Shape a, b, c, out;
};
const Operands kShapes[] = {
    {{3, 5, 7, 3}, {3, 5, 7, 3}, {3, 5, 7, 3}, {3, 5, 7, 3}},   // odd: a tail
    {{3, 5, 7, 3}, {}, {1}, {3, 5, 7, 3}},                      // one value
    {{2, 16, 3, 5}, {1, 16, 1, 1}, {16, 1, 1}, {2, 16, 3, 5}},  // one per channel
    {{2, 5, 3, 8}, {1, 5, 1, 1}, {2, 1, 1, 1}, {2, 5, 3, 8}},
    {{7, 33}, {33}, {7, 1}, {7, 33}},  // a row and a column, odd
    {{6, 32}, {32}, {6, 1}, {6, 32}},
    {{4, 3, 24}, {3, 1}, {4, 1, 24}, {4, 3, 24}},
    {{1, 40}, {4, 1}, {4, 40}, {4, 40}},  // the first operand broadcasts
    {{3, 1, 5}, {1, 4, 1}, {5}, {3, 4, 5}},
    {{6, 1, 5, 1, 3}, {1, 4, 1, 7, 1}, {6, 4, 5, 7, 3}, {6, 4, 5, 7, 3}},
    {{2, 1, 3, 1, 8}, {1, 4, 1, 2, 1}, {8}, {2, 4, 3, 2, 8}},
    {{1}, {1, 1}, {}, {1, 1}},
    {{}, {}, {}, {}},
    {{0, 4}, {4}, {1}, {0, 4}},  // nothing: no launch
};

TEST(ElementwiseKernels, BroadcastsAndLayouts) {
  INGOT_NEEDS_PTX();
  for (const DType d : {DType::F32, DType::BF16, DType::U8, DType::F64})
    for (const Operands& o : kShapes)
      for (const bool last : {false, true}) {
        if (last && o.out.rank() < 4) continue;
        const auto make = [&](const Shape& s, unsigned seed) {
          return sample({d, s, last && s == o.out ? Layout::channels_last(s.rank()) : Layout::row_major()},
                        seed);
        };
        const KernelRun run{several(d),
                            {make(o.a, 1), make(o.b, 2), make(o.c, 3)},
                            {d, o.out, last ? Layout::channels_last(o.out.rank()) : Layout::row_major()}};
        expect_same(run.ptx(), run.cpu(),
                    cat(name(d), " ", to_string(o.out), " ", to_string(o.b), last ? " channels last" : ""));
      }
}

TEST(ElementwiseKernels, MixedLayoutsAndBlocks) {
  INGOT_NEEDS_PTX();
  const Shape s{2, 16, 3, 5};
  Layout blocked;
  blocked.rank = 4;
  for (std::uint8_t i = 0; i < 4; ++i) blocked.order[i] = i;
  blocked.num_blocks = 1;
  blocked.blocks[0] = {1, 16};
  const Layout nhwc = Layout::channels_last(4);
  const KernelRun mixed{several(DType::F32),
                        {sample({DType::F32, s, nhwc}, 1), sample({DType::F32, s}, 2),
                         sample({DType::F32, {1, 16, 3, 5}, nhwc}, 3)},
                        {DType::F32, s, nhwc}};
  expect_same(mixed.ptx(), mixed.cpu(), "row-major under channels last");
  const KernelRun blocks{
      several(DType::F32),
      {sample({DType::F32, s, blocked}, 1), sample({DType::F32, {}}, 2), sample({DType::F32, s, blocked}, 3)},
      {DType::F32, s, blocked}};
  expect_same(blocks.ptx(), blocks.cpu(), "blocked");
}

TEST(ElementwiseKernels, ManyBlocks) {
  INGOT_NEEDS_PTX();
  for (const std::int64_t n : {1023, 1024, 1025, 9001}) {
    const KernelRun run{
        several(DType::F32),
        {sample({DType::F32, {n}}, 1), sample({DType::F32, {1}}, 2), sample({DType::F32, {n}}, 3)},
        {DType::F32, {n}}};
    expect_same(run.ptx(), run.cpu(), cat(n));
  }
}

// 64-bit indices are for outputs too large for any test, so they are forced on small ones.
TEST(ElementwiseKernels, WideIndices) {
  INGOT_NEEDS_PTX();
  for (const Operands& o : kShapes) {
    KernelRun run{several(DType::F32),
                  {sample({DType::F32, o.a}, 1), sample({DType::F32, o.b}, 2), sample({DType::F32, o.c}, 3)},
                  {DType::F32, o.out}};
    run.options.wide_index = true;
    expect_same(run.ptx(), run.cpu(), to_string(o.out));
  }
}

// Operands and results that start anywhere their element may start.
TEST(ElementwiseKernels, MisalignedStarts) {
  INGOT_NEEDS_PTX();
  for (const DType d : {DType::F32, DType::F16, DType::U8, DType::I64}) {
    const int element = static_cast<int>(size_of(d));
    for (int shift = element; shift < 16; shift *= 2) {
      KernelRun run{
          several(d), {sample({d, {3, 37}}, 1), sample({d, {37}}, 2), sample({d, {3, 37}}, 3)}, {d, {3, 37}}};
      run.options.input_alignment = {shift, shift};
      run.options.output_alignment = {shift, 1, shift};
      run.input_shift = {shift, shift, 0};
      run.output_shift = {shift, 1, shift};
      expect_same(run.ptx(), run.cpu(), cat(name(d), " at ", shift));
    }
  }
  // The interpreter does see a promise of alignment that is broken.
  KernelRun broken{several(DType::F32),
                   {sample({DType::F32, {8}}, 1), sample({DType::F32, {8}}, 2), sample({DType::F32, {8}}, 3)},
                   {DType::F32, {8}}};
  broken.input_shift = {4};
  EXPECT_THROW(broken.ptx(), Error);
  broken.options.input_alignment = {3};
  EXPECT_THROW(broken.source(), UsageError);
}

TEST(ElementwiseKernels, ResultsInTheMemoryOfOperands) {
  INGOT_NEEDS_PTX();
  for (const DType d : {DType::F32, DType::BF16}) {
    ScalarExpr e({d, d, d});
    const Reg sum = e.emit(ScalarOp::Add, {0, 1});
    e.add_output(sum);
    e.add_output(e.emit(ScalarOp::Mul, {sum, 1}));  // reads operand 1 after the first result is known
    e.add_output(e.emit(ScalarOp::Lt, {0, 2}));
    const std::vector<Tensor> in{sample({d, {7, 41}}, 1), sample({d, {7, 41}}, 2), sample({d, {41}}, 3)};
    KernelRun run{e, in, {d, {7, 41}}};
    const auto pairs = run.source().in_place;
    EXPECT_EQ(pairs, (std::vector<std::array<int, 2>>{{0, 0}, {0, 1}, {1, 0}, {1, 1}}));
    const auto want = run.cpu();
    for (const auto& [operand, result] : pairs) {
      run.shares = {-1, -1, -1};
      run.shares[static_cast<std::size_t>(result)] = operand;
      expect_same(run.ptx(), want, cat(name(d), " operand ", operand, " result ", result));
    }
    run.shares = {1, 0, -1};
    expect_same(run.ptx(), want, cat(name(d), " both"));
  }
}

// An operand that is not written must not be: the harness says so.
TEST(ElementwiseKernels, TheInterpreterSeesWritesToOperands) {
  INGOT_NEEDS_PTX();
  ScalarExpr e({DType::F32});
  e.add_output(e.emit(ScalarOp::Neg, {0}));
  const KernelRun run{e, {sample({DType::F32, {16}}, 1)}, {DType::F32, {16}}};
  const cuda::KernelSource k = run.source();
  PtxDevice device(run.compiled());
  const PtxLaunch how{.blocks = {1, 1, 1}, .threads = {256, 1, 1}};
  std::vector<float> x(16), y(16);
  EXPECT_THROW(device.launch(k.name, how, {PtxArg::read(x.data(), 64), PtxArg::read(y.data(), 64)}), Error);
  EXPECT_THROW(device.launch(k.name, how, {PtxArg::read(x.data(), 64), PtxArg::write(y.data(), 60)}), Error);
  EXPECT_THROW(device.launch(k.name, how, {PtxArg::read(x.data(), 64)}), UsageError);
  EXPECT_THROW(device.launch("other", how, {}), UsageError);
  device.launch(k.name, how, {PtxArg::read(x.data(), 64), PtxArg::write(y.data(), 64)});
}

// Long tapes and many operands: fewer elements per thread, the same results.
TEST(ElementwiseKernels, LongTapesAndManyOperands) {
  INGOT_NEEDS_PTX();
  std::vector<DType> types(40, DType::BF16);
  ScalarExpr many(types);
  Reg sum = 0;
  for (Reg i = 1; i < 40; ++i) sum = many.emit(ScalarOp::Add, {sum, i});
  many.add_output(sum);
  KernelRun run{many, {}, {DType::BF16, {45}}};
  for (unsigned i = 0; i < 40; ++i) run.inputs.push_back(sample({DType::BF16, {45}}, i));
  expect_same(run.ptx(), run.cpu(), "40 operands");
  EXPECT_EQ(run.source().elements_per_thread, 4);

  ScalarExpr longer({DType::F16});
  Reg r = 0;
  for (int i = 0; i < 120; ++i) r = longer.emit(i % 2 == 0 ? ScalarOp::Tanh : ScalarOp::Square, {r});
  longer.add_output(r);
  const KernelRun deep{longer, {sample({DType::F16, {21}}, 1)}, {DType::F16, {21}}};
  EXPECT_EQ(deep.source().elements_per_thread, 4);
  expect_same(deep.ptx(), deep.cpu(), "120 instructions");
}

// One more instruction on registers that a seed picks.
Reg random_step(ScalarExpr& e, const std::vector<Reg>& registers, std::mt19937& rng) {
  const auto pick = [&](auto&& fits) {
    std::vector<Reg> found;
    for (const Reg r : registers)
      if (fits(e.dtype(r))) found.push_back(r);
    return found[rng() % found.size()];
  };
  const Reg a = pick([](DType) { return true; });
  const DType d = e.dtype(a);
  const Reg b = pick([&](DType t) { return t == d; });
  if (d == DType::Bool) {
    const ScalarOp ops[] = {ScalarOp::And, ScalarOp::Or, ScalarOp::Ne};
    return rng() % 4 == 0 ? e.emit_cast(a, kAllDTypes[rng() % 8]) : e.emit(ops[rng() % 3], {a, b});
  }
  switch (rng() % 8) {
    case 0:
      return e.emit(ScalarOp::Lt, {a, b});
    case 1: {
      const Reg c = e.emit(ScalarOp::Ge, {b, a});
      return e.emit(ScalarOp::Where, {c, a, b});
    }
    case 2:  // not where a value may be out of range
      return e.emit_cast(a, kAllDTypes[rng() % (is_floating(d) || d == DType::I64 ? 4 : 8)]);
    case 3:
      return e.emit(ScalarOp::Add, {a, e.emit_const(static_cast<double>(rng() % 5), d)});
    case 4:
      return e.emit(ScalarOp::Relu, {a});
    case 5:
      return e.emit(ScalarOp::Minimum, {a, b});
    case 6:
      return e.emit(is_floating(d) ? ScalarOp::Mul : ScalarOp::Maximum, {a, b});
    default:
      return e.emit(ScalarOp::Sub, {a, b});
  }
}

// Tapes, shapes, broadcasts and orders of axes as a seed gives them.
TEST(ElementwiseKernels, RandomTapes) {
  INGOT_NEEDS_PTX();
  for (unsigned seed = 0; seed < 60; ++seed) {
    std::mt19937 rng(seed);
    Shape shape;
    const int rank = 1 + static_cast<int>(rng() % 5);
    for (int d = 0; d < rank; ++d) {
      const std::int64_t sizes[] = {1, 2, 3, 4, 5, 8, 16};
      shape.push_back(sizes[rng() % (rank > 3 ? 5 : 7)]);
    }
    const auto layout = [&] {
      Layout l;
      l.rank = static_cast<std::uint8_t>(rank);
      for (std::uint8_t d = 0; d < l.rank; ++d) l.order[d] = d;
      std::shuffle(l.order.begin(), l.order.begin() + rank, rng);
      return rng() % 2 ? l.canonical() : Layout::row_major();
    };
    const Layout common = layout();
    KernelRun run{ScalarExpr{}, {}, {DType::F32, shape, common}};
    std::vector<Reg> registers;
    const int operands = 1 + static_cast<int>(rng() % 4);
    for (int i = 0; i < operands; ++i) {
      const DType d = kAllDTypes[rng() % 8];
      TensorType t{d, shape, common};
      if (rng() % 2) {  // broadcasts over some axes, in a layout of its own
        t.layout = layout();
        for (int a = 0; a < rank; ++a)
          if (rng() % 2) t.shape[a] = 1;
      }
      registers.push_back(run.expr.add_input(d));
      run.inputs.push_back(sample(t, static_cast<unsigned>(rng())));
    }
    const int steps = static_cast<int>(rng() % 9);
    for (int i = 0; i < steps; ++i) registers.push_back(random_step(run.expr, registers, rng));
    const int results = 1 + static_cast<int>(rng() % 3);
    for (int i = 0; i < results; ++i)
      run.expr.add_output(
          registers[registers.size() - 1 - rng() % std::min<std::size_t>(registers.size(), 4)]);
    expect_same(run.ptx(), run.cpu(), cat("seed ", seed, ": ", run.source().text));
  }
}

// The same bits on every architecture.
TEST(ElementwiseKernels, ArchitecturesAgree) {
  INGOT_NEEDS_PTX();
  for (const int arch : kArchitectures) {
    KernelRun run{
        several(DType::F16),
        {sample({DType::F16, {5, 24}}, 1), sample({DType::F16, {24}}, 2), sample({DType::F16, {5, 1}}, 3)},
        {DType::F16, {5, 24}}};
    run.arch = arch;
    expect_same(run.ptx(), run.cpu(), cat("sm_", arch));
  }
}

}  // namespace
}  // namespace ingot
