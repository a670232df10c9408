// cuBLASLt, NVIDIA's matrix products: the opened library, a handle per device, and one product with its
// descriptors and algorithm. Nothing here knows of nodes or plans (cuda/ops/matmul.h does).
//
// The library is opened when it is first asked for; where it is missing, too old or incomplete, missing()
// says why and what to install. Matrices are column-major, as the library takes them. Sums are f32; partial
// sums of a long k are kept in f32 in the workspace and added in order by a second kernel, never added into
// the result, so the same GPU gives the same bits. A product owns its descriptors and shares the device's
// handle, which goes with the last product that uses it. All functions may be called from several threads;
// one product is one thread's at a time.
//
//   if (auto why = CublasLt::missing()) ...                         // the reason, for messages
//   LtProduct y(CublasLt::instance(), {.dtype = DType::F16, .m = 64, .n = 8, .k = 512}, operands);
//   y.run(stream);                                                  // allocates nothing, may be captured
//
// Source: NVIDIA, "cuBLAS" (CUDA Toolkit documentation), and cublasLt.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>

#include "core/base/dtype.h"
#include "core/base/error.h"
#include "cuda/base/stream.h"
#include "cuda/jit/shared_library.h"

namespace ingot::cuda {

struct CublasLtApi;  // cuda/libs/cublaslt_api.h

// A call of the library that failed: "cublasLtMatmul: CUBLAS_STATUS_NOT_SUPPORTED (...): what to do".
class CublasLtError : public DeviceError {
 public:
  CublasLtError(const std::string& message, bool refused, bool known = false)
      : DeviceError(message), refused_(refused), known_(known) {}
  // The library declined before it issued anything, so another kernel may do the work.
  bool refused() const { return refused_; }
  // The device has no handle, and an earlier error said so: one line is enough for a model's many products.
  bool known() const { return known_; }

 private:
  bool refused_, known_;
};

class CublasLt : public std::enable_shared_from_this<CublasLt> {
 public:
  static constexpr std::size_t kOldest = 120000;  // 12.0, as cublasLtGetVersion() counts

  // Throws DeviceError that says what was tried and what to install.
  static std::shared_ptr<const CublasLt> instance();
  static std::optional<std::string> missing();

  // Opens one of these files; throws DeviceError when none opens, has all functions and is new enough.
  explicit CublasLt(const LibraryNames& files);
  explicit CublasLt(std::shared_ptr<const CublasLtApi> api);

  std::string version() const;  // "13.1.0"
  const CublasLtApi& api() const { return *api_; }
  // Throws CublasLtError that names the call, for any status but success.
  void check(int status, const char* call) const;
  // The calling thread's device's: a cublasLtHandle_t. Throws CublasLtError.
  std::shared_ptr<void> handle() const;

 private:
  std::shared_ptr<const CublasLtApi> api_;
  mutable std::mutex lock_;
  mutable std::map<int, std::weak_ptr<void>> handles_;  // by device
  mutable std::set<int> without_;                       // devices whose handle could not be made, last time
};

// What instance() gives from now on, for tests; null: what the build finds, asked for again.
void use_cublaslt(std::shared_ptr<const CublasLt> library);

// Its ReLU gives 0 for NaN; its GELU is the tanh approximation (source: pytorch/pytorch, _addmm_activation).
enum class LtActivation : std::uint8_t { None, Relu, GeluTanh };

// D[z] = act(op(A[z]) op(B[z]) + C[z] + bias), column-major: D is m x n, op(A) m x k, op(B) k x n, bias one
// number per row of D. Matrices are dense: each leading dimension is the number of stored rows.
struct LtProblem {
  DType dtype = DType::F32;  // F32, F16 or BF16, of all operands
  std::int64_t m = 0, n = 0, k = 0;
  bool transpose_a = false, transpose_b = false;
  std::int64_t batch = 1, stride_a = 0, stride_b = 0, stride_d = 0;  // elements; 0: the same for all
  bool has_bias = false, has_c = false;
  LtActivation activation = LtActivation::None;
  bool allow_tf32 = false;  // f32 operands may be rounded to TF32
};

struct LtOperands {
  const void* a = nullptr;
  const void* b = nullptr;
  const void* bias = nullptr;
  const void* c = nullptr;  // may be d
  void* d = nullptr;
  void* workspace = nullptr;  // aligned to kWorkspaceAlignment
  std::size_t workspace_bytes = 0;
};

class LtProduct {
 public:
  // NVIDIA's own users ask for it (source: NVIDIA/TransformerEngine, cublaslt_gemm.cu).
  static constexpr std::size_t kWorkspaceAlignment = 256;
  // What the heuristic wants at most on this architecture to have all its algorithms to choose from: 32 MiB
  // since sm_90, else 4 MiB. Source: cuBLAS documentation, cublasSetWorkspace; pytorch/pytorch#120925.
  static std::size_t recommended_workspace(int sm) { return std::size_t{sm >= 90 ? 32u : 4u} << 20; }

  // Makes descriptors, and only then the handle, which needs a GPU; asks the heuristic for an algorithm that
  // fits these addresses and keeps to the workspace. Throws CublasLtError.
  LtProduct(std::shared_ptr<const CublasLt> library, const LtProblem& problem, const LtOperands& operands);
  ~LtProduct();
  LtProduct(LtProduct&&) noexcept;
  LtProduct& operator=(LtProduct&&) noexcept;

  // Of the workspace, what the algorithm uses.
  std::size_t workspace_bytes() const;
  void run(const Stream& stream) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ingot::cuda
