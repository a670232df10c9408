// cuda/kernels/recurrent on the simulated device against plain loops in double: one step of each cell and of
// its gradient, over several blocks, with rows that the step does not reach and rows that start with it.
#include "cuda/kernels/recurrent.h"

#include <cmath>

#include "core/base/error.h"
#include "tests/cuda_sim/sim_test.h"

namespace ingot {
namespace {

using cuda::DeviceBuffer;
using cuda::RecurrentCell;
using cuda::Stream;
using Numbers = std::vector<float>;

constexpr std::size_t kRows = 9, kUnits = 70, kState = kRows * kUnits;  // three blocks, the last one short
constexpr int kStep = 2;

double logistic(double v) {
  return 1.0 / (1.0 + std::exp(-v));
}

class Recurrent : public SimTest {
 protected:
  // Whether the step counts for a row, and whether it is the row's last.
  static std::vector<std::int32_t> lengths() { return {3, 0, 2, 4, 3, 1, 9, 3, 2}; }
  static bool on(std::size_t row) { return kStep < lengths()[row]; }

  static void expect_near(const Numbers& got, const std::vector<double>& want, const char* what) {
    ASSERT_EQ(got.size(), want.size()) << what;
    for (std::size_t i = 0; i < want.size(); ++i)
      ASSERT_NEAR(static_cast<double>(got[i]), want[i], 2e-6 * (1.0 + std::abs(want[i]))) << what << ' ' << i;
  }
  static float* at(const DeviceBuffer& b) { return static_cast<float*>(b.data()); }

  static void check_forward(RecurrentCell cell, std::size_t gates);
  static void check_gradient(RecurrentCell cell, std::size_t gates);
};

void Recurrent::check_forward(RecurrentCell cell, std::size_t G) {
  const Stream stream;
  const Numbers p = sequence(G * kState, 1), s = sequence(G * kState, 2), b = sequence(kUnits, 3),
                h0 = sequence(kState, 4), c0 = sequence(kState, 5), nothing(4 * kState, NAN);
  const DeviceBuffer dp = to_device(p, stream), ds = to_device(s, stream), db = to_device(b, stream),
                     h = to_device(h0, stream), c = to_device(c0, stream), y = to_device(h0, stream),
                     gates = to_device(nothing, stream), cells = to_device(c0, stream),
                     n = to_device(lengths(), stream);
  cuda::recurrent_step(
      cell,
      {.rows = kRows, .units = kUnits, .lengths = static_cast<const std::int32_t*>(n.data()), .step = kStep},
      {.projection = at(dp),
       .sums = at(ds),
       .b_hn = at(db),
       .h = at(h),
       .c = at(c),
       .y = at(y),
       .gates = at(gates),
       .cells = at(cells)},
      stream);
  const bool lstm = cell == RecurrentCell::Lstm, gru = cell == RecurrentCell::Gru;
  std::vector<double> want_h(h0.begin(), h0.end()), want_c(c0.begin(), c0.end()), want_y(kState),
      want_gates(4 * kState), want_cells(kState);
  for (std::size_t r = 0; r < kRows; ++r)
    for (std::size_t j = 0; j < kUnits && on(r); ++j) {
      const std::size_t e = r * kUnits + j;
      const auto in = [&](std::size_t k) { return static_cast<double>(p[(r * G + k) * kUnits + j]); };
      const auto own = [&](std::size_t k) { return static_cast<double>(s[(r * G + k) * kUnits + j]); };
      std::vector<double> gate(4);
      if (lstm) {
        for (std::size_t k = 0; k < 4; ++k)
          gate[k] = k == 2 ? std::tanh(in(k) + own(k)) : logistic(in(k) + own(k));
        want_cells[e] = want_c[e] = gate[1] * want_c[e] + gate[0] * gate[2];
        want_h[e] = gate[3] * std::tanh(want_c[e]);
      } else if (gru) {
        gate[0] = logistic(in(0) + own(0));
        gate[1] = logistic(in(1) + own(1));
        gate[3] = own(2) + static_cast<double>(b[j]);
        gate[2] = std::tanh(in(2) + gate[0] * gate[3]);
        want_h[e] = (1.0 - gate[1]) * gate[2] + gate[1] * want_h[e];
      } else {
        const double sum = in(0) + own(0);
        want_h[e] = cell == RecurrentCell::Relu ? std::max(sum, 0.0) : std::tanh(sum);
      }
      want_y[e] = want_h[e];
      for (std::size_t k = 0; k < 4; ++k) want_gates[(r * 4 + k) * kUnits + j] = gate[k];
    }
  expect_near(to_host<float>(h, stream), want_h, "h");
  expect_near(to_host<float>(y, stream), want_y, "y");
  if (lstm || gru) expect_near(to_host<float>(gates, stream), want_gates, "gates");
  if (!lstm) return;
  expect_near(to_host<float>(c, stream), want_c, "c");
  expect_near(to_host<float>(cells, stream), want_cells, "cells");
}

void Recurrent::check_gradient(RecurrentCell cell, std::size_t G) {
  const Stream stream;
  const Numbers dy = sequence(kState, 1), gates = sequence(4 * kState, 2), cells = sequence(kState, 3),
                before = sequence(kState, 4), first = sequence(kState, 5), y = sequence(kState, 6),
                dh0 = sequence(kState, 7), dc0 = sequence(kState, 8), nothing(G * kState, NAN);
  const DeviceBuffer ddy = to_device(dy, stream), dgates = to_device(gates, stream),
                     dcells = to_device(cells, stream), dbefore = to_device(before, stream),
                     dfirst = to_device(first, stream), d_y = to_device(y, stream),
                     dh = to_device(dh0, stream), dc = to_device(dc0, stream),
                     dp = to_device(nothing, stream), dr = to_device(nothing, stream),
                     n = to_device(lengths(), stream);
  cuda::recurrent_grad_step(
      cell,
      {.rows = kRows, .units = kUnits, .lengths = static_cast<const std::int32_t*>(n.data()), .step = kStep},
      {.dy = at(ddy),
       .gates = at(dgates),
       .cells = at(dcells),
       .before = at(dbefore),
       .first = at(dfirst),
       .y = at(d_y),
       .dh = at(dh),
       .dc = at(dc),
       .dp = at(dp),
       .dr = at(dr)},
      stream);
  const bool lstm = cell == RecurrentCell::Lstm, gru = cell == RecurrentCell::Gru;
  std::vector<double> want_dh(dh0.begin(), dh0.end()), want_dc(dc0.begin(), dc0.end()), want_dp(G * kState),
      want_dr(G * kState);
  for (std::size_t r = 0; r < kRows; ++r)
    for (std::size_t j = 0; j < kUnits && on(r); ++j) {
      const std::size_t e = r * kUnits + j;
      const auto gate = [&](std::size_t k) { return static_cast<double>(gates[(r * 4 + k) * kUnits + j]); };
      const double up = static_cast<double>(dy[e]) + static_cast<double>(dh0[e]);
      const auto found = static_cast<double>((lengths()[r] == kStep + 1 ? first : before)[e]);
      std::vector<double> in(4);
      double own = 0.0, passes = 0.0;
      if (lstm) {
        const double i = gate(0), f = gate(1), g = gate(2), o = gate(3),
                     tc = std::tanh(static_cast<double>(cells[e])),
                     d = static_cast<double>(dc0[e]) + up * o * (1.0 - tc * tc);
        in = {d * g * i * (1.0 - i), d * found * f * (1.0 - f), d * i * (1.0 - g * g),
              up * tc * o * (1.0 - o)};
        want_dc[e] = d * f;
      } else if (gru) {
        const double reset = gate(0), z = gate(1), fresh = gate(2), hn = gate(3),
                     dn = up * (1.0 - z) * (1.0 - fresh * fresh);
        in = {dn * hn * reset * (1.0 - reset), up * (found - fresh) * z * (1.0 - z), dn};
        own = dn * reset;
        passes = up * z;
      } else {
        const auto v = static_cast<double>(y[e]);
        in[0] = cell == RecurrentCell::Relu ? (v > 0.0 ? up : 0.0) : up * (1.0 - v * v);
      }
      want_dh[e] = passes;
      for (std::size_t k = 0; k < G; ++k) {
        want_dp[(r * G + k) * kUnits + j] = in[k];
        want_dr[(r * G + k) * kUnits + j] = k == 2 ? own : in[k];
      }
    }
  expect_near(to_host<float>(dh, stream), want_dh, "dh");
  expect_near(to_host<float>(dp, stream), want_dp, "dp");
  if (gru) expect_near(to_host<float>(dr, stream), want_dr, "dr");
  if (lstm) expect_near(to_host<float>(dc, stream), want_dc, "dc");
}

TEST_F(Recurrent, StepsOfEveryCell) {
  check_forward(RecurrentCell::Lstm, 4);
  check_forward(RecurrentCell::Gru, 3);
  check_forward(RecurrentCell::Tanh, 1);
  check_forward(RecurrentCell::Relu, 1);
}

TEST_F(Recurrent, GradientsOfEveryCell) {
  check_gradient(RecurrentCell::Lstm, 4);
  check_gradient(RecurrentCell::Gru, 3);
  check_gradient(RecurrentCell::Tanh, 1);
  check_gradient(RecurrentCell::Relu, 1);
}

TEST_F(Recurrent, TooManyUnits) {
  const Stream stream;
  EXPECT_THROW(cuda::recurrent_step(RecurrentCell::Relu, {.rows = 1 << 20, .units = 1 << 12}, {}, stream),
               UsageError);
}

}  // namespace
}  // namespace ingot
