#include "cpu/simd/row_kernels.h"

namespace ingot::cpu {

extern const RowKernels row_kernels_base, row_kernels_v3, row_kernels_v4;

const RowKernels& row_kernels(CpuLevel level) {
  return level == CpuLevel::V4 ? row_kernels_v4 : level == CpuLevel::V3 ? row_kernels_v3 : row_kernels_base;
}

}  // namespace ingot::cpu
