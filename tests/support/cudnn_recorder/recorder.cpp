#include "tests/support/cudnn_recorder/recorder.h"

#include <dlfcn.h>

#include <map>
#include <memory>
#include <mutex>
#include <utility>

namespace ingot::test {

namespace {

std::mutex& lock() {
  static auto& one = *new std::mutex;  // these are used to the end of the process
  return one;
}

CudnnRecord& record() {
  static auto& one = *new CudnnRecord;
  return one;
}

// What cuDNN said of a descriptor when it was finalised, and which others it was given.
struct Descriptor {
  cudnnBackendDescriptorType_t type{};
  std::map<cudnnBackendAttributeName_t, std::shared_ptr<const Descriptor>> parts{};
  std::vector<std::shared_ptr<const Descriptor>> operations{};  // of an operation graph
  CudnnTensor tensor{};                                         // of a tensor
  CudnnOperation operation{};  // of an operation; of a convolution or elementwise step what is its own
  CudnnEngine engine{};        // of a plan, which a refused one cannot be asked for
};
std::map<cudnnBackendDescriptor_t, std::shared_ptr<Descriptor>>& descriptors() {
  static auto& all = *new std::map<cudnnBackendDescriptor_t, std::shared_ptr<Descriptor>>;
  return all;
}

// libcudnn's own function of this name.
template <class F>
F* real(F*, const char* name) {
  return reinterpret_cast<F*>(::dlsym(RTLD_NEXT, name));
}
#define INGOT_REAL(function) real(function, #function)

cudnnStatus_t read(cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name,
                   cudnnBackendAttributeType_t type, std::int64_t most, std::int64_t* count, void* values) {
  static auto* const get = INGOT_REAL(cudnnBackendGetAttribute);
  const cudnnStatus_t status = get(d, name, type, most, count, values);
  if (status != CUDNN_STATUS_SUCCESS)
    record().faults.push_back("attribute " + std::to_string(name) + ": status " + std::to_string(status));
  return status;
}

template <class T>
T one(cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type) {
  T value{};
  std::int64_t count = 0;
  if (read(d, name, type, 1, &count, &value) == CUDNN_STATUS_SUCCESS && count != 1)
    record().faults.push_back("attribute " + std::to_string(name) + ": " + std::to_string(count) + " values");
  return value;
}

template <class T>
std::vector<T> list(cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name,
                    cudnnBackendAttributeType_t type) {
  std::int64_t count = 0;
  std::vector<T> values(64);
  if (read(d, name, type, static_cast<std::int64_t>(values.size()), &count, values.data()) !=
      CUDNN_STATUS_SUCCESS)
    count = 0;
  values.resize(static_cast<std::size_t>(count));
  return values;
}

// A descriptor that another one refers to: cuDNN fills in one that the caller made.
class Referred {
 public:
  Referred(cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name, cudnnBackendDescriptorType_t type) {
    static auto* const create = INGOT_REAL(cudnnBackendCreateDescriptor);
    if (create(type, &made_) != CUDNN_STATUS_SUCCESS) return;
    std::int64_t count = 0;
    read(d, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &count, &made_);
  }
  ~Referred() {
    static auto* const destroy = INGOT_REAL(cudnnBackendDestroyDescriptor);
    destroy(made_);
  }
  Referred(const Referred&) = delete;
  Referred& operator=(const Referred&) = delete;
  cudnnBackendDescriptor_t get() const { return made_; }

 private:
  cudnnBackendDescriptor_t made_ = nullptr;
};

CudnnTensor tensor(cudnnBackendDescriptor_t d, std::int64_t alignment) {
  CudnnTensor t;
  t.id = one<std::int64_t>(d, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64);
  t.dims = list<std::int64_t>(d, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64);
  t.strides = list<std::int64_t>(d, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64);
  t.type = one<cudnnDataType_t>(d, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE);
  t.is_virtual = one<bool>(d, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN);
  t.by_value = one<bool>(d, CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN);
  t.vector_count = one<std::int64_t>(d, CUDNN_ATTR_TENSOR_VECTOR_COUNT, CUDNN_TYPE_INT64);
  t.alignment = alignment;
  return t;
}

void read_convolution(cudnnBackendDescriptor_t d, CudnnOperation& o) {
  o.compute = one<cudnnDataType_t>(d, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE);
  o.padding_before = list<std::int64_t>(d, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64);
  o.padding_behind = list<std::int64_t>(d, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64);
  o.stride = list<std::int64_t>(d, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64);
  o.dilation = list<std::int64_t>(d, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64);
}

// Fractions that are whole numbers.
std::vector<std::int64_t> whole(cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name) {
  std::vector<std::int64_t> numbers;
  for (const cudnnFraction_t& f : list<cudnnFraction_t>(d, name, CUDNN_TYPE_FRACTION)) {
    if (f.denominator != 1)
      record().faults.push_back("attribute " + std::to_string(name) + ": no whole number");
    numbers.push_back(f.numerator);
  }
  return numbers;
}

void read_resample(cudnnBackendDescriptor_t d, CudnnOperation& o) {
  o.compute = one<cudnnDataType_t>(d, CUDNN_ATTR_RESAMPLE_COMP_TYPE, CUDNN_TYPE_DATA_TYPE);
  o.resample = one<cudnnResampleMode_t>(d, CUDNN_ATTR_RESAMPLE_MODE, CUDNN_TYPE_RESAMPLE_MODE);
  o.nan = one<cudnnNanPropagation_t>(d, CUDNN_ATTR_RESAMPLE_NAN_PROPAGATION, CUDNN_TYPE_NAN_PROPOGATION);
  o.window = whole(d, CUDNN_ATTR_RESAMPLE_WINDOW_DIMS);
  o.padding_before = whole(d, CUDNN_ATTR_RESAMPLE_PRE_PADDINGS);
  o.padding_behind = whole(d, CUDNN_ATTR_RESAMPLE_POST_PADDINGS);
  o.stride = whole(d, CUDNN_ATTR_RESAMPLE_STRIDES);
}

struct OperationNames {
  cudnnBackendAttributeName_t x, w, y, settings, alpha, beta;
};
const std::map<cudnnBackendDescriptorType_t, OperationNames>& operation_names() {
  static const auto& all = *new std::map<cudnnBackendDescriptorType_t, OperationNames>{
      {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
       {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
        CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
        CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA}},
      {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
       {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
        CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
        CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA}},
      {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
       {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
        CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
        CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA}},
      {CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR,
       {CUDNN_ATTR_OPERATION_POINTWISE_XDESC, CUDNN_ATTR_OPERATION_POINTWISE_BDESC,
        CUDNN_ATTR_OPERATION_POINTWISE_YDESC, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR,
        CUDNN_ATTR_OPERATION_POINTWISE_ALPHA1, CUDNN_ATTR_OPERATION_POINTWISE_ALPHA2}}};
  return all;
}

// The tensor that plays a part; of a convolution also how the operation sees it, with an axis of groups.
CudnnTensor part(const Descriptor& known, cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name) {
  const auto at = known.parts.find(name);
  if (at == known.parts.end()) {
    record().faults.push_back("attribute " + std::to_string(name) + " was not set");
    return {};
  }
  CudnnTensor t = at->second->tensor;
  if (known.type != CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR) {
    const Referred seen(d, name, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    t.grouped_dims = list<std::int64_t>(seen.get(), CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64);
    t.grouped_strides = list<std::int64_t>(seen.get(), CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64);
  }
  return t;
}

void read_operation(Descriptor& known, cudnnBackendDescriptor_t d, const OperationNames& n) {
  const auto settings = known.parts.find(n.settings);
  const CudnnOperation scaled = known.operation;
  CudnnOperation& o = known.operation;
  if (settings == known.parts.end())
    record().faults.push_back("an operation without settings");
  else
    o = settings->second->operation;
  o.kind = known.type;
  o.alpha = scaled.alpha, o.beta = scaled.beta;
  o.has_w = known.parts.contains(n.w);
  o.x = part(known, d, n.x), o.y = part(known, d, n.y);
  if (o.has_w) o.w = part(known, d, n.w);
}

// A norm or pooling, which cuDNN does not give back: its tensors as they were read.
void keep_named(Descriptor& known) {
  CudnnOperation& o = known.operation;
  const CudnnOperation scaled = o;
  if (const auto at = known.parts.find(CUDNN_ATTR_OPERATION_RESAMPLE_FWD_DESC); at != known.parts.end()) {
    o = at->second->operation;
    o.alpha = scaled.alpha, o.beta = scaled.beta;
  }
  o.kind = known.type;
  for (const auto& [name, part] : known.parts)
    if (part->type == CUDNN_BACKEND_TENSOR_DESCRIPTOR) o.tensors[name] = part->tensor;
}

CudnnEngine engine_of(cudnnBackendDescriptor_t config) {
  const Referred d(config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  CudnnEngine e;
  e.index = one<std::int64_t>(d.get(), CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64);
  e.numerics =
      list<cudnnBackendNumericalNote_t>(d.get(), CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE);
  e.behaviors =
      list<cudnnBackendBehaviorNote_t>(d.get(), CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, CUDNN_TYPE_BEHAVIOR_NOTE);
  return e;
}

}  // namespace
}  // namespace ingot::test

using namespace ingot::test;

extern "C" {

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t* d) {
  const std::lock_guard hold(lock());
  static auto* const create = INGOT_REAL(cudnnBackendCreateDescriptor);
  const cudnnStatus_t status = create(type, d);
  if (status != CUDNN_STATUS_SUCCESS) return status;
  auto known = std::make_shared<Descriptor>();
  known->type = type;
  known->operation.beta = type == CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR ? 1.0 : 0.0;
  descriptors()[*d] = std::move(known);
  return status;
}

cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t d) {
  const std::lock_guard hold(lock());
  static auto* const destroy = INGOT_REAL(cudnnBackendDestroyDescriptor);
  descriptors().erase(d);
  return destroy(d);
}

cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, std::int64_t count,
                                       const void* values) {
  const std::lock_guard hold(lock());
  static auto* const set = INGOT_REAL(cudnnBackendSetAttribute);
  const cudnnStatus_t status = set(d, name, type, count, values);
  if (status != CUDNN_STATUS_SUCCESS) return status;
  Descriptor& known = *descriptors().at(d);
  if (type == CUDNN_TYPE_BACKEND_DESCRIPTOR) {
    const auto* const referred = static_cast<const cudnnBackendDescriptor_t*>(values);
    if (name == CUDNN_ATTR_OPERATIONGRAPH_OPS)
      for (std::int64_t i = 0; i < count; ++i) known.operations.push_back(descriptors().at(referred[i]));
    else if (name == CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG)
      known.engine = engine_of(*referred);
    else if (const auto at = descriptors().find(*referred); at != descriptors().end())
      known.parts[name] = at->second;
  }
  if (name == CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT)
    known.tensor.alignment = *static_cast<const std::int64_t*>(values);
  if (name == CUDNN_ATTR_CONVOLUTION_CONV_MODE)
    known.operation.flipped = *static_cast<const cudnnConvolutionMode_t*>(values);
  if (name == CUDNN_ATTR_POINTWISE_MODE)
    known.operation.mode = *static_cast<const cudnnPointwiseMode_t*>(values);
  if (name == CUDNN_ATTR_POINTWISE_MATH_PREC)
    known.operation.compute = *static_cast<const cudnnDataType_t*>(values);
  if (name == CUDNN_ATTR_OPERATION_NORM_FWD_MODE || name == CUDNN_ATTR_OPERATION_NORM_BWD_MODE)
    known.operation.norm = *static_cast<const cudnnBackendNormMode_t*>(values);
  if (name == CUDNN_ATTR_RESAMPLE_PADDING_MODE)
    known.operation.padding = *static_cast<const cudnnPaddingMode_t*>(values);
  if (name == CUDNN_ATTR_OPERATION_NORM_FWD_PHASE)
    known.operation.phase = *static_cast<const cudnnBackendNormFwdPhase_t*>(values);
  const auto scale = [&] {
    return type == CUDNN_TYPE_DOUBLE ? *static_cast<const double*>(values)
                                     : static_cast<double>(*static_cast<const float*>(values));
  };
  if (const auto names = operation_names().find(known.type); names != operation_names().end()) {
    if (name == names->second.alpha) known.operation.alpha = scale();
    if (name == names->second.beta) known.operation.beta = scale();
  }
  if (name == CUDNN_ATTR_OPERATION_RESAMPLE_FWD_ALPHA) known.operation.alpha = scale();
  if (name == CUDNN_ATTR_OPERATION_RESAMPLE_FWD_BETA) known.operation.beta = scale();
  return status;
}

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t d) {
  const std::lock_guard hold(lock());
  static auto* const finalize = INGOT_REAL(cudnnBackendFinalize);
  const cudnnStatus_t status = finalize(d);
  Descriptor& known = *descriptors().at(d);
  if (known.type == CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR) {
    CudnnRecordedPlan plan{known.engine, status == CUDNN_STATUS_SUCCESS, 0};
    if (plan.accepted)
      plan.workspace_bytes = one<std::int64_t>(d, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64);
    record().plans.push_back(std::move(plan));
  }
  if (status != CUDNN_STATUS_SUCCESS) return status;
  if (known.type == CUDNN_BACKEND_TENSOR_DESCRIPTOR) known.tensor = tensor(d, known.tensor.alignment);
  if (known.type == CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR) read_convolution(d, known.operation);
  if (const auto names = operation_names().find(known.type); names != operation_names().end())
    read_operation(known, d, names->second);
  if (known.type == CUDNN_BACKEND_RESAMPLE_DESCRIPTOR) read_resample(d, known.operation);
  if (known.type == CUDNN_BACKEND_OPERATION_NORM_FORWARD_DESCRIPTOR ||
      known.type == CUDNN_BACKEND_OPERATION_NORM_BACKWARD_DESCRIPTOR ||
      known.type == CUDNN_BACKEND_OPERATION_RESAMPLE_FWD_DESCRIPTOR)
    keep_named(known);
  if (known.type == CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR) {
    std::vector<CudnnOperation> graph;
    for (const auto& o : known.operations) graph.push_back(o->operation);
    record().graphs.push_back(std::move(graph));
  }
  return status;
}

cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, std::int64_t most,
                                       std::int64_t* count, void* values) {
  const std::lock_guard hold(lock());
  static auto* const get = INGOT_REAL(cudnnBackendGetAttribute);
  const cudnnStatus_t status = get(d, name, type, most, count, values);
  // Asked for with no room, it says how many there are.
  if (status == CUDNN_STATUS_SUCCESS && name == CUDNN_ATTR_ENGINEHEUR_RESULTS && most != 0) {
    const auto* const configs = static_cast<const cudnnBackendDescriptor_t*>(values);
    for (std::int64_t i = 0; i < *count && i < most; ++i)
      record().heuristics.push_back(engine_of(configs[i]));
  }
  return status;
}

}  // extern "C"

// What was recorded since the last call.
extern "C" void take_cudnn_record(CudnnRecord* into) {
  const std::lock_guard hold(lock());
  *into = std::exchange(record(), {});
}
