#include "tests/support/cuda_sim/cudnn/fake.h"

#include <cuda_runtime_api.h>
#include <dlfcn.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <set>
#include <utility>

#include "core/base/error.h"
#include "cuda/libs/cudnn.h"
#include "tests/support/cuda_sim/cudnn/store.h"
#include "tests/support/cuda_sim/machine.h"

// What a handle of cuDNN's is, here.
struct cudnnContext {
  cudaStream_t stream = nullptr;
  void* memory = nullptr;  // of the device, as the real one takes some
};

namespace ingot::fake_cudnn {

namespace {

constexpr auto kRef = CUDNN_TYPE_BACKEND_DESCRIPTOR;
constexpr std::size_t kHandleBytes = 4096;

struct State {
  std::recursive_mutex lock;  // Policy::Eager runs what an execution issues within the call
  Options options;
  Counts counts;
  std::map<cudnnBackendDescriptor_t, std::shared_ptr<Descriptor>> descriptors;
  std::set<cudnnHandle_t> handles;
  std::string complaints, last_error;
};
// To the end of the process: plans are destroyed by nobody.
State& state() {
  static auto& one = *new State;
  return one;
}

// ---- Answers ---------------------------------------------------------------------------------------------

// With the lock held: a mistake of the caller.
template <class... Parts>
cudnnStatus_t complain(cudnnStatus_t status, const Parts&... parts) {
  State& s = state();
  s.last_error = cat(parts...);
  s.complaints += cat(s.last_error, "\n");
  return status;
}

std::shared_ptr<Descriptor> find(cudnnBackendDescriptor_t d) {
  const auto at = state().descriptors.find(d);
  return at == state().descriptors.end() ? nullptr : at->second;
}

const Engine* engine_of(const Descriptor& engine) {
  const auto index = engine.one<std::int64_t>(CUDNN_ATTR_ENGINE_GLOBAL_INDEX);
  for (const Engine& e : state().options.engines)
    if (e.index == index) return &e;
  return nullptr;
}

std::vector<const Descriptor*> operations_of(const Descriptor& graph) {
  std::vector<const Descriptor*> all;
  for (const auto& o : graph.attributes.at(CUDNN_ATTR_OPERATIONGRAPH_OPS).references) all.push_back(o.get());
  return all;
}

// A convolution in f16 with sums behind it: forward alone, backward with the mask of a batch norm, and with a
// second gradient and a residual, or a second batch norm, where the stride is 1.
bool sums(const std::vector<const Descriptor*>& all) {
  const auto half = [&](cudnnBackendAttributeName_t image) {
    return all[0]->part(image).one<cudnnDataType_t>(CUDNN_ATTR_TENSOR_DATA_TYPE) == CUDNN_DATA_HALF;
  };
  if (all[0]->type == CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR)
    return all.size() == 2 && all[1]->type == CUDNN_BACKEND_OPERATION_GEN_STATS_DESCRIPTOR &&
           half(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X);
  const auto norms = std::count_if(all.begin(), all.end(), [](const Descriptor* o) {
    return o->type == CUDNN_BACKEND_OPERATION_BN_BWD_WEIGHTS_DESCRIPTOR;
  });
  if (all[0]->type != CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR || norms < 1 ||
      norms > 2 || !half(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY))
    return false;
  std::vector<cudnnPointwiseMode_t> modes;
  for (std::size_t i = 1; i + static_cast<std::size_t>(norms) < all.size(); ++i) {
    if (all[i]->type != CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR) return false;
    modes.push_back(all[i]
                        ->part(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR)
                        .one<cudnnPointwiseMode_t>(CUDNN_ATTR_POINTWISE_MODE));
  }
  std::vector<cudnnPointwiseMode_t> known{CUDNN_POINTWISE_SUB, CUDNN_POINTWISE_MUL, CUDNN_POINTWISE_MUL,
                                          CUDNN_POINTWISE_ADD, CUDNN_POINTWISE_RELU_BWD};
  if (modes == known) return norms == 1;
  known.insert(known.end() - 1, 2, CUDNN_POINTWISE_ADD);
  if (norms == 2) known.insert(known.end() - 2, known.begin(), known.begin() + 4);
  const auto stride = settings_of(*all[0]).list<std::int64_t>(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES);
  return modes == known && stride == std::vector<std::int64_t>{1, 1};
}

// What cuDNN has engines for (cuda/libs/cudnn.h).
bool served(const Descriptor& graph) {
  const auto all = operations_of(graph);
  const auto mode = [](const Descriptor& o) {
    return o.part(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR)
        .one<cudnnPointwiseMode_t>(CUDNN_ATTR_POINTWISE_MODE);
  };
  const auto adds_a_bias = [&](const Descriptor& o) {
    const auto d =
        o.part(CUDNN_ATTR_OPERATION_POINTWISE_BDESC).list<std::int64_t>(CUDNN_ATTR_TENSOR_DIMENSIONS);
    return d[0] == 1 && d[2] == 1 && d[3] == 1;
  };
  const auto pointwise = [&](std::size_t i) {
    return all[i]->type == CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR;
  };
  if (pointwise(0)) return false;
  if (all.size() > 1 && sums(all)) return true;
  std::size_t i = 1;
  const auto add = [&](bool bias) {
    if (i == all.size() || !pointwise(i) || mode(*all[i]) != CUDNN_POINTWISE_ADD) return false;
    if (bias && !adds_a_bias(*all[i])) return false;
    ++i;
    return true;
  };
  if (all.size() == 1) return true;
  const bool relu = pointwise(all.size() - 1) && mode(*all.back()) == CUDNN_POINTWISE_RELU_FWD;
  if (all[0]->type == CUDNN_BACKEND_OPERATION_NORM_FORWARD_DESCRIPTOR) {
    if (!relu) return false;
    add(false);
    return ++i == all.size();
  }
  if (all[0]->type != CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR) return false;
  // With one sum it is the bias; with two the residual comes first.
  const bool two = all.size() > 2 && pointwise(2) && mode(*all[2]) == CUDNN_POINTWISE_ADD;
  if (two && !add(false)) return false;
  if (!add(true)) return false;
  if (i < all.size() && relu) ++i;
  return i == all.size();
}

// The engines that the heuristics list for a graph: mode A's, and none more as a fallback.
std::vector<Engine> listed(const Descriptor& heuristics) {
  if (heuristics.one<cudnnBackendHeurMode_t>(CUDNN_ATTR_ENGINEHEUR_MODE) != CUDNN_HEUR_MODE_A ||
      !served(heuristics.part(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH)))
    return {};
  return state().options.engines;
}

std::string check_graph(const Descriptor& graph) {
  std::set<std::int64_t> made;
  for (const Descriptor* const o : operations_of(graph)) {
    if (const std::string why = misfit(*o); !why.empty()) return why;
    const Parts parts = parts_of(*o);
    for (const auto name : parts.operands) {
      const Descriptor& t = o->part(name);
      const auto id = t.one<std::int64_t>(CUDNN_ATTR_TENSOR_UNIQUE_ID);
      if (is_virtual(t) && !made.contains(id))
        return cat("virtual tensor ", id, " is read before it is made");
    }
    for (const auto name : parts.results) {
      const auto id = o->part(name).one<std::int64_t>(CUDNN_ATTR_TENSOR_UNIQUE_ID);
      if (!made.insert(id).second) return cat("tensor ", id, " is made twice");
    }
  }
  return "";
}

template <class T>
void put(Descriptor& d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, const T& value) {
  Attribute a{.type = type, .count = 1};
  a.bytes.resize(sizeof value);
  std::memcpy(a.bytes.data(), &value, sizeof value);
  d.attributes[name] = std::move(a);
}

template <class T>
cudnnStatus_t give(const std::vector<T>& values, std::int64_t most, std::int64_t* count, void* into) {
  const auto n = static_cast<std::int64_t>(values.size());
  if (count != nullptr) *count = n;
  if (into != nullptr) std::copy_n(values.begin(), std::min(n, most), static_cast<T*>(into));
  return CUDNN_STATUS_SUCCESS;
}

// Values that cuDNN computes.
cudnnStatus_t give_computed(const Descriptor& d, cudnnBackendAttributeName_t name, std::int64_t most,
                            std::int64_t* count, void* into) {
  switch (name) {
    case CUDNN_ATTR_OPERATIONGRAPH_ENGINE_GLOBAL_COUNT:
      return give(std::vector<std::int64_t>{kMostValues}, most, count, into);
    case CUDNN_ATTR_ENGINE_NUMERICAL_NOTE:
      return give(engine_of(d)->notes, most, count, into);
    case CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE:
      return give(std::vector<cudnnBackendBehaviorNote_t>{}, most, count, into);
    case CUDNN_ATTR_ENGINECFG_KNOB_CHOICES:
      if (count != nullptr) *count = 0;
      return CUDNN_STATUS_SUCCESS;
    case CUDNN_ATTR_ENGINECFG_WORKSPACE_SIZE:
      return give(std::vector<std::int64_t>{engine_of(d.part(CUDNN_ATTR_ENGINECFG_ENGINE))->workspace_bytes},
                  most, count, into);
    case CUDNN_ATTR_ENGINECFG_SHARED_MEMORY_USED:
      return give(std::vector<std::int32_t>{0}, most, count, into);
    case CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE:
      return give(
          std::vector<std::int64_t>{
              engine_of(d.part(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG).part(CUDNN_ATTR_ENGINECFG_ENGINE))
                  ->workspace_bytes},
          most, count, into);
    default:
      return complain(CUDNN_STATUS_NOT_SUPPORTED, "attribute ", static_cast<int>(name),
                      " of descriptor kind ", static_cast<int>(d.type), " cannot be read");
  }
}

// Fills the caller's descriptors: the configurations of the heuristics, best first.
cudnnStatus_t give_configurations(const Descriptor& heuristics, std::int64_t most, std::int64_t* count,
                                  void* into) {
  const std::vector<Engine> engines = listed(heuristics);
  const auto n = static_cast<std::int64_t>(engines.size());
  if (count != nullptr) *count = n;
  for (std::int64_t i = 0; into != nullptr && i < std::min(n, most); ++i) {
    const auto config = find(static_cast<cudnnBackendDescriptor_t*>(into)[i]);
    if (config == nullptr || config->type != CUDNN_BACKEND_ENGINECFG_DESCRIPTOR)
      return complain(CUDNN_STATUS_BAD_PARAM, "heuristics give their results to configurations only");
    auto engine = std::make_shared<Descriptor>();
    engine->type = CUDNN_BACKEND_ENGINE_DESCRIPTOR;
    engine->finalised = true;
    engine->attributes[CUDNN_ATTR_ENGINE_OPERATION_GRAPH] =
        heuristics.attributes.at(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH);
    put(*engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64,
        engines[static_cast<std::size_t>(i)].index);
    config->finalised = true;
    config->attributes[CUDNN_ATTR_ENGINECFG_ENGINE] = {
        .type = kRef, .count = 1, .references = {std::move(engine)}};
  }
  return CUDNN_STATUS_SUCCESS;
}

// ---- Execution -------------------------------------------------------------------------------------------

// Why the device may not touch these bytes, or "".
std::string fault_of(sim::Machine& m, const void* at, std::size_t bytes) {
  const auto address = reinterpret_cast<std::uintptr_t>(at);
  const sim::Allocation* const a = m.memory().contains(address) ? m.memory().find(address) : nullptr;
  if (a == nullptr) return "is no memory of the device";
  if (a->state == sim::Allocation::State::Freed) return "was freed";
  if (address < a->base || address + bytes > a->base + a->bytes)
    return cat("is ", bytes, " bytes that reach outside of ", sim::describe(*a));
  return "";
}

cudnnStatus_t execute(cudnnHandle_t handle, const Descriptor& plan, const Descriptor& pack) {
  State& s = state();
  // In this order, which is also that of the work it issues.
  sim::Machine& m = sim::machine();
  const std::lock_guard device(m.lock());
  const std::lock_guard hold(s.lock);
  if (!s.handles.contains(handle)) return complain(CUDNN_STATUS_NOT_INITIALIZED, "an unknown handle");
  if (plan.type != CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR || !plan.finalised ||
      pack.type != CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR || !pack.finalised)
    return complain(CUDNN_STATUS_NOT_INITIALIZED, "an execution needs a finalised plan and variant pack");
  const Descriptor& engine =
      plan.part(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG).part(CUDNN_ATTR_ENGINECFG_ENGINE);
  const auto graph = engine.attributes.at(CUDNN_ATTR_ENGINE_OPERATION_GRAPH).references.at(0);

  const auto ids = pack.list<std::int64_t>(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS);
  const auto pointers = pack.list<void*>(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS);
  if (ids.size() != pointers.size())
    return complain(CUDNN_STATUS_BAD_PARAM, ids.size(), " identifiers for ", pointers.size(), " pointers");
  std::map<std::int64_t, void*> memory;
  for (std::size_t i = 0; i < ids.size(); ++i) memory[ids[i]] = pointers[i];
  std::set<std::int64_t> used;
  std::map<std::int64_t, double> scalars;
  for (const Descriptor* const o : operations_of(*graph)) {
    Parts parts = parts_of(*o);
    parts.operands.insert(parts.operands.end(), parts.results.begin(), parts.results.end());
    for (const auto name : parts.operands) {
      const Descriptor& t = o->part(name);
      if (is_virtual(t)) continue;
      const auto id = t.one<std::int64_t>(CUDNN_ATTR_TENSOR_UNIQUE_ID);
      used.insert(id);
      if (!memory.contains(id)) return complain(CUDNN_STATUS_BAD_PARAM, "tensor ", id, " has no pointer");
      if (is_by_value(t)) {  // memory of the host, which is free to change when this call returns
        float value = 0;
        std::memcpy(&value, memory[id], sizeof value);
        scalars[id] = static_cast<double>(value);
        continue;
      }
      const auto address = reinterpret_cast<std::uintptr_t>(memory[id]);
      if (address % static_cast<std::uintptr_t>(t.one<std::int64_t>(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT)) != 0)
        return complain(CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER, "tensor ", id, " is not aligned");
      if (const std::string why = fault_of(m, memory[id], bytes_of(t)); !why.empty())
        return complain(CUDNN_STATUS_BAD_PARAM, "tensor ", id, " ", why);
    }
  }
  if (used.size() != memory.size())
    return complain(CUDNN_STATUS_BAD_PARAM, memory.size(), " pointers for ", used.size(), " tensors");
  const auto bytes = static_cast<std::size_t>(engine_of(engine)->workspace_bytes);
  void* const workspace = pack.one<void*>(CUDNN_ATTR_VARIANT_PACK_WORKSPACE);
  if (bytes != 0)
    if (const std::string why = fault_of(m, workspace, bytes); !why.empty())
      return complain(CUDNN_STATUS_BAD_PARAM, "the workspace ", why);
  sim::StreamState* const stream = m.stream(handle->stream);
  if (stream == nullptr) return complain(CUDNN_STATUS_BAD_PARAM, "the handle's stream is gone");

  ++s.counts.executions;
  if (s.options.executes != CUDNN_STATUS_SUCCESS && s.counts.executions >= s.options.fails_from) {
    s.last_error = "the fake was told to fail here";
    return s.options.executes;
  }
  const cudaError_t issued = m.submit(*stream, [graph, memory, scalars, workspace, bytes] {
    if (bytes != 0) std::memset(workspace, 0xA5, bytes);
    interpret(*graph, memory, scalars);
    const std::lock_guard counting(state().lock);
    ++state().counts.runs;
    return cudaSuccess;
  });
  return issued == cudaSuccess ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_EXECUTION_FAILED_CUDA_DRIVER;
}

}  // namespace

void install(const Options& options) {
  {
    State& s = state();
    const std::lock_guard hold(s.lock);
    s.options = options;
    s.counts.executions = s.counts.runs = 0;
    s.complaints.clear(), s.last_error.clear();
  }
  // The frontend looks for a CUDA runtime by itself, for a question that it can do without; the one of this
  // machine, if there is one, knows no stream of the simulated device.
  ::setenv("CUDNN_FRONTEND_CUDART_LIB_NAME", "no CUDA runtime on the simulated device", 1);
  static void* const program = ::dlopen(nullptr, RTLD_NOW);
  cuda::use_cudnn(program);
}

Counts counts() {
  State& s = state();
  const std::lock_guard hold(s.lock);
  Counts c = s.counts;
  c.handles = static_cast<int>(s.handles.size());
  c.descriptors = static_cast<int>(s.descriptors.size());
  return c;
}

std::string take_complaints() {
  State& s = state();
  const std::lock_guard hold(s.lock);
  return std::exchange(s.complaints, "");
}

}  // namespace ingot::fake_cudnn

using namespace ingot::fake_cudnn;

extern "C" {

std::size_t cudnnGetVersion() {
  return CUDNN_VERSION;
}

const char* cudnnGetErrorString(cudnnStatus_t status) {
  switch (status) {
    case CUDNN_STATUS_SUCCESS:
      return "CUDNN_STATUS_SUCCESS";
    case CUDNN_STATUS_NOT_INITIALIZED:
      return "CUDNN_STATUS_NOT_INITIALIZED";
    case CUDNN_STATUS_ALLOC_FAILED:
      return "CUDNN_STATUS_ALLOC_FAILED";
    case CUDNN_STATUS_NOT_SUPPORTED:
      return "CUDNN_STATUS_NOT_SUPPORTED";
    case CUDNN_STATUS_EXECUTION_FAILED:
      return "CUDNN_STATUS_EXECUTION_FAILED";
    default:
      return "CUDNN_STATUS_BAD_PARAM";
  }
}

void cudnnGetLastErrorString(char* message, std::size_t most) {
  const std::lock_guard hold(state().lock);
  std::snprintf(message, most, "%s", state().last_error.c_str());
}

// Memory of the device, as the real one takes: what is not given back is found by the device.
cudnnStatus_t cudnnCreate(cudnnHandle_t* handle) {
  cudnnStatus_t status = CUDNN_STATUS_SUCCESS;
  {
    const std::lock_guard hold(state().lock);
    status = state().options.creates;
  }
  if (status != CUDNN_STATUS_SUCCESS) return status;
  auto made = std::make_unique<cudnnContext>();
  if (cudaMalloc(&made->memory, kHandleBytes) != cudaSuccess) return CUDNN_STATUS_ALLOC_FAILED;
  *handle = made.release();
  const std::lock_guard hold(state().lock);
  state().handles.insert(*handle);
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) {
  {
    const std::lock_guard hold(state().lock);
    if (state().handles.erase(handle) == 0)
      return complain(CUDNN_STATUS_NOT_INITIALIZED, "an unknown handle is destroyed");
  }
  (void)cudaFree(handle->memory);
  delete handle;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
  const std::lock_guard hold(state().lock);
  if (!state().handles.contains(handle)) return complain(CUDNN_STATUS_NOT_INITIALIZED, "an unknown handle");
  handle->stream = stream;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnGetStream(cudnnHandle_t handle, cudaStream_t* stream) {
  const std::lock_guard hold(state().lock);
  if (!state().handles.contains(handle)) return complain(CUDNN_STATUS_NOT_INITIALIZED, "an unknown handle");
  *stream = handle->stream;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t* d) {
  const std::lock_guard hold(state().lock);
  if (rules_of(type) == nullptr)
    return complain(CUDNN_STATUS_NOT_SUPPORTED, "descriptors of kind ", static_cast<int>(type),
                    " are not made here");
  auto made = std::make_shared<Descriptor>();
  made->type = type;
  *d = made.get();
  state().descriptors[*d] = std::move(made);
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t d) {
  const std::lock_guard hold(state().lock);
  if (state().descriptors.erase(d) == 0)
    return complain(CUDNN_STATUS_NOT_INITIALIZED, "an unknown descriptor is destroyed");
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t handle, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, std::int64_t count,
                                       const void* values) {
  const std::lock_guard hold(state().lock);
  const auto d = find(handle);
  if (d == nullptr) return complain(CUDNN_STATUS_NOT_INITIALIZED, "an unknown descriptor is set");
  const int attribute = static_cast<int>(name), kind = static_cast<int>(d->type);
  if (d->finalised)
    return complain(CUDNN_STATUS_BAD_PARAM, "attribute ", attribute, " of a finalised descriptor is set");
  const Rules& rules = *rules_of(d->type);
  const auto rule = rules.find(name);
  if (rule == rules.end())
    return complain(CUDNN_STATUS_NOT_SUPPORTED, "descriptor kind ", kind, " has no attribute ", attribute);
  const bool scale = rule->second.type == CUDNN_TYPE_FLOAT && type == CUDNN_TYPE_DOUBLE;
  if (type != rule->second.type && !scale)
    return complain(CUDNN_STATUS_BAD_PARAM, "attribute ", attribute, " is of type ",
                    static_cast<int>(rule->second.type), ", not ", static_cast<int>(type));
  if (count < rule->second.least || count > rule->second.most)
    return complain(CUDNN_STATUS_BAD_PARAM, "attribute ", attribute, " cannot have ", count, " values");
  if (values == nullptr)
    return complain(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "attribute ", attribute, " of null");
  Attribute a{.type = type, .count = count};
  if (type == kRef) {
    for (std::int64_t i = 0; i < count; ++i) {
      const auto referred = find(static_cast<const cudnnBackendDescriptor_t*>(values)[i]);
      if (referred == nullptr || !referred->finalised)
        return complain(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, "attribute ", attribute, " of kind ", kind,
                        " refers to a descriptor that is not finalised");
      a.references.push_back(referred);
    }
  } else {
    a.bytes.resize(static_cast<std::size_t>(count) * value_bytes(type));
    std::memcpy(a.bytes.data(), values, a.bytes.size());
  }
  d->attributes[name] = std::move(a);
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t handle) {
  const std::lock_guard hold(state().lock);
  const auto d = find(handle);
  if (d == nullptr) return complain(CUDNN_STATUS_NOT_INITIALIZED, "an unknown descriptor is finalised");
  const int kind = static_cast<int>(d->type);
  for (const auto& [name, rule] : *rules_of(d->type))
    if (rule.needed && !d->has(name))
      return complain(CUDNN_STATUS_BAD_PARAM, "descriptor kind ", kind, " lacks attribute ",
                      static_cast<int>(name));
  if (d->type == CUDNN_BACKEND_TENSOR_DESCRIPTOR) {
    for (const auto flag : {CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_ATTR_TENSOR_IS_BY_VALUE})
      if (!d->has(flag)) put(*d, flag, CUDNN_TYPE_BOOLEAN, false);
    for (const auto axes : {CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_ATTR_TENSOR_STRIDES})
      if (d->attributes[axes].count != 4)
        return complain(CUDNN_STATUS_NOT_SUPPORTED, "tensors have four axes here");
    if (is_by_value(*d) && (is_virtual(*d) || bytes_of(*d) != sizeof(float)))
      return complain(CUDNN_STATUS_NOT_SUPPORTED, "only one float is passed by value here");
  }
  for (const auto& [type, axes] :
       {std::pair(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS),
        std::pair(CUDNN_BACKEND_RESAMPLE_DESCRIPTOR, CUDNN_ATTR_RESAMPLE_SPATIAL_DIMS)})
    if (d->type == type && d->one<std::int64_t>(axes) != 2)
      return complain(CUDNN_STATUS_BAD_PARAM, "images have two axes");
  if (d->type == CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR)
    if (const std::string why = check_graph(*d); !why.empty()) return complain(CUDNN_STATUS_BAD_PARAM, why);
  if (d->type == CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR) {
    const Engine* const e =
        engine_of(d->part(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG).part(CUDNN_ATTR_ENGINECFG_ENGINE));
    if (e->builds != CUDNN_STATUS_SUCCESS) {
      state().last_error = ingot::cat("engine ", e->index, " does not serve this");
      return e->builds;
    }
  }
  d->finalised = true;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t handle, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, std::int64_t most,
                                       std::int64_t* count, void* values) {
  const std::lock_guard hold(state().lock);
  const auto d = find(handle);
  if (d == nullptr || !d->finalised)
    return complain(CUDNN_STATUS_NOT_INITIALIZED, "attribute ", static_cast<int>(name),
                    " is read from a descriptor that is not finalised");
  if (name == CUDNN_ATTR_ENGINEHEUR_RESULTS) return give_configurations(*d, most, count, values);
  const auto at = d->attributes.find(name);
  if (at == d->attributes.end()) return give_computed(*d, name, most, count, values);
  const Attribute& a = at->second;
  if (type != a.type)
    return complain(CUDNN_STATUS_BAD_PARAM, "attribute ", static_cast<int>(name), " is read as another type");
  if (count != nullptr) *count = a.count;
  if (values == nullptr || most == 0) return CUDNN_STATUS_SUCCESS;
  if (type != kRef) {
    std::memcpy(values, a.bytes.data(),
                std::min(a.bytes.size(), static_cast<std::size_t>(most) * value_bytes(type)));
    return CUDNN_STATUS_SUCCESS;
  }
  const auto into = find(*static_cast<cudnnBackendDescriptor_t*>(values));
  if (into == nullptr || into->type != a.references.at(0)->type)
    return complain(CUDNN_STATUS_BAD_PARAM, "attribute ", static_cast<int>(name),
                    " is read into another kind");
  *into = *a.references[0];
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan,
                                  cudnnBackendDescriptor_t pack) {
  std::shared_ptr<const Descriptor> p, v;
  {
    const std::lock_guard hold(state().lock);
    p = find(plan), v = find(pack);
    if (p == nullptr || v == nullptr) return complain(CUDNN_STATUS_NOT_INITIALIZED, "an unknown plan");
  }
  return execute(handle, *p, *v);
}

}  // extern "C"
