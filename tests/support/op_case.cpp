#include "tests/support/op_case.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>

#include "core/base/error.h"
#include "core/base/hash.h"
#include "core/base/philox.h"

namespace ingot::test {

namespace {

constexpr double kKinkDistance = 0.01;

std::vector<MakeSuite>& suites() {
  static std::vector<MakeSuite> s;
  return s;
}

struct Collected {
  std::vector<OpCase> cases;
  std::vector<OpErrorCase> errors;
  Collected() {
    for (const MakeSuite make : suites()) {
      const std::unique_ptr<OpCaseSuite> suite(make());
      suite->define();
      for (auto& c : suite->cases) cases.push_back(std::move(c));
      for (auto& c : suite->errors) errors.push_back(std::move(c));
    }
  }
};

const Collected& collected() {
  static const Collected c;
  return c;
}

InputSpec spec(DType dtype, const Shape& shape, InputSpec::Domain domain, double lo, double hi) {
  InputSpec s;
  s.type = {dtype, shape};
  s.domain = domain;
  s.lo = lo;
  s.hi = hi;
  return s;
}

// [0, 1) with 32 bits.
double unit(const Philox& rng, std::int64_t i) {
  return static_cast<double>(rng.bits(static_cast<std::uint64_t>(i))) * 0x1p-32;
}

// Moves v off the kinks, to the side it is on.
double off_kinks(double v, const std::vector<double>& kinks) {
  for (const double k : kinks)
    if (std::abs(v - k) < 2 * kKinkDistance) v = k + (v < k ? -2.0 : 2.0) * kKinkDistance;
  return v;
}

}  // namespace

InputSpec OpCaseSuite::uniform(const Shape& shape, double lo, double hi) {
  return spec(DType::F32, shape, InputSpec::Domain::Uniform, lo, hi);
}
InputSpec OpCaseSuite::positive(const Shape& shape, double lo, double hi) {
  return spec(DType::F32, shape, InputSpec::Domain::Uniform, lo, hi);
}
InputSpec OpCaseSuite::integers(const Shape& shape, std::int64_t n, DType dtype) {
  return spec(dtype, shape, InputSpec::Domain::Integers, 0.0, static_cast<double>(n));
}
InputSpec OpCaseSuite::bools(const Shape& shape) {
  return spec(DType::Bool, shape, InputSpec::Domain::Integers, 0.0, 2.0);
}
InputSpec OpCaseSuite::distinct(const Shape& shape, double lo, double hi) {
  return spec(DType::F32, shape, InputSpec::Domain::Distinct, lo, hi);
}
InputSpec OpCaseSuite::values(const Shape& shape, std::vector<double> v, DType dtype) {
  InputSpec s = spec(dtype, shape, InputSpec::Domain::Values, 0.0, 0.0);
  s.values = std::move(v);
  return s;
}
InputSpec OpCaseSuite::scalar(double v, DType dtype) {
  return values({}, {v}, dtype);
}
InputSpec OpCaseSuite::rng(std::int64_t seed, std::int64_t offset) {
  return values({2}, {static_cast<double>(seed), static_cast<double>(offset)}, DType::I64);
}

const std::vector<OpCase>& op_cases() {
  return collected().cases;
}
const std::vector<OpErrorCase>& op_error_cases() {
  return collected().errors;
}

bool register_op_cases(MakeSuite make) {
  suites().push_back(make);
  return true;
}

std::vector<Tensor> make_inputs(const OpCase& c) {
  Hasher key;
  key.add(std::string_view(c.op));
  key.add(std::string_view(c.name));
  const std::size_t operands = c.inputs.size();
  std::vector<Tensor> out;
  for (std::size_t k = 0; k < operands; ++k) {
    const InputSpec& s = c.inputs[k];
    const Philox rng(key.value(), k);
    const std::int64_t n = s.type.numel();
    std::vector<double> v(static_cast<std::size_t>(n));
    switch (s.domain) {
      case InputSpec::Domain::Uniform:
        for (std::size_t i = 0; i < v.size(); ++i)
          v[i] = s.lo + (s.hi - s.lo) * unit(rng, static_cast<std::int64_t>(i));
        break;
      case InputSpec::Domain::Integers:
        for (std::size_t i = 0; i < v.size(); ++i)
          v[i] = std::floor(s.hi * unit(rng, static_cast<std::int64_t>(i)));
        break;
      case InputSpec::Domain::Distinct: {
        // Operand k takes its own slots of the grid, so that maximum(a, b) never meets a tie.
        std::vector<std::size_t> place(v.size());
        std::iota(place.begin(), place.end(), std::size_t{0});
        for (std::size_t i = v.size(); i > 1; --i)
          std::swap(place[i - 1], place[static_cast<std::size_t>(unit(rng, static_cast<std::int64_t>(i)) *
                                                                 static_cast<double>(i))]);
        const double step = (s.hi - s.lo) / static_cast<double>(std::max<std::int64_t>(n, 1));
        for (std::size_t i = 0; i < v.size(); ++i)
          v[i] = s.lo + step * (static_cast<double>(place[i]) +
                                static_cast<double>(k + 1) / static_cast<double>(operands + 1));
        break;
      }
      case InputSpec::Domain::Values:
        if (s.values.empty() && n != 0)
          throw UsageError(cat("case ", c.op, ".", c.name, ": operand ", k, " lists no values"));
        for (std::size_t i = 0; i < v.size(); ++i) v[i] = s.values[i % s.values.size()];
        break;
    }
    Tensor t(s.type);
    const bool move = is_floating(s.type.dtype) && s.differentiate &&
                      (s.domain == InputSpec::Domain::Uniform || s.domain == InputSpec::Domain::Distinct);
    for (std::int64_t i = 0; i < n; ++i) {
      const double e = v[static_cast<std::size_t>(i)];
      t.set(i, move ? off_kinks(e, c.kinks) : e);
    }
    out.push_back(std::move(t));
  }
  return out;
}

}  // namespace ingot::test
