#define INGOT_SIMD_TABLE pool_kernels_v4
#include "cpu/simd/pool.inc"
