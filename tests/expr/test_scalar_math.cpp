// The float functions of scalar_ops.h against the C library in double, over bit patterns of the whole range.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "core/expr/scalar_ops.h"

namespace ingot {
namespace {

struct Case {
  const char* name;
  float (*f)(float);
  double (*exact)(double);
  double max_ulp;
  double from, to;
};

constexpr double kInf = std::numeric_limits<double>::infinity();

double exact_sigmoid(double x) {
  return 1.0 / (1.0 + std::exp(-x));
}
double exact_softplus(double x) {
  return x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x));
}

const Case kCases[] = {
    {"exp", [](float x) { return scalar::exp(x); }, [](double x) { return std::exp(x); }, 2, -kInf, kInf},
    {"expm1", [](float x) { return scalar::expm1(x); }, [](double x) { return std::expm1(x); }, 2, -kInf,
     kInf},
    {"log", [](float x) { return scalar::log(x); }, [](double x) { return std::log(x); }, 2, -kInf, kInf},
    {"log1p", [](float x) { return scalar::log1p(x); }, [](double x) { return std::log1p(x); }, 2, -kInf,
     kInf},
    {"tanh", [](float x) { return scalar::tanh(x); }, [](double x) { return std::tanh(x); }, 4, -kInf, kInf},
    {"erf", [](float x) { return scalar::erf(x); }, [](double x) { return std::erf(x); }, 4, -kInf, kInf},
    {"sigmoid", [](float x) { return scalar::sigmoid(x); }, exact_sigmoid, 3, -87, kInf},
    {"softplus", [](float x) { return scalar::softplus(x); }, exact_softplus, 3, -87, kInf},
};

TEST(ScalarMath, FloatFunctionsAreWithinTheirErrorBounds) {
  for (const Case& c : kCases) {
    double worst = 0;
    float at = 0;
    for (std::uint64_t u = 0; u <= 0xffffffffu; u += 1009) {
      const float x = std::bit_cast<float>(static_cast<std::uint32_t>(u));
      if (!(static_cast<double>(x) >= c.from && static_cast<double>(x) <= c.to)) continue;
      const double want = c.exact(static_cast<double>(x));
      const float got = c.f(x);
      if (std::isnan(want)) {
        ASSERT_TRUE(std::isnan(got)) << c.name << "(" << x << ")";
        continue;
      }
      if (std::fabs(want) > static_cast<double>(std::numeric_limits<float>::max())) {
        ASSERT_EQ(std::fabs(got), std::numeric_limits<float>::infinity()) << c.name << "(" << x << ")";
        continue;
      }
      int e = 0;
      std::frexp(want, &e);
      const double ulp = std::ldexp(1.0, std::max(e, -125) - 24);
      const double error = std::fabs(static_cast<double>(got) - want) / ulp;
      ASSERT_FALSE(std::isnan(got)) << c.name << "(" << x << ")";
      if (error > worst) worst = error, at = x;
    }
    EXPECT_LE(worst, c.max_ulp) << c.name << " at " << at;
  }
}

TEST(ScalarMath, SpecialValues) {
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  for (const Case& c : kCases) EXPECT_TRUE(std::isnan(c.f(nan))) << c.name;
  EXPECT_EQ(scalar::exp(0.0f), 1.0f);
  EXPECT_EQ(scalar::exp(-inf), 0.0f);
  EXPECT_EQ(scalar::exp(inf), inf);
  EXPECT_EQ(scalar::expm1(-inf), -1.0f);
  EXPECT_EQ(scalar::log(1.0f), 0.0f);
  EXPECT_EQ(scalar::log(0.0f), -inf);
  EXPECT_EQ(scalar::log(inf), inf);
  EXPECT_EQ(scalar::log1p(-1.0f), -inf);
  EXPECT_EQ(scalar::log1p(inf), inf);
  EXPECT_EQ(scalar::tanh(-inf), -1.0f);
  EXPECT_EQ(scalar::erf(inf), 1.0f);
  EXPECT_TRUE(std::signbit(scalar::tanh(-0.0f)));
  EXPECT_TRUE(std::isnan(scalar::relu(nan)));
  EXPECT_TRUE(std::isnan(scalar::maximum(nan, 1.0f)));
  EXPECT_TRUE(std::isnan(scalar::maximum(1.0f, nan)));
  EXPECT_TRUE(std::isnan(scalar::minimum(1.0f, nan)));
  EXPECT_EQ(scalar::round(2.5f), 2.0f);
  EXPECT_EQ(scalar::div(7, -2), -3);
  EXPECT_EQ(scalar::div(7, 0), 0);
  EXPECT_EQ(scalar::softplus(-200.0f), 0.0f);
  EXPECT_EQ(scalar::sigmoid(-200.0f), 0.0f);
}

TEST(ScalarMath, CompositeActivationsFollowTheirFormulas) {
  for (float x = -6.0f; x < 6.0f; x += 0.0137f) {
    const double d = static_cast<double>(x);
    const auto near = [&](const char* name, float got, double want) {
      EXPECT_NEAR(static_cast<double>(got), want, 4e-7 * std::max(1.0, std::fabs(d)))
          << name << "(" << x << ")";
    };
    near("gelu", scalar::gelu(x), 0.5 * d * (1 + std::erf(d / std::sqrt(2.0))));
    near("gelu_tanh", scalar::gelu_tanh(x),
         0.5 * d * (1 + std::tanh(std::sqrt(2 / M_PI) * (d + 0.044715 * d * d * d))));
    near("silu", scalar::silu(x), d * exact_sigmoid(d));
    near("mish", scalar::mish(x), d * std::tanh(exact_softplus(d)));
    near("selu", scalar::selu(x), 1.0507009873554805 * (d > 0 ? d : 1.6732632423543772 * std::expm1(d)));
    near("elu", scalar::elu(x, 0.7f), d > 0 ? d : static_cast<double>(0.7f) * std::expm1(d));
  }
}

}  // namespace
}  // namespace ingot
