#include "tests/cuda/kernel_run.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <random>

#include "core/base/error.h"
#include "cpu/tape.h"

namespace ingot {

namespace {

// Memory that starts `shift` bytes beyond an aligned address and ends with the tensor.
class Buffer {
 public:
  Buffer(std::size_t bytes, int shift) : memory_(bytes + 64), bytes_(bytes) {
    const auto at = reinterpret_cast<std::uintptr_t>(memory_.data());
    start_ = memory_.data() + (16 - at % 16) % 16 + shift;
    std::memset(start_, 0xA5, bytes);
  }
  std::byte* data() const { return start_; }
  std::size_t bytes() const { return bytes_; }

 private:
  std::vector<std::byte> memory_;
  std::byte* start_ = nullptr;
  std::size_t bytes_;
};

int at(const std::vector<int>& v, std::size_t i, int otherwise) {
  return i < v.size() ? v[i] : otherwise;
}

double ulp(DType d, double v) {
  const int digits = d == DType::F64 ? 52 : d == DType::F32 ? 23 : d == DType::F16 ? 10 : 7;
  const int lowest = d == DType::F64 ? -1022 : d == DType::F16 ? -14 : -126;
  if (v == 0.0) return std::ldexp(1.0, lowest - digits);
  return std::ldexp(1.0, std::max(std::ilogb(v), lowest) - digits);
}

}  // namespace

std::vector<TensorType> KernelRun::input_types() const {
  std::vector<TensorType> types;
  for (const Tensor& t : inputs) types.push_back(t.type());
  return types;
}

std::vector<TensorType> KernelRun::output_types() const {
  std::vector<TensorType> types;
  for (const auto r : expr.outputs()) types.push_back({expr.dtype(r), out.shape, out.layout});
  return types;
}

cuda::KernelSource KernelRun::source() const {
  return cuda::elementwise_source(expr, input_types(), output_types(), options);
}

std::string KernelRun::compiled() const {
  static std::map<std::string, std::string> made;  // several checks look at one kernel
  const cuda::KernelSource k = source();
  std::string& ptx = made[cat(arch, "\n", k.text)];
  if (ptx.empty()) ptx = cuda::Nvrtc::instance().compile(k.name, k.text, arch, cuda::KernelFormat::Ptx);
  return ptx;
}

std::vector<Tensor> KernelRun::ptx() const {
  const cuda::KernelSource k = source();
  std::vector<Buffer> in, results;
  std::vector<PtxArg> args;
  const auto types = output_types();
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    in.emplace_back(inputs[i].bytes(), at(input_shift, i, 0));
    if (inputs[i].bytes() != 0) std::memcpy(in[i].data(), inputs[i].raw(), inputs[i].bytes());
    const bool shared = std::count(shares.begin(), shares.end(), static_cast<int>(i)) != 0;
    args.push_back(shared ? PtxArg::write(in[i].data(), in[i].bytes())
                          : PtxArg::read(in[i].data(), in[i].bytes()));
  }
  std::vector<std::byte*> where;
  for (std::size_t o = 0; o < types.size(); ++o) {
    results.emplace_back(types[o].bytes(), at(output_shift, o, 0));
    const int operand = at(shares, o, -1);
    where.push_back(operand < 0 ? results[o].data() : in[static_cast<std::size_t>(operand)].data());
    args.push_back(PtxArg::write(where[o], types[o].bytes()));
  }
  if (k.blocks > 0) {
    PtxDevice device(compiled());
    device.launch(k.name,
                  {.blocks = {static_cast<std::uint32_t>(k.blocks), 1, 1},
                   .threads = {static_cast<std::uint32_t>(k.threads), 1, 1}},
                  args);
  }
  std::vector<Tensor> outputs;
  for (std::size_t o = 0; o < types.size(); ++o) {
    outputs.emplace_back(types[o]);
    if (types[o].bytes() != 0) std::memcpy(outputs[o].raw(), where[o], types[o].bytes());
  }
  return outputs;
}

std::vector<Tensor> KernelRun::cpu() const {
  const auto types = output_types();
  const cpu::Tape tape(expr, input_types(), types);
  std::vector<Tensor> outputs;
  std::vector<void*> in, results;
  for (const Tensor& t : inputs) in.push_back(t.raw());
  for (const TensorType& t : types) {
    outputs.emplace_back(t);
    results.push_back(outputs.back().raw());
  }
  std::vector<std::byte> scratch(tape.workspace_bytes(1) + 64);
  void* aligned = scratch.data() + (64 - reinterpret_cast<std::uintptr_t>(scratch.data()) % 64);
  tape.run(in.data(), results.data(), aligned, 1);
  return outputs;
}

std::vector<ScalarExpr> lone(const ScalarOpInfo& row, DType d) {
  std::vector<DType> types(static_cast<std::size_t>(row.arity), d);
  if (row.kind == ScalarKind::Select) types[0] = DType::Bool;
  ScalarExpr e(types);
  std::vector<ScalarExpr::Reg> args;
  for (std::size_t i = 0; i < types.size(); ++i) args.push_back(static_cast<ScalarExpr::Reg>(i));
  try {
    e.add_output(e.emit(row.op, args));
  } catch (const ShapeError&) {
    return {};
  }
  return {e};
}

Tensor sample(const TensorType& type, unsigned seed) {
  Tensor t = Tensor::zeros(type);
  std::mt19937 rng(seed);
  const double inf = std::numeric_limits<double>::infinity(), nan = std::nan("");
  std::vector<double> special{0.0, 1.0};
  if (is_floating(type.dtype))
    special = {0.0,   -0.0,    1.0,   -1.0,   inf,    -inf, nan,  0.5,    -0.5, 2.5,
               1e-3,  -1e-3,   1e-40, -1e-40, 6e-8,   88.0, 89.5, -103.5, 11.0, -17.5,
               700.0, 60000.0, 3e38,  -3e38,  1e-300, 3.0,  -3.0, 20.0};
  else if (type.dtype == DType::U8)
    special = {0.0, 1.0, 255.0, 254.0, 128.0, 127.0, 2.0, 16.0};
  else if (type.dtype == DType::I64)
    special = {0.0, 1.0, -1.0, 2000000001.0, -2000000003.0, 16777217.0, 2.0, -7.0};  // products below 2^62
  else if (type.dtype == DType::I32)
    special = {0.0, 1.0, -1.0, 46340.0, -46340.0, 7.0, -7.0, 2.0};
  std::uniform_real_distribution<double> draw(-4.0, 4.0);
  for (std::int64_t i = 0; i < t.numel(); ++i) {
    double v = draw(rng);
    // Two operands meet each special value of the other and random ones.
    if (rng() % 3 == 0)
      v = special[rng() % special.size()];
    else if (type.dtype == DType::U8)
      v = static_cast<double>(rng() % 256);
    else if (type.dtype == DType::Bool)
      v = static_cast<double>(rng() % 2);
    else if (is_integer(type.dtype))
      v = std::floor(v * 100);
    t.set(i, v);
  }
  return t;
}

void expect_same(const std::vector<Tensor>& got, const std::vector<Tensor>& want, const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  for (std::size_t o = 0; o < got.size(); ++o) {
    ASSERT_EQ(got[o].type(), want[o].type()) << what;
    const std::size_t element = size_of(got[o].dtype());
    const auto a = got[o].as_bytes(), b = want[o].as_bytes();
    int reported = 0;
    for (std::size_t i = 0; i < a.size() / element && reported < 3; ++i) {
      if (std::memcmp(a.data() + i * element, b.data() + i * element, element) == 0) continue;
      const Tensor x = Tensor::from_bytes({got[o].dtype(), {}}, a.subspan(i * element, element)),
                   y = Tensor::from_bytes({got[o].dtype(), {}}, b.subspan(i * element, element));
      if (std::isnan(x.item()) && std::isnan(y.item())) continue;
      ADD_FAILURE() << what << ", result " << o << ", element " << i << " in memory: " << x.item()
                    << ", want " << y.item();
      ++reported;
    }
  }
}

void expect_close(const Tensor& got, const Tensor& want, double ulps, double scale, const std::string& what) {
  ASSERT_EQ(got.type(), want.type()) << what;
  int reported = 0;
  for (std::int64_t i = 0; i < got.numel() && reported < 3; ++i) {
    const double x = got.get(i), y = want.get(i);
    if ((std::isnan(x) && std::isnan(y)) || x == y) continue;
    if (std::fabs(x - y) <= ulps * ulp(want.dtype(), std::max(std::fabs(y), scale))) continue;
    ADD_FAILURE() << what << ", element " << i << ": " << x << ", want " << y;
    ++reported;
  }
}

}  // namespace ingot
