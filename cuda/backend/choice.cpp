#include "cuda/backend/choice.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <optional>
#include <sstream>

#include "core/ir/tensor.h"
#include "core/op/text.h"
#include "cuda/base/device_info.h"
#include "cuda/base/event.h"
#include "cuda/base/memory.h"
#include "cuda/kernels/random.h"
#include "cuda/libs/libraries.h"
#include "cuda/ops/operands.h"

namespace ingot::cuda {

namespace {

constexpr int kRepetitions = 5, kRunsEach = 4;
// What operands are filled with: zeros would flatter, and variances and their like are positive.
constexpr double kLeast = 0.25, kMost = 1.0;
constexpr std::array<std::int64_t, 2> kSeed{20151113, 0};
// How many elements of a result are compared, at most.
constexpr std::int64_t kSamples = std::int64_t{1} << 20;

std::string key_of(const Problem& p) {
  std::vector<TensorType> inputs, outputs;
  for (int i = 0; i < p.num_inputs(); ++i) inputs.push_back(p.in(i));
  for (int i = 0; i < p.num_outputs(); ++i) outputs.push_back(p.out(i));
  const DeviceInfo device = device_info(p.target.device);
  const DeviceList list = devices();
  std::string key = cat("choice: ", describe(p), "\n", device.name, ", sm_", device.sm, ", driver ",
                        list.driver_version, ", runtime ", list.runtime_version, "\n");
  for (const Library& l : libraries())
    if (const auto file = find_library(l.files))
      key += cat(l.name, " ", file->version, " ", file->path, "\n");
  key += cat(p.target.allow_tf32 ? "tf32 " : "", p.target.deterministic ? "" : "nondeterministic ", "\n");
  Node plain = p.node;  // names and lines do not matter
  plain.name.clear();
  plain.loc = {};
  return key + print_graph(node_alone(plain, inputs, outputs));
}

// A node's operands and results on the device, for its candidates one after another.
class Trial {
 public:
  explicit Trial(const Problem& p) : p_(p) {
    const auto add = [&](const TensorType& t, std::vector<void*>& list) {
      buffers_.emplace_back(t.bytes());
      list.push_back(buffers_.back().data());
    };
    for (int i = 0; i < p.num_inputs(); ++i) add(p.in(i), in_);
    for (int i = 0; i < p.num_outputs(); ++i) add(p.out(i), out_);
    copy_to_device(rng_.data(), kSeed.data(), sizeof kSeed, stream_);
  }

  // Milliseconds of one run: the least of a few repetitions, after one that is not counted.
  float time(const Step& step) {
    const auto bound = bind(step);
    bound->run();
    Event start(Timing::On), stop(Timing::On);
    float best = 0.0f;
    for (int r = 0; r < kRepetitions; ++r) {
      start.record(stream_);
      for (int i = 0; i < kRunsEach; ++i) bound->run();
      stop.record(stream_);
      stop.synchronize();
      const float ms = stop.milliseconds_since(start) / kRunsEach;
      best = r == 0 ? ms : std::min(best, ms);
    }
    return best;
  }

  // Elements of each result, evenly spread.
  using Results = std::vector<std::vector<double>>;
  Results results(const Step& step) {
    const auto bound = bind(step);
    for (std::size_t i = 0; i < out_.size(); ++i)
      fill_bytes(out_[i], 0, p_.out(static_cast<int>(i)).bytes(), stream_);
    bound->run();
    Results all;
    for (std::size_t i = 0; i < out_.size(); ++i) {
      Tensor t(p_.out(static_cast<int>(i)));
      copy_to_host(t.raw(), out_[i], t.type().bytes(), stream_);
      stream_.synchronize();
      all.emplace_back();
      const std::int64_t stride = t.numel() / kSamples + 1;
      for (std::int64_t e = 0; e < t.numel(); e += stride) all.back().push_back(t.get(e));
    }
    return all;
  }

 private:
  std::unique_ptr<BoundStep> bind(const Step& step) {
    for (std::size_t i = 0; i < in_.size(); ++i) {
      const TensorType& t = p_.in(static_cast<int>(i));
      uniform(t.dtype, in_[i], t.physical_numel(), {rng_.as<std::int64_t>(), static_cast<std::int64_t>(i)},
              kLeast, kMost, stream_);
    }
    workspace_ = DeviceBuffer();  // the last one is gone before the next is there
    workspace_ = DeviceBuffer(step.workspace_bytes);
    return step.bind({in_, out_, workspace_.data(), &stream_});
  }

  const Problem& p_;
  Stream stream_;
  std::vector<DeviceBuffer> buffers_;
  std::vector<void*> in_, out_;
  DeviceBuffer rng_{sizeof kSeed}, workspace_;
};

// The largest difference of a result from what it should be, as a share of the largest element of that; NaN
// where one of the two is none.
double difference(const Trial::Results& got, const Trial::Results& want) {
  double worst = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    double most = 0, apart = 0;
    for (std::size_t e = 0; e < want[i].size(); ++e) {
      const double d = std::abs(got[i][e] - want[i][e]);
      if (std::isnan(d)) return d;
      most = std::max(most, std::abs(want[i][e]));
      apart = std::max(apart, d);
    }
    if (apart > 0) worst = std::max(worst, apart / most);
  }
  return worst;
}

// How far two kernels may lie apart that both are right: the order of sums, and how operands are rounded.
double allowance(const Problem& p) {
  const bool f32 = all_operands(p, [](const TensorType& t) { return t.dtype == DType::F32; });
  return f32 && !p.target.allow_tf32 ? 1e-3 : 2e-2;
}

// Random numbers can stand for the node's operands.
bool can_be_tried(const Problem& p) {
  return all_operands(p, [](const TensorType& t) { return is_float(t.dtype) && t.dtype != DType::F64; });
}

}  // namespace

Chooser::Chooser(std::string folder, KernelCache::Log log)
    : cache_(std::move(folder), KernelCache::kDefaultBytes, log), log_(std::move(log)) {}

// A line each, "milliseconds kernel", fastest first; what fails or computes something else is not in it.
std::string Chooser::measure(const Problem& p, const std::vector<Offer>& offers) {
  Trial trial(p);
  const auto own = std::find_if(offers.begin(), offers.end(), [](const Offer& o) { return o.own; });
  std::optional<Trial::Results> want;
  if (own != offers.end() && std::any_of(offers.begin(), offers.end(), [](const Offer& o) { return !o.own; }))
    try {
      want = trial.results(*own->step);
    } catch (const DeviceError&) {  // named below, when it is its turn
    }
  std::vector<std::pair<float, std::string>> times;
  for (const Offer& o : offers) {
    const auto left_out = [&](const auto&... why) {
      log_(cat(p.node.name, ": ", o.step->kernel, " is left out, ", why...));
    };
    try {
      if (want && !o.own) {
        const double apart = difference(trial.results(*o.step), *want);
        if (!(apart <= allowance(p))) {
          left_out("its results differ from those of Ingot's own kernel, ", own->step->kernel, ", by ", apart,
                   " of the largest; ", allowance(p), " is allowed");
          continue;
        }
      }
      times.emplace_back(trial.time(*o.step), o.step->kernel);
    } catch (const DeviceError& e) {
      left_out("it failed when it was measured: ", e.message());
    }
  }
  std::stable_sort(times.begin(), times.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::string text;
  for (const auto& [ms, kernel] : times) text += cat(ms, " ", kernel, "\n");
  return text;
}

std::unique_ptr<Step> Chooser::choose(const LoweringTable& table, const Problem& p) {
  std::vector<Offer> offers = all_steps(table, p);
  const auto allowed = std::count_if(offers.begin(), offers.end(), [](const Offer& o) { return o.within; });
  if (allowed == 0 || offers.size() == 1 || !can_be_tried(p)) return first_step(table, p);
  const DeviceScope scope(p.target.device);
  std::size_t bytes = 0, workspace = 0;
  for (int i = 0; i < p.num_inputs(); ++i) bytes += p.in(i).bytes();
  for (int i = 0; i < p.num_outputs(); ++i) bytes += p.out(i).bytes();
  for (const Offer& o : offers) workspace = std::max(workspace, o.step->workspace_bytes);
  if (bytes + workspace > memory_info().free) {
    auto first = first_step(table, p);
    log_(cat(p.node.name, ": not measured, ", bytes + workspace, " bytes are not free; ", first->kernel,
             " is taken"));
    return first;
  }
  std::istringstream ranking(cache_.get(key_of(p), [&] { return measure(p, offers); }));
  std::vector<PassedOver> above;
  for (std::string line; std::getline(ranking, line);) {
    const auto space = std::min(line.size(), line.find(' '));
    const std::string kernel = line.substr(std::min(line.size(), space + 1));
    const double ms = std::strtod(line.c_str(), nullptr);
    const auto at =
        std::find_if(offers.begin(), offers.end(), [&](const Offer& o) { return o.step->kernel == kernel; });
    if (at == offers.end()) {
      log_(cat(p.node.name, ": the fastest measured kernel ", kernel,
               " is not offered any more; the next is taken"));
    } else if (!at->within) {
      above.push_back({kernel, at->step->workspace_bytes, ms});
    } else {
      at->step->milliseconds = ms;
      at->step->passed_over = std::move(above);
      return std::move(at->step);
    }
  }
  return first_step(table, p);
}

}  // namespace ingot::cuda
