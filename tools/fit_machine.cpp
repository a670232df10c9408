#include "tools/fit_machine.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>

namespace ingot::tools {

namespace {

using Samples = std::vector<const Sample*>;

double predicted_seconds(const Machine& m, const Sample& s) {
  return predict(m, s.work, s.amounts, {s.kernel, 1, false, s.arithmetic}).seconds;
}

// What sums products, and so has a cost of results.
bool sums_products(Work work) {
  return work <= Work::ConvolutionGradWeight;
}

constexpr double kNoTime = 1e30;  // a rate

// The terms of a sample's prediction where everything is attained: a family is fitted by trying thousands of
// figures on all of its samples.
struct Terms {
  double arithmetic = 0.0, results = 0.0, traffic = 0.0;  // seconds; of one multiply-add a result
  double seconds = 0.0, weight = 0.0;
};

Terms terms_of(const Machine& m, const Sample& s) {
  Machine only = m;
  only.launch_seconds = 0.0;
  only.efficiencies.clear();
  Machine moving = only;
  moving.vector.fill(kNoTime), moving.matrix.fill(kNoTime);
  only.levels = {{"", 0.0, kNoTime, false}};
  Terms t{.arithmetic = predicted_seconds(only, s),
          .traffic = predicted_seconds(moving, s),
          .seconds = s.seconds};
  if (sums_products(s.work)) {
    only.efficiencies = {{.work = s.work, .result_cost = 1.0}};
    t.results = predicted_seconds(only, s) - t.arithmetic;
  }
  // Long steps decide how long a model takes, but there must be something left for short ones. By what they
  // do, not by the time they took: one that was interrupted would weigh more.
  t.weight = std::sqrt(t.arithmetic + t.traffic + m.launch_seconds);
  return t;
}

// How wrong these figures are: the mean of |log(predicted / measured)|, each weighed by its time, so that one
// step that something else interrupted does not decide.
double error_of(const Machine& m, const std::vector<Terms>& all, const Efficiency& e) {
  double sum = 0.0, weight = 0.0;
  for (const Terms& t : all) {
    const double compute = (t.arithmetic + e.result_cost * t.results) / e.compute;
    sum += t.weight *
           std::abs(std::log((together(m, compute, t.traffic / e.memory) + m.launch_seconds) / t.seconds));
    weight += t.weight;
  }
  return sum / weight;
}

// The figures that are least wrong: the best of a grid, and from there by smaller and smaller steps. Figures
// that leave `start` cost something: few samples can be explained in many ways, most of which foretell
// nothing.
Efficiency fit(const Machine& m, const Efficiency& start, const Samples& samples) {
  constexpr double kPull = 0.001, kLeastShare = 1e-3, kLeastCost = 1.0, kMostCost = 2000.0;
  constexpr double kMemoryGrid = 1.2, kCostGrid = 1.4;
  constexpr std::size_t kComputes = 48;
  constexpr int kSteps = 3;
  std::vector<Terms> all;
  for (const Sample* s : samples) all.push_back(terms_of(m, *s));
  const auto away = [](double a, double b) { return a > 0.0 && b > 0.0 ? std::abs(std::log(a / b)) : 0.0; };
  const auto wrong = [&](const Efficiency& e) {
    return error_of(m, all, e) + kPull * (away(e.compute, start.compute) + away(e.memory, start.memory) +
                                          away(e.result_cost, start.result_cost));
  };
  const bool sums = sums_products(start.work);
  Efficiency best = start;
  double least = wrong(best);
  std::vector<double> computes;
  // With the best of the shares of the peak, which are those at which a sample is just right: what fits well
  // is a narrow valley that lies askew, because arithmetic can stand for traffic, and no search by steps
  // follows it.
  const auto attempt = [&](double memory, double cost) {
    Efficiency e = start;
    e.memory = std::clamp(memory, kLeastShare, 1.0);
    e.result_cost = sums ? std::clamp(cost, kLeastCost, kMostCost) : 0.0;
    computes.assign(1, 1.0);
    for (const Terms& t : all) {
      const double left = t.seconds - m.launch_seconds - (m.threads > 0 ? t.traffic / e.memory : 0.0);
      if (left > 0.0) computes.push_back((t.arithmetic + e.result_cost * t.results) / left);
    }
    std::sort(computes.begin(), computes.end());
    const std::size_t some = std::min(kComputes, computes.size());
    bool better = false;
    for (std::size_t i = 0; i < some; ++i) {
      e.compute = std::clamp(computes[i * (computes.size() - 1) / std::max<std::size_t>(some - 1, 1)],
                             kLeastShare, 1.0);
      const double error = wrong(e);
      if (!(error < least)) continue;
      least = error, best = e, better = true;
    }
    return better;
  };
  for (double memory = 1.0; memory > kLeastShare; memory /= kMemoryGrid)
    for (double cost = kLeastCost; cost < kMostCost; cost *= kCostGrid) {
      attempt(memory, cost);
      if (!sums) break;
    }
  for (const double step : {1.06, 1.02, 1.005})
    for (bool better = true; better;) {
      better = false;
      const Efficiency around = best;
      for (int a = -kSteps; a <= kSteps; ++a)
        for (int b = sums ? -kSteps : 0; b <= (sums ? kSteps : 0); ++b)
          better =
              attempt(around.memory * std::pow(step, a), around.result_cost * std::pow(step, b)) || better;
    }
  return best;
}

}  // namespace

double fit_launch(const Machine& m, const std::vector<Sample>& samples, double otherwise) {
  Machine bare = m;
  bare.launch_seconds = 0.0;
  bare.efficiencies.clear();
  constexpr double kNextToNothing = 1e-6;
  std::vector<double> tiny;
  for (const Sample& s : samples)
    if (predicted_seconds(bare, s) < kNextToNothing) tiny.push_back(s.seconds);
  if (tiny.empty()) return otherwise;
  std::nth_element(tiny.begin(), tiny.begin() + static_cast<std::ptrdiff_t>(tiny.size() / 2), tiny.end());
  return tiny[tiny.size() / 2];
}

std::vector<Efficiency> fit_efficiencies(const Machine& m, const std::vector<Sample>& samples) {
  // Longer names first: the first entry that fits is taken, and one name may begin as another.
  const auto order = [](const std::tuple<Work, std::string, DType>& a,
                        const std::tuple<Work, std::string, DType>& b) {
    const auto key = [](const auto& t) {
      return std::tuple(std::get<0>(t), -static_cast<std::ptrdiff_t>(std::get<1>(t).size()), std::get<1>(t),
                        std::get<2>(t));
    };
    return key(a) < key(b);
  };
  std::map<std::tuple<Work, std::string, DType>, Samples, decltype(order)> families(order);
  std::map<Work, Samples> works;
  for (const Sample& s : samples) {
    if (!(s.seconds > 0.0)) continue;
    works[s.work].push_back(&s);
    if (is_floating(s.amounts.dtype)) families[{s.work, s.kernel, s.amounts.dtype}].push_back(&s);
  }
  std::map<Work, Efficiency> of_work;
  for (const auto& [work, list] : works) {
    const bool sums = sums_products(work);
    of_work[work] =
        fit(m, {.work = work, .compute = sums ? 0.8 : 1.0, .memory = 0.8, .result_cost = sums ? 100.0 : 0.0},
            list);
  }
  std::vector<Efficiency> found;
  for (const auto& [family, list] : families) {
    const auto& [work, kernel, dtype] = family;
    Efficiency e = of_work.at(work);
    e.kernel = kernel;
    e.dtype = dtype;
    found.push_back(fit(m, e, list));
  }
  for (const auto& [work, e] : of_work) found.push_back(e);
  for (const Efficiency& e : m.efficiencies)  // of work that was not seen
    if (!of_work.contains(e.work)) found.push_back(e);
  return found;
}

}  // namespace ingot::tools
