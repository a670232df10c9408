#define INGOT_SIMD_TABLE pool_kernels_base
#include "cpu/simd/pool.inc"
