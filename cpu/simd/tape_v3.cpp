#define INGOT_SIMD_TABLE tape_kernels_v3
#include "cpu/simd/tape.inc"
