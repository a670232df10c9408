#include "tests/support/cudnn_recorder/recording.h"

#include <dlfcn.h>

#include <algorithm>

#include "core/base/error.h"
#include "cuda/libs/cudnn.h"

namespace ingot::test {

namespace {

// Before any test's first plan: cuDNN's functions are looked up once in a process.
class RecorderInstalled : public testing::Environment {
 public:
  void SetUp() override {
    void* const recorder = ::dlopen(INGOT_CUDNN_RECORDER, RTLD_NOW | RTLD_LOCAL);
    if (recorder == nullptr) {
      why() = cat("cuDNN cannot be opened here: ", ::dlerror());
      return;
    }
    take() = reinterpret_cast<void (*)(CudnnRecord*)>(::dlsym(recorder, "take_cudnn_record"));
    cuda::use_cudnn(recorder);
  }
  static void (*&take())(CudnnRecord*) {
    static void (*one)(CudnnRecord*) = nullptr;
    return one;
  }
  static std::string& why() {
    static std::string text;
    return text;
  }
};
[[maybe_unused]] const auto* const installed = testing::AddGlobalTestEnvironment(new RecorderInstalled);

std::string numbers(const std::vector<std::int64_t>& v) {
  return cat("[", join(v, ", "), "]");
}

cudnnDataType_t cudnn_type(DType t) {
  return t == DType::F16 ? CUDNN_DATA_HALF : t == DType::BF16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
}

}  // namespace

void CudnnRecording::SetUp() {
  if (!RecorderInstalled::why().empty()) GTEST_SKIP() << RecorderInstalled::why();
  taken();
}

CudnnRecord taken() {
  CudnnRecord r;
  RecorderInstalled::take()(&r);
  return r;
}

std::string text(const CudnnTensor& t) {
  return cat(numbers(t.dims), " by ", numbers(t.strides), " type ", t.type, t.is_virtual ? " virtual" : "",
             t.by_value ? " by value" : "", " aligned ", t.is_virtual ? 0 : t.alignment, " vectors of ",
             t.vector_count,
             t.grouped_dims.empty()
                 ? ""
                 : cat(" in groups ", numbers(t.grouped_dims), " by ", numbers(t.grouped_strides)));
}

namespace {

// A norm or pooling.
std::string named_text(const CudnnOperation& o) {
  std::string s = cat("operation ", o.kind);
  if (o.kind == CUDNN_BACKEND_OPERATION_RESAMPLE_FWD_DESCRIPTOR)
    s += cat(" in ", o.compute, " scaled ", o.alpha, " and ", o.beta, " mode ", o.resample, " filled ",
             o.padding, " nan ", o.nan, " window ", numbers(o.window), " padding ", numbers(o.padding_before),
             numbers(o.padding_behind), " stride ", numbers(o.stride));
  else
    s += cat(" norm ", o.norm, " phase ", o.phase);
  for (const auto& [name, tensor] : o.tensors) s += cat("\n  ", name, ": id ", tensor.id, " ", text(tensor));
  return s += "\n";
}

std::string operation_text(const CudnnOperation& o) {
  if (!o.tensors.empty()) return named_text(o);
  const bool pointwise = o.kind == CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR;
  std::string s = cat("operation ", o.kind, " in ", o.compute, " scaled ", o.alpha, " and ", o.beta);
  if (pointwise)
    s += cat(" mode ", o.mode);
  else
    s += cat(" flipped ", o.flipped, " padding ", numbers(o.padding_before), numbers(o.padding_behind),
             " stride ", numbers(o.stride), " dilation ", numbers(o.dilation));
  s += cat("\n  x ", text(o.x));
  if (o.has_w) s += cat("\n  w ", text(o.w));
  return s += cat("\n  y ", text(o.y), "\n");
}

}  // namespace

std::string text(const std::vector<CudnnOperation>& graph) {
  std::string s;
  for (const CudnnOperation& o : graph) s += operation_text(o);
  return s;
}

CudnnTensor channels_last(const Shape& s, DType dtype) {
  const std::int64_t c = s[1], h = s[2], w = s[3];
  CudnnTensor t;
  t.dims = {s[0], c, h, w}, t.strides = {c * h * w, 1, c * w, c};
  t.type = cudnn_type(dtype), t.alignment = 16, t.vector_count = 1;
  return t;
}
CudnnTensor between(CudnnTensor t) {
  t.type = CUDNN_DATA_FLOAT;
  t.is_virtual = true;
  return t;
}

bool has(const CudnnEngine& e, cudnnBackendNumericalNote_t note) {
  return std::find(e.numerics.begin(), e.numerics.end(), note) != e.numerics.end();
}

bool has(const CudnnEngine& e, cudnnBackendBehaviorNote_t note) {
  return std::find(e.behaviors.begin(), e.behaviors.end(), note) != e.behaviors.end();
}

void expect_first_allowed(const std::string& plan, std::size_t workspace, const CudnnRecord& record,
                          bool deterministic, bool exact) {
  std::vector<CudnnEngine> wanted;
  for (const CudnnEngine& e : record.heuristics)
    if (!(deterministic && has(e, CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC)) &&
        !has(e, CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION) &&
        !(exact &&
          (has(e, CUDNN_NUMERICAL_NOTE_TENSOR_CORE) || has(e, CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS))))
      wanted.push_back(e);
  const auto& tried = record.plans;
  ASSERT_FALSE(tried.empty());
  ASSERT_LE(tried.size(), wanted.size());
  for (std::size_t i = 0; i < tried.size(); ++i) {
    EXPECT_EQ(tried[i].engine, wanted[i]) << "plan " << i << " is of engine " << tried[i].engine.index
                                          << ", the heuristics' is " << wanted[i].index;
    EXPECT_EQ(tried[i].accepted, i + 1 == tried.size()) << "plan " << i;
  }
  const std::string name = plan.substr(plan.find(':') + 1) + "_";
  EXPECT_EQ(name.find(cat("eng", tried.back().engine.index, "_")), 0u)
      << plan << ", tried engine " << tried.back().engine.index;
  EXPECT_EQ(workspace, static_cast<std::size_t>(tried.back().workspace_bytes));
}

}  // namespace ingot::test
