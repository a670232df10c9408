// Efficiencies from times: what made the times is found again, by kind of work and family of kernels.
#include "tools/fit_machine.h"

#include <gtest/gtest.h>

#include <cmath>

namespace ingot::tools {
namespace {

Machine machine() {
  Machine m;
  m.name = "round";
  m.threads = 1;
  m.launch_seconds = 1e-6;
  m.vector[0] = m.matrix[0] = 1e11;
  m.levels = {{"L2", 1e6, 2e11, true}, {"memory", 0.0, 2e10, false}};
  m.efficiencies = {{.work = Work::Convolution, .compute = 0.1},
                    {.work = Work::Elementwise, .memory = 0.1},
                    {.work = Work::Pooling, .memory = 0.123}};
  return m;
}

// Steps whose times are those that `truth` gives.
std::vector<Sample> samples_of(Machine truth) {
  std::vector<Sample> all;
  for (const double channels : {16.0, 64.0, 256.0})
    for (const double pixels : {1e3, 1e4, 1e5})
      for (const char* kernel : {"fast:1", "fast:12"}) {
        const double results = channels * pixels, bytes = 8.0 * results;
        all.push_back({Work::Convolution,
                       kernel,
                       {18.0 * channels * results, bytes, bytes, results, DType::F32, 0.0},
                       0.0});
        all.push_back({Work::Elementwise, kernel, {results, bytes, bytes, results, DType::F32, 0.0}, 0.0});
      }
  for (Sample& s : all) s.seconds = predict(truth, s.work, s.amounts, {s.kernel}).seconds;
  return all;
}

TEST(FitMachine, FindsWhatMadeTheTimes) {
  Machine truth = machine();
  truth.efficiencies = {
      {.work = Work::Convolution, .kernel = "fast:12", .compute = 0.8, .memory = 0.8, .result_cost = 150.0},
      {.work = Work::Convolution, .kernel = "fast:1", .compute = 0.4, .memory = 0.8, .result_cost = 20.0},
      {.work = Work::Elementwise, .kernel = "fast:12", .memory = 0.9},
      {.work = Work::Elementwise, .kernel = "fast:1", .memory = 0.3}};
  const std::vector<Sample> samples = samples_of(truth);
  Machine fitted = machine();
  fitted.efficiencies = fit_efficiencies(fitted, samples);
  check_machine(fitted);
  for (const Sample& s : samples)
    EXPECT_NEAR(std::log(predict(fitted, s.work, s.amounts, {s.kernel}).seconds / s.seconds), 0.0, 0.1)
        << name(s.work) << " " << s.kernel << " " << s.amounts.flops;
  // A kernel that was not seen is taken for one of its kind; a kind that was not seen keeps what was there.
  const Amounts a{1e9, 1e6, 1e6, 1e5, DType::F32, 0.0};
  EXPECT_NE(predict(fitted, Work::Convolution, a, {"new"}).seconds,
            predict(machine(), Work::Convolution, a).seconds);
  EXPECT_EQ(predict(fitted, Work::Pooling, a).seconds, predict(machine(), Work::Pooling, a).seconds);
}

// One step that something else interrupted does not decide.
TEST(FitMachine, OutliersDoNotDecide) {
  Machine truth = machine();
  truth.efficiencies = {{.work = Work::Elementwise, .memory = 0.5}};
  std::vector<Sample> samples = samples_of(truth), good;
  for (const Sample& s : samples)
    if (s.work == Work::Elementwise) good.push_back(s);
  const Sample untouched = good.front();
  good.front().seconds *= 50.0;
  Machine fitted = machine();
  fitted.efficiencies = fit_efficiencies(fitted, good);
  EXPECT_NEAR(
      predict(fitted, untouched.work, untouched.amounts, {untouched.kernel}).seconds / untouched.seconds, 1.0,
      0.15);
}

TEST(FitMachine, TheLaunchIsTheTimeOfWhatDoesNothing) {
  const Amounts nothing{10.0, 100.0, 100.0, 10.0, DType::F32, 0.0}, much{1e9, 1e8, 1e8, 1e7, DType::F32, 0.0};
  std::vector<Sample> samples;
  for (const double us : {4.0, 5.0, 90.0}) samples.push_back({Work::Elementwise, "", nothing, us * 1e-6});
  samples.push_back({Work::Elementwise, "", much, 1.0});
  EXPECT_DOUBLE_EQ(fit_launch(machine(), samples, 7.0), 5e-6);
  EXPECT_EQ(fit_launch(machine(), {}, 7.0), 7.0);
}

}  // namespace
}  // namespace ingot::tools
