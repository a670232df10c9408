#include "cpu/simd/pool_kernels.h"

namespace ingot::cpu {

extern const PoolKernels pool_kernels_base, pool_kernels_v3, pool_kernels_v4;

const PoolKernels& pool_kernels(CpuLevel level) {
  return level == CpuLevel::V4   ? pool_kernels_v4
         : level == CpuLevel::V3 ? pool_kernels_v3
                                 : pool_kernels_base;
}

}  // namespace ingot::cpu
