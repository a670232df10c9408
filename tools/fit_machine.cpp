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

// Long steps decide how long a model takes, but there must be something left for short ones.
double weight_of(const Sample& s) {
  return std::sqrt(s.seconds);
}

// How wrong the machine is with this one efficiency: the mean of |log(predicted / measured)|, weighed by
// time.
double error_of(const Machine& m, const Efficiency& e, const Samples& samples) {
  Machine with = m;
  with.efficiencies = {e};
  with.efficiencies[0].kernel.clear(), with.efficiencies[0].dtype.reset();
  double sum = 0.0, weight = 0.0;
  for (const Sample* s : samples) {
    sum += weight_of(*s) * std::abs(std::log(predicted_seconds(with, *s) / s->seconds));
    weight += weight_of(*s);
  }
  return sum / weight;
}

// The share of `ideal` (a machine of one term only, with all of it) that these samples attain: the median,
// each weighed by its time.
double attained_share(const Machine& ideal, double launch, const Samples& samples) {
  constexpr double kLeastShare = 1e-4;
  std::vector<std::pair<double, double>> shares;  // share, weight
  double weight = 0.0;
  // What takes hardly longer than its launch says nothing of what comes after, if there is anything else.
  const auto tells = [&](const Sample* s) { return s->seconds > 3.0 * launch; };
  const bool any = std::any_of(samples.begin(), samples.end(), tells);
  for (const Sample* s : samples) {
    if (any && !tells(s)) continue;
    const double seconds = std::max(s->seconds - launch, 0.25 * s->seconds);
    shares.emplace_back(predicted_seconds(ideal, *s) / seconds, weight_of(*s));
    weight += weight_of(*s);
  }
  std::sort(shares.begin(), shares.end());
  double below = 0.0;
  for (const auto& [share, of] : shares)
    if ((below += of) >= 0.5 * weight) return std::clamp(share, kLeastShare, 1.0);
  return 1.0;
}

constexpr double kNoTime = 1e30;  // a rate

// What sums products is described by its arithmetic and its results, all else by the bytes it moves. Figures
// that leave `start` cost something: few samples can be explained in many ways, most of which foretell
// nothing.
Efficiency fit(const Machine& m, const Efficiency& start, const Samples& samples) {
  constexpr double kPull = 0.003, kLeastCost = 1.0, kMostCost = 2000.0, kFiner = 1.25;
  const auto away = [](double a, double b) { return a > 0.0 && b > 0.0 ? std::abs(std::log(a / b)) : 0.0; };
  Machine ideal = m;
  ideal.launch_seconds = 0.0;
  Efficiency e = start;
  if (samples.front()->work > Work::ConvolutionGradWeight) {
    ideal.efficiencies = {};
    ideal.vector.fill(kNoTime), ideal.matrix.fill(kNoTime);
    e.memory = attained_share(ideal, m.launch_seconds, samples);
    return e;
  }
  ideal.levels = {{"", 0.0, kNoTime, false}};
  // Products of few rows are bound by their weights, which come from memory.
  const std::vector<double> memories = samples.front()->work == Work::Product
                                           ? std::vector<double>{0.8, 0.4, 0.2, 0.1}
                                           : std::vector<double>{0.8};
  double least = -1.0;
  Efficiency best = e;
  for (const double memory : memories)
    for (double cost = kLeastCost; cost < kMostCost; cost *= kFiner) {
      e.memory = memory, e.result_cost = cost;
      ideal.efficiencies = {{.work = samples.front()->work, .result_cost = cost}};
      e.compute = attained_share(ideal, m.launch_seconds, samples);
      const double error =
          error_of(m, e, samples) + kPull * (away(cost, start.result_cost) + away(memory, start.memory));
      if (least < 0.0 || error < least) least = error, best = e;
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
    const bool sums = work <= Work::ConvolutionGradWeight;
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
