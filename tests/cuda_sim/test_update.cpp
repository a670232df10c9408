// cuda/kernels/update on the simulated device against the ops' references: every rule, parameters and
// gradients of every dtype, tensors apart (aligned and not), side by side, many, in place and not; the norm
// of many tensors.
#include "core/ops/update.h"

#include <cmath>

#include "core/base/error.h"
#include "core/op/registry.h"
#include "cuda/kernels/update.h"
#include "tests/cuda_sim/sim_test.h"

namespace ingot {
namespace {

using cuda::AdamRule;
using cuda::DeviceBuffer;
using cuda::DeviceScalar;
using cuda::NormOperand;
using cuda::RmspropRule;
using cuda::SgdRule;
using cuda::Stream;
using cuda::UpdateScalars;
using cuda::UpdateTensor;

constexpr DType kTypes[] = {DType::F32, DType::F16, DType::BF16};

struct Layout {
  bool together = false;  // each role in one buffer, every tensor at a multiple of 64 bytes
  bool in_place = true;   // else results have buffers of their own
  std::size_t shift = 0;  // elements in front of each tensor, when not together
  DType scalars = DType::F32;
};

// One op on some tensors, and what its reference makes of them.
class Problem {
 public:
  Problem(std::string name, Attrs attrs, int roles, std::vector<std::int64_t> counts, DType dtype,
          DType gradient, double step, DType scalars)
      : name_(std::move(name)), roles_(static_cast<std::size_t>(roles)), tensors_(counts.size()) {
    for (const double v : {0.1, step, 0.5}) inputs_.push_back(Tensor::full({scalars, {}}, v));
    for (std::size_t operand = 0; operand < roles_ + 1; ++operand)  // p, g, states
      for (std::size_t t = 0; t < tensors_; ++t) {
        const Tensor x({operand == 1 ? gradient : dtype, {counts[t]}});
        const auto v = sequence(static_cast<std::size_t>(counts[t]), static_cast<unsigned>(10 * operand + t));
        // Second moments: rmsprop's first state, adam's second. Above the square of any mean beside them.
        const bool square =
            operand == (name_ == "rmsprop" ? 2u : 3u) && name_ != "sgd" && (name_ == "adam" || operand == 2);
        for (std::int64_t i = 0; i < counts[t]; ++i) {
          const auto f = static_cast<double>(v[static_cast<std::size_t>(i)]);
          x.set(i, square ? 1.5 + std::abs(f) : f);
        }
        inputs_.push_back(x);
      }
    for (std::size_t r = 0; r < roles_; ++r)
      for (std::size_t t = 0; t < tensors_; ++t) expected_.emplace_back(from(r, t).type());
    op(name_).reference({attrs, inputs_, expected_});
  }

  const Tensor& from(std::size_t role, std::size_t t) const {
    return inputs_[3 + (role == 0 ? 0 : role + 1) * tensors_ + t];
  }
  const Tensor& gradient(std::size_t t) const { return inputs_[3 + tensors_ + t]; }

  template <class Run>
  void check(const Layout& layout, const Run& run) const {
    const Stream stream;
    const Memory memory(*this, layout, stream);
    std::vector<DeviceBuffer> numbers;
    for (int i = 0; i < 3; ++i) numbers.push_back(upload(inputs_[static_cast<std::size_t>(i)], stream));
    const DType scalars = inputs_[0].dtype();
    run(memory.tensors,
        UpdateScalars{
            {numbers[0].data(), scalars}, {numbers[1].data(), scalars}, {numbers[2].data(), scalars}},
        stream, layout.together ? 64 : 1);
    for (std::size_t r = 0; r < roles_; ++r)
      for (std::size_t t = 0; t < tensors_; ++t) {
        const Tensor got(from(r, t).type());
        if (got.bytes() == 0) continue;
        cuda::copy_to_host(got.raw(), memory.tensors[t].to[r], got.bytes(), stream);
        const Tensor& want = expected_[r * tensors_ + t];
        const double unit = got.dtype() == DType::F32 ? 1e-5 : got.dtype() == DType::F16 ? 0x1p-10 : 0x1p-7;
        for (std::int64_t i = 0; i < got.numel(); ++i)
          ASSERT_NEAR(got.get(i), want.get(i), unit * std::max(0.02, std::abs(want.get(i))))
              << "role " << r << " of tensor " << t << " at " << i;
      }
  }

 private:
  static DeviceBuffer upload(const Tensor& t, const Stream& stream) {
    DeviceBuffer b(t.bytes());
    cuda::copy_to_device(b.data(), t.raw(), t.bytes(), stream);
    return b;
  }

  struct Memory {
    std::vector<DeviceBuffer> buffers;
    std::vector<UpdateTensor> tensors;

    Memory(const Problem& p, const Layout& layout, const Stream& stream) : tensors(p.tensors_) {
      for (std::size_t t = 0; t < p.tensors_; ++t) {
        tensors[t].count = p.from(0, t).numel();
        tensors[t].dtype = p.from(0, t).dtype();
        tensors[t].gradient_dtype = p.gradient(t).dtype();
      }
      place(
          p, layout, stream, [&](std::size_t t) -> const Tensor& { return p.gradient(t); },
          [&](std::size_t t, std::byte* at) { tensors[t].gradient = at; });
      for (std::size_t r = 0; r < p.roles_; ++r) {
        const auto source = [&](std::size_t t) -> const Tensor& { return p.from(r, t); };
        place(p, layout, stream, source,
              [&](std::size_t t, std::byte* at) { tensors[t].from[r] = tensors[t].to[r] = at; });
        if (!layout.in_place)
          place(p, layout, stream, source, [&](std::size_t t, std::byte* at) { tensors[t].to[r] = at; });
      }
    }
    template <class Source, class Put>
    void place(const Problem& p, const Layout& layout, const Stream& stream, const Source& source,
               const Put& put) {
      std::vector<std::size_t> offsets;
      std::size_t end = 0;
      for (std::size_t t = 0; t < p.tensors_; ++t) {
        const Tensor& x = source(t);
        if (layout.together) {
          offsets.push_back(end);
          end += (x.bytes() + 63) / 64 * 64;
          continue;
        }
        const std::size_t front = layout.shift * size_of(x.dtype());
        buffers.emplace_back(std::max<std::size_t>(x.bytes() + front, 1));
        std::byte* const at = buffers.back().as<std::byte>() + front;
        if (x.bytes() != 0) cuda::copy_to_device(at, x.raw(), x.bytes(), stream);
        put(t, at);
      }
      if (!layout.together) return;
      buffers.emplace_back(end);  // what lies between stays NaN
      for (std::size_t t = 0; t < p.tensors_; ++t) {
        std::byte* const at = buffers.back().as<std::byte>() + offsets[t];
        if (source(t).bytes() != 0) cuda::copy_to_device(at, source(t).raw(), source(t).bytes(), stream);
        put(t, at);
      }
    }
  };

  std::string name_;
  std::size_t roles_, tensors_;
  std::vector<Tensor> inputs_, expected_;
};

void check_sgd(const SgdAttrs& a, std::vector<std::int64_t> counts, DType dtype, DType gradient, double step,
               const Layout& layout = {}) {
  SCOPED_TRACE(cat("sgd ", name(dtype), " ", name(gradient), " momentum ", a.momentum, " step ", step));
  SgdAttrs attrs = a;
  attrs.count = static_cast<std::int64_t>(counts.size());
  const SgdRule rule{a.momentum, a.dampening, a.weight_decay, a.nesterov};
  Problem("sgd", attrs, cuda::roles(rule), counts, dtype, gradient, step, layout.scalars)
      .check(layout, [&](auto& tensors, auto&&... rest) { cuda::sgd(rule, tensors, rest...); });
}
void check_adam(const AdamAttrs& a, std::vector<std::int64_t> counts, DType dtype, DType gradient,
                double step, const Layout& layout = {}) {
  SCOPED_TRACE(cat("adam ", name(dtype), " ", name(gradient), " step ", step));
  AdamAttrs attrs = a;
  attrs.count = static_cast<std::int64_t>(counts.size());
  const AdamRule rule{a.beta1, a.beta2, a.eps, a.weight_decay, a.decoupled};
  Problem("adam", attrs, cuda::roles(rule), counts, dtype, gradient, step, layout.scalars)
      .check(layout, [&](auto& tensors, auto&&... rest) { cuda::adam(rule, tensors, rest...); });
}
void check_rmsprop(const RmspropAttrs& a, std::vector<std::int64_t> counts, DType dtype, DType gradient,
                   double step, const Layout& layout = {}) {
  SCOPED_TRACE(
      cat("rmsprop ", name(dtype), " ", name(gradient), " momentum ", a.momentum, " centered ", a.centered));
  RmspropAttrs attrs = a;
  attrs.count = static_cast<std::int64_t>(counts.size());
  const RmspropRule rule{a.alpha, a.eps, a.weight_decay, a.momentum, a.centered};
  Problem("rmsprop", attrs, cuda::roles(rule), counts, dtype, gradient, step, layout.scalars)
      .check(layout, [&](auto& tensors, auto&&... rest) { cuda::rmsprop(rule, tensors, rest...); });
}

class UpdateKernels : public SimTest {};

TEST_F(UpdateKernels, SgdOfEveryDtype) {
  for (const DType p : kTypes)
    for (const DType g : kTypes) {
      check_sgd({1}, {100, 3}, p, g, 1);
      check_sgd({1, 0.9, 0.1, 0.01}, {100, 3}, p, g, 1);
      check_sgd({1, 0.9, 0.1, 0.01}, {100, 3}, p, g, 5);
      check_sgd({1, 0.9, 0.0, 0.01, true}, {100, 3}, p, g, 2);
    }
}

TEST_F(UpdateKernels, AdamOfEveryDtype) {
  for (const DType p : kTypes)
    for (const DType g : kTypes) {
      check_adam({1}, {50, 21}, p, g, 1);
      check_adam({1, 0.8, 0.95, 1e-6, 0.1}, {50, 21}, p, g, 7);
      check_adam({1, 0.8, 0.95, 1e-6, 0.1, true}, {50, 21}, p, g, 7);
    }
}

TEST_F(UpdateKernels, RmspropOfEveryDtype) {
  for (const DType p : kTypes)
    for (const DType g : kTypes)
      for (const double momentum : {0.0, 0.5})
        for (const bool centered : {false, true})
          check_rmsprop({1, 0.9, 1e-6, 0.01, momentum, centered}, {50, 21}, p, g, 3);
}

// 1 - b^t in f32: small at the first steps, one in the limit.
TEST_F(UpdateKernels, AdamsCorrectionsAtEveryAge) {
  for (const double step : {1.0, 2.0, 10.0, 1000.0, 100000.0, 16777216.0})
    check_adam({}, {40}, DType::F32, DType::F32, step);
  check_adam({1, 0.0, 0.0}, {40}, DType::F32, DType::F32, 3);
}

TEST_F(UpdateKernels, PlacesOfEveryKind) {
  const std::vector<std::int64_t> counts{5000, 0, 1, 17, 2048, 16, 2049};
  const SgdAttrs sgd{1, 0.9, 0.0, 0.01};
  for (const Layout& layout :
       {Layout{}, Layout{.in_place = false}, Layout{.shift = 1}, Layout{.together = true},
        Layout{.together = true, .in_place = false}, Layout{.scalars = DType::F64},
        Layout{.scalars = DType::F16}, Layout{.scalars = DType::BF16}}) {
    check_sgd(sgd, counts, DType::F32, DType::F32, 2, layout);
    check_sgd(sgd, counts, DType::F32, DType::BF16, 2, layout);
    check_sgd(sgd, counts, DType::F16, DType::F16, 2, layout);
  }
}

TEST_F(UpdateKernels, MoreTensorsThanATableHolds) {
  check_sgd({1, 0.9}, std::vector<std::int64_t>(90, 3), DType::F32, DType::F32, 2);
  check_adam({}, std::vector<std::int64_t>(41, 9), DType::BF16, DType::BF16, 2);
}

// A parameter of each dtype in one call, as mixed precision has them.
TEST_F(UpdateKernels, TensorsOfACallMayDiffer) {
  const Stream stream;
  const DeviceBuffer numbers = to_device(std::vector<float>{0.5f, 1.0f, 2.0f}, stream);
  const DeviceBuffer p = to_device(std::vector<float>{1, 2, 3}, stream);
  const DeviceBuffer q = to_device(std::vector<bf16>{bf16::from(1), bf16::from(2)}, stream);
  const DeviceBuffer g = to_device(std::vector<f16>{f16::from(1), f16::from(2), f16::from(3)}, stream);
  const UpdateTensor tensors[] = {{3, DType::F32, DType::F16, g.data(), {p.data()}, {p.data()}},
                                  {2, DType::BF16, DType::F32, p.as<float>() + 0, {q.data()}, {q.data()}}};
  // The second reads the first's new value, so it has a call of its own.
  for (const UpdateTensor& t : tensors)
    cuda::sgd({}, {&t, 1}, {{numbers.as<float>()}, {numbers.as<float>() + 1}, {numbers.as<float>() + 2}},
              stream);
  EXPECT_EQ(to_host<float>(p, stream), (std::vector<float>{0, 0, 0}));
  const auto rest = to_host<bf16>(q, stream);
  EXPECT_EQ(rest[0].to_float(), 1.0f);
  EXPECT_EQ(rest[1].to_float(), 2.0f);
  const UpdateTensor both[] = {{3, DType::F32, DType::F16, g.data(), {p.data()}, {p.data()}},
                               {2, DType::BF16, DType::F16, g.data(), {q.data()}, {q.data()}}};
  cuda::sgd({}, both, {{numbers.as<float>()}, {numbers.as<float>() + 1}, {numbers.as<float>() + 2}}, stream);
  EXPECT_EQ(to_host<float>(p, stream), (std::vector<float>{-1, -2, -3}));
  EXPECT_EQ(to_host<bf16>(q, stream)[1].to_float(), 0.0f);
}

// The buffer's content does not count in the first step, nor do numbers below the normal ones stay.
TEST_F(UpdateKernels, FirstStepsAndFadedStates) {
  const Stream stream;
  const DeviceBuffer numbers = to_device(std::vector<float>{0.5f, 1.0f, 1.0f, 2.0f}, stream);
  const DeviceBuffer p = to_device(std::vector<float>(8, 1.0f), stream);
  const DeviceBuffer m = to_device(std::vector<float>(8, NAN), stream);
  const DeviceBuffer g = to_device(std::vector<float>(8, 1.2e-38f), stream);
  const UpdateTensor w{8, DType::F32, DType::F32, g.data(), {p.data(), m.data()}, {p.data(), m.data()}};
  const auto run = [&](int step) {
    cuda::sgd({.momentum = 0.9}, {&w, 1},
              {{numbers.as<float>()}, {numbers.as<float>() + step}, {numbers.as<float>() + 1}}, stream);
  };
  run(1);
  EXPECT_EQ(to_host<float>(m, stream), std::vector<float>(8, 1.2e-38f));
  cuda::fill_bytes(g.data(), 0, g.bytes(), stream);
  run(3);
  EXPECT_EQ(to_host<float>(m, stream), std::vector<float>(8, 0.0f));
}

// Step 0 leaves the bits as they are, whatever the gradients hold: by wide accesses and one by one, in place
// and not.
TEST_F(UpdateKernels, StepZeroChangesNothing) {
  const Stream stream;
  const DeviceBuffer numbers = to_device(std::vector<float>{0.5f, 0.0f, 2.0f}, stream);
  const UpdateScalars now{{numbers.as<float>()}, {numbers.as<float>() + 1}, {numbers.as<float>() + 2}};
  const std::vector<float> start[3] = {sequence(21, 1), sequence(21, 2), sequence(21, 3)};
  const DeviceBuffer g = to_device(std::vector<float>(21, NAN), stream);
  for (const bool in_place : {true, false}) {
    const auto check = [&](int kept, const auto& update) {
      std::vector<DeviceBuffer> from, to;
      UpdateTensor w{21, DType::F32, DType::F32, g.data(), {}, {}};
      for (std::size_t r = 0; r < static_cast<std::size_t>(kept); ++r) {
        from.push_back(to_device(start[r], stream));
        to.push_back(to_device(std::vector<float>(21, 7.0f), stream));
        w.from[r] = from[r].data();
        w.to[r] = in_place ? from[r].data() : to[r].data();
      }
      update(std::span<const UpdateTensor>(&w, 1));
      for (std::size_t r = 0; r < from.size(); ++r)
        EXPECT_EQ(to_host<float>(in_place ? from[r] : to[r], stream), start[r]) << "role " << r;
    };
    check(1, [&](auto w) { cuda::sgd({.weight_decay = 0.1}, w, now, stream); });
    check(2, [&](auto w) { cuda::sgd({.momentum = 0.9}, w, now, stream); });
    check(3, [&](auto w) { cuda::adam({.weight_decay = 0.1, .decoupled = true}, w, now, stream); });
    check(3, [&](auto w) { cuda::rmsprop({.momentum = 0.9}, w, now, stream); });
  }
}

// Gradients that never change bring the two moments together: the root must not see their rounding.
TEST_F(UpdateKernels, CenteredRmspropOfAConstantGradient) {
  const Stream stream;
  const DeviceBuffer numbers = to_device(std::vector<float>{0.01f, 1.0f, 1.0f}, stream);
  const std::vector<float> gradients = sequence(64, 5);
  std::vector<float> squares, means = gradients;
  for (const float v : gradients) squares.push_back(v * v * (1.0f - 0x1p-22f));
  const DeviceBuffer p = to_device(std::vector<float>(64, 1.0f), stream), g = to_device(gradients, stream);
  const DeviceBuffer sq = to_device(squares, stream), avg = to_device(means, stream);
  const UpdateTensor w{64,
                       DType::F32,
                       DType::F32,
                       g.data(),
                       {p.data(), sq.data(), avg.data()},
                       {p.data(), sq.data(), avg.data()}};
  cuda::rmsprop({.alpha = 0.99, .centered = true}, {&w, 1},
                {{numbers.as<float>()}, {numbers.as<float>() + 1}, {numbers.as<float>() + 2}}, stream);
  for (const float v : to_host<float>(p, stream)) EXPECT_FALSE(std::isnan(v));
}

TEST_F(UpdateKernels, NeighboursAreJoined) {
  alignas(64) static std::byte memory[4096];  // never touched: addresses alone
  const auto tensor = [](std::int64_t at, std::int64_t count, std::int64_t gradient_at) {
    UpdateTensor t;
    t.count = count;
    t.gradient = memory + 2048 + gradient_at;
    t.from = {memory + at, memory + 1024 + at};
    t.to = {memory + at, memory + 1024 + at};
    return t;
  };
  const auto join = [](std::vector<UpdateTensor> v, std::size_t pad) { return cuda::joined(v, 2, pad); };
  // 5 floats, 64 bytes later the next one.
  auto one = join({tensor(0, 5, 0), tensor(64, 16, 64), tensor(128, 3, 128)}, 64);
  ASSERT_EQ(one.size(), 1u);
  EXPECT_EQ(one[0].count, 35);
  EXPECT_EQ(join({tensor(0, 5, 0), tensor(64, 16, 64)}, 1).size(), 2u);    // no padding allowed
  EXPECT_EQ(join({tensor(0, 16, 0), tensor(64, 16, 64)}, 1).size(), 1u);   // none there
  EXPECT_EQ(join({tensor(0, 5, 0), tensor(128, 5, 128)}, 64).size(), 2u);  // something in between
  EXPECT_EQ(join({tensor(0, 5, 0), tensor(64, 5, 128)}, 64).size(), 2u);   // gradients lie otherwise
  EXPECT_EQ(join({tensor(64, 5, 64), tensor(0, 5, 0)}, 64).size(), 2u);    // backwards
  EXPECT_EQ(join({tensor(0, 5, 0), tensor(9, 0, 9), tensor(64, 5, 64)}, 64).size(), 1u);  // nothing
  auto elsewhere = tensor(64, 5, 64);
  elsewhere.to[1] = memory + 3000;
  EXPECT_EQ(join({tensor(0, 5, 0), elsewhere}, 64).size(), 2u);
  auto half = tensor(64, 5, 64);
  half.gradient_dtype = DType::F16;
  EXPECT_EQ(join({tensor(0, 5, 0), half}, 64).size(), 2u);
}

TEST_F(UpdateKernels, NothingToDoAndOtherTypes) {
  const Stream stream;
  const UpdateScalars scalars{};
  cuda::sgd({}, {}, scalars, stream);
  const UpdateTensor empty{};
  cuda::adam({}, {&empty, 1}, scalars, stream);
  const UpdateTensor wrong{1, DType::F64};
  EXPECT_THROW(cuda::sgd({}, {&wrong, 1}, scalars, stream), UsageError);
  UpdateTensor gradient{1};
  gradient.gradient_dtype = DType::I32;
  EXPECT_THROW(cuda::rmsprop({}, {&gradient, 1}, scalars, stream), UsageError);
  const UpdateScalars integers{{nullptr, DType::I64}, {}, {}};
  EXPECT_THROW(cuda::adam({}, {&empty, 1}, integers, stream), UsageError);
}

// ---- Norm

struct Part {
  std::int64_t count;
  DType dtype = DType::F32;
  std::size_t shift = 0;
};

double norm_of(const std::vector<Part>& parts, double& want) {
  const Stream stream;
  std::vector<DeviceBuffer> buffers;
  std::vector<NormOperand> operands;
  double sum = 0;
  for (const Part& part : parts) {
    const Tensor x({part.dtype, {part.count}});
    const auto v = sequence(static_cast<std::size_t>(part.count), static_cast<unsigned>(buffers.size() + 1));
    for (std::int64_t i = 0; i < part.count; ++i) {
      x.set(i, static_cast<double>(v[static_cast<std::size_t>(i)]));
      sum += x.get(i) * x.get(i);
    }
    const std::size_t front = part.shift * size_of(part.dtype);
    buffers.emplace_back(x.bytes() + front + 1);
    std::byte* const at = buffers.back().as<std::byte>() + front;
    if (part.count > 0) cuda::copy_to_device(at, x.raw(), x.bytes(), stream);
    operands.push_back({at, part.count, part.dtype});
  }
  want = std::sqrt(sum);
  const DeviceBuffer workspace(cuda::global_norm_workspace(operands) + 1), out(sizeof(float));
  cuda::global_norm(operands, out.as<float>(), workspace.data(), stream);
  float norm = -1;
  cuda::copy_to_host(&norm, out.data(), sizeof norm, stream);
  return static_cast<double>(norm);
}

TEST_F(UpdateKernels, NormOfManyTensors) {
  for (const std::vector<Part>& parts :
       {std::vector<Part>{{1}}, std::vector<Part>{{7}, {0}, {1000}},
        std::vector<Part>{{40000}, {33, DType::F16}, {16385, DType::BF16}},
        std::vector<Part>{{999, DType::F32, 1}, {555, DType::F16, 3}, {40, DType::BF16, 1}},
        std::vector<Part>{{16384}, {16384 * 3 + 5}}, std::vector<Part>(400, Part{11})}) {
    double want = 0;
    const double got = norm_of(parts, want);
    EXPECT_NEAR(got, want, 1e-6 * want);
    double again = 0;
    EXPECT_EQ(norm_of(parts, again), got);
  }
  double want = 0;
  EXPECT_EQ(norm_of({{0}}, want), 0.0);
  const NormOperand wrong{nullptr, 1, DType::F64};
  EXPECT_THROW(cuda::global_norm({&wrong, 1}, nullptr, nullptr, Stream()), UsageError);
}

}  // namespace
}  // namespace ingot
