// A cuBLASLt for the simulated device: takes the library's place while it lives, records every product, and
// computes it by plain loops in double as work of the stream it was given.
//
// It knows only what NVIDIA documents of descriptors, layouts, epilogues and statuses, and is strict: wrong
// sizes of attributes, matrices that do not fit each other, leading dimensions that are too small,
// misaligned or missing addresses, a workspace smaller than the algorithm's, objects that were destroyed.
// What it refuses it returns as the library does, with a line in complaints(). Workspace that an algorithm
// uses is filled with NaN when the product runs, so that too little of it shows.
//
//   CublasLtFake lt;
//   ... run a program on the simulated device ...
//   EXPECT_EQ(lt.calls().size(), 3u);
//   EXPECT_EQ(join(lt.complaints()), "");
//   lt.fail("cublasLtMatmul", 1, CUBLAS_STATUS_NOT_SUPPORTED);     // the next call
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cuda/libs/cublaslt_api.h"

#if INGOT_HAS_CUBLASLT

namespace ingot::sim {

// As the descriptors say it, column-major.
struct LtLayout {
  cudaDataType_t type{};
  std::uint64_t rows = 0, columns = 0;
  std::int64_t ld = 0, stride = 0;
  std::int32_t batch = 1;
};
struct LtOperation {
  cublasComputeType_t compute{};
  cudaDataType_t scale{};
  std::int32_t transpose_a = CUBLAS_OP_N, transpose_b = CUBLAS_OP_N;
  std::uint32_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  const void* bias = nullptr;
};
struct LtCall {
  LtOperation operation;
  LtLayout a, b, c, d;
  float alpha = 0, beta = 0;
  const void *at_a = nullptr, *at_b = nullptr, *at_c = nullptr;
  void *at_d = nullptr, *workspace = nullptr;
  std::size_t workspace_bytes = 0, used_bytes = 0;  // given, and what the algorithm uses
};

class CublasLtFake {
 public:
  explicit CublasLtFake(std::size_t version = CUBLAS_VERSION);
  ~CublasLtFake();
  CublasLtFake(const CublasLtFake&) = delete;
  CublasLtFake& operator=(const CublasLtFake&) = delete;

  // Products that were accepted, in the order of the calls; one per node and recording.
  const std::vector<LtCall>& calls() const;
  const std::vector<std::string>& complaints() const;
  // How often a function was called.
  std::size_t count(std::string_view function) const;
  // The `nth` call from now (1: the next) of a function gives this status; only that one, or it and all later
  // ones.
  void fail(std::string_view function, int nth, cublasStatus_t status, bool for_good = false);
  // The heuristic finds nothing from now on.
  void find_no_algorithm();
  // Handles, descriptors, layouts and preferences that exist.
  std::size_t live() const;
};

}  // namespace ingot::sim

#endif
