// Running sums and selection by a mask, row-major.
//
// Thrust scans a row in one pass, where our own kernel has to read one twice that it cuts into parts: Thrust
// comes first for rows of integers that are. It does not for columns, which it would read across memory, nor
// for floating sums, whose bits would depend on the order in which its blocks arrive.
#include "core/ops/scan.h"

#include "core/ops/reference.h"
#include "cuda/kernels/scan.h"
#include "cuda/libs/thrust.h"
#include "cuda/ops/launch_step.h"
#include "cuda/ops/operands.h"

namespace ingot::cuda {

namespace {

ReduceShape split(const Shape& shape, std::int64_t axis) {
  const ops::AxisSplit s = ops::split_at(shape, shape.normalize_axis(static_cast<int>(axis)));
  return {s.outer, s.dim, s.inner};
}

constexpr const char* kPlain = "Thrust is given row-major tensors";

// Why Thrust does not scan these lines, or "".
std::string thrust_refuses(const ReduceShape& s) {
  if (s.inner != 1) return "Thrust scans rows, and these lines are not";
  if (running_sum_workspace(s) == 0) return "our own kernel reads such rows once, as Thrust would";
  if (!thrust_scan_fits(s.outer * s.length))
    return "Thrust has no room for so many elements in what was planned";
  return "";
}

std::unique_ptr<Step> lower_cumsum_thrust(const Problem& p) {
  if (!all_plain(p)) return p.decline(kPlain);
  if (!is_integer(p.in(0).dtype))
    return p.decline("the bits of Thrust's floating sums depend on the order in which its blocks arrive");
  const auto& a = p.attrs<CumsumAttrs>();
  const ReduceShape s = split(p.in(0).shape, a.axis);
  if (const std::string why = thrust_refuses(s); !why.empty()) return p.decline(why);
  return launch_step(
      "thrust:scan",
      [=, kind = ScanKind{a.exclusive, a.reverse}, dtype = p.out().dtype](
          void* const* in, void* const* out, void* workspace, const Stream& stream) {
        thrust_running_sum(dtype, in[0], dtype, out[0], s, kind, workspace, stream);
      },
      thrust_scan_workspace(s.outer * s.length));
}

std::unique_ptr<Step> lower_cumsum(const Problem& p) {
  if (!all_plain(p)) return nullptr;
  const auto& a = p.attrs<CumsumAttrs>();
  const ReduceShape s = split(p.in(0).shape, a.axis);
  return launch_step("scan",
                     [=, kind = ScanKind{a.exclusive, a.reverse}, dtype = p.out().dtype](
                         void* const* in, void* const* out, void* workspace, const Stream& stream) {
                       running_sum(dtype, in[0], dtype, out[0], s, kind, workspace, stream);
                     },
                     running_sum_workspace(s), {{0, 0}});
}

// What place_selected() moves: `inner` in bytes.
ReduceShape slices_of(const Problem& p) {
  ReduceShape s = split(p.in(0).shape, p.attrs<CompressAttrs>().axis);
  s.inner *= static_cast<std::int64_t>(size_of(p.in(0).dtype));
  return s;
}

// The workspace: counts of the mask's entries, then that of the scan.
std::size_t counts_bytes(std::int64_t length) {
  return (static_cast<std::size_t>(length) * sizeof(std::int64_t) + 63) / 64 * 64;
}

// Counts the mask's entries by `sum`, then moves slices.
template <class Sum>
std::unique_ptr<Step> select(const Problem& p, std::string kernel, std::size_t workspace_of_sum, Sum sum) {
  const ReduceShape s = slices_of(p);
  const std::size_t first = counts_bytes(s.length);
  return launch_step(
      std::move(kernel),
      [=](void* const* in, void* const* out, void* workspace, const Stream& stream) {
        auto* const counts = static_cast<std::int64_t*>(workspace);
        sum(DType::Bool, in[1], DType::I64, counts, ReduceShape{.length = s.length}, ScanKind{},
            static_cast<std::byte*>(workspace) + first, stream);
        place_selected(in[0], in[1], counts, out[0], static_cast<std::int64_t*>(out[1]), s, stream);
      },
      first + workspace_of_sum);
}

std::unique_ptr<Step> lower_compress_thrust(const Problem& p) {
  const ReduceShape mask{.length = p.in(1).shape[0]};
  if (!all_plain(p)) return p.decline(kPlain);
  if (const std::string why = thrust_refuses(mask); !why.empty()) return p.decline(why);
  return select(p, "thrust:select", thrust_scan_workspace(mask.length), thrust_running_sum);
}

std::unique_ptr<Step> lower_compress(const Problem& p) {
  if (!all_plain(p)) return nullptr;
  return select(p, "select", running_sum_workspace({.length = p.in(1).shape[0]}), running_sum);
}

}  // namespace

void add_scan(LoweringTable& table) {
  table.add("cumsum", {.lower = lower_cumsum_thrust, .name = "thrust"});
  table.add("cumsum", {.lower = lower_cumsum});
  table.add("compress", {.lower = lower_compress_thrust, .name = "thrust"});
  table.add("compress", {.lower = lower_compress});
}

}  // namespace ingot::cuda
