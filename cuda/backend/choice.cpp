#include "cuda/backend/choice.h"

#include <algorithm>
#include <cstdlib>
#include <sstream>

#include "core/op/text.h"
#include "cuda/base/device_info.h"
#include "cuda/base/event.h"
#include "cuda/base/memory.h"
#include "cuda/libs/libraries.h"
#include "cuda/ops/operands.h"

namespace ingot::cuda {

namespace {

constexpr int kRepetitions = 5, kRunsEach = 4;
// Small numbers in every floating type (1.1e-2 as f32 and bf16, 1.06 as f16): zeros would flatter, and some
// kernels are faster on them.
constexpr int kFill = 0x3c;

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

}  // namespace

float time_step(const Problem& p, const Step& step) {
  Stream stream;
  std::vector<DeviceBuffer> buffers;
  std::vector<void*> in, out;
  const auto add = [&](const TensorType& t, std::vector<void*>& list) {
    buffers.emplace_back(t.bytes());
    fill_bytes(buffers.back().data(), kFill, t.bytes(), stream);
    list.push_back(buffers.back().data());
  };
  for (int i = 0; i < p.num_inputs(); ++i) add(p.in(i), in);
  for (int i = 0; i < p.num_outputs(); ++i) add(p.out(i), out);
  const DeviceBuffer workspace(step.workspace_bytes);
  const auto bound = step.bind({in, out, workspace.data(), &stream});
  bound->run();
  Event start(Timing::On), stop(Timing::On);
  float best = 0.0f;
  for (int r = 0; r < kRepetitions; ++r) {
    start.record(stream);
    for (int i = 0; i < kRunsEach; ++i) bound->run();
    stop.record(stream);
    stop.synchronize();
    const float ms = stop.milliseconds_since(start) / kRunsEach;
    best = r == 0 ? ms : std::min(best, ms);
  }
  return best;
}

Chooser::Chooser(std::string folder, KernelCache::Log log)
    : cache_(std::move(folder), KernelCache::kDefaultBytes, log), log_(std::move(log)) {}

// A line each, "milliseconds kernel", fastest first; what fails is not in it.
std::string Chooser::measure(const Problem& p, const std::vector<Offer>& offers) {
  std::vector<std::pair<float, std::string>> times;
  for (const auto& [step, within] : offers) {
    try {
      times.emplace_back(time_step(p, *step), step->kernel);
    } catch (const DeviceError& e) {
      log_(cat(p.node.name, ": ", step->kernel,
               " is left out, it failed when it was measured: ", e.message()));
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
  const bool timeable = all_operands(p, [](const TensorType& t) { return is_float(t.dtype); });
  if (allowed == 0 || offers.size() == 1 || !timeable) return first_step(table, p);
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
