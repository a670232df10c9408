#define INGOT_SIMD_TABLE winograd_kernels_v3
#include "cpu/simd/conv_winograd.inc"
