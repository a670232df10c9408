#include "tests/support/cuda_sim/cublaslt_fake.h"

#if INGOT_HAS_CUBLASLT

#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <optional>
#include <set>

#include "core/base/dtype.h"
#include "core/base/half.h"
#include "cuda/base/device_info.h"
#include "cuda/libs/cublaslt.h"
#include "tests/support/cuda_sim/machine.h"
#include "tests/support/cuda_sim/prelude.h"
#include "tests/support/cuda_sim/report.h"

namespace ingot::sim {

namespace {

struct Preference {
  std::uint64_t workspace = 0;
  std::uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_MASK;
  std::uint32_t alignment_a = 256, alignment_b = 256, alignment_c = 256, alignment_d = 256;
};

// What the fake writes into a cublasLtMatmulAlgo_t.
struct Algorithm {
  std::uint64_t problem;    // hash of the descriptors that it was found for
  std::uint64_t workspace;  // bytes it uses
  std::uint32_t alignment;  // of all four addresses
};
static_assert(sizeof(Algorithm) <= sizeof(cublasLtMatmulAlgo_t));

struct Failure {
  std::string function;
  std::size_t at;
  cublasStatus_t status;
  bool for_good;
};

struct State {
  std::size_t version = 0;
  std::vector<LtCall> calls{};
  std::vector<std::string> complaints{};
  std::map<std::string, std::size_t, std::less<>> counts{};
  std::vector<Failure> failures{};
  bool no_algorithm = false;
  // The objects that exist, by handle. A handle's value is the device it was made on.
  std::map<const void*, int> handles{};
  std::map<const void*, LtOperation> operations{};
  std::map<const void*, LtLayout> layouts{};
  std::map<const void*, Preference> preferences{};
  std::uintptr_t next = 0x7000;
};
State* now = nullptr;

template <class Handle>
Handle new_handle() {
  now->next += 16;
  return reinterpret_cast<Handle>(now->next);
}

// Counts the call, and gives the status that a test wants of it.
std::optional<cublasStatus_t> begin(const char* function) {
  const std::size_t nth = ++now->counts[function];
  for (const Failure& f : now->failures)
    if (f.function == function && (f.at == nth || (f.for_good && f.at < nth))) return f.status;
  return std::nullopt;
}

template <class... Parts>
cublasStatus_t refuse(cublasStatus_t status, const Parts&... why) {
  now->complaints.push_back(cat(why...));
  return status;
}
template <class... Parts>
cublasStatus_t invalid(const Parts&... why) {
  return refuse(CUBLAS_STATUS_INVALID_VALUE, why...);
}

template <class T>
const T* find(const std::map<const void*, T>& objects, const void* handle) {
  const auto at = objects.find(handle);
  return at == objects.end() ? nullptr : &at->second;
}

// Takes the value of an attribute: the library wants exactly the documented size.
template <class T>
cublasStatus_t take(T& to, const void* value, std::size_t bytes, const char* what) {
  if (value == nullptr || bytes != sizeof(T)) return invalid(what, " is ", sizeof(T), " bytes, not ", bytes);
  std::memcpy(&to, value, sizeof(T));
  return CUBLAS_STATUS_SUCCESS;
}

template <class T>
cublasStatus_t destroy(std::map<const void*, T>& objects, const void* handle, const char* function) {
  if (const auto status = begin(function)) return *status;
  return objects.erase(handle) == 1 ? CUBLAS_STATUS_SUCCESS : invalid(function, ": there is no such object");
}

// ---- Problems --------------------------------------------------------------------------------------------

std::size_t element_bytes(cudaDataType_t t) {
  return t == CUDA_R_32F ? 4 : 2;
}

cublasStatus_t check_layout(const LtLayout& l, const char* name) {
  constexpr std::uint64_t kMost = std::numeric_limits<std::int32_t>::max();
  if (l.rows == 0 || l.columns == 0) return invalid(name, " is empty");
  if (l.rows > kMost || l.columns > kMost)
    return refuse(CUBLAS_STATUS_NOT_SUPPORTED, name, " has more rows or columns than 32 bits count");
  if (l.ld < static_cast<std::int64_t>(l.rows))
    return invalid("the leading dimension of ", name, " is ", l.ld, ", below its ", l.rows, " rows");
  if (l.batch < 1 || l.stride < 0) return invalid("the batch of ", name, " is ", l.batch);
  return CUBLAS_STATUS_SUCCESS;
}

struct Sizes {
  std::uint64_t m, n, k;
};
Sizes sizes_of(const LtCall& c) {
  return {c.d.rows, c.d.columns, c.operation.transpose_a == CUBLAS_OP_N ? c.a.columns : c.a.rows};
}

// Source: cuBLAS documentation, the table of types of cublasLtMatmul, and cublasLt.h.
cublasStatus_t check_problem(const LtCall& c) {
  const LtOperation& o = c.operation;
  if (o.scale != CUDA_R_32F) return refuse(CUBLAS_STATUS_NOT_SUPPORTED, "alpha and beta are not f32");
  for (const LtLayout* l : {&c.b, &c.c, &c.d})
    if (l->type != c.a.type) return refuse(CUBLAS_STATUS_NOT_SUPPORTED, "the matrices are of several types");
  const bool half = c.a.type == CUDA_R_16F || c.a.type == CUDA_R_16BF;
  if (!half && c.a.type != CUDA_R_32F) return refuse(CUBLAS_STATUS_NOT_SUPPORTED, "no such type here");
  if (o.compute != CUBLAS_COMPUTE_32F && (half || o.compute != CUBLAS_COMPUTE_32F_FAST_TF32))
    return refuse(CUBLAS_STATUS_NOT_SUPPORTED, "the compute type does not go with the matrices'");
  const std::pair<const LtLayout*, const char*> all[] = {{&c.a, "A"}, {&c.b, "B"}, {&c.c, "C"}, {&c.d, "D"}};
  for (const auto& [layout, name] : all) {
    if (const auto status = check_layout(*layout, name); status != CUBLAS_STATUS_SUCCESS) return status;
    if (layout->batch != c.d.batch) return invalid(name, " has another batch than D");
  }
  for (const std::int32_t t : {o.transpose_a, o.transpose_b})
    if (t != CUBLAS_OP_N && t != CUBLAS_OP_T)
      return invalid("transposition ", t, " is none of real matrices");
  const Sizes s = sizes_of(c);
  const bool ta = o.transpose_a == CUBLAS_OP_T, tb = o.transpose_b == CUBLAS_OP_T;
  if ((ta ? c.a.columns : c.a.rows) != s.m || (tb ? c.b.rows : c.b.columns) != s.n ||
      (tb ? c.b.columns : c.b.rows) != s.k || c.c.rows != s.m || c.c.columns != s.n)
    return invalid("the sizes of the matrices do not fit");
  if (c.d.batch > 1 && static_cast<std::uint64_t>(c.d.stride) < static_cast<std::uint64_t>(c.d.ld) * s.n)
    return invalid("the matrices of D overlap");
  switch (o.epilogue) {
    case CUBLASLT_EPILOGUE_DEFAULT:
    case CUBLASLT_EPILOGUE_RELU:
    case CUBLASLT_EPILOGUE_GELU:
      break;
    case CUBLASLT_EPILOGUE_BIAS:
    case CUBLASLT_EPILOGUE_RELU_BIAS:
    case CUBLASLT_EPILOGUE_GELU_BIAS:
      if (o.bias == nullptr) return invalid("an epilogue with bias, and no bias");
      break;
    default:
      return refuse(CUBLAS_STATUS_NOT_SUPPORTED, "epilogue ", o.epilogue, " needs more than the fake knows");
  }
  return CUBLAS_STATUS_SUCCESS;
}

std::uint64_t hash_of(const LtCall& c) {
  std::uint64_t h = 1469598103934665603u;
  const auto mix = [&](auto v) { h = (h ^ static_cast<std::uint64_t>(v)) * 1099511628211u; };
  mix(c.operation.compute), mix(c.operation.transpose_a), mix(c.operation.transpose_b);
  mix(c.operation.epilogue);
  for (const LtLayout* l : {&c.a, &c.b, &c.c, &c.d})
    mix(l->type), mix(l->rows), mix(l->columns), mix(l->ld), mix(l->stride), mix(l->batch);
  return h;
}

cublasStatus_t find_problem(LtCall& c, cublasLtMatmulDesc_t operation, cublasLtMatrixLayout_t a,
                            cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t layout_c,
                            cublasLtMatrixLayout_t d) {
  const LtOperation* const o = find(now->operations, operation);
  if (o == nullptr) return invalid("there is no such matmul descriptor");
  c.operation = *o;
  const std::pair<cublasLtMatrixLayout_t, LtLayout*> all[] = {
      {a, &c.a}, {b, &c.b}, {layout_c, &c.c}, {d, &c.d}};
  for (const auto& [handle, layout] : all) {
    const LtLayout* const found = find(now->layouts, handle);
    if (found == nullptr) return invalid("there is no such matrix layout");
    *layout = *found;
  }
  return check_problem(c);
}

cublasStatus_t check_handle(cublasLtHandle_t handle) {
  const int* const device = find(now->handles, handle);
  if (device == nullptr) return refuse(CUBLAS_STATUS_NOT_INITIALIZED, "there is no such handle");
  if (*device != cuda::current_device())
    return refuse(CUBLAS_STATUS_ARCH_MISMATCH, "the handle is another device's");
  return CUBLAS_STATUS_SUCCESS;
}

// ---- Results ---------------------------------------------------------------------------------------------

double load(const void* from, cudaDataType_t type, std::size_t at) {
  if (type == CUDA_R_32F) return static_cast<double>(static_cast<const float*>(from)[at]);
  if (type == CUDA_R_16F) return static_cast<double>(static_cast<const f16*>(from)[at].to_float());
  return static_cast<double>(static_cast<const bf16*>(from)[at].to_float());
}
void store(void* to, cudaDataType_t type, std::size_t at, double v) {
  const auto f = static_cast<float>(v);
  if (type == CUDA_R_32F)
    static_cast<float*>(to)[at] = f;
  else if (type == CUDA_R_16F)
    static_cast<f16*>(to)[at] = f16::from(f);
  else
    static_cast<bf16*>(to)[at] = bf16::from(f);
}
std::size_t place(const LtLayout& l, std::uint64_t z, std::uint64_t row, std::uint64_t column) {
  return static_cast<std::size_t>(z * static_cast<std::uint64_t>(l.stride) + row +
                                  column * static_cast<std::uint64_t>(l.ld));
}
double tf32(double v) {
  const unsigned bits = to_tf32(static_cast<float>(v));
  float rounded = 0;
  std::memcpy(&rounded, &bits, sizeof rounded);
  return static_cast<double>(rounded);
}

double activate(std::uint32_t epilogue, double v) {
  if ((epilogue & CUBLASLT_EPILOGUE_RELU) != 0) return std::fmax(v, 0.0);
  if ((epilogue & CUBLASLT_EPILOGUE_GELU) != 0)
    return 0.5 * v * (1.0 + std::tanh(0.79788456080286535588 * (v + 0.044715 * v * v * v)));
  return v;
}

void compute(const LtCall& c) {
  const LtOperation& o = c.operation;
  const Sizes s = sizes_of(c);
  const bool ta = o.transpose_a == CUBLAS_OP_T, tb = o.transpose_b == CUBLAS_OP_T;
  const bool rounds = o.compute == CUBLAS_COMPUTE_32F_FAST_TF32;
  for (std::uint64_t z = 0; z < static_cast<std::uint64_t>(c.d.batch); ++z)
    for (std::uint64_t j = 0; j < s.n; ++j)
      for (std::uint64_t i = 0; i < s.m; ++i) {
        double sum = 0;
        for (std::uint64_t k = 0; k < s.k; ++k) {
          const double a = load(c.at_a, c.a.type, ta ? place(c.a, z, k, i) : place(c.a, z, i, k));
          const double b = load(c.at_b, c.b.type, tb ? place(c.b, z, j, k) : place(c.b, z, k, j));
          sum += rounds ? tf32(a) * tf32(b) : a * b;
        }
        double v = static_cast<double>(c.alpha) * sum;
        if (c.beta != 0) v += static_cast<double>(c.beta) * load(c.at_c, c.c.type, place(c.c, z, i, j));
        if ((o.epilogue & CUBLASLT_EPILOGUE_BIAS) != 0)
          v += load(o.bias, c.d.type, static_cast<std::size_t>(i));
        store(c.at_d, c.d.type, place(c.d, z, i, j), activate(o.epilogue, v));
      }
}

// Whether these bytes are the device's, when the stream comes to them.
bool readable(Machine& m, const void* at, std::size_t bytes, const char* what) {
  const auto first = reinterpret_cast<std::uintptr_t>(at);
  const Allocation* const a = m.memory().contains(first) ? m.memory().find(first) : nullptr;
  if (a != nullptr && a->state == Allocation::State::Live && first >= a->base &&
      first + bytes <= a->base + a->bytes)
    return true;
  report(Fault::OutOfBounds,
         cat("cublasLtMatmul uses ", bytes, " bytes at ", at, " as ", what, ", which are not ",
             a == nullptr ? "device memory" : "inside " + describe(*a)));
  return false;
}
std::size_t bytes_of(const LtLayout& l) {
  return (place(l, static_cast<std::uint64_t>(l.batch - 1), l.rows - 1, l.columns - 1) + 1) *
         element_bytes(l.type);
}

cudaError_t perform(Machine& m, const LtCall& c) {
  const bool bias = (c.operation.epilogue & CUBLASLT_EPILOGUE_BIAS) != 0;
  if (!readable(m, c.at_a, bytes_of(c.a), "A") || !readable(m, c.at_b, bytes_of(c.b), "B") ||
      (c.beta != 0 && !readable(m, c.at_c, bytes_of(c.c), "C")) || !readable(m, c.at_d, bytes_of(c.d), "D") ||
      (bias && !readable(m, c.operation.bias, c.d.rows * element_bytes(c.d.type), "bias")) ||
      (c.used_bytes != 0 && !readable(m, c.workspace, c.used_bytes, "workspace")))
    return cudaErrorIllegalAddress;
  if (c.used_bytes != 0) std::memset(c.workspace, 0xff, c.used_bytes);
  compute(c);
  m.kernels_run.insert("cublasLtMatmul");
  return cudaSuccess;
}

bool aligned(const void* p, std::size_t to) {
  return reinterpret_cast<std::uintptr_t>(p) % to == 0;
}

// ---- The functions ---------------------------------------------------------------------------------------

std::size_t get_version() {
  return now->version;
}
const char* status_name(cublasStatus_t s) {
  switch (s) {
    case CUBLAS_STATUS_SUCCESS:
      return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_NOT_INITIALIZED:
      return "CUBLAS_STATUS_NOT_INITIALIZED";
    case CUBLAS_STATUS_ALLOC_FAILED:
      return "CUBLAS_STATUS_ALLOC_FAILED";
    case CUBLAS_STATUS_INVALID_VALUE:
      return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_ARCH_MISMATCH:
      return "CUBLAS_STATUS_ARCH_MISMATCH";
    case CUBLAS_STATUS_EXECUTION_FAILED:
      return "CUBLAS_STATUS_EXECUTION_FAILED";
    case CUBLAS_STATUS_INTERNAL_ERROR:
      return "CUBLAS_STATUS_INTERNAL_ERROR";
    case CUBLAS_STATUS_NOT_SUPPORTED:
      return "CUBLAS_STATUS_NOT_SUPPORTED";
    default:
      return "another status";
  }
}
const char* status_string(cublasStatus_t) {
  return "the library's words";
}

cublasStatus_t create(cublasLtHandle_t* handle) {
  if (const auto status = begin("cublasLtCreate")) return *status;
  *handle = new_handle<cublasLtHandle_t>();
  now->handles[*handle] = cuda::current_device();
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t destroy_handle(cublasLtHandle_t handle) {
  return destroy(now->handles, handle, "cublasLtDestroy");
}

cublasStatus_t desc_create(cublasLtMatmulDesc_t* desc, cublasComputeType_t compute, cudaDataType_t scale) {
  if (const auto status = begin("cublasLtMatmulDescCreate")) return *status;
  *desc = new_handle<cublasLtMatmulDesc_t>();
  now->operations[*desc] = {.compute = compute, .scale = scale};
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t desc_destroy(cublasLtMatmulDesc_t desc) {
  return destroy(now->operations, desc, "cublasLtMatmulDescDestroy");
}
cublasStatus_t desc_set(cublasLtMatmulDesc_t desc, cublasLtMatmulDescAttributes_t attribute,
                        const void* value, std::size_t bytes) {
  if (const auto status = begin("cublasLtMatmulDescSetAttribute")) return *status;
  const auto at = now->operations.find(desc);
  if (at == now->operations.end()) return invalid("there is no such matmul descriptor");
  switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
      return take(at->second.transpose_a, value, bytes, "TRANSA");
    case CUBLASLT_MATMUL_DESC_TRANSB:
      return take(at->second.transpose_b, value, bytes, "TRANSB");
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
      return take(at->second.epilogue, value, bytes, "EPILOGUE");
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
      return take(at->second.bias, value, bytes, "BIAS_POINTER");
    default:
      return invalid("the fake does not know attribute ", static_cast<int>(attribute), " of a product");
  }
}

cublasStatus_t layout_create(cublasLtMatrixLayout_t* layout, cudaDataType type, std::uint64_t rows,
                             std::uint64_t columns, std::int64_t ld) {
  if (const auto status = begin("cublasLtMatrixLayoutCreate")) return *status;
  *layout = new_handle<cublasLtMatrixLayout_t>();
  now->layouts[*layout] = {.type = type, .rows = rows, .columns = columns, .ld = ld};
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t layout_destroy(cublasLtMatrixLayout_t layout) {
  return destroy(now->layouts, layout, "cublasLtMatrixLayoutDestroy");
}
cublasStatus_t layout_set(cublasLtMatrixLayout_t layout, cublasLtMatrixLayoutAttribute_t attribute,
                          const void* value, std::size_t bytes) {
  if (const auto status = begin("cublasLtMatrixLayoutSetAttribute")) return *status;
  const auto at = now->layouts.find(layout);
  if (at == now->layouts.end()) return invalid("there is no such matrix layout");
  switch (attribute) {
    case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT:
      return take(at->second.batch, value, bytes, "BATCH_COUNT");
    case CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET:
      return take(at->second.stride, value, bytes, "STRIDED_BATCH_OFFSET");
    default:
      return invalid("the fake does not know attribute ", static_cast<int>(attribute), " of a layout");
  }
}

cublasStatus_t preference_create(cublasLtMatmulPreference_t* preference) {
  if (const auto status = begin("cublasLtMatmulPreferenceCreate")) return *status;
  *preference = new_handle<cublasLtMatmulPreference_t>();
  now->preferences[*preference] = {};
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t preference_destroy(cublasLtMatmulPreference_t preference) {
  return destroy(now->preferences, preference, "cublasLtMatmulPreferenceDestroy");
}
cublasStatus_t preference_set(cublasLtMatmulPreference_t preference,
                              cublasLtMatmulPreferenceAttributes_t attribute, const void* value,
                              std::size_t bytes) {
  if (const auto status = begin("cublasLtMatmulPreferenceSetAttribute")) return *status;
  const auto at = now->preferences.find(preference);
  if (at == now->preferences.end()) return invalid("there is no such preference");
  Preference& p = at->second;
  switch (attribute) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
      return take(p.workspace, value, bytes, "MAX_WORKSPACE_BYTES");
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK:
      return take(p.reductions, value, bytes, "REDUCTION_SCHEME_MASK");
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
      return take(p.alignment_a, value, bytes, "MIN_ALIGNMENT_A_BYTES");
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
      return take(p.alignment_b, value, bytes, "MIN_ALIGNMENT_B_BYTES");
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
      return take(p.alignment_c, value, bytes, "MIN_ALIGNMENT_C_BYTES");
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
      return take(p.alignment_d, value, bytes, "MIN_ALIGNMENT_D_BYTES");
    default:
      return invalid("the fake does not know preference ", static_cast<int>(attribute));
  }
}

// Three algorithms, as the heuristic might order them: one that keeps two partial sums and reads 16 bytes at
// a time, one that the device turns out not to have, and one that asks for nothing.
cublasStatus_t heuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t operation, cublasLtMatrixLayout_t a,
                         cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t layout_c, cublasLtMatrixLayout_t d,
                         cublasLtMatmulPreference_t preference, int wanted,
                         cublasLtMatmulHeuristicResult_t results[], int* count) {
  if (const auto status = begin("cublasLtMatmulAlgoGetHeuristic")) return *status;
  *count = 0;
  if (const auto status = check_handle(handle); status != CUBLAS_STATUS_SUCCESS) return status;
  LtCall c;
  if (const auto status = find_problem(c, operation, a, b, layout_c, d); status != CUBLAS_STATUS_SUCCESS)
    return status;
  const Preference* const p = find(now->preferences, preference);
  if (p == nullptr || wanted < 1) return invalid("the heuristic was asked for ", wanted, " algorithms");
  for (const std::uint32_t at : {p->alignment_a, p->alignment_b, p->alignment_c, p->alignment_d})
    if (at == 0 || (at & (at - 1)) != 0) return invalid("an alignment of ", at, " bytes");
  if (now->no_algorithm) return CUBLAS_STATUS_SUCCESS;
  const std::uint32_t least =
      std::min(std::min(p->alignment_a, p->alignment_b), std::min(p->alignment_c, p->alignment_d));
  const auto offer = [&](const Algorithm& algorithm, cublasStatus_t state) {
    if (*count == wanted || algorithm.workspace > p->workspace || algorithm.alignment > least) return;
    cublasLtMatmulHeuristicResult_t& r = results[(*count)++];
    r = {};
    r.state = state;
    if (state != CUBLAS_STATUS_SUCCESS) return;
    std::memcpy(r.algo.data, &algorithm, sizeof algorithm);
    r.workspaceSize = algorithm.workspace;
  };
  const std::uint64_t problem = hash_of(c);
  const std::uint64_t partial = 2 * 4 * c.d.rows * c.d.columns * static_cast<std::uint64_t>(c.d.batch);
  offer({problem, 0, 1}, CUBLAS_STATUS_NOT_SUPPORTED);
  if ((p->reductions & CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE) != 0)
    offer({problem, partial, 16}, CUBLAS_STATUS_SUCCESS);
  offer({problem, 0, static_cast<std::uint32_t>(element_bytes(c.d.type))}, CUBLAS_STATUS_SUCCESS);
  return *count != 0 ? CUBLAS_STATUS_SUCCESS
                     : refuse(CUBLAS_STATUS_NOT_SUPPORTED, "no algorithm takes such addresses");
}

cublasStatus_t matmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t operation, const void* alpha,
                      const void* at_a, cublasLtMatrixLayout_t a, const void* at_b, cublasLtMatrixLayout_t b,
                      const void* beta, const void* at_c, cublasLtMatrixLayout_t layout_c, void* at_d,
                      cublasLtMatrixLayout_t d, const cublasLtMatmulAlgo_t* algorithm, void* workspace,
                      std::size_t workspace_bytes, cudaStream_t stream_handle) {
  if (const auto status = begin("cublasLtMatmul")) return *status;
  if (const auto status = check_handle(handle); status != CUBLAS_STATUS_SUCCESS) return status;
  LtCall c;
  if (const auto status = find_problem(c, operation, a, b, layout_c, d); status != CUBLAS_STATUS_SUCCESS)
    return status;
  if (alpha == nullptr || beta == nullptr || algorithm == nullptr)
    return invalid("alpha, beta or the algorithm is missing");
  std::memcpy(&c.alpha, alpha, sizeof c.alpha);
  std::memcpy(&c.beta, beta, sizeof c.beta);
  Algorithm chosen{};
  std::memcpy(&chosen, algorithm->data, sizeof chosen);
  if (chosen.problem != hash_of(c)) return invalid("the algorithm was found for another problem");
  c.at_a = at_a, c.at_b = at_b, c.at_c = at_c, c.at_d = at_d;
  const std::pair<const void*, const LtLayout*> matrices[] = {
      {at_a, &c.a}, {at_b, &c.b}, {at_c, &c.c}, {at_d, &c.d}};
  for (const auto& [p, l] : matrices)
    if (p == nullptr || !aligned(p, chosen.alignment) ||
        static_cast<std::size_t>(l->stride) * element_bytes(l->type) % chosen.alignment != 0)
      return invalid("a matrix at ", p, ", stride ", l->stride, "; this algorithm wants multiples of ",
                     chosen.alignment, " bytes");
  if (at_c == at_d && layout_c != d && std::memcmp(&c.c, &c.d, sizeof c.c) != 0)
    return invalid("C lies where D lies, in another layout");
  if (workspace_bytes < chosen.workspace)
    return invalid("a workspace of ", workspace_bytes, " bytes; the algorithm uses ", chosen.workspace);
  if (chosen.workspace != 0 &&
      (workspace == nullptr || !aligned(workspace, cuda::LtProduct::kWorkspaceAlignment)))
    return invalid("the workspace at ", workspace, " is not aligned to 256 bytes");
  c.workspace = workspace;
  c.workspace_bytes = workspace_bytes;
  c.used_bytes = chosen.workspace;

  Machine& m = machine();
  const std::lock_guard guard(m.lock());
  StreamState* const stream = m.stream(stream_handle);
  if (stream == nullptr) return invalid("there is no such stream");
  if (stream->capture == nullptr) ++m.counters.launches;
  now->calls.push_back(c);
  return m.submit(*stream, [&m, c] { return perform(m, c); }) == cudaSuccess ? CUBLAS_STATUS_SUCCESS
                                                                             : CUBLAS_STATUS_EXECUTION_FAILED;
}

}  // namespace

CublasLtFake::CublasLtFake(std::size_t version) {
  now = new State{.version = version};
  auto api = std::make_shared<cuda::CublasLtApi>();
  api->GetVersion = get_version;
  api->GetStatusName = status_name;
  api->GetStatusString = status_string;
  api->Create = create;
  api->Destroy = destroy_handle;
  api->MatmulDescCreate = desc_create;
  api->MatmulDescDestroy = desc_destroy;
  api->MatmulDescSetAttribute = desc_set;
  api->MatrixLayoutCreate = layout_create;
  api->MatrixLayoutDestroy = layout_destroy;
  api->MatrixLayoutSetAttribute = layout_set;
  api->MatmulPreferenceCreate = preference_create;
  api->MatmulPreferenceDestroy = preference_destroy;
  api->MatmulPreferenceSetAttribute = preference_set;
  api->MatmulAlgoGetHeuristic = heuristic;
  api->Matmul = matmul;
  try {
    cuda::use_cublaslt(std::make_shared<const cuda::CublasLt>(std::move(api)));
  } catch (...) {
    delete std::exchange(now, nullptr);
    throw;
  }
}

CublasLtFake::~CublasLtFake() {
  cuda::use_cublaslt(nullptr);
  delete std::exchange(now, nullptr);
}

const std::vector<LtCall>& CublasLtFake::calls() const {
  return now->calls;
}
const std::vector<std::string>& CublasLtFake::complaints() const {
  return now->complaints;
}
std::size_t CublasLtFake::count(std::string_view function) const {
  const auto at = now->counts.find(function);
  return at == now->counts.end() ? 0 : at->second;
}
void CublasLtFake::fail(std::string_view function, int nth, cublasStatus_t status, bool for_good) {
  now->failures.push_back(
      {std::string(function), count(function) + static_cast<std::size_t>(nth), status, for_good});
}
void CublasLtFake::find_no_algorithm() {
  now->no_algorithm = true;
}
std::size_t CublasLtFake::live() const {
  return now->handles.size() + now->operations.size() + now->layouts.size() + now->preferences.size();
}

}  // namespace ingot::sim

#endif
