// Which attributes a descriptor has, of which type and how many values, and which it cannot do without.
//
// Source: NVIDIA, "cuDNN Backend API" (documentation of cuDNN 9), cudnnBackendAttributeName_t.
#include <initializer_list>

#include "tests/support/cuda_sim/cudnn/store.h"

namespace ingot::fake_cudnn {

namespace {

constexpr auto kRef = CUDNN_TYPE_BACKEND_DESCRIPTOR;

void add_operation(std::map<cudnnBackendDescriptorType_t, Rules>& all, cudnnBackendDescriptorType_t type,
                   std::initializer_list<cudnnBackendAttributeName_t> references,
                   std::initializer_list<cudnnBackendAttributeName_t> scales) {
  for (const auto name : references) all[type][name] = {kRef};
  for (const auto name : scales) all[type][name] = {.type = CUDNN_TYPE_FLOAT, .needed = false};
}

}  // namespace

const Rules* rules_of(cudnnBackendDescriptorType_t type) {
  static const auto& all = *new std::map<cudnnBackendDescriptorType_t, Rules>([] {
    std::map<cudnnBackendDescriptorType_t, Rules> r;
    r[CUDNN_BACKEND_TENSOR_DESCRIPTOR] = {
        {CUDNN_ATTR_TENSOR_UNIQUE_ID, {CUDNN_TYPE_INT64}},
        {CUDNN_ATTR_TENSOR_DATA_TYPE, {CUDNN_TYPE_DATA_TYPE}},
        {CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, {CUDNN_TYPE_INT64}},
        {CUDNN_ATTR_TENSOR_DIMENSIONS, {CUDNN_TYPE_INT64, 1, 8}},
        {CUDNN_ATTR_TENSOR_STRIDES, {CUDNN_TYPE_INT64, 1, 8}},
        {CUDNN_ATTR_TENSOR_IS_VIRTUAL, {.type = CUDNN_TYPE_BOOLEAN, .needed = false}},
        {CUDNN_ATTR_TENSOR_IS_BY_VALUE, {.type = CUDNN_TYPE_BOOLEAN, .needed = false}},
        {CUDNN_ATTR_TENSOR_REORDERING_MODE, {.type = CUDNN_TYPE_TENSOR_REORDERING_MODE, .needed = false}}};
    r[CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR] = {
        {CUDNN_ATTR_CONVOLUTION_COMP_TYPE, {CUDNN_TYPE_DATA_TYPE}},
        {CUDNN_ATTR_CONVOLUTION_CONV_MODE, {CUDNN_TYPE_CONVOLUTION_MODE}},
        {CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, {CUDNN_TYPE_INT64}},
        {CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, {CUDNN_TYPE_INT64, 2, 2}},
        {CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, {CUDNN_TYPE_INT64, 2, 2}},
        {CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, {CUDNN_TYPE_INT64, 2, 2}},
        {CUDNN_ATTR_CONVOLUTION_DILATIONS, {CUDNN_TYPE_INT64, 2, 2}}};
    r[CUDNN_BACKEND_POINTWISE_DESCRIPTOR] = {
        {CUDNN_ATTR_POINTWISE_MODE, {CUDNN_TYPE_POINTWISE_MODE}},
        {CUDNN_ATTR_POINTWISE_MATH_PREC, {CUDNN_TYPE_DATA_TYPE}},
        {CUDNN_ATTR_POINTWISE_NAN_PROPAGATION, {.type = CUDNN_TYPE_NAN_PROPOGATION, .needed = false}},
        {CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP, {.type = CUDNN_TYPE_DOUBLE, .needed = false}},
        {CUDNN_ATTR_POINTWISE_RELU_UPPER_CLIP, {.type = CUDNN_TYPE_DOUBLE, .needed = false}},
        {CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP_SLOPE, {.type = CUDNN_TYPE_DOUBLE, .needed = false}}};
    add_operation(
        r, CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
        {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
         CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC},
        {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA});
    add_operation(
        r, CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
        {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC},
        {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA});
    add_operation(
        r, CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
        {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC},
        {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA});
    add_operation(r, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR,
                  {CUDNN_ATTR_OPERATION_POINTWISE_XDESC, CUDNN_ATTR_OPERATION_POINTWISE_YDESC,
                   CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR},
                  {CUDNN_ATTR_OPERATION_POINTWISE_ALPHA1, CUDNN_ATTR_OPERATION_POINTWISE_ALPHA2});
    r[CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR][CUDNN_ATTR_OPERATION_POINTWISE_BDESC] = {.type = kRef,
                                                                                             .needed = false};
    r[CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR] = {
        {CUDNN_ATTR_OPERATIONGRAPH_OPS, {kRef, 1, kMostValues}},
        {CUDNN_ATTR_OPERATIONGRAPH_IS_DYNAMIC_SHAPE_ENABLED, {.type = CUDNN_TYPE_BOOLEAN, .needed = false}}};
    r[CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR] = {
        {CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, {kRef}},
        {CUDNN_ATTR_ENGINEHEUR_MODE, {CUDNN_TYPE_HEUR_MODE}},
        {CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, {kRef}},  // without a handle nothing else says which device
        {CUDNN_ATTR_ENGINEHEUR_SM_COUNT_TARGET, {.type = CUDNN_TYPE_INT32, .needed = false}}};
    r[CUDNN_BACKEND_ENGINE_DESCRIPTOR] = {{CUDNN_ATTR_ENGINE_OPERATION_GRAPH, {kRef}},
                                          {CUDNN_ATTR_ENGINE_GLOBAL_INDEX, {CUDNN_TYPE_INT64}}};
    r[CUDNN_BACKEND_ENGINECFG_DESCRIPTOR] = {{CUDNN_ATTR_ENGINECFG_ENGINE, {kRef}}};
    r[CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR] = {{CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, {kRef}}};
    r[CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR] = {
        {CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, {CUDNN_TYPE_INT64, 1, kMostValues}},
        {CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, {CUDNN_TYPE_VOID_PTR, 1, kMostValues}},
        {CUDNN_ATTR_VARIANT_PACK_WORKSPACE, {CUDNN_TYPE_VOID_PTR}}};
    r[CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR] = {{CUDNN_ATTR_DEVICEPROP_DEVICE_ID, {CUDNN_TYPE_INT32}}};
    r[CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR] = {};
    return r;
  }());
  const auto at = all.find(type);
  return at == all.end() ? nullptr : &at->second;
}

std::size_t value_bytes(cudnnBackendAttributeType_t type) {
  switch (type) {
    case CUDNN_TYPE_BOOLEAN:
    case CUDNN_TYPE_CHAR:
      return 1;
    case CUDNN_TYPE_INT64:
    case CUDNN_TYPE_DOUBLE:
    case CUDNN_TYPE_VOID_PTR:
      return 8;
    default:
      return 4;
  }
}

}  // namespace ingot::fake_cudnn
