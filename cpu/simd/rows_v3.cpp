#define INGOT_SIMD_TABLE row_kernels_v3
#include "cpu/simd/rows.inc"
