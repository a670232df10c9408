// What the tests ask of the simulator, answered by a GPU: linked in its place, the same test objects run
// through the library and the CUDA runtime. Orders of work, seeds and memory limits are the GPU's own here. A
// fault of a kernel is a finding, as on the simulated device; races and leaks are compute-sanitizer's to
// find. What only the simulator can tell or do is an error that names the filter.
#include <string>

#include "core/base/error.h"
#include "cuda/base/stream.h"
#include "tests/support/cuda_sim/sim.h"

namespace ingot::sim {

namespace {

[[noreturn]] void only_simulated(const char* what) {
  throw UsageError(cat("sim::", what,
                       " was called on a GPU, which cannot answer it. Leave this test out by the filters of "
                       "test_cuda_kernels_gpu in tests/cuda_sim/CMakeLists.txt."));
}

}  // namespace

void reset(const Options& options) {
  if (options.devices != 1) only_simulated("reset() with another number of devices");
}

std::string_view name(Fault) {
  return "reported by the CUDA runtime";
}

// An error of a kernel stays with the context, so any later call reports it.
std::vector<Finding> take_findings() {
  try {
    const cuda::Stream stream;
    stream.synchronize();
  } catch (const Error& e) {
    return {{Fault::Foreign, e.what()}};
  }
  return {};
}

std::vector<std::string> live_resources() {
  return {};
}
std::vector<std::string> kernels_run() {
  return {};
}

Counters counters() {
  only_simulated("counters()");
}
std::size_t calls(std::string_view) {
  only_simulated("calls()");
}
void fail_call(std::string_view, int, cudaError_t) {
  only_simulated("fail_call()");
}
void skip_call(std::string_view, int) {
  only_simulated("skip_call()");
}

}  // namespace ingot::sim
