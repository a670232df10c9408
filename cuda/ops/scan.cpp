// Running sums and selection by a mask, row-major.
#include "core/ops/scan.h"

#include "core/ops/reference.h"
#include "cuda/kernels/scan.h"
#include "cuda/ops/launch_step.h"
#include "cuda/ops/operands.h"

namespace ingot::cuda {

namespace {

ReduceShape split(const Shape& shape, std::int64_t axis) {
  const ops::AxisSplit s = ops::split_at(shape, shape.normalize_axis(static_cast<int>(axis)));
  return {s.outer, s.dim, s.inner};
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

std::unique_ptr<Step> lower_compress(const Problem& p) {
  if (!all_plain(p)) return nullptr;
  const ReduceShape s = slices_of(p), mask{.length = s.length};
  const std::size_t first = counts_bytes(s.length);
  return launch_step(
      "select",
      [=](void* const* in, void* const* out, void* workspace, const Stream& stream) {
        auto* const counts = static_cast<std::int64_t*>(workspace);
        running_sum(DType::Bool, in[1], DType::I64, counts, mask, {},
                    static_cast<std::byte*>(workspace) + first, stream);
        place_selected(in[0], in[1], counts, out[0], static_cast<std::int64_t*>(out[1]), s, stream);
      },
      first + running_sum_workspace(mask));
}

}  // namespace

void add_scan(LoweringTable& table) {
  table.add("cumsum", {.lower = lower_cumsum});
  table.add("compress", {.lower = lower_compress});
}

}  // namespace ingot::cuda
