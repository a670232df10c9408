// What this machine's cores and memory can do at best: the ceilings against which shares are stated.
//
// Rates are those of `threads` threads together. A multiply-add counts as two operations, a byte copied as
// one read and one written. The best of several windows is taken, since interruptions only ever lower a rate.
//
//   Peak p = f32_peak(2, 1.0);       // p.flops = 2.3e11, p.isa = "avx512"
//   double bytes = copy_bandwidth(2, 0.5);  // 5.5e10
#pragma once

#include <optional>

namespace ingot::tools {

struct Peak {
  double flops = 0.0;  // a second
  const char* isa = "";
  int lanes = 0;  // floats of one vector
};

// The widest vectors that the machine has, from registers alone: each thread keeps more independent
// accumulators in flight than latency x ports needs (4 x 2 on current x86 cores).
Peak f32_peak(int threads, double seconds);

// bf16 products summed in f32. Where the processor has no instructions for them they are computed in f32,
// and the peak is f32's. Empty where it has matrix registers (AMX): dot products would be no ceiling there.
std::optional<Peak> bf16_peak(int threads, double seconds);

// Of buffers beyond the caches.
double copy_bandwidth(int threads, double seconds);

}  // namespace ingot::tools
