#include "cpu/simd/recurrent_kernels.h"

namespace ingot::cpu {

extern const RecurrentKernels recurrent_kernels_base, recurrent_kernels_v3, recurrent_kernels_v4;

const RecurrentKernels& recurrent_kernels(CpuLevel level) {
  return level == CpuLevel::V4   ? recurrent_kernels_v4
         : level == CpuLevel::V3 ? recurrent_kernels_v3
                                 : recurrent_kernels_base;
}

}  // namespace ingot::cpu
