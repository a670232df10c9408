#define INGOT_SIMD_TABLE pool_kernels_v3
#include "cpu/simd/pool.inc"
