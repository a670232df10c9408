#define INGOT_SIMD_TABLE tape_kernels_base
#include "cpu/simd/tape.inc"
