#define INGOT_SIMD_TABLE conv_kernels_v4
#include "cpu/simd/conv.inc"
