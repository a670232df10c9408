#define INGOT_SIMD_TABLE conv_kernels_v3
#include "cpu/simd/conv.inc"
