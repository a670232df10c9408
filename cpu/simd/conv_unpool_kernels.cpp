#include "cpu/simd/conv_unpool_kernels.h"

namespace ingot::cpu {

extern const UnpoolKernels unpool_kernels_base, unpool_kernels_v3, unpool_kernels_v4;

const UnpoolKernels& unpool_kernels(CpuLevel level) {
  return level == CpuLevel::V4   ? unpool_kernels_v4
         : level == CpuLevel::V3 ? unpool_kernels_v3
                                 : unpool_kernels_base;
}

}  // namespace ingot::cpu
