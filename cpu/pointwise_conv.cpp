#include "cpu/pointwise_conv.h"

#include <algorithm>
#include <array>
#include <vector>

#include "core/runtime/lowering.h"
#include "cpu/parallel.h"
#include "cpu/simd/conv_kernels.h"
#include "cpu/workspace.h"

namespace ingot::cpu {

namespace {

// Beyond this many sums, which no longer stay in the second-level cache beside a block of pixels, oneDNN's
// kernel is as fast or faster.
constexpr std::int64_t kMaxSums = 1 << 17;
// Pixels between two additions to the sums: their vectors stay in the first-level cache.
constexpr std::int64_t kPixels = 64;

}  // namespace

std::unique_ptr<Step> make_pointwise_grad_weight(const TensorType& x, const TensorType& dy,
                                                 const TensorType& dw, int threads) {
  for (const TensorType* t : {&x, &dy})
    if (t->dtype != DType::F32 || t->numel() == 0 || !lies_channels_last(*t)) return nullptr;
  if (dw.dtype != DType::F32) return nullptr;
  const ConvKernels& k = conv_kernels(cpu_level());
  const std::int64_t c = x.shape[1], o = dy.shape[1], pixels = x.numel() / c;
  // One image's channels are the lanes, the other's numbers multiply them.
  const auto fits = [&](std::int64_t lanes, std::int64_t rows) {
    return lanes % k.width == 0 && rows % k.outer_rows == 0;
  };
  const bool o_lanes = fits(o, c) && (o >= c || !fits(c, o));
  if ((!o_lanes && !fits(c, o)) || c * o > kMaxSums) return nullptr;
  const std::int64_t lanes = o_lanes ? o : c, rows = o_lanes ? c : o;
  // Each axis adds its own part to where an element lies.
  const LayoutIndex index(dw);
  std::vector<std::int64_t> to_lane, to_row;
  const auto offset = [&](std::int64_t l, std::int64_t r) {
    const std::array<std::int64_t, 4> at{o_lanes ? l : r, o_lanes ? r : l, 0, 0};
    return index.offset(at);
  };
  for (std::int64_t l = 0; l < lanes; ++l) to_lane.push_back(offset(l, 0));
  for (std::int64_t r = 0; r < rows; ++r) to_row.push_back(offset(0, r));
  const auto elements = static_cast<std::int64_t>(dw.bytes() / sizeof(float));  // padding included
  const std::int64_t sums = whole_lines(c * o);
  const int parts = useful_threads(threads, pixels * c);
  return make_step(
      cat("pointwise:", name(cpu_level())),
      [=, outer_sums = k.outer_sums](void* const* in, void* const* out, void* workspace) {
        const auto* by_lane = static_cast<const float*>(in[o_lanes ? 1 : 0]);
        const auto* by_row = static_cast<const float*>(in[o_lanes ? 0 : 1]);
        auto* result = static_cast<float*>(out[0]);
        auto* space = static_cast<float*>(workspace);
        parallel_parts(parts, [&](int part) {
          float* const own = space + part * sums;
          std::fill_n(own, sums, 0.0f);
          const Range r = part_of(pixels, part, parts);
          for (std::int64_t p = r.begin; p < r.end; p += kPixels)
            outer_sums(by_row + p * rows, rows, by_lane + p * lanes, lanes, std::min(kPixels, r.end - p),
                       own);
        });
        if (elements != c * o) std::fill_n(result, elements, 0.0f);
        parallel_ranges(parts, rows, 1, [&](std::int64_t begin, std::int64_t end) {
          for (std::int64_t r = begin; r < end; ++r)
            for (std::int64_t l = 0; l < lanes; ++l) {
              const float* const from = space + r * lanes + l;
              float sum = *from;
              for (int part = 1; part < parts; ++part) sum += from[part * sums];
              result[to_row[static_cast<std::size_t>(r)] + to_lane[static_cast<std::size_t>(l)]] = sum;
            }
        });
      },
      static_cast<std::size_t>(parts * sums) * sizeof(float));
}

}  // namespace ingot::cpu
