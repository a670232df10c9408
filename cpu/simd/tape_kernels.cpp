#include "cpu/simd/tape_kernels.h"

namespace ingot::cpu {

extern const TapeKernels tape_kernels_base, tape_kernels_v3, tape_kernels_v4;

const TapeKernels& tape_kernels(CpuLevel level) {
  return level == CpuLevel::V4   ? tape_kernels_v4
         : level == CpuLevel::V3 ? tape_kernels_v3
                                 : tape_kernels_base;
}

}  // namespace ingot::cpu
