#define INGOT_SIMD_TABLE unpool_kernels_base
#include "cpu/simd/conv_unpool.inc"
