#define INGOT_SIMD_TABLE row_kernels_v4
#include "cpu/simd/rows.inc"
