// The tape against evaluate(), element by element: every function and dtype, broadcasts, layouts, levels,
// thread counts, odd sizes, memory shared by an operand and a result.
#include "cpu/tape.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "core/base/error.h"
#include "core/ir/tensor.h"

namespace ingot {
namespace {

using cpu::CpuLevel;
using cpu::CpuLevelScope;
using cpu::Tape;

double tolerance(DType d) {
  return d == DType::F32    ? 2e-6
         : d == DType::F64  ? 1e-14
         : d == DType::F16  ? 2e-3
         : d == DType::BF16 ? 1.6e-2
                            : 0;
}

Tensor random_tensor(const TensorType& type, std::mt19937& rng, double lo = -3.0, double hi = 3.0) {
  Tensor t = Tensor::zeros(type);
  std::uniform_real_distribution<double> draw(lo, hi);
  for (std::int64_t i = 0; i < t.numel(); ++i) {
    double v = draw(rng);
    if (type.dtype == DType::Bool) v = v > 0;
    if (is_integer(type.dtype)) v = std::floor(type.dtype == DType::U8 ? std::fabs(v) * 20 : v * 10);
    t.set(i, v);
  }
  return t;
}

// The element of `t` that row-major element `i` of `out` reads.
std::int64_t broadcast_index(const Shape& t, const Shape& out, std::int64_t i) {
  std::int64_t at = 0, stride = 1;
  for (int d = out.rank(); d-- > 0;) {
    const std::int64_t index = i % out[d];
    i /= out[d];
    const int a = d - (out.rank() - t.rank());
    if (a < 0) continue;
    if (t[a] != 1) at += index * stride;
    stride *= t[a];
  }
  return at;
}

struct Memory {
  std::vector<Tensor> inputs, outputs;
};

Memory run(const ScalarExpr& e, const std::vector<Tensor>& inputs, const TensorType& out, int threads) {
  Memory m{inputs, {}};
  std::vector<TensorType> in_types, out_types;
  for (const Tensor& t : inputs) in_types.push_back(t.type());
  for (const auto r : e.outputs()) {
    out_types.push_back({e.dtype(r), out.shape, out.layout});
    m.outputs.push_back(Tensor::full(out_types.back(), 1));
  }
  EXPECT_TRUE(Tape::accepts(in_types, out_types));
  const Tape tape(e, in_types, out_types);
  std::vector<void*> in, outs;
  for (const Tensor& t : m.inputs) in.push_back(t.raw());
  for (const Tensor& t : m.outputs) outs.push_back(t.raw());
  std::vector<std::byte> scratch(tape.workspace_bytes(threads) + 64);
  void* aligned = scratch.data() + (64 - reinterpret_cast<std::uintptr_t>(scratch.data()) % 64);
  tape.run(in.data(), outs.data(), aligned, threads);
  return m;
}

void check(const ScalarExpr& e, const std::vector<Tensor>& inputs, const TensorType& out, int threads,
           const std::string& what) {
  const Memory m = run(e, inputs, out, threads);
  std::vector<double> args(inputs.size()), want(e.outputs().size());
  int reported = 0;
  for (std::int64_t i = 0; i < out.numel(); ++i) {
    for (std::size_t k = 0; k < inputs.size(); ++k)
      args[k] = inputs[k].get(broadcast_index(inputs[k].shape(), out.shape, i));
    evaluate(e, args, want);
    for (std::size_t o = 0; o < want.size(); ++o) {
      const double got = m.outputs[o].get(i);
      const bool same =
          (std::isnan(got) && std::isnan(want[o])) || got == want[o] ||
          std::fabs(got - want[o]) <= tolerance(m.outputs[o].dtype()) * (1 + std::fabs(want[o]));
      if (!same && reported++ < 3)
        ADD_FAILURE() << what << " output " << o << " element " << i << ": " << got << ", want " << want[o];
    }
  }
}

class TapeLevels : public testing::TestWithParam<CpuLevel> {
 protected:
  CpuLevelScope level{GetParam()};
  std::mt19937 rng{11};
};

TEST_P(TapeLevels, EveryFunctionOfEveryDtype) {
  const DType dtypes[] = {DType::F32, DType::F64, DType::F16, DType::BF16,
                          DType::I32, DType::I64, DType::U8,  DType::Bool};
  int tested = 0;
  for (const ScalarOpInfo& row : scalar_op_table()) {
    for (const DType d : dtypes) {
      std::vector<DType> types(static_cast<std::size_t>(row.arity), d);
      if (row.kind == ScalarKind::Select) types[0] = DType::Bool;
      ScalarExpr e(types);
      std::vector<ScalarExpr::Reg> args;
      for (std::size_t i = 0; i < types.size(); ++i) args.push_back(static_cast<ScalarExpr::Reg>(i));
      try {
        e.add_output(e.emit(row.op, args));
      } catch (const Error&) {
        continue;
      }
      std::vector<Tensor> inputs;
      const bool positive = row.op == ScalarOp::Log || row.op == ScalarOp::Sqrt ||
                            row.op == ScalarOp::Rsqrt || row.op == ScalarOp::Pow || row.op == ScalarOp::Log1p;
      for (const DType t : types)
        inputs.push_back(random_tensor({t, {1037}}, rng, positive ? 0.1 : -3.0, 3.0));
      check(e, inputs, {DType::F32, {1037}}, 1, cat(row.name, " ", name(d)));
      ++tested;
    }
  }
  EXPECT_GT(tested, 150);
}

TEST_P(TapeLevels, EveryCast) {
  const DType dtypes[] = {DType::F32, DType::F64, DType::F16, DType::BF16,
                          DType::I32, DType::I64, DType::U8,  DType::Bool};
  for (const DType from : dtypes)
    for (const DType to : dtypes) {
      ScalarExpr e({from});
      e.add_output(e.emit_cast(0, to));
      check(e, {random_tensor({from, {515}}, rng, 0.0, 3.0)}, {DType::F32, {515}}, 1,
            cat(name(from), " to ", name(to)));
    }
}

TEST_P(TapeLevels, CastToHalfAndBackRounds) {
  for (const DType half : {DType::F16, DType::BF16}) {
    ScalarExpr e({DType::F32});
    e.add_output(e.emit_cast(e.emit_cast(0, half), DType::F32));
    const Tensor x = random_tensor({DType::F32, {2000}}, rng, -70000.0, 70000.0);
    x.set(0, 1e-6), x.set(1, -6e-8), x.set(2, 65519.9), x.set(3, 65520.0), x.set(4, std::nan(""));
    x.set(5, 1e30), x.set(6, 3e-5), x.set(7, 0.0);
    const Memory m = run(e, {x}, {DType::F32, {2000}}, 1);
    for (std::int64_t i = 0; i < 2000; ++i) {
      const double want = round_to(half, x.get(i)), got = m.outputs[0].get(i);
      if (std::isnan(want))
        EXPECT_TRUE(std::isnan(got));
      else
        EXPECT_EQ(got, want) << name(half) << " " << x.get(i);
    }
  }
}

TEST_P(TapeLevels, IntegersStayExact) {
  ScalarExpr e({DType::I64, DType::I64});
  e.add_output(e.emit(ScalarOp::Add, {e.emit(ScalarOp::Mul, {0, 1}), 0}));
  const Tensor a = Tensor::zeros({DType::I64, {3}}), b = Tensor::zeros({DType::I64, {3}});
  a.data<std::int64_t>()[0] = (std::int64_t{1} << 55) + 1;
  b.data<std::int64_t>()[0] = 3;
  const Memory m = run(e, {a, b}, {DType::I64, {3}}, 1);
  EXPECT_EQ(m.outputs[0].data<std::int64_t>()[0], ((std::int64_t{1} << 55) + 1) * 4);
}

// a * b + c, then relu and a comparison as a second output.
ScalarExpr two_outputs(DType d) {
  ScalarExpr e({d, d, d});
  const auto sum = e.emit(ScalarOp::Add, {e.emit(ScalarOp::Mul, {0, 1}), 2});
  const auto positive = e.emit(ScalarOp::Gt, {0, e.emit_const(0.25, d)});
  e.add_output(e.emit(ScalarOp::Relu, {sum}));
  e.add_output(positive);
  e.add_output(0);
  return e;
}

TEST_P(TapeLevels, BroadcastsAndLayouts) {
  struct Operands {
    Shape a, b, c, out;
  };
  const Operands cases[] = {
      {{3, 5, 7, 9}, {3, 5, 7, 9}, {3, 5, 7, 9}, {3, 5, 7, 9}},
      {{3, 5, 7, 9}, {}, {1}, {3, 5, 7, 9}},
      {{2, 16, 11, 13}, {1, 16, 1, 1}, {16, 1, 1}, {2, 16, 11, 13}},
      {{2, 5, 30, 29}, {1, 5, 1, 1}, {2, 1, 1, 1}, {2, 5, 30, 29}},
      {{70, 33}, {33}, {70, 1}, {70, 33}},
      {{4, 3000}, {3000}, {4, 1}, {4, 3000}},
      {{1, 3000}, {4, 1}, {4, 3000}, {4, 3000}},
      {{3, 1, 5}, {1, 4, 1}, {5}, {3, 4, 5}},
      {{6, 1, 5, 1, 3}, {1, 4, 1, 7, 1}, {6, 4, 5, 7, 3}, {6, 4, 5, 7, 3}},
      {{1}, {1, 1}, {}, {1, 1}},
      {{0, 4}, {4}, {1}, {0, 4}},
  };
  for (const DType d : {DType::F32, DType::BF16, DType::F64, DType::I32})
    for (const Operands& o : cases)
      for (const bool last : {false, true}) {
        if (last && o.out.rank() < 4) continue;
        const auto make = [&](const Shape& s) {
          const Layout l = last && s == o.out ? Layout::channels_last(s.rank()) : Layout::row_major();
          return random_tensor({d, s, l}, rng);
        };
        const Layout l = last ? Layout::channels_last(o.out.rank()) : Layout::row_major();
        check(two_outputs(d), {make(o.a), make(o.b), make(o.c)}, {d, o.out, l}, 1,
              cat(name(d), " ", to_string(o.out), last ? " channels last" : ""));
      }
}

TEST_P(TapeLevels, MixedLayoutsAndBlocks) {
  const Shape s{2, 32, 5, 6};
  Layout blocked;
  blocked.rank = 4;
  for (std::uint8_t i = 0; i < 4; ++i) blocked.order[i] = i;
  blocked.num_blocks = 1;
  blocked.blocks[0] = {1, 16};
  const Layout nhwc = Layout::channels_last(4);
  check(two_outputs(DType::F32),
        {random_tensor({DType::F32, s, nhwc}, rng), random_tensor({DType::F32, s}, rng),
         random_tensor({DType::F32, s, nhwc}, rng)},
        {DType::F32, s, nhwc}, 2, "row-major operand under channels last");
  check(two_outputs(DType::F32),
        {random_tensor({DType::F32, s, blocked}, rng), random_tensor({DType::F32, {}}, rng),
         random_tensor({DType::F32, s, blocked}, rng)},
        {DType::F32, s, blocked}, 1, "blocked");
  const std::vector<TensorType> mixed{{DType::F32, s, blocked}, {DType::F32, s}},
      out{{DType::F32, s, blocked}};
  EXPECT_FALSE(Tape::accepts(mixed, out));
}

TEST_P(TapeLevels, ThreadsGiveTheSameBits) {
  const Shape s{4, 24, 37, 41};
  const std::vector<Tensor> in{random_tensor({DType::F32, s, Layout::channels_last(4)}, rng),
                               random_tensor({DType::F32, {24, 1, 1}}, rng),
                               random_tensor({DType::F32, {}}, rng)};
  const TensorType out{DType::F32, s, Layout::channels_last(4)};
  check(two_outputs(DType::F32), in, out, 1, "one thread");
  const Memory one = run(two_outputs(DType::F32), in, out, 1);
  for (const int threads : {2, 3})
    for (std::size_t o = 0; o < 3; ++o)
      EXPECT_TRUE(bitwise_equal(one.outputs[o], run(two_outputs(DType::F32), in, out, threads).outputs[o]));
}

TEST_P(TapeLevels, SharedMemoryOfOperandAndResult) {
  for (const DType d : {DType::F32, DType::BF16}) {
    ScalarExpr e({d, d});
    const auto sum = e.emit(ScalarOp::Add, {0, 1});
    e.add_output(e.emit(ScalarOp::Mul, {sum, 0}));  // reads operand 0 last, so operand 1 may go too
    e.add_output(e.emit(ScalarOp::Relu, {sum}));    // is written after the last read of both
    const TensorType t{d, {5000}};
    const std::vector<TensorType> ins{t, t}, outs{t, t};
    const Tape tape(e, ins, outs);
    const auto pairs = tape.in_place();
    EXPECT_EQ(pairs.size(), 4u);
    for (const auto& pair : pairs) {
      const std::vector<Tensor> x{random_tensor(t, rng), random_tensor(t, rng)};
      const Memory apart = run(e, x, t, 1);
      std::vector<void*> in{x[0].raw(), x[1].raw()};
      const Tensor spare(t);
      std::vector<void*> out{spare.raw(), spare.raw()};
      out[static_cast<std::size_t>(pair[1])] = in[static_cast<std::size_t>(pair[0])];
      std::vector<std::byte> scratch(tape.workspace_bytes(2) + 64);
      tape.run(in.data(), out.data(), scratch.data(), 2);
      EXPECT_TRUE(bitwise_equal(x[static_cast<std::size_t>(pair[0])],
                                apart.outputs[static_cast<std::size_t>(pair[1])]));
    }
  }
  // An operand read after the result is written may not share its memory.
  ScalarExpr e({DType::F32, DType::F32});
  const auto sum = e.emit(ScalarOp::Add, {0, 1});
  e.add_output(sum);
  e.add_output(e.emit(ScalarOp::Mul, {sum, 1}));
  const TensorType t{DType::F32, {100}};
  const std::vector<TensorType> types{t, t};
  for (const auto& pair : Tape(e, types, types).in_place()) EXPECT_FALSE(pair[0] == 1 && pair[1] == 0);
}

INSTANTIATE_TEST_SUITE_P(Cpu, TapeLevels, testing::ValuesIn(cpu::available_cpu_levels()),
                         [](const auto& i) { return std::string(cpu::name(i.param)); });

}  // namespace
}  // namespace ingot
