#include "cpu/simd/conv_winograd_kernels.h"

namespace ingot::cpu {

extern const WinogradKernels winograd_kernels_v3, winograd_kernels_v4;

const WinogradKernels* winograd_kernels(CpuLevel level) {
  return level == CpuLevel::V4   ? &winograd_kernels_v4
         : level == CpuLevel::V3 ? &winograd_kernels_v3
                                 : nullptr;
}

}  // namespace ingot::cpu
