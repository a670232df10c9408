// What batch norm's kernels are told of an attribute `activation`.
//
//   const BatchNormConfig config{.dtype = x.dtype, .clip = clip_named(p, attrs.activation)};
#pragma once

#include "core/ops/activation.h"
#include "core/runtime/lowering.h"
#include "cuda/kernels/batch_norm.h"

namespace ingot::cuda {

inline Clip clip_named(const Problem& p, std::string_view activation) {
  const LastFunction a = clip_of(p.node.op, activation);
  return a.none() ? Clip{} : Clip::up_to(static_cast<float>(a.most));
}

}  // namespace ingot::cuda
