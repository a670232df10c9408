// The one file that includes cudnn-frontend: half a minute of compiler time. It finds cuDNN's functions by
// name in the library that was opened, so nothing links against cuDNN.
#include "cuda/libs/cudnn.h"

#include <map>
#include <mutex>

#include "core/base/error.h"
#include "cuda/libs/libraries.h"

#if defined(INGOT_HAS_CUDNN)
#define NV_CUDNN_FRONTEND_USE_DYNAMIC_LOADING
#define CUDNN_FRONTEND_SKIP_JSON_LIB
#include <cudnn_frontend.h>

namespace cudnn_frontend {
void* cudnn_dlhandle = nullptr;
}
#endif

namespace ingot::cuda {

std::string to_string(const CudnnConv& c) {
  constexpr const char* kNames[] = {"conv2d", "conv2d_grad_input", "conv2d_grad_weight"};
  std::string text = cat(kNames[static_cast<std::size_t>(c.direction)], " ", name(c.dtype), " n", c.n, " c",
                         c.c, " ", c.h, "x", c.w, " o", c.o, " ", c.kh, "x", c.kw, " stride ", c.stride[0],
                         ",", c.stride[1], " padding ", c.padding[0], ",", c.padding[1], " dilation ",
                         c.dilation[0], ",", c.dilation[1], " groups ", c.groups);
  for (const auto& [on, word] :
       {std::pair(c.bias, " bias"), std::pair(c.residual, " residual"), std::pair(c.relu, " relu"),
        std::pair(c.allow_tf32, " tf32"), std::pair(!c.deterministic, " nondeterministic")})
    if (on) text += word;
  return text;
}

#if defined(INGOT_HAS_CUDNN)

namespace fe = cudnn_frontend;

namespace {

std::mutex& lock() {
  static std::mutex one;
  return one;
}

// What a user can do who must go on.
constexpr const char* kWithout =
    "without libcudnn.so.9 on the loader's path convolutions run on Ingot's own kernels";

// What cudnn_missing() says, decided once; use_cudnn() decides otherwise.
struct Opened {
  bool decided = false;
  std::string missing;
  std::unique_ptr<SharedLibrary> library;
};
Opened& opened() {
  static Opened one;
  return one;
}

// With the lock held.
std::string open_cudnn() {
  Opened& o = opened();
  if (o.decided) return o.missing;
  o.decided = true;
  if (const auto closed = libraries_closed()) return o.missing = *closed;
  const Library& l = library("cudnn");
  try {
    o.library = std::make_unique<SharedLibrary>(
        l.files, std::vector<const char*>{"cudnnGetVersion", "cudnnGetErrorString", "cudnnGetLastErrorString",
                                          "cudnnCreate", "cudnnDestroy", "cudnnSetStream", "cudnnGetStream",
                                          "cudnnBackendCreateDescriptor", "cudnnBackendDestroyDescriptor",
                                          "cudnnBackendSetAttribute", "cudnnBackendGetAttribute",
                                          "cudnnBackendFinalize", "cudnnBackendExecute"});
    fe::cudnn_dlhandle = o.library->handle();
    // Device properties without a handle came with 9.8.
    if (const auto version = fe::detail::get_backend_version(); version < 90800)
      o.missing = cat("cuDNN ", version / 10000, ".", version / 100 % 100,
                      " is too old, 9.8 or later is needed: ", l.install);
  } catch (const DeviceError& e) {
    o.missing = cat("cuDNN could not be loaded: ", l.install, ". ", e.message());
  }
  return o.missing;
}

fe::DataType_t data_type(DType t) {
  switch (t) {
    case DType::F16:
      return fe::DataType_t::HALF;
    case DType::BF16:
      return fe::DataType_t::BFLOAT16;
    default:
      return fe::DataType_t::FLOAT;
  }
}

using Tensor = std::shared_ptr<fe::graph::Tensor_attributes>;

// Channels-last: [a, b, y, x] is written with strides {b y x, 1, b x, b}.
fe::graph::Tensor_attributes described(const char* name, std::int64_t uid, std::int64_t a, std::int64_t b,
                                       std::int64_t y, std::int64_t x) {
  fe::graph::Tensor_attributes t;
  t.set_name(name).set_uid(uid).set_dim({a, b, y, x}).set_stride({b * y * x, 1, b * x, b});
  return t;
}

class FrontendPlan final : public CudnnPlan {
 public:
  FrontendPlan(const CudnnConv& problem, std::shared_ptr<fe::graph::Graph> graph, std::int64_t index,
               std::vector<std::int64_t> inputs, std::int64_t output)
      : problem_(problem),
        graph_(std::move(graph)),
        index_(index),
        inputs_(std::move(inputs)),
        output_(output) {}

  void run(CudnnHandle& handle, void* const* inputs, void* output, void* workspace) const override;

 private:
  CudnnConv problem_;
  std::shared_ptr<fe::graph::Graph> graph_;
  std::int64_t index_;
  std::vector<std::int64_t> inputs_;  // identifiers of the operands
  std::int64_t output_;
};

struct Built {
  std::shared_ptr<fe::graph::Graph> graph;
  std::vector<std::int64_t> inputs;
  std::int64_t output = 0;
};

template <class Attributes>
Attributes convolution(const CudnnConv& c, Attributes a) {
  a.set_padding({c.padding[0], c.padding[1]})
      .set_stride({c.stride[0], c.stride[1]})
      .set_dilation({c.dilation[0], c.dilation[1]});
  return a;
}

fe::graph::Pointwise_attributes pointwise(fe::PointwiseMode_t mode) {
  fe::graph::Pointwise_attributes a;
  a.set_mode(mode);
  return a;
}

Built build_graph(const CudnnConv& c) {
  Built b;
  b.graph = std::make_shared<fe::graph::Graph>();
  fe::graph::Graph& g = *b.graph;
  g.set_io_data_type(data_type(c.dtype))
      .set_intermediate_data_type(fe::DataType_t::FLOAT)
      .set_compute_data_type(fe::DataType_t::FLOAT);
  // A captured run refers to the plan's code. The plan outlives it (cudnn_plans keeps every one), so the
  // capture need not hold it too, for which the frontend would want a CUDA runtime of its own.
  g.set_cuda_graph_retention(fe::CudaGraphRetention_t::NONE);
  const auto image = described("x", 1, c.n, c.c, c.h, c.w);
  const auto weight = described("w", 2, c.o, c.c / c.groups, c.kh, c.kw);
  const auto result = described("y", 3, c.n, c.o, c.oh, c.ow);
  Tensor out;
  switch (c.direction) {
    case ConvDirection::Forward: {
      b.inputs = {1, 2};
      out =
          g.conv_fprop(g.tensor(image), g.tensor(weight), convolution(c, fe::graph::Conv_fprop_attributes()));
      // The one order that precompiled engines know: the residual, then the bias, then the activation.
      if (c.residual) {
        auto r = result;
        out = g.pointwise(out, g.tensor(r.set_name("residual").set_uid(5)),
                          pointwise(fe::PointwiseMode_t::ADD));
      }
      if (c.bias) {
        b.inputs.push_back(4);
        out = g.pointwise(out, g.tensor(described("bias", 4, 1, c.o, 1, 1)),
                          pointwise(fe::PointwiseMode_t::ADD));
      }
      if (c.residual) b.inputs.push_back(5);
      if (c.relu) out = g.pointwise(out, pointwise(fe::PointwiseMode_t::RELU_FWD));
      b.output = 3;
      out->set_name("y").set_uid(3).set_dim(result.get_dim()).set_stride(result.get_stride());
      break;
    }
    case ConvDirection::GradInput:
      b.inputs = {3, 2};
      out = g.conv_dgrad(g.tensor(result), g.tensor(weight),
                         convolution(c, fe::graph::Conv_dgrad_attributes()));
      b.output = 1;
      out->set_name("x").set_uid(1).set_dim(image.get_dim()).set_stride(image.get_stride());
      break;
    case ConvDirection::GradWeight:
      b.inputs = {1, 3};
      out =
          g.conv_wgrad(g.tensor(result), g.tensor(image), convolution(c, fe::graph::Conv_wgrad_attributes()));
      b.output = 2;
      out->set_name("w").set_uid(2).set_dim(weight.get_dim()).set_stride(weight.get_stride());
      break;
  }
  out->set_output(true).set_data_type(data_type(c.dtype));
  return b;
}

// The message of a call that failed, or "". What follows its first line is a dump of cuDNN's state.
std::string failure(fe::error_object e) {
  if (e.is_good()) return "";
  const std::string text = e.get_message();
  return text.substr(0, text.find('\n'));
}

// What this process has asked cuDNN. Plans hold no device memory, so they stay for the next program. Never
// destroyed: when the process ends, cuDNN's own statics may be gone before ours.
struct Memory {
  // One properties descriptor for each target: making it is the costly part.
  std::map<std::pair<std::string, int>, std::shared_ptr<const fe::DeviceProperties>> properties;
  std::map<std::tuple<std::string, int, int, CudnnConv>, CudnnPlans> plans;
};
Memory& memory() {
  static auto& one = *new Memory;
  return one;
}

std::shared_ptr<const fe::DeviceProperties> properties_of(const Target& target) {
  auto& entry = memory().properties[{target.described, target.device}];
  if (entry != nullptr) return entry;
  auto made = std::make_shared<fe::DeviceProperties>();
  auto status = target.described.empty()
                    ? made->set_device_id(target.device).build()
                    : made->deserialize({target.described.begin(), target.described.end()});
  if (status.is_bad())
    throw DeviceError(cat("cuDNN refuses the description of ", target.name, ": ", status.get_message()));
  return entry = made;
}

CudnnPlans find_plans(const CudnnConv& c, const Target& target, int most) {
  CudnnPlans found;
  const Built b = build_graph(c);
  fe::graph::Graph& g = *b.graph;
  g.set_sm_version(target.sm).set_device_properties(properties_of(target));
  std::string why = failure(g.validate());
  if (why.empty()) why = failure(g.build_operation_graph());
  if (why.empty()) why = failure(g.create_execution_plans({fe::HeurMode_t::A, fe::HeurMode_t::FALLBACK}));
  if (!why.empty()) {
    found.why = cat("cuDNN has no plan: ", why);
    return found;
  }
  if (c.deterministic) g.deselect_numeric_notes({fe::NumericalNote_t::NONDETERMINISTIC});
  g.deselect_numeric_notes({fe::NumericalNote_t::REDUCED_PRECISION_REDUCTION});
  if (c.dtype == DType::F32 && !c.allow_tf32)
    g.deselect_numeric_notes({fe::NumericalNote_t::TENSOR_CORE, fe::NumericalNote_t::DOWN_CONVERT_INPUTS});
  const std::int64_t count = g.get_execution_plan_count();
  for (std::int64_t i = 0; i < count && static_cast<int>(found.plans.size()) < most; ++i) {
    if (const std::string refused = failure(g.build_plan_at_index(i)); !refused.empty()) {
      why = refused;
      continue;
    }
    auto plan = std::make_shared<FrontendPlan>(c, b.graph, i, b.inputs, b.output);
    if (g.get_plan_name_at_index(i, plan->name).is_bad()) plan->name = cat("plan ", i);
    const std::int64_t bytes = g.get_workspace_size_plan_at_index(i);
    if (bytes < 0) continue;
    plan->workspace_bytes = static_cast<std::size_t>(bytes);
    found.plans.push_back(std::move(plan));
  }
  if (found.plans.empty())
    found.why = cat("none of cuDNN's ", count, " plans serves", why.empty() ? "" : ": ", why);
  return found;
}

}  // namespace

class CudnnHandle {
 public:
  explicit CudnnHandle(const Stream& stream) {
    check(fe::detail::create_handle(&handle_), "cudnnCreate");
    check(fe::detail::set_stream(handle_, stream.get()), "cudnnSetStream");
  }
  ~CudnnHandle() { fe::detail::destroy_handle(handle_); }
  CudnnHandle(const CudnnHandle&) = delete;
  CudnnHandle& operator=(const CudnnHandle&) = delete;
  cudnnHandle_t get() const { return handle_; }

 private:
  static void check(cudnnStatus_t status, const char* call) {
    if (status != CUDNN_STATUS_SUCCESS)
      throw DeviceError(
          cat(call, " failed: ", fe::detail::get_error_string(status),
              "; a handle takes device memory beside the plan's, so free some, or: ", kWithout));
  }
  cudnnHandle_t handle_ = nullptr;
};

void FrontendPlan::run(CudnnHandle& handle, void* const* inputs, void* output, void* workspace) const {
  std::unordered_map<std::int64_t, void*> pointers{{output_, output}};
  for (std::size_t i = 0; i < inputs_.size(); ++i) pointers[inputs_[i]] = inputs[i];
  std::string why;
  try {
    auto status = graph_->execute_plan_at_index(handle.get(), pointers, workspace, index_);
    if (status.is_bad()) why = cat(": ", status.get_message());
  } catch (const std::exception& e) {  // of the frontend, for a function that the library lacks
    why = cat(": ", e.what());
  }
  if (!why.empty())
    throw DeviceError(cat("cuDNN plan ", name, " of ", to_string(problem_), " failed", why, "; ", kWithout));
}

CudnnPlans cudnn_plans(const CudnnConv& problem, const Target& target, int most) {
  const std::lock_guard hold(lock());
  if (const std::string missing = open_cudnn(); !missing.empty()) return {{}, missing};
  auto& known = memory().plans;
  const auto key = std::tuple(target.described, target.device, most, problem);
  if (const auto at = known.find(key); at != known.end()) return at->second;
  CudnnPlans found;
  try {
    found = find_plans(problem, target, most);
  } catch (const DeviceError& e) {
    found.why = e.message();
  } catch (const std::exception& e) {
    found.why = cat("cuDNN failed: ", e.what());
  }
  return known.emplace(key, std::move(found)).first->second;
}

std::shared_ptr<CudnnHandle> cudnn_handle(const Stream& stream) {
  static std::map<const Stream*, std::weak_ptr<CudnnHandle>> known;
  const std::lock_guard hold(lock());
  std::erase_if(known, [](const auto& entry) { return entry.second.expired(); });
  auto& entry = known[&stream];
  if (auto handle = entry.lock()) return handle;
  auto handle = std::make_shared<CudnnHandle>(stream);
  entry = handle;
  return handle;
}

std::string cudnn_missing() {
  const std::lock_guard hold(lock());
  return open_cudnn();
}

void use_cudnn(void* library) {
  const std::lock_guard hold(lock());
  opened().decided = true;
  opened().missing = library == nullptr ? "cuDNN was switched off" : "";
  memory() = {};
  fe::cudnn_dlhandle = library;
}

#else

class CudnnHandle {};

CudnnPlans cudnn_plans(const CudnnConv&, const Target&, int) {
  return {{}, cudnn_missing()};
}

std::shared_ptr<CudnnHandle> cudnn_handle(const Stream&) {
  throw DeviceError(cudnn_missing());
}

std::string cudnn_missing() {
  return "this build has no cuDNN: it was configured without cudnn.h or cudnn_frontend.h";
}

void use_cudnn(void*) {}

#endif

}  // namespace ingot::cuda
