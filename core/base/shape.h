// Shape: up to 8 dimensions, stored inline.
//
// A value type: cheap to copy and compare. Rank 0 is a scalar with one element. Dimensions are never
// negative; a dimension of 0 makes an empty tensor.
//
//   Shape s{32, 3, 28, 28};
//   s.numel();        // 75264
//   s[-1];            // 28, negative indices count from the end
//   to_string(s);     // "[32, 3, 28, 28]"
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

namespace ingot {

class Shape {
 public:
  static constexpr int kMaxRank = 8;

  Shape() = default;
  Shape(std::initializer_list<std::int64_t> dims);
  explicit Shape(std::span<const std::int64_t> dims);

  int rank() const { return rank_; }
  std::int64_t numel() const;
  // Negative axes count from the end; throws ShapeError when out of range.
  std::int64_t operator[](int axis) const { return dims_[static_cast<std::size_t>(normalize_axis(axis))]; }
  std::int64_t& operator[](int axis) { return dims_[static_cast<std::size_t>(normalize_axis(axis))]; }
  // Maps [-rank, rank) to [0, rank); throws ShapeError otherwise.
  int normalize_axis(int axis) const;

  std::span<const std::int64_t> dims() const { return {dims_.data(), static_cast<std::size_t>(rank_)}; }
  const std::int64_t* begin() const { return dims_.data(); }
  const std::int64_t* end() const { return dims_.data() + rank_; }

  void push_back(std::int64_t dim);
  void erase(int axis);
  void insert(int axis, std::int64_t dim);  // axis in [0, rank]

  // Row-major strides in elements.
  std::array<std::int64_t, kMaxRank> strides() const;

  friend bool operator==(const Shape& a, const Shape& b);

 private:
  std::array<std::int64_t, kMaxRank> dims_{};
  int rank_ = 0;
};

std::string to_string(const Shape& shape);

// NumPy broadcasting; throws ShapeError naming both shapes when they do not fit.
Shape broadcast(const Shape& a, const Shape& b);
bool broadcastable_to(const Shape& from, const Shape& to);

}  // namespace ingot
