#define INGOT_SIMD_TABLE tape_kernels_v4
#include "cpu/simd/tape.inc"
