// Sort and topk: each line along the axis becomes items of ordered key and index, of which no two are the
// same, so that any sort of them is the stable one. One thread a line.
#include "core/ops/sort.h"

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <utility>

#include "core/base/order_key.h"
#include "core/ops/reference.h"
#include "core/runtime/lowering.h"
#include "cpu/parallel.h"
#include "cpu/workspace.h"

namespace ingot::cpu {

namespace {

bool plain(const TensorType& t) {
  return t.layout.canonical().is_row_major();
}

// Keys of 32 bits share a word with the index.
using Narrow = std::uint64_t;
using Wide = std::pair<unsigned long long, std::uint64_t>;

std::int64_t index_of(Narrow item) {
  return static_cast<std::int64_t>(item & 0xffffffffu);
}
std::int64_t index_of(const Wide& item) {
  return static_cast<std::int64_t>(item.second);
}

// n elements, `stride` apart.
template <class T, class Item>
void fill(Item* items, const T* x, std::int64_t n, std::int64_t stride, bool descending) {
  for (std::int64_t l = 0; l < n; ++l) {
    auto key = order_key(x[l * stride]);
    if (descending) key = ~key;
    if constexpr (std::is_same_v<Item, Narrow>)
      items[l] = Narrow{key} << 32 | static_cast<Narrow>(l);
    else
      items[l] = {key, static_cast<std::uint64_t>(l)};
  }
}
template <class A, class B, class Item>
void fill_either(bool first, Item* items, const std::byte* x, std::int64_t n, std::int64_t stride,
                 bool descending) {
  if (first)
    fill(items, reinterpret_cast<const A*>(x), n, stride, descending);
  else
    fill(items, reinterpret_cast<const B*>(x), n, stride, descending);
}

// The first `keep` items in order; what lies behind them is left as it comes.
template <class Item>
void order(Item* items, std::int64_t n, std::int64_t keep) {
  if (keep == 0) return;
  if (keep < n) std::nth_element(items, items + keep - 1, items + n);
  std::sort(items, items + keep);
}

template <class Item>
std::unique_ptr<Step> sort_step(const Problem& p, std::int64_t axis_attr, bool descending) {
  const Shape& shape = p.in(0).shape;
  const DType dtype = p.in(0).dtype;
  const int axis = shape.normalize_axis(static_cast<int>(axis_attr));
  const ops::AxisSplit s = ops::split_at(shape, axis);
  const std::int64_t keep = p.out().shape[axis];
  if (s.dim > (std::int64_t{1} << 32)) return nullptr;
  const std::size_t bytes = size_of(dtype);
  const int parts = useful_threads(p.target.threads, p.in(0).numel());
  Workspace measure(nullptr);
  measure.take<Item>(s.dim * parts);
  return make_step(
      "sort",
      [=](void* const* in, void* const* out, void* workspace) {
        Item* const all = Workspace(workspace).take<Item>(s.dim * parts);
        parallel_parts(parts, [&](int part) {
          Item* const items = all + part * s.dim;
          const Range lines = part_of(s.outer * s.inner, part, parts);
          for (std::int64_t line = lines.begin; line < lines.end; ++line) {
            const std::int64_t o = line / s.inner, i = line % s.inner;
            const auto at = [&](std::int64_t l) {
              return static_cast<const std::byte*>(in[0]) +
                     static_cast<std::size_t>((o * s.dim + l) * s.inner + i) * bytes;
            };
            if constexpr (std::is_same_v<Item, Narrow>)
              fill_either<float, int>(dtype == DType::F32, items, at(0), s.dim, s.inner, descending);
            else
              fill_either<double, long long>(dtype == DType::F64, items, at(0), s.dim, s.inner, descending);
            order(items, s.dim, keep);
            for (std::int64_t k = 0; k < keep; ++k) {
              const std::int64_t from = index_of(items[k]), to = (o * keep + k) * s.inner + i;
              std::memcpy(static_cast<std::byte*>(out[0]) + static_cast<std::size_t>(to) * bytes, at(from),
                          bytes);
              static_cast<std::int64_t*>(out[1])[to] = from;
            }
          }
        });
      },
      measure.used());
}

std::unique_ptr<Step> lower_line(const Problem& p, std::int64_t axis, bool descending) {
  if (!plain(p.in(0)) || !plain(p.out()) || !plain(p.out(1))) return nullptr;
  switch (p.in(0).dtype) {
    case DType::F32:
    case DType::I32:
      return sort_step<Narrow>(p, axis, descending);
    case DType::F64:
    case DType::I64:
      return sort_step<Wide>(p, axis, descending);
    default:
      return nullptr;
  }
}

std::unique_ptr<Step> lower_sort(const Problem& p) {
  const auto& a = p.attrs<SortAttrs>();
  return lower_line(p, a.axis, a.descending);
}
std::unique_ptr<Step> lower_topk(const Problem& p) {
  const auto& a = p.attrs<TopkAttrs>();
  return lower_line(p, a.axis, a.largest);
}

}  // namespace

void add_sort(LoweringTable& table) {
  table.add("sort", {.lower = lower_sort});
  table.add("topk", {.lower = lower_topk});
}

}  // namespace ingot::cpu
