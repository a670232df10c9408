// The functions of cuBLASLt that Ingot calls, as a table: the library is opened at run time, and tests put a
// recording fake in its place. The one file that includes NVIDIA's header; a build without it has no table,
// and says so where cuBLASLt would be chosen.
//
// Members are named after the functions, without `cublasLt`. `owner` keeps the opened library.
//
//   CublasLtApi api = ...;
//   api.MatmulDescCreate(&desc, CUBLAS_COMPUTE_32F, CUDA_R_32F);
#pragma once

#if __has_include(<cublasLt.h>)
#include <cublasLt.h>
#define INGOT_HAS_CUBLASLT 1
#else
#define INGOT_HAS_CUBLASLT 0
#endif

#include <memory>

namespace ingot::cuda {

#if INGOT_HAS_CUBLASLT
// clang-format off
#define INGOT_CUBLASLT_FUNCTIONS(X)                                                    \
  X(GetVersion) X(GetStatusName) X(GetStatusString) X(Create) X(Destroy)               \
  X(MatmulDescCreate) X(MatmulDescDestroy) X(MatmulDescSetAttribute)                   \
  X(MatrixLayoutCreate) X(MatrixLayoutDestroy) X(MatrixLayoutSetAttribute)             \
  X(MatmulPreferenceCreate) X(MatmulPreferenceDestroy) X(MatmulPreferenceSetAttribute) \
  X(MatmulAlgoGetHeuristic) X(Matmul)
// clang-format on

struct CublasLtApi {
#define INGOT_CUBLASLT_MEMBER(name) decltype(&cublasLt##name) name = nullptr;
  INGOT_CUBLASLT_FUNCTIONS(INGOT_CUBLASLT_MEMBER)
#undef INGOT_CUBLASLT_MEMBER
  std::shared_ptr<const void> owner{};
};
#else
struct CublasLtApi {};
#endif

}  // namespace ingot::cuda
