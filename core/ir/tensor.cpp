#include "core/ir/tensor.h"

#include <cstring>
#include <new>

#include "core/base/error.h"

namespace ingot {

namespace {

constexpr std::align_val_t kAlign{64};

std::shared_ptr<void> allocate(std::size_t bytes) {
  void* p = ::operator new(bytes == 0 ? 1 : bytes, kAlign);
  return {p, [](void* q) { ::operator delete(q, kAlign); }};
}

void require_memory(const Tensor& t) {
  if (t.defined() || t.numel() == 0) return;
  throw UsageError("this tensor was never given memory; make it with Tensor::zeros() or Tensor::from()");
}

// Calls f(physical offset in a, physical offset in b) for every logical element, row-major.
template <class F>
void for_each_pair(const TensorType& a, const TensorType& b, F&& f) {
  if (!a.layout.is_blocked() && a.same_memory(b)) {
    for (std::int64_t i = 0; i < a.numel(); ++i) f(i, i);
    return;
  }
  const LayoutIndex ia(a), ib(b);
  const int rank = a.shape.rank();
  std::array<std::int64_t, Shape::kMaxRank> index{};
  const std::span<const std::int64_t> view(index.data(), static_cast<std::size_t>(rank));
  for (std::int64_t n = a.numel(); n > 0; --n) {
    f(ia.offset(view), ib.offset(view));
    for (int axis = rank - 1; axis >= 0; --axis) {
      auto& digit = index[static_cast<std::size_t>(axis)];
      if (++digit < a.shape[axis]) break;
      digit = 0;
    }
  }
}

std::int64_t physical_offset(const TensorType& type, std::int64_t logical) {
  if (logical < 0 || logical >= type.numel())
    throw UsageError(cat("element ", logical, " is outside a tensor of type ", to_string(type)));
  if (type.layout.is_row_major()) return logical;
  std::array<std::int64_t, Shape::kMaxRank> index{};
  for (int axis = type.shape.rank() - 1; axis >= 0; --axis) {
    index[static_cast<std::size_t>(axis)] = logical % type.shape[axis];
    logical /= type.shape[axis];
  }
  return LayoutIndex(type).offset({index.data(), static_cast<std::size_t>(type.shape.rank())});
}

}  // namespace

Tensor::Tensor(const TensorType& type) : type_(type) {
  auto memory = allocate(type.bytes());
  data_ = memory.get();
  owner_ = std::move(memory);
}

Tensor::Tensor(const TensorType& type, void* data, std::shared_ptr<const void> owner)
    : type_(type), data_(data), owner_(std::move(owner)) {}

Tensor Tensor::zeros(const TensorType& type) {
  Tensor t(type);
  std::memset(t.data_, 0, t.bytes());
  return t;
}

Tensor Tensor::full(const TensorType& type, double value) {
  Tensor t(type);
  visit_dtype(type.dtype, [&]<class T>() {
    const T v = from_double<T>(value);
    for (T& e : t.values<T>()) e = v;
  });
  return t;
}

Tensor Tensor::of(std::initializer_list<float> values) {
  return from<float>({static_cast<std::int64_t>(values.size())},
                     std::span<const float>(values.begin(), values.size()));
}

Tensor Tensor::from_bytes(const TensorType& type, std::span<const std::byte> bytes) {
  Tensor t(type);
  if (bytes.size() != t.bytes())
    throw ShapeError(
        cat("a tensor of type ", to_string(type), " holds ", t.bytes(), " bytes, got ", bytes.size()));
  if (!bytes.empty()) std::memcpy(t.data_, bytes.data(), bytes.size());
  return t;
}

void Tensor::check_dtype(DType asked) const {
  if (asked != type_.dtype)
    throw UsageError(
        cat("the tensor holds ", name(type_.dtype), ", not ", name(asked), "; convert it with to()"));
}

double Tensor::get(std::int64_t i) const {
  require_memory(*this);
  const std::int64_t o = physical_offset(type_, i);
  return visit_dtype(type_.dtype, [&]<class T>() { return to_double(static_cast<const T*>(data_)[o]); });
}

void Tensor::set(std::int64_t i, double value) const {
  require_memory(*this);
  const std::int64_t o = physical_offset(type_, i);
  visit_dtype(type_.dtype, [&]<class T>() { static_cast<T*>(data_)[o] = from_double<T>(value); });
}

double Tensor::item() const {
  if (numel() != 1)
    throw ShapeError(cat("item() needs exactly one element, the tensor is ", to_string(type_)));
  return get(0);
}

Tensor Tensor::clone() const {
  require_memory(*this);
  Tensor t(type_);
  if (bytes() != 0) std::memcpy(t.data_, data_, bytes());
  return t;
}

Tensor Tensor::to(DType dtype) const {
  require_memory(*this);
  if (dtype == type_.dtype) return *this;
  Tensor t = Tensor::zeros({dtype, type_.shape, type_.layout});
  t.copy_from(*this);
  return t;
}

Tensor Tensor::to(const Layout& layout) const {
  if (layout == type_.layout) return *this;
  Tensor t = Tensor::zeros({type_.dtype, type_.shape, layout});  // zeros: block padding
  t.copy_from(*this);
  return t;
}

Tensor Tensor::reshaped(const Shape& shape) const {
  if (!type_.layout.is_row_major())
    throw UsageError(cat("reshaped() needs a row-major tensor, got ", to_string(type_)));
  if (shape.numel() != numel())
    throw ShapeError(cat("cannot view ", to_string(type_), " as ", to_string(shape), ": ", numel(),
                         " elements against ", shape.numel()));
  return Tensor({type_.dtype, shape}, data_, owner_);
}

void Tensor::copy_from(const Tensor& source) const {
  require_memory(*this);
  require_memory(source);
  if (source.shape() != shape())
    throw ShapeError(cat("cannot copy ", to_string(source.type_), " into ", to_string(type_)));
  if (source.type_ == type_) {
    if (bytes() != 0) std::memmove(data_, source.data_, bytes());
    return;
  }
  visit_dtype(type_.dtype, [&]<class To>() {
    visit_dtype(source.dtype(), [&]<class From>() {
      To* const to = static_cast<To*>(data_);
      const From* const from = static_cast<const From*>(source.data_);
      for_each_pair(type_, source.type_, [&](std::int64_t a, std::int64_t b) {
        if constexpr (std::is_same_v<To, From>)
          to[a] = from[b];
        else if constexpr (std::is_integral_v<To> && std::is_integral_v<From>)
          to[a] = static_cast<To>(from[b]);
        else
          to[a] = from_double<To>(to_double(from[b]));
      });
    });
  });
}

bool bitwise_equal(const Tensor& a, const Tensor& b) {
  return a.type() == b.type() && (a.bytes() == 0 || std::memcmp(a.raw(), b.raw(), a.bytes()) == 0);
}

}  // namespace ingot
