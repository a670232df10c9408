// Tensor: a host-side handle to typed memory. Never a graph node.
//
// Copying a Tensor copies the handle; the bytes are shared and live until the last handle goes. `clone()`
// copies the bytes. Memory is 64-byte aligned. Tensors are row-major unless their type says otherwise.
//
//   Tensor t = Tensor::zeros({DType::F32, {2, 3}});
//   t.data<float>()[0] = 1.0f;
//   Tensor u = Tensor::of({1.f, 2.f, 3.f});            // f32[3]
#pragma once

#include <cstddef>
#include <initializer_list>
#include <memory>
#include <span>

#include "core/base/half.h"
#include "core/ir/type.h"

namespace ingot {

template <class T>
constexpr DType dtype_of();
template <>
constexpr DType dtype_of<float>() {
  return DType::F32;
}
template <>
constexpr DType dtype_of<double>() {
  return DType::F64;
}
template <>
constexpr DType dtype_of<f16>() {
  return DType::F16;
}
template <>
constexpr DType dtype_of<bf16>() {
  return DType::BF16;
}
template <>
constexpr DType dtype_of<std::int32_t>() {
  return DType::I32;
}
template <>
constexpr DType dtype_of<std::int64_t>() {
  return DType::I64;
}
template <>
constexpr DType dtype_of<std::uint8_t>() {
  return DType::U8;
}
template <>
constexpr DType dtype_of<bool>() {
  return DType::Bool;
}

class Tensor {
 public:
  Tensor() = default;
  // Uninitialised memory.
  explicit Tensor(const TensorType& type);
  // Wraps memory owned elsewhere; `owner` keeps it alive (may be null for memory that outlives the handle).
  Tensor(const TensorType& type, void* data, std::shared_ptr<const void> owner);

  static Tensor zeros(const TensorType& type);
  static Tensor full(const TensorType& type, double value);
  static Tensor of(std::initializer_list<float> values);
  template <class T>
  static Tensor from(const Shape& shape, std::span<const T> values) {
    return from_bytes({dtype_of<T>(), shape}, std::as_bytes(values));
  }
  // Throws ShapeError unless `bytes` has exactly type.bytes() bytes.
  static Tensor from_bytes(const TensorType& type, std::span<const std::byte> bytes);

  bool defined() const { return data_ != nullptr; }
  const TensorType& type() const { return type_; }
  const Shape& shape() const { return type_.shape; }
  DType dtype() const { return type_.dtype; }
  std::int64_t numel() const { return type_.numel(); }
  std::size_t bytes() const { return type_.bytes(); }

  void* raw() const { return data_; }
  std::span<std::byte> as_bytes() const { return {static_cast<std::byte*>(data_), bytes()}; }
  // Typed access; throws UsageError when T is not the dtype. The pointer is to physical memory.
  template <class T>
  T* data() const {
    check_dtype(dtype_of<T>());
    return static_cast<T*>(data_);
  }
  template <class T>
  std::span<T> values() const {
    return {data<T>(), static_cast<std::size_t>(type_.physical_numel())};
  }

  // Element `i` in row-major logical order, converted to double (or from it, rounded).
  double get(std::int64_t i) const;
  void set(std::int64_t i, double value) const;
  // The only element; throws ShapeError otherwise.
  double item() const;

  Tensor clone() const;
  // Same elements, another dtype and/or layout.
  Tensor to(DType dtype) const;
  Tensor to(const Layout& layout) const;
  Tensor contiguous() const { return type_.layout.is_row_major() ? *this : to(Layout::row_major()); }
  // Same memory under another shape with as many elements; row-major only.
  Tensor reshaped(const Shape& shape) const;
  // Copies elements from `source` (same shape; dtype and layout may differ).
  void copy_from(const Tensor& source) const;

 private:
  void check_dtype(DType asked) const;
  TensorType type_;
  void* data_ = nullptr;
  std::shared_ptr<const void> owner_;
};

// Same type and the same bytes.
bool bitwise_equal(const Tensor& a, const Tensor& b);

// Calls f.template operator()<T>() with the C++ type of `dtype`.
template <class F>
decltype(auto) visit_dtype(DType dtype, F&& f) {
  switch (dtype) {
    case DType::F32:
      return f.template operator()<float>();
    case DType::F64:
      return f.template operator()<double>();
    case DType::F16:
      return f.template operator()<f16>();
    case DType::BF16:
      return f.template operator()<bf16>();
    case DType::I32:
      return f.template operator()<std::int32_t>();
    case DType::I64:
      return f.template operator()<std::int64_t>();
    case DType::U8:
      return f.template operator()<std::uint8_t>();
    case DType::Bool:
      break;
  }
  return f.template operator()<bool>();
}

// Element conversions that know f16 and bf16.
template <class T>
double to_double(T v) {
  if constexpr (requires { v.to_float(); })
    return static_cast<double>(v.to_float());
  else
    return static_cast<double>(v);
}
template <class T>
T from_double(double v) {
  if constexpr (requires { T::from(0.0f); })
    return T::from(static_cast<float>(v));
  else if constexpr (std::is_same_v<T, bool>)
    return v != 0.0;
  else
    return static_cast<T>(v);
}

}  // namespace ingot
