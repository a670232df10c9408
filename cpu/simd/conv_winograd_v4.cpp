#define INGOT_SIMD_TABLE winograd_kernels_v4
#include "cpu/simd/conv_winograd.inc"
