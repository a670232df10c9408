// Sort and topk, row-major.
//
// Lines that a block sorts, and the few first of a longer one, are read once by our own kernel, which is
// therefore first for them: a radix sort of 64-bit keys moves each element eight times. Where more of a long
// line is wanted, that is less than the merges of our own move, and Thrust comes first.
#include "core/ops/sort.h"

#include "core/ops/reference.h"
#include "cuda/kernels/sort.h"
#include "cuda/libs/thrust.h"
#include "cuda/ops/launch_step.h"
#include "cuda/ops/operands.h"

namespace ingot::cuda {

namespace {

struct Order {
  SortShape shape;
  bool descending = false;
};

Order order_of(const Problem& p, std::int64_t axis_attr, bool descending) {
  const Shape& x = p.in(0).shape;
  const int axis = x.normalize_axis(static_cast<int>(axis_attr));
  const ops::AxisSplit s = ops::split_at(x, axis);
  return {{s.outer, s.dim, s.inner, p.out().shape[axis]}, descending};
}
Order order_of_sort(const Problem& p) {
  const auto& a = p.attrs<SortAttrs>();
  return order_of(p, a.axis, a.descending);
}
Order order_of_topk(const Problem& p) {
  const auto& a = p.attrs<TopkAttrs>();
  return order_of(p, a.axis, a.largest);
}

using OrderFn = Order (*)(const Problem&);

template <OrderFn order_of>
std::unique_ptr<Step> lower_own(const Problem& p) {
  if (!all_plain(p)) return nullptr;
  return launch_step(
      "sort",
      [o = order_of(p), dtype = p.in(0).dtype](void* const* in, void* const* out, void* workspace,
                                               const Stream& stream) {
        sort(dtype, in[0], out[0], static_cast<std::int64_t*>(out[1]), o.shape, o.descending, workspace,
             stream);
      },
      sort_workspace(p.in(0).dtype, order_of(p).shape));
}

// The workspace: a key and a place an element, then Thrust's.
template <OrderFn order_of>
std::unique_ptr<Step> lower_thrust(const Problem& p) {
  if (!all_plain(p)) return p.decline("Thrust is given row-major tensors");
  const Order o = order_of(p);
  const SortShape& s = o.shape;
  if (s.length <= kSortedInBlock || s.lines() == 0)
    return p.decline("Thrust sorts lines longer than ", kSortedInBlock, ", which one block cannot hold");
  if (s.keep <= kSortedInBlock / 4)
    return p.decline("for the first ", s.keep, " of a line our own kernel need not sort all of it");
  const std::int64_t n = s.elements();
  if (!thrust_sort_fits(n)) return p.decline("Thrust has no room for ", n, " elements in what was planned");
  const auto aligned = [](std::size_t bytes) { return (bytes + 63) / 64 * 64; };
  const std::size_t places_at = aligned(static_cast<std::size_t>(n) * sizeof(unsigned long long));
  const std::size_t rest_at = places_at + aligned(static_cast<std::size_t>(n) * sizeof(unsigned));
  return launch_step(
      "thrust:sort",
      [=, dtype = p.in(0).dtype](void* const* in, void* const* out, void* workspace, const Stream& stream) {
        auto* const keys = static_cast<unsigned long long*>(workspace);
        auto* const places = reinterpret_cast<unsigned*>(static_cast<std::byte*>(workspace) + places_at);
        void* const rest = static_cast<std::byte*>(workspace) + rest_at;
        make_sort_keys(dtype, in[0], s, o.descending, keys, places, stream);
        thrust_sort(keys, places, n, rest, stream);
        if (has_wide_keys(dtype) && s.lines() > 1) {
          sort_keys_by_line(places, s, keys, stream);
          thrust_sort(keys, places, n, rest, stream);
        }
        take_sorted(dtype, in[0], places, s, out[0], static_cast<std::int64_t*>(out[1]), stream);
      },
      rest_at + thrust_sort_workspace(n));
}

template <OrderFn order_of>
void add(LoweringTable& table, std::string_view op) {
  table.add(op, {.lower = lower_thrust<order_of>, .name = "thrust"});
  table.add(op, {.lower = lower_own<order_of>});
}

}  // namespace

void add_sort(LoweringTable& table) {
  add<order_of_sort>(table, "sort");
  add<order_of_topk>(table, "topk");
}

}  // namespace ingot::cuda
