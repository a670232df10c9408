#define INGOT_SIMD_TABLE unpool_kernels_v3
#include "cpu/simd/conv_unpool.inc"
