#define INGOT_SIMD_TABLE recurrent_kernels_v4
#include "cpu/simd/recurrent.inc"
