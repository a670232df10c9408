// Sort and topk: each line along the axis becomes items of ordered key and index, of which no two are the
// same, so that any sort of them is the stable one. One thread a line.
#include "core/ops/sort.h"

#include <algorithm>
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
struct Narrow {
  using Item = std::uint64_t;
  static Item make(unsigned key, std::uint64_t index) { return std::uint64_t{key} << 32 | index; }
  static std::uint64_t index(Item item) { return item & 0xffffffffu; }
};
struct Wide {
  using Item = std::pair<unsigned long long, std::uint64_t>;
  static Item make(unsigned long long key, std::uint64_t index) { return {key, index}; }
  static std::uint64_t index(const Item& item) { return item.second; }
};

// The first `keep` items in order; what lies behind them is left as it comes.
template <class Item>
void order(Item* items, std::int64_t n, std::int64_t keep) {
  if (keep == 0) return;
  if (keep < n) std::nth_element(items, items + keep - 1, items + n);
  std::sort(items, items + keep);
}

// T: what elements are compared as.
template <class T>
std::unique_ptr<Step> sort_step(const Problem& p, std::int64_t axis_attr, bool descending) {
  using Kind = std::conditional_t<sizeof(T) == 4, Narrow, Wide>;
  using Item = typename Kind::Item;
  const Shape& shape = p.in(0).shape;
  const int axis = shape.normalize_axis(static_cast<int>(axis_attr));
  const ops::AxisSplit s = ops::split_at(shape, axis);
  const std::int64_t keep = p.out().shape[axis];
  if (s.dim > (std::int64_t{1} << 32)) return nullptr;
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
            const T* const x = static_cast<const T*>(in[0]) + o * s.dim * s.inner + i;
            for (std::int64_t l = 0; l < s.dim; ++l) {
              auto key = order_key(x[l * s.inner]);
              if (descending) key = ~key;
              items[l] = Kind::make(key, static_cast<std::uint64_t>(l));
            }
            order(items, s.dim, keep);
            for (std::int64_t k = 0; k < keep; ++k) {
              const auto from = static_cast<std::int64_t>(Kind::index(items[k]));
              const std::int64_t to = (o * keep + k) * s.inner + i;
              static_cast<T*>(out[0])[to] = x[from * s.inner];
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
      return sort_step<float>(p, axis, descending);
    case DType::F64:
      return sort_step<double>(p, axis, descending);
    case DType::I32:
      return sort_step<int>(p, axis, descending);
    case DType::I64:
      return sort_step<long long>(p, axis, descending);
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
