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
  std::vector<std::int32_t> to;
  const LayoutIndex index(dw);
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t l = 0; l < lanes; ++l) {
      const std::array<std::int64_t, 4> at{o_lanes ? l : r, o_lanes ? r : l, 0, 0};
      to.push_back(static_cast<std::int32_t>(index.offset(at)));
    }
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
        parallel_ranges(parts, c * o, 64, [&](std::int64_t begin, std::int64_t end) {
          for (std::int64_t e = begin; e < end; ++e) {
            float sum = space[e];
            for (int part = 1; part < parts; ++part) sum += space[part * sums + e];
            result[to[static_cast<std::size_t>(e)]] = sum;
          }
        });
      },
      static_cast<std::size_t>(parts * sums) * sizeof(float));
}

}  // namespace ingot::cpu
