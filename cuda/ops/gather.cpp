// Rows picked by index and sums into rows by index, row-major.
//
// A GPU cannot throw from a kernel: an index that names no row gives a row of NaN (cuda/kernels/gather.h) and
// adds nothing where sums are formed.
#include "core/ops/gather.h"

#include "cuda/kernels/along_axis.h"
#include "cuda/kernels/gather.h"
#include "cuda/kernels/scatter.h"
#include "cuda/ops/launch_step.h"
#include "cuda/ops/operands.h"

namespace ingot::cuda {

namespace {

// `whole` around the axis, with `count` indices along it: GatherShape or ScatterShape.
template <class S>
S split(const Shape& whole, std::int64_t axis_attr, std::int64_t count) {
  const int axis = whole.normalize_axis(static_cast<int>(axis_attr));
  S s;
  s.count = count;
  for (int d = 0; d < whole.rank(); ++d) (d < axis ? s.outer : d == axis ? s.dim : s.inner) *= whole[d];
  return s;
}

std::unique_ptr<Step> pick(const Problem& p, std::int64_t axis, bool negative) {
  if (!all_plain(p)) return nullptr;
  const auto s = split<GatherShape>(p.in(0).shape, axis, p.in(1).numel());
  return launch_step("gather", [=, dtype = p.out().dtype, index = p.in(1).dtype](
                                   void* const* in, void* const* out, void*, const Stream& stream) {
    gather(dtype, in[0], index, in[1], out[0], s, negative, stream);
  });
}

std::unique_ptr<Step> add_rows(const Problem& p, std::int64_t axis, const ScatterRule& rule) {
  if (!all_plain(p)) return nullptr;
  const auto s = split<ScatterShape>(p.out().shape, axis, p.in(1).numel());
  return launch_step(
      "scatter",
      [=, dtype = p.out().dtype, index = p.in(1).dtype](void* const* in, void* const* out, void* workspace,
                                                        const Stream& stream) {
        scatter_add(dtype, in[0], index, in[1], out[0], s, rule, workspace, stream);
      },
      scatter_add_workspace(s));
}

std::unique_ptr<Step> lower_gather(const Problem& p) {
  return pick(p, p.attrs<GatherAttrs>().axis, true);
}
std::unique_ptr<Step> lower_embedding(const Problem& p) {
  return pick(p, 0, false);
}
std::unique_ptr<Step> lower_scatter_add(const Problem& p) {
  return add_rows(p, p.attrs<ScatterAddAttrs>().axis, {});
}
std::unique_ptr<Step> lower_embedding_grad(const Problem& p) {
  return add_rows(p, 0, {.negative = false, .skip = p.attrs<EmbeddingGradAttrs>().padding_idx});
}

std::unique_ptr<Step> lower_take_along_axis(const Problem& p) {
  if (!all_plain(p)) return nullptr;
  auto s = split<AlongShape>(p.in(0).shape, p.attrs<TakeAlongAxisAttrs>().axis, 0);
  s.count = p.out().shape[static_cast<int>(p.attrs<TakeAlongAxisAttrs>().axis)];
  return launch_step("along_axis", [=, dtype = p.out().dtype, index = p.in(1).dtype](
                                       void* const* in, void* const* out, void*, const Stream& stream) {
    take_along_axis(dtype, in[0], index, in[1], out[0], s, stream);
  });
}

std::unique_ptr<Step> lower_put_along_axis(const Problem& p) {
  if (!all_plain(p)) return nullptr;
  auto s = split<AlongShape>(p.out().shape, p.attrs<PutAlongAxisAttrs>().axis, 0);
  s.count = p.in(0).shape[static_cast<int>(p.attrs<PutAlongAxisAttrs>().axis)];
  return launch_step("along_axis", [=, dtype = p.out().dtype, index = p.in(1).dtype](
                                       void* const* in, void* const* out, void*, const Stream& stream) {
    put_along_axis(dtype, in[0], index, in[1], out[0], s, stream);
  });
}

std::unique_ptr<Step> lower_one_hot(const Problem& p) {
  if (!all_plain(p)) return nullptr;
  return launch_step("one_hot",
                     [n = p.in(0).numel(), depth = p.attrs<OneHotAttrs>().depth, dtype = p.out().dtype,
                      index = p.in(0).dtype](void* const* in, void* const* out, void*, const Stream& stream) {
                       one_hot(dtype, index, in[0], n, depth, out[0], stream);
                     });
}

}  // namespace

void add_gather(LoweringTable& table) {
  table.add("gather", {.lower = lower_gather});
  table.add("scatter_add", {.lower = lower_scatter_add});
  table.add("embedding", {.lower = lower_embedding});
  table.add("embedding_grad", {.lower = lower_embedding_grad});
  table.add("take_along_axis", {.lower = lower_take_along_axis});
  table.add("put_along_axis", {.lower = lower_put_along_axis});
  table.add("one_hot", {.lower = lower_one_hot});
}

}  // namespace ingot::cuda
