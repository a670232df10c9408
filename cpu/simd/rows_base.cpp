#define INGOT_SIMD_TABLE row_kernels_base
#include "cpu/simd/rows.inc"
