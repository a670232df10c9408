// Cross-entropy of rows of logits with their labels, and its gradient: launches of the kernels in loss.cu.
// What they compute is defined in core/ops/loss.h.
//
// logits is [rows, classes], in one piece; loss and lse are [rows]. All are f32, f16 or bf16, computed in
// f32. labels [rows] are i32 or i64. A row whose label is ignore_index has loss 0 and gradient 0. A kernel
// cannot throw: a label that is neither that nor a class makes its row's loss and gradient NaN, so that it is
// seen. Pointers are aligned to their element; rows are read 16 bytes at a time where their length and the
// pointers allow it. dlogits may lie over logits.
//
//   cross_entropy({.dtype = DType::BF16, .labels = DType::I64}, {.rows = 128, .classes = 1000}, logits,
//                 labels, loss, lse, stream);
#pragma once

#include <cstdint>

#include "core/base/dtype.h"
#include "cuda/base/stream.h"

namespace ingot::cuda {

struct CrossEntropyShape {
  std::int64_t rows = 1, classes = 1;
};

struct CrossEntropyConfig {
  DType dtype = DType::F32;
  DType labels = DType::I32;
  double label_smoothing = 0.0;
  std::int64_t ignore_index = -100;
};

// Both throw UsageError for other dtypes, and ShapeError for more than 2^30 classes.
void cross_entropy(const CrossEntropyConfig& config, const CrossEntropyShape& shape, const void* logits,
                   const void* labels, void* loss, void* lse, const Stream& stream);
void cross_entropy_grad(const CrossEntropyConfig& config, const CrossEntropyShape& shape, const void* dloss,
                        const void* logits, const void* labels, const void* lse, void* dlogits,
                        const Stream& stream);

}  // namespace ingot::cuda
