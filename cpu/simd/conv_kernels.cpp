#include "cpu/simd/conv_kernels.h"

namespace ingot::cpu {

extern const ConvKernels conv_kernels_base, conv_kernels_v3, conv_kernels_v4;

const ConvKernels& conv_kernels(CpuLevel level) {
  return level == CpuLevel::V4   ? conv_kernels_v4
         : level == CpuLevel::V3 ? conv_kernels_v3
                                 : conv_kernels_base;
}

}  // namespace ingot::cpu
