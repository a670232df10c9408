// The peak rate of multiply-adds of T threads: the ceiling against which shares are stated.
//
// Each thread keeps more independent accumulators in flight than latency x ports needs (4 x 2 on current x86
// cores) and touches no memory. The widest vectors that the machine has are used; a multiply-add counts as
// two operations. The best of ten windows is given, since interruptions only ever lower the rate.
//
//   fma_peak(2, 0.5).flops;      // operations a second in f32
#pragma once

namespace ingot::tools {

struct FmaRate {
  double flops = 0.0;  // operations a second
  const char* isa = "";
  int lanes = 1;  // f32 elements of a vector
};
FmaRate fma_peak(int threads, double seconds);
// With the processor's dot products of bf16; 0 where it has none.
double bf16_peak(int threads, double seconds);

}  // namespace ingot::tools
