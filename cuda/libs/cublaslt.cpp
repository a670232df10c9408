#include "cuda/libs/cublaslt.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <utility>

#include "cuda/base/device_info.h"
#include "cuda/libs/cublaslt_api.h"
#include "cuda/libs/libraries.h"

namespace ingot::cuda {

namespace {

// Never destroyed: sessions of static lifetime may outlive it.
struct State {
  std::mutex lock;
  bool asked = false;
  std::shared_ptr<const CublasLt> library{};
  std::string why{};  // there is none
};
State& state() {
  static State* const one = new State;
  return *one;
}

}  // namespace

void use_cublaslt(std::shared_ptr<const CublasLt> library) {
  State& s = state();
  const std::lock_guard guard(s.lock);
  s.asked = library != nullptr;
  s.library = std::move(library);
}

std::optional<std::string> CublasLt::missing() {
  State& s = state();
  const std::lock_guard guard(s.lock);
  if (!s.asked) {
    s.asked = true;
    const Library& files = ingot::cuda::library("cublaslt");
    if (const auto closed = libraries_closed())
      s.why = *closed;
    else if (!find_library(files.files))
      s.why = cat("cuBLASLt: ", library_text(files));
    else
      try {
        s.library = std::make_shared<const CublasLt>(files.files);
      } catch (const DeviceError& e) {
        s.why = e.message();
      }
  }
  if (s.library != nullptr) return std::nullopt;
  return s.why;
}

std::shared_ptr<const CublasLt> CublasLt::instance() {
  if (const auto why = missing()) throw DeviceError(*why);
  State& s = state();
  const std::lock_guard guard(s.lock);
  return s.library;
}

#if INGOT_HAS_CUBLASLT

namespace {

std::shared_ptr<const CublasLtApi> open(const LibraryNames& files) {
#define INGOT_CUBLASLT_NAME(name) "cublasLt" #name,
  const auto library = std::make_shared<SharedLibrary>(
      files, std::vector<const char*>{INGOT_CUBLASLT_FUNCTIONS(INGOT_CUBLASLT_NAME)});
#undef INGOT_CUBLASLT_NAME
  auto api = std::make_shared<CublasLtApi>();
#define INGOT_CUBLASLT_FIND(name) \
  api->name = library->function<std::remove_pointer_t<decltype(api->name)>>("cublasLt" #name);
  INGOT_CUBLASLT_FUNCTIONS(INGOT_CUBLASLT_FIND)
#undef INGOT_CUBLASLT_FIND
  api->owner = library;
  return api;
}

// Nothing was issued when a call ends so.
bool refuses(cublasStatus_t status) {
  return status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_ARCH_MISMATCH ||
         status == CUBLAS_STATUS_ALLOC_FAILED || status == CUBLAS_STATUS_NOT_INITIALIZED;
}

const char* advice(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_NOT_INITIALIZED:
      return "cuBLASLt finds no GPU, or too little memory on it, or a driver older than the library; `ingot "
             "info` "
             "shows both versions";
    case CUBLAS_STATUS_ALLOC_FAILED:
      return "the library itself found too little free memory; use a smaller batch, or end the programs that "
             "share the GPU";
    case CUBLAS_STATUS_ARCH_MISMATCH:
      return "this cuBLASLt has no kernels for the GPU; install a newer one";
    case CUBLAS_STATUS_NOT_SUPPORTED:
      return "this cuBLASLt has no kernel for the problem on this GPU";
    case CUBLAS_STATUS_EXECUTION_FAILED:
      return "a kernel could not be launched; run with SessionOptions::debug (`ingot train --debug`), an "
             "earlier step "
             "may have failed";
    default:
      return "this is an error of Ingot or of cuBLASLt; please report it with the versions that `ingot info` "
             "prints";
  }
}

cudaDataType_t type_of(DType d) {
  switch (d) {
    case DType::F32:
      return CUDA_R_32F;
    case DType::F16:
      return CUDA_R_16F;
    case DType::BF16:
      return CUDA_R_16BF;
    default:
      throw UsageError(cat("LtProduct expects f32, f16 or bf16, got ", name(d)));
  }
}

// What an address, and those a batch stride away, are multiples of; 256 is the most that the library asks
// for.
std::uint32_t alignment(const void* address, std::int64_t stride, DType d) {
  const std::uint64_t bits = reinterpret_cast<std::uintptr_t>(address) |
                             static_cast<std::uint64_t>(stride) * static_cast<std::uint64_t>(size_of(d)) |
                             256u;
  return static_cast<std::uint32_t>(bits & (~bits + 1));
}

template <class Opaque>
using Owned = std::unique_ptr<Opaque, cublasStatus_t (*)(Opaque*)>;

}  // namespace

CublasLt::CublasLt(const LibraryNames& files) : CublasLt(open(files)) {}

CublasLt::CublasLt(std::shared_ptr<const CublasLtApi> api) : api_(std::move(api)) {
  if (const std::size_t found = api_->GetVersion(); found < kOldest)
    throw DeviceError(cat("cuBLASLt ", version(), " is too old, version 12.0 or later is needed; ",
                          ingot::cuda::library("cublaslt").install));
}

// Source: cublas_api.h: 10000 major + 100 minor + patch since version 9; 120304 is 12.3.4.
std::string CublasLt::version() const {
  const std::size_t v = api_->GetVersion();
  return cat(v / 10000, ".", v % 10000 / 100, ".", v % 100);
}

void CublasLt::check(int status, const char* call) const {
  const auto s = static_cast<cublasStatus_t>(status);
  if (s == CUBLAS_STATUS_SUCCESS) return;
  throw CublasLtError(
      cat(call, ": ", api_->GetStatusName(s), " (", api_->GetStatusString(s), "): ", advice(s)), refuses(s));
}

std::shared_ptr<void> CublasLt::handle() const {
  const std::lock_guard guard(lock_);
  const int device = current_device();
  std::weak_ptr<void>& known = handles_[device];
  if (auto handle = known.lock()) return handle;
  cublasLtHandle_t made = nullptr;
  try {
    check(api_->Create(&made), "cublasLtCreate");
  } catch (const CublasLtError& e) {
    throw CublasLtError(e.message(), e.refused(), !without_.insert(device).second);
  }
  without_.erase(device);
  const std::shared_ptr<void> handle(made, [library = shared_from_this()](void* h) {
    const cublasStatus_t status = library->api_->Destroy(static_cast<cublasLtHandle_t>(h));
    if (status != CUBLAS_STATUS_SUCCESS)
      std::fprintf(stderr, "ingot: cublasLtDestroy: %s\n", library->api_->GetStatusName(status));
  });
  known = handle;
  return handle;
}

struct LtProduct::Impl {
  std::shared_ptr<const CublasLt> library;
  const CublasLtApi& api;
  LtOperands at;
  float alpha = 1.0f, beta = 0.0f;
  std::shared_ptr<void> handle{};
  Owned<cublasLtMatmulDescOpaque_t> operation;
  Owned<cublasLtMatrixLayoutOpaque_t> a, b, d;
  cublasLtMatmulAlgo_t algorithm{};
  std::size_t workspace_bytes = 0;

  Impl(std::shared_ptr<const CublasLt> lt, const LtProblem& p, const LtOperands& operands)
      : library(std::move(lt)),
        api(library->api()),
        at(operands),
        beta(p.has_c ? 1.0f : 0.0f),
        operation(make_operation(p)),
        a(make_layout(p, p.transpose_a ? p.k : p.m, p.transpose_a ? p.m : p.k, p.stride_a)),
        b(make_layout(p, p.transpose_b ? p.n : p.k, p.transpose_b ? p.k : p.n, p.stride_b)),
        d(make_layout(p, p.m, p.n, p.stride_d)) {
    if (!p.has_c) at.c = at.d;  // not read, but it must be a matrix
    choose_algorithm(p);
  }

  Owned<cublasLtMatmulDescOpaque_t> make_operation(const LtProblem& p) const {
    const bool tf32 = p.allow_tf32 && p.dtype == DType::F32;
    cublasLtMatmulDesc_t made = nullptr;
    library->check(
        api.MatmulDescCreate(&made, tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F, CUDA_R_32F),
        "cublasLtMatmulDescCreate");
    Owned<cublasLtMatmulDescOpaque_t> desc(made, api.MatmulDescDestroy);
    const auto set = [&](cublasLtMatmulDescAttributes_t attribute, const auto& value) {
      library->check(api.MatmulDescSetAttribute(desc.get(), attribute, &value, sizeof value),
                     "cublasLtMatmulDescSetAttribute");
    };
    const auto operation_of = [](bool transpose) {
      return static_cast<std::int32_t>(transpose ? CUBLAS_OP_T : CUBLAS_OP_N);
    };
    set(CUBLASLT_MATMUL_DESC_TRANSA, operation_of(p.transpose_a));
    set(CUBLASLT_MATMUL_DESC_TRANSB, operation_of(p.transpose_b));
    set(CUBLASLT_MATMUL_DESC_EPILOGUE, static_cast<std::uint32_t>(epilogue_of(p)));
    // The heuristic looks at its alignment.
    if (p.has_bias) set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, at.bias);
    return desc;
  }

  static cublasLtEpilogue_t epilogue_of(const LtProblem& p) {
    switch (p.activation) {
      case LtActivation::Relu:
        return p.has_bias ? CUBLASLT_EPILOGUE_RELU_BIAS : CUBLASLT_EPILOGUE_RELU;
      case LtActivation::GeluTanh:
        return p.has_bias ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_GELU;
      case LtActivation::None:
        break;
    }
    return p.has_bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
  }

  Owned<cublasLtMatrixLayoutOpaque_t> make_layout(const LtProblem& p, std::int64_t rows, std::int64_t columns,
                                                  std::int64_t stride) const {
    cublasLtMatrixLayout_t made = nullptr;
    library->check(api.MatrixLayoutCreate(&made, type_of(p.dtype), static_cast<std::uint64_t>(rows),
                                          static_cast<std::uint64_t>(columns), rows),
                   "cublasLtMatrixLayoutCreate");
    Owned<cublasLtMatrixLayoutOpaque_t> layout(made, api.MatrixLayoutDestroy);
    const auto set = [&](cublasLtMatrixLayoutAttribute_t attribute, const auto& value) {
      library->check(api.MatrixLayoutSetAttribute(layout.get(), attribute, &value, sizeof value),
                     "cublasLtMatrixLayoutSetAttribute");
    };
    if (p.batch > 1) {
      set(CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, static_cast<std::int32_t>(p.batch));
      set(CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, stride);
    }
    return layout;
  }

  void choose_algorithm(const LtProblem& p) {
    cublasLtMatmulPreference_t made = nullptr;
    library->check(api.MatmulPreferenceCreate(&made), "cublasLtMatmulPreferenceCreate");
    const Owned<cublasLtMatmulPreferenceOpaque_t> preference(made, api.MatmulPreferenceDestroy);
    const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
      library->check(api.MatmulPreferenceSetAttribute(preference.get(), attribute, &value, sizeof value),
                     "cublasLtMatmulPreferenceSetAttribute");
    };
    set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, std::uint64_t{at.workspace_bytes});
    set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
        static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment(at.a, p.stride_a, p.dtype));
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment(at.b, p.stride_b, p.dtype));
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment(at.c, p.stride_d, p.dtype));
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment(at.d, p.stride_d, p.dtype));

    handle = library->handle();
    std::array<cublasLtMatmulHeuristicResult_t, 8> found{};
    int count = 0;
    library->check(api.MatmulAlgoGetHeuristic(static_cast<cublasLtHandle_t>(handle.get()), operation.get(),
                                              a.get(), b.get(), d.get(), d.get(), preference.get(),
                                              static_cast<int>(found.size()), found.data(), &count),
                   "cublasLtMatmulAlgoGetHeuristic");
    const auto end = found.begin() + std::min(count, static_cast<int>(found.size()));
    const auto best = std::find_if(found.begin(), end, [&](const cublasLtMatmulHeuristicResult_t& r) {
      return r.state == CUBLAS_STATUS_SUCCESS && r.workspaceSize <= at.workspace_bytes;
    });
    if (best == end)
      throw CublasLtError(
          cat("cublasLtMatmulAlgoGetHeuristic: none of ", count, " algorithms serves the problem within ",
              at.workspace_bytes, " bytes of workspace"),
          true);
    algorithm = best->algo;
    workspace_bytes = best->workspaceSize;
  }
};

LtProduct::LtProduct(std::shared_ptr<const CublasLt> library, const LtProblem& problem,
                     const LtOperands& operands)
    : impl_(std::make_unique<Impl>(std::move(library), problem, operands)) {}

void LtProduct::run(const Stream& stream) const {
  const Impl& i = *impl_;
  i.library->check(i.api.Matmul(static_cast<cublasLtHandle_t>(i.handle.get()), i.operation.get(), &i.alpha,
                                i.at.a, i.a.get(), i.at.b, i.b.get(), &i.beta, i.at.c, i.d.get(), i.at.d,
                                i.d.get(), &i.algorithm, i.at.workspace, i.at.workspace_bytes, stream.get()),
                   "cublasLtMatmul");
}

std::size_t LtProduct::workspace_bytes() const {
  return impl_->workspace_bytes;
}

#else

// A library that was opened could not be called.
CublasLt::CublasLt(const LibraryNames&) {
  throw DeviceError(
      "Ingot was built without cuBLASLt's headers; install them (Debian and Ubuntu: the package "
      "libcublas-dev-13-0) and build again");
}
CublasLt::CublasLt(std::shared_ptr<const CublasLtApi>) : CublasLt(LibraryNames{}) {}
std::string CublasLt::version() const {
  return "";
}
void CublasLt::check(int, const char*) const {}
std::shared_ptr<void> CublasLt::handle() const {
  return nullptr;
}
struct LtProduct::Impl {};
LtProduct::LtProduct(std::shared_ptr<const CublasLt>, const LtProblem&, const LtOperands&) {}
std::size_t LtProduct::workspace_bytes() const {
  return 0;
}
void LtProduct::run(const Stream&) const {}

#endif

LtProduct::~LtProduct() = default;
LtProduct::LtProduct(LtProduct&&) noexcept = default;
LtProduct& LtProduct::operator=(LtProduct&&) noexcept = default;

}  // namespace ingot::cuda
