#include "cpu/simd/attention_kernels.h"

namespace ingot::cpu {

extern const AttentionKernels attention_kernels_base, attention_kernels_v3, attention_kernels_v4;

const AttentionKernels& attention_kernels(CpuLevel level) {
  return level == CpuLevel::V4   ? attention_kernels_v4
         : level == CpuLevel::V3 ? attention_kernels_v3
                                 : attention_kernels_base;
}

}  // namespace ingot::cpu
