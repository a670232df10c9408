#define INGOT_SIMD_TABLE recurrent_kernels_v3
#include "cpu/simd/recurrent.inc"
