// Makes a program with a main() of its own, an example or the program `ingot`, run on the simulated device:
// linked to it, generated kernels are compiled by g++, and the program fails when the simulator found a
// mistake or something is left alive at its end.
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "cuda/ops/generated_kernel.h"
#include "tests/support/cuda_sim/gxx_compiler.h"
#include "tests/support/cuda_sim/sim.h"

namespace ingot {
namespace {

void look_back() {
  bool good = true;
  for (const auto& finding : sim::take_findings()) {
    std::fprintf(stderr, "simulated device: %s\n", finding.text.c_str());
    good = false;
  }
  for (const auto& resource : sim::live_resources()) {
    std::fprintf(stderr, "simulated device: left alive: %s\n", resource.c_str());
    good = false;
  }
  if (!good) std::_Exit(3);
}

const bool set_up = [] {
  sim::reset({.memory = std::size_t{1} << 30});
  cuda::use_kernel_compiler(std::make_unique<sim::GxxCompiler>(false));
  std::atexit(look_back);
  return true;
}();

}  // namespace
}  // namespace ingot
