// Ops that read or write at positions given by an index tensor (i32 or i64).
//
//   Value rows = gather(table, ids, 0);               // table[ids]
//   Value words = embedding(weight, tokens);          // [..., D]
//   Value target = one_hot(labels, 10, DType::F32);
#pragma once

#include <cstdint>

#include "core/op/builder.h"

namespace ingot {

struct GatherAttrs {
  std::int64_t axis = 0;
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("axis", s.axis);
  }
};

struct ScatterAddAttrs {
  std::int64_t axis = 0;
  Shape shape;  // of the result
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("axis", s.axis);
    v("shape", s.shape);
  }
};

using TakeAlongAxisAttrs = GatherAttrs;

struct PutAlongAxisAttrs {
  std::int64_t axis = 0;
  std::int64_t size = 0;  // of the result along the axis
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("axis", s.axis);
    v("size", s.size);
  }
};

struct OneHotAttrs {
  std::int64_t depth = 1;
  DType dtype = DType::F32;
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("depth", s.depth);
    v("dtype", s.dtype);
  }
};

struct EmbeddingAttrs {
  std::int64_t padding_idx = -1;  // rows that receive no gradient; -1: none
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("padding_idx", s.padding_idx);
  }
};

struct EmbeddingGradAttrs {
  std::int64_t rows = 0;  // of the weight
  std::int64_t padding_idx = -1;
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("rows", s.rows);
    v("padding_idx", s.padding_idx);
  }
};

// ONNX Gather: x.shape[:axis] + indices.shape + x.shape[axis + 1:]. A negative index counts from the end; one
// outside [-dim, dim) is an error (UsageError where it is noticed, on the CPU).
Value gather(Value x, Value indices, std::int64_t axis = 0, SourceLoc loc = SourceLoc::current());

// The inverse: zeros of `shape` with `updates` added at the indices along `axis`. Repeated indices add up in
// the order of `indices`, so the result is the same in every run.
Value scatter_add(Value updates, Value indices, std::int64_t axis, const Shape& shape,
                  SourceLoc loc = SourceLoc::current());

// y[.., j, ..] = x[.., indices[.., j, ..], ..]: an index for each element, of x's shape but for the axis
// (torch.take_along_dim, ONNX GatherElements). Negative indices count from the end; others outside the axis
// are an error (UsageError on the CPU).
Value take_along_axis(Value x, Value indices, std::int64_t axis, SourceLoc loc = SourceLoc::current());

// The inverse for indices of which no two along the axis are the same, as sort() and topk() make them: zeros
// with y[.., indices[.., j, ..], ..] = updates[.., j, ..], `size` long along the axis. Of the same place
// written twice, one write stays; which one is left open.
Value put_along_axis(Value updates, Value indices, std::int64_t axis, std::int64_t size,
                     SourceLoc loc = SourceLoc::current());

// [..., depth] of `dtype`: 1 at the index and 0 elsewhere. Negative indices count from the end; an index
// outside
// [-depth, depth) gives a row of zeros (ONNX OneHot).
Value one_hot(Value indices, std::int64_t depth, DType dtype = DType::F32,
              SourceLoc loc = SourceLoc::current());

// weight [V, D], indices [...] -> [..., D]. An index outside [0, V) is an error (UsageError on the CPU). The
// row `padding_idx` gets no gradient.
Value embedding(Value weight, Value indices, std::int64_t padding_idx = -1,
                SourceLoc loc = SourceLoc::current());

}  // namespace ingot
