#define INGOT_SIMD_TABLE attention_kernels_v3
#include "cpu/simd/attention.inc"
