// The one file that includes cudnn-frontend: half a minute of compiler time. It finds cuDNN's functions by
// name in the library that was opened, so nothing links against cuDNN.
#include "cuda/libs/cudnn.h"

#include <cstddef>
#include <map>
#include <mutex>

#include "core/base/error.h"
#include "cuda/libs/libraries.h"

#if defined(INGOT_HAS_CUDNN)
#define NV_CUDNN_FRONTEND_USE_DYNAMIC_LOADING
#define CUDNN_FRONTEND_SKIP_JSON_LIB
// The frontend carries the text of a kernel of its own for RMS norm with SiLU on sm_100: 96 kB that every
// graph's code refers to. No graph here has such nodes, so the engine that would compile the text gets an
// empty one, which NVRTC refuses.
#if __has_include(<cudnn_frontend/generated/rms_norm_silu/sm100/ln_headers.h>)
#include <cudnn_frontend/generated/rms_norm_silu/sm100/ln_fwd_silu_kernel.h>
#include <cudnn_frontend/generated/rms_norm_silu/sm100/ln_headers.h>
namespace cudnn_frontend::experimental::generated {
inline constexpr const char no_kernel[] = "#error no kernel";
}
#define ln_headers_source no_kernel
#define ln_fwd_silu_kernel_source no_kernel
#endif
#include <cudnn_frontend.h>

namespace cudnn_frontend {
void* cudnn_dlhandle = nullptr;
}
#endif

namespace ingot::cuda {

namespace {

template <class... Words>
void add_words(std::string& text, const Words&... words) {
  (void)((words.first ? text += words.second : text), ...);
}

std::string text_of(const CudnnConv& c) {
  constexpr const char* kNames[] = {"conv2d", "conv2d_grad_input", "conv2d_grad_weight"};
  std::string text = cat(kNames[static_cast<std::size_t>(c.direction)], " ", name(c.dtype), " n", c.n, " c",
                         c.c, " ", c.h, "x", c.w, " o", c.o, " ", c.kh, "x", c.kw, " stride ", c.stride[0],
                         ",", c.stride[1], " padding ", c.padding[0], ",", c.padding[1], " dilation ",
                         c.dilation[0], ",", c.dilation[1], " groups ", c.groups);
  add_words(text, std::pair(c.bias, " bias"), std::pair(c.residual, " residual"), std::pair(c.relu, " relu"),
            std::pair(c.sums, " sums"), std::pair(c.second, " second"), std::pair(c.allow_tf32, " tf32"),
            std::pair(!c.deterministic, " nondeterministic"));
  return text;
}

std::string text_of(const CudnnBatchNorm& b) {
  std::string text = cat(b.backward ? "batch_norm_grad " : "batch_norm ", name(b.dtype), " n", b.n, " c", b.c,
                         " ", b.h, "x", b.w);
  add_words(text, std::pair(b.residual, " residual"), std::pair(b.relu, " relu"),
            std::pair(!b.deterministic, " nondeterministic"));
  return text;
}

std::string text_of(const CudnnAveragePool& p) {
  std::string text = cat("avg_pool2d ", name(p.dtype), " n", p.n, " c", p.c, " ", p.h, "x", p.w, " to ", p.oh,
                         "x", p.ow, " kernel ", p.kernel[0], ",", p.kernel[1], " stride ", p.stride[0], ",",
                         p.stride[1], " padding ", p.padding[0], ",", p.padding[1]);
  add_words(text, std::pair(!p.count_include_pad, " without padding"),
            std::pair(!p.deterministic, " nondeterministic"));
  return text;
}

}  // namespace

std::string to_string(const CudnnProblem& problem) {
  return std::visit([](const auto& p) { return text_of(p); }, problem);
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
    "without libcudnn.so.9 on the loader's path everything runs on Ingot's own kernels";

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

// A graph, and the identifiers of its operands and results in the problem's order.
struct Built {
  std::shared_ptr<fe::graph::Graph> graph = std::make_shared<fe::graph::Graph>();
  std::vector<std::int64_t> inputs{}, outputs{};
};

class FrontendPlan final : public CudnnPlan {
 public:
  FrontendPlan(const CudnnProblem& problem, Built built, std::int64_t index)
      : problem_(problem), built_(std::move(built)), index_(index) {}

  void run(CudnnHandle& handle, void* const* inputs, void* const* outputs, void* workspace) const override;

 private:
  CudnnProblem problem_;
  Built built_;
  std::int64_t index_;
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

// Numbers for each channel, in f32: of an operand, and of a result, which joins the problem's.
Tensor channel_operand(Built& b, const char* name, std::int64_t uid, std::int64_t channels) {
  auto t = described(name, uid, 1, channels, 1, 1);
  b.inputs.push_back(uid);
  return b.graph->tensor(t.set_data_type(fe::DataType_t::FLOAT));
}
void channel_result(Built& b, const Tensor& t, std::int64_t uid) {
  t->set_output(true).set_uid(uid).set_data_type(fe::DataType_t::FLOAT);
  b.outputs.push_back(uid);
}

// `dy`, made by a convolution, masked by the ReLU behind the batch norm of another image, and its sums. What
// cuDNN makes besides, for applying the rest, stays inside.
Tensor behind_batch_norm(Built& b, const CudnnConv& c, Tensor dy, fe::graph::Tensor_attributes image) {
  fe::graph::Graph& g = *b.graph;
  const auto operand = [&](const char* name, std::int64_t uid) {
    b.inputs.push_back(uid);
    return g.tensor(image.set_name(name).set_uid(uid));
  };
  const auto of = [&](const Tensor& x, const Tensor& y, fe::PointwiseMode_t mode) {
    return g.pointwise(x, y, pointwise(mode));
  };
  using enum fe::PointwiseMode_t;
  struct Norm {
    Tensor x, scale, bias, mean, rstd;
  };
  // Its images are numbered from `image`, its channels' from `each`.
  const auto norm = [&](std::int64_t image_id, std::int64_t each) {
    const auto channel = [&](const char* name) { return channel_operand(b, name, each++, c.c); };
    Norm n;
    n.x = operand("normalised", image_id);
    n.scale = channel("scale"), n.bias = channel("bias"), n.mean = channel("mean"), n.rstd = channel("rstd");
    return n;
  };
  const auto result = [&](const Norm& n) {
    return of(of(of(of(n.x, n.mean, SUB), n.rstd, MUL), n.scale, MUL), n.bias, ADD);
  };
  const Norm first = norm(21, 11);
  Tensor y = result(first);
  if (c.residual || c.second) dy = of(dy, operand("second", 22), ADD);
  if (c.residual) y = of(y, operand("residual", 23), ADD);
  Norm second;
  if (c.second) {
    second = norm(23, 31);
    y = of(y, result(second), ADD);
  }
  const Tensor u = of(dy, y, RELU_BWD);
  const auto sums = [&](const Norm& n, std::int64_t id) {
    const auto [dscale, dbias, own, slope, shift] =
        g.dbn_weight(u, n.x, n.mean, n.rstd, n.scale, fe::graph::DBN_weight_attributes());
    channel_result(b, dscale, id), channel_result(b, dbias, id + 1);
  };
  sums(first, 15);
  if (c.second) sums(second, 35);
  return u;
}

void fill_graph(Built& b, const CudnnConv& c) {
  fe::graph::Graph& g = *b.graph;
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
      b.outputs = {3};
      out->set_name("y").set_uid(3).set_dim(result.get_dim()).set_stride(result.get_stride());
      if (c.sums) {
        const auto [sum, squares] = g.genstats(out, fe::graph::Genstats_attributes());
        channel_result(b, sum, 15), channel_result(b, squares, 16);
      }
      break;
    }
    case ConvDirection::GradInput:
      b.inputs = {3, 2};
      out = g.conv_dgrad(g.tensor(result), g.tensor(weight),
                         convolution(c, fe::graph::Conv_dgrad_attributes()));
      b.outputs = {1};
      if (c.sums) {
        out->set_dim(image.get_dim()).set_stride(image.get_stride());
        out = behind_batch_norm(b, c, out, image);
      }
      out->set_name("x").set_uid(1).set_dim(image.get_dim()).set_stride(image.get_stride());
      break;
    case ConvDirection::GradWeight:
      b.inputs = {1, 3};
      out =
          g.conv_wgrad(g.tensor(result), g.tensor(image), convolution(c, fe::graph::Conv_wgrad_attributes()));
      b.outputs = {2};
      out->set_name("w").set_uid(2).set_dim(weight.get_dim()).set_stride(weight.get_stride());
      break;
  }
  out->set_output(true).set_data_type(data_type(c.dtype));
}

// Images are numbered from 1, values for each channel from 11.
void fill_graph(Built& b, const CudnnBatchNorm& p) {
  fe::graph::Graph& g = *b.graph;
  const auto image = [&](const char* name, std::int64_t uid) {
    return described(name, uid, p.n, p.c, p.h, p.w);
  };
  const auto channels = [&](const char* name, std::int64_t uid) {
    auto t = described(name, uid, 1, p.c, 1, 1);
    t.set_data_type(fe::DataType_t::FLOAT);
    return g.tensor(t);
  };
  const auto result = [&](const Tensor& t, std::int64_t uid, fe::DataType_t type) {
    t->set_output(true).set_uid(uid).set_data_type(type);
    b.outputs.push_back(uid);
  };
  constexpr auto kF32 = fe::DataType_t::FLOAT;
  const Tensor x = g.tensor(image("x", 1)), scale = channels("scale", 11);
  if (p.backward) {
    Tensor dy = g.tensor(image("dy", 2)), mean = channels("mean", 13), rstd = channels("rstd", 14);
    const auto [dx, dscale, dbias] = g.batchnorm_backward(
        dy, x, scale, fe::graph::Batchnorm_backward_attributes().set_saved_mean_and_inv_variance(mean, rstd));
    b.inputs = {2, 1, 11, 13, 14};
    result(dx, 3, data_type(p.dtype)), result(dscale, 15, kF32), result(dbias, 16, kF32);
    return;
  }
  Tensor running_mean = channels("running_mean", 17), running_var = channels("running_var", 18),
         momentum = g.tensor(static_cast<float>(p.momentum)), eps = g.tensor(static_cast<float>(p.eps));
  const Tensor bias = channels("bias", 12);
  auto [y, mean, rstd, new_mean, new_var] =
      g.batchnorm(x, scale, bias,
                  fe::graph::Batchnorm_attributes().set_epsilon(eps).set_previous_running_stats(
                      running_mean, running_var, momentum));
  b.inputs = {1, 11, 12, 17, 18};
  if (p.residual) {
    y = g.pointwise(y, g.tensor(image("residual", 4)), pointwise(fe::PointwiseMode_t::ADD));
    b.inputs.push_back(4);
  }
  if (p.relu) y = g.pointwise(y, pointwise(fe::PointwiseMode_t::RELU_FWD));
  result(y, 5, data_type(p.dtype));
  result(mean, 13, kF32), result(rstd, 14, kF32), result(new_mean, 19, kF32), result(new_var, 20, kF32);
}

void fill_graph(Built& b, const CudnnAveragePool& p) {
  fe::graph::Graph& g = *b.graph;
  const auto pair = [](const std::array<std::int64_t, 2>& v) {
    return std::vector<std::int64_t>{v[0], v[1]};
  };
  const auto mode = p.count_include_pad ? fe::ResampleMode_t::AVGPOOL_INCLUDE_PADDING
                                        : fe::ResampleMode_t::AVGPOOL_EXCLUDE_PADDING;
  const auto [y, index] = g.resample(g.tensor(described("x", 1, p.n, p.c, p.h, p.w)),
                                     fe::graph::Resample_attributes()
                                         .set_resampling_mode(mode)
                                         .set_padding_mode(fe::PaddingMode_t::ZERO_PAD)
                                         .set_window(pair(p.kernel))
                                         .set_stride(pair(p.stride))
                                         .set_pre_padding(pair(p.padding))
                                         .set_post_padding(pair(p.end))
                                         .set_generate_index(false));
  const auto result = described("y", 2, p.n, p.c, p.oh, p.ow);
  y->set_output(true).set_uid(2).set_dim(result.get_dim()).set_stride(result.get_stride());
  y->set_data_type(data_type(p.dtype));
  b.inputs = {1}, b.outputs = {2};
}

Built build_graph(const CudnnProblem& problem) {
  Built b;
  std::visit(
      [&](const auto& p) {
        b.graph->set_io_data_type(data_type(p.dtype))
            .set_intermediate_data_type(fe::DataType_t::FLOAT)
            .set_compute_data_type(fe::DataType_t::FLOAT);
        fill_graph(b, p);
      },
      problem);
  // A captured run refers to the plan's code. The plan outlives it (cudnn_plans keeps every one), so the
  // capture need not hold it too, for which the frontend would want a CUDA runtime of its own.
  b.graph->set_cuda_graph_retention(fe::CudaGraphRetention_t::NONE);
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
  std::map<std::tuple<std::string, int, int, CudnnProblem>, CudnnPlans> plans;
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

CudnnPlans find_plans(const CudnnProblem& problem, const Target& target, int most) {
  CudnnPlans found;
  const Built b = build_graph(problem);
  fe::graph::Graph& g = *b.graph;
  g.set_sm_version(target.sm).set_device_properties(properties_of(target));
  std::string why = failure(g.validate());
  if (why.empty()) why = failure(g.build_operation_graph());
  if (why.empty()) why = failure(g.create_execution_plans({fe::HeurMode_t::A, fe::HeurMode_t::FALLBACK}));
  if (!why.empty()) {
    found.why = cat("cuDNN has no plan: ", why);
    return found;
  }
  if (std::visit([](const auto& p) { return p.deterministic; }, problem))
    g.deselect_numeric_notes({fe::NumericalNote_t::NONDETERMINISTIC});
  g.deselect_numeric_notes({fe::NumericalNote_t::REDUCED_PRECISION_REDUCTION});
  const auto* const conv = std::get_if<CudnnConv>(&problem);
  if (conv != nullptr && conv->dtype == DType::F32 && !conv->allow_tf32)
    g.deselect_numeric_notes({fe::NumericalNote_t::TENSOR_CORE, fe::NumericalNote_t::DOWN_CONVERT_INPUTS});
  const std::int64_t count = g.get_execution_plan_count();
  for (std::int64_t i = 0; i < count && static_cast<int>(found.plans.size()) < most; ++i) {
    if (const std::string refused = failure(g.build_plan_at_index(i)); !refused.empty()) {
      why = refused;
      continue;
    }
    auto plan = std::make_shared<FrontendPlan>(problem, b, i);
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

void FrontendPlan::run(CudnnHandle& handle, void* const* inputs, void* const* outputs,
                       void* workspace) const {
  std::unordered_map<std::int64_t, void*> pointers;
  for (std::size_t i = 0; i < built_.inputs.size(); ++i) pointers[built_.inputs[i]] = inputs[i];
  for (std::size_t i = 0; i < built_.outputs.size(); ++i) pointers[built_.outputs[i]] = outputs[i];
  std::string why;
  try {
    auto status = built_.graph->execute_plan_at_index(handle.get(), pointers, workspace, index_);
    if (status.is_bad()) why = cat(": ", status.get_message());
  } catch (const std::exception& e) {  // of the frontend, for a function that the library lacks
    why = cat(": ", e.what());
  }
  if (!why.empty())
    throw DeviceError(cat("cuDNN plan ", name, " of ", to_string(problem_), " failed", why, "; ", kWithout));
}

CudnnPlans cudnn_plans(const CudnnProblem& problem, const Target& target, int most) {
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

CudnnPlans cudnn_plans(const CudnnProblem&, const Target&, int) {
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
