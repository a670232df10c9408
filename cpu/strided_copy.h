// StridedCopy: moves elements between two regular arrangements; transpose, slice, concat, pad and broadcast
// are copies of this kind.
//
// Dimensions are joined where both sides allow it. Runs that are contiguous on both sides are copied as
// bytes; when the sides disagree about the innermost dimension, square tiles keep both in the cache.
//
//   StridedCopy copy({{rows, 1, columns}, {columns, rows, 1}}, sizeof(float));     // transposes
//   copy.run(from, to, threads);
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace ingot::cpu {

class StridedCopy {
 public:
  struct Dim {
    std::int64_t size, from, to;  // strides in elements
  };
  StridedCopy(std::vector<Dim> dims, std::size_t element, std::int64_t from_base = 0,
              std::int64_t to_base = 0);
  void run(const void* from, void* to, int threads) const;
  // Nothing moves relative to the start of either side.
  bool is_identity() const;

 private:
  template <class T>
  void run_typed(const T* from, T* to, std::int64_t begin, std::int64_t end) const;

  std::vector<Dim> outer_;
  Dim tall_{1, 0, 0}, inner_{1, 1, 1};  // the innermost on the source's and on the result's side
  std::int64_t outer_count_ = 1;
  std::size_t element_;
  std::int64_t from_base_, to_base_;
};

}  // namespace ingot::cpu
