// Questions that lowerings ask about their operands.
//
//   if (!is_float(p.in(0).dtype) || !all_plain(p)) return nullptr;     // declines the problem
#pragma once

#include "core/runtime/lowering.h"

namespace ingot::cuda {

// The types that kernels compute in.
inline bool is_float(DType d) {
  return d == DType::F32 || d == DType::F16 || d == DType::BF16;
}

// Row-major memory, whatever the layout is called.
inline bool is_plain(const TensorType& t) {
  return t.same_memory({t.dtype, t.shape});
}

// f32, f16 or bf16, and where the rank is 4 channels-last: what convolutions are made for.
inline bool lies_as_convolutions_want(const TensorType& t) {
  const Layout wanted = t.shape.rank() == 4 ? Layout::channels_last(4) : Layout::row_major();
  return is_float(t.dtype) && t.same_memory({t.dtype, t.shape, wanted});
}

// True when `well` holds for the type of every operand and result.
template <class Test>
bool all_operands(const Problem& p, Test&& well) {
  for (int i = 0; i < p.num_inputs(); ++i)
    if (!well(p.in(i))) return false;
  for (int i = 0; i < p.num_outputs(); ++i)
    if (!well(p.out(i))) return false;
  return true;
}
inline bool all_plain(const Problem& p) {
  return all_operands(p, is_plain);
}

// Operands and results with channels have them innermost, whatever their rank; others are row-major.
inline Layout channels_innermost(const TensorType& t) {
  return t.shape.rank() > 1 ? Layout::channels_last(t.shape.rank()) : Layout::row_major();
}
inline bool all_channels_innermost(const Problem& p) {
  return all_operands(p, [](const TensorType& t) {
    return t.same_memory({t.dtype, t.shape, channels_innermost(t)});
  });
}
inline Backend::Layouts channels_innermost_layouts(const Problem& p, const std::vector<bool>&) {
  Backend::Layouts l;
  for (int i = 0; i < p.num_inputs(); ++i) l.inputs.push_back(channels_innermost(p.in(i)));
  for (int k = 0; k < p.num_outputs(); ++k) l.outputs.push_back(channels_innermost(p.out(k)));
  return l;
}

}  // namespace ingot::cuda
