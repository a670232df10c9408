#include <string>

#include "core/base/dtype.h"
#include "core/base/error.h"
#include "core/base/shape.h"

namespace ingot {

namespace {

struct DTypeRow {
  DType dtype;
  std::string_view name;
  std::size_t size;
};
constexpr DTypeRow kDTypes[] = {{DType::F32, "f32", 4},   {DType::F64, "f64", 8},  {DType::F16, "f16", 2},
                                {DType::BF16, "bf16", 2}, {DType::I32, "i32", 4},  {DType::I64, "i64", 8},
                                {DType::U8, "u8", 1},     {DType::Bool, "bool", 1}};

const DTypeRow& row(DType d) {
  return kDTypes[static_cast<std::size_t>(d)];
}

}  // namespace

std::size_t size_of(DType dtype) {
  return row(dtype).size;
}
std::string_view name(DType dtype) {
  return row(dtype).name;
}

DType parse_dtype(std::string_view text) {
  for (const auto& r : kDTypes)
    if (r.name == text) return r.dtype;
  throw UsageError(cat("unknown dtype '", text, "'; use one of f32, f64, f16, bf16, i32, i64, u8, bool"));
}

bool is_floating(DType d) {
  return d == DType::F32 || d == DType::F64 || d == DType::F16 || d == DType::BF16;
}
bool is_integer(DType d) {
  return d == DType::I32 || d == DType::I64 || d == DType::U8;
}

Shape::Shape(std::initializer_list<std::int64_t> dims)
    : Shape(std::span<const std::int64_t>(dims.begin(), dims.size())) {}

Shape::Shape(std::span<const std::int64_t> dims) {
  for (const std::int64_t d : dims) push_back(d);
}

std::int64_t Shape::numel() const {
  std::int64_t n = 1;
  for (const std::int64_t d : dims()) {
    if (__builtin_mul_overflow(n, d, &n))
      throw ShapeError(cat("shape ", to_string(*this), " has more than 2^63 elements"));
  }
  return n;
}

int Shape::normalize_axis(int axis) const {
  const int a = axis < 0 ? axis + rank_ : axis;
  if (a < 0 || a >= rank_)
    throw ShapeError(cat("axis ", axis, " is out of range for shape ", to_string(*this), " of rank ", rank_));
  return a;
}

void Shape::push_back(std::int64_t dim) {
  insert(rank_, dim);
}

void Shape::insert(int axis, std::int64_t dim) {
  if (rank_ == kMaxRank) throw ShapeError(cat("a shape has at most ", kMaxRank, " dimensions"));
  if (dim < 0) throw ShapeError(cat("a dimension is never negative, got ", dim));
  if (axis < 0 || axis > rank_) throw ShapeError(cat("cannot insert at axis ", axis, " of rank ", rank_));
  for (int i = rank_; i > axis; --i)
    dims_[static_cast<std::size_t>(i)] = dims_[static_cast<std::size_t>(i - 1)];
  dims_[static_cast<std::size_t>(axis)] = dim;
  ++rank_;
}

void Shape::erase(int axis) {
  for (int i = normalize_axis(axis); i + 1 < rank_; ++i)
    dims_[static_cast<std::size_t>(i)] = dims_[static_cast<std::size_t>(i + 1)];
  dims_[static_cast<std::size_t>(--rank_)] = 0;
}

std::array<std::int64_t, Shape::kMaxRank> Shape::strides() const {
  std::array<std::int64_t, kMaxRank> s{};
  std::int64_t step = 1;
  for (int i = rank_ - 1; i >= 0; --i) {
    s[static_cast<std::size_t>(i)] = step;
    step *= dims_[static_cast<std::size_t>(i)];
  }
  return s;
}

bool operator==(const Shape& a, const Shape& b) {
  if (a.rank_ != b.rank_) return false;
  for (int i = 0; i < a.rank_; ++i)
    if (a.dims_[static_cast<std::size_t>(i)] != b.dims_[static_cast<std::size_t>(i)]) return false;
  return true;
}

std::string to_string(const Shape& shape) {
  return cat("[", join(shape), "]");
}

Shape broadcast(const Shape& a, const Shape& b) {
  const int rank = std::max(a.rank(), b.rank());
  Shape out;
  for (int i = 0; i < rank; ++i) {
    const int ia = i - (rank - a.rank()), ib = i - (rank - b.rank());
    const std::int64_t da = ia < 0 ? 1 : a[ia], db = ib < 0 ? 1 : b[ib];
    if (da != db && da != 1 && db != 1)
      throw ShapeError(
          cat("shapes ", to_string(a), " and ", to_string(b), " do not broadcast: ", da, " against ", db));
    out.push_back(da == 1 ? db : da);
  }
  return out;
}

bool broadcastable_to(const Shape& from, const Shape& to) {
  if (from.rank() > to.rank()) return false;
  for (int i = 1; i <= from.rank(); ++i)
    if (from[-i] != to[-i] && from[-i] != 1) return false;
  return true;
}

std::string to_string(const SourceLoc& loc) {
  if (!loc.known()) return "";
  const auto slash = loc.file.find_last_of('/');
  return cat(slash == std::string::npos ? loc.file : loc.file.substr(slash + 1), ":", loc.line);
}

void Error::add_context(std::string node, const SourceLoc& where) {
  if (node_.empty()) node_ = std::move(node);
  if (!where_.known()) where_ = where;
  std::string place;
  if (!node_.empty()) place = cat("node '", node_, "'");
  if (where_.known()) place += cat(place.empty() ? "" : ", ", to_string(where_));
  full_ = place.empty() ? message_ : cat(message_, " [", place, "]");
}

}  // namespace ingot
