#define INGOT_SIMD_TABLE unpool_kernels_v4
#include "cpu/simd/conv_unpool.inc"
