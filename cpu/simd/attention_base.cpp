#define INGOT_SIMD_TABLE attention_kernels_base
#include "cpu/simd/attention.inc"
