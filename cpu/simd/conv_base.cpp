#define INGOT_SIMD_TABLE conv_kernels_base
#include "cpu/simd/conv.inc"
