#define INGOT_SIMD_TABLE attention_kernels_v4
#include "cpu/simd/attention.inc"
