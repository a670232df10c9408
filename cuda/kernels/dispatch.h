// From the types and addresses of a launch to the kernel that serves them: host code of .cu files.
//
//   for_floating("layer_norm", dtype, [&]<class T>(T*) { ... });        // float, __half or __nv_bfloat16
//   if (on_16_bytes({x, y}) && length % Vec16<T>::kSize == 0) ...
#pragma once

#include <cstdint>
#include <initializer_list>

#include "core/base/dtype.h"
#include "core/base/error.h"
#include "cuda/kernels/params.h"

namespace ingot::cuda {

// Calls run(T*) with a null pointer of the device's type; throws UsageError for others.
template <class Run>
void for_floating(const char* what, DType dtype, Run&& run) {
  if (dtype == DType::F32)
    run(static_cast<float*>(nullptr));
  else if (dtype == DType::F16)
    run(static_cast<__half*>(nullptr));
  else if (dtype == DType::BF16)
    run(static_cast<__nv_bfloat16*>(nullptr));
  else
    throw UsageError(cat(what, " on a GPU computes f32, f16 or bf16, got ", name(dtype)));
}

// Null pointers are aligned: what is absent hinders nothing.
inline bool on_16_bytes(std::initializer_list<const void*> pointers) {
  std::uintptr_t all = 0;
  for (const void* p : pointers) all |= reinterpret_cast<std::uintptr_t>(p);
  return all % 16 == 0;
}

// How kernels are told the type of parameters and statistics beside `data`.
inline gpu::ParamKind param_kind(const char* what, DType params, DType data) {
  if (params != data && params != DType::F32)
    throw UsageError(cat(what, " on a GPU takes parameters of the data's type or f32, got ", name(params),
                         " beside ", name(data), "; convert them with cast()"));
  if (params == DType::F16) return gpu::ParamKind::F16;
  return params == DType::BF16 ? gpu::ParamKind::BF16 : gpu::ParamKind::F32;
}

}  // namespace ingot::cuda
