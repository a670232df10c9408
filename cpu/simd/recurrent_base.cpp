#define INGOT_SIMD_TABLE recurrent_kernels_base
#include "cpu/simd/recurrent.inc"
