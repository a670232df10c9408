#include "cpu/unpooled_conv.h"

#include <algorithm>
#include <limits>

#include "core/runtime/lowering.h"
#include "cpu/parallel.h"
#include "cpu/simd/conv_unpool_kernels.h"
#include "cpu/workspace.h"

namespace ingot::cpu {

namespace {

constexpr std::array<std::int64_t, 2> kOnes{1, 1};
// Every channel's weight is read again for each window.
constexpr std::int64_t kMaxWeights = kMaxScratch;

std::optional<UnpoolConv> unpool_conv(const TensorType& image, const TensorType& weight, const TensorType& dy,
                                      const TensorType& offset, const UnpooledConvAttrs& a,
                                      const UnpoolKernels& k) {
  for (const TensorType* t : {&image, &dy, &offset})
    if (t->numel() == 0 || !lies_channels_last(*t)) return {};
  if (image.dtype != DType::F32 || weight.dtype != DType::F32 || dy.dtype != DType::F32 ||
      offset.dtype != DType::U8 || a.stride != kOnes || a.dilation != kOnes || a.groups != 1 ||
      a.pool_dilation != kOnes || a.pool_padding != std::array<std::int64_t, 2>{0, 0})
    return {};
  UnpoolConv p;
  p.o = dy.shape[1], p.ph = dy.shape[2], p.pw = dy.shape[3];
  p.oh = a.pool_input_shape[2], p.ow = a.pool_input_shape[3];
  p.c = image.shape[1], p.h = image.shape[2], p.w = image.shape[3];
  p.kh = weight.shape[2], p.kw = weight.shape[3], p.top = a.padding[0], p.left = a.padding[1];
  p.window_h = a.pool_kernel[0], p.window_w = a.pool_kernel[1];
  p.step_h = a.pool_stride[0], p.step_w = a.pool_stride[1];
  // Windows that ceil_mode lets hang over the edge are left to others.
  if ((p.ph - 1) * p.step_h + p.window_h > p.oh || (p.pw - 1) * p.step_w + p.window_w > p.ow) return {};
  k.choose(p);
  if (p.padded_floats() > kMaxScratch) return {};
  // Multiplied here, lanes without use included, against what a dense kernel multiplies. Half of it must be
  // saved: dense kernels come closer to the peak, but need the unpooled image.
  const double here = static_cast<double>(p.ph * p.pw * p.run_floats());
  const double dense = static_cast<double>(p.oh * p.ow * p.run());
  if (here > 0.6 * dense) return {};
  return p;
}

int parts_of(std::int64_t images, const UnpoolConv& p, int threads) {
  return static_cast<int>(
      std::min<std::int64_t>(images, useful_threads(threads, images * p.o * p.ph * p.pw * p.kh * p.vectors)));
}

// Where the weight has the elements that the kernels want in a row, [piece][o][kh][vectors of the piece]; -1:
// a zero that fills a run up.
std::vector<std::int64_t> packed_offsets(const UnpoolConv& p, const TensorType& weight,
                                         std::int64_t vectors_of_piece) {
  std::vector<std::int64_t> at;
  const LayoutIndex index(weight);
  for (std::int64_t piece = 0; piece < p.vectors; piece += vectors_of_piece)
    for (std::int64_t o = 0; o < p.o; ++o)
      for (std::int64_t a = 0; a < p.kh; ++a) {
        const std::int64_t end = std::min(piece + vectors_of_piece, p.vectors) * p.lanes;
        for (std::int64_t e = piece * p.lanes; e < end; ++e) {
          const std::array<std::int64_t, 4> element{o, e % p.c, a, e / p.c};
          at.push_back(e < p.run() ? index.offset(element) : -1);
        }
      }
  return at;
}

}  // namespace

std::unique_ptr<Step> make_unpooled_grad_input(const TensorType& dy, const TensorType& offset,
                                               const TensorType& weight, const TensorType& dx,
                                               const UnpooledConvAttrs& attrs, int threads) {
  const UnpoolKernels& k = unpool_kernels(cpu_level());
  const auto shape = unpool_conv(dx, weight, dy, offset, attrs, k);
  if (!shape || !k.has_grad_input(*shape)) return nullptr;
  const UnpoolConv p = *shape;
  const auto at = packed_offsets(p, weight, p.together);
  if (static_cast<std::int64_t>(at.size()) > kMaxWeights) return nullptr;
  const auto weights = whole_lines(static_cast<std::int64_t>(at.size()));
  const std::int64_t n = dy.shape[0], stride = whole_lines(p.padded_floats());
  const int parts = parts_of(n, p, threads);
  return make_step(
      cat("unpooled:", name(cpu_level())),
      [=, grad_input = k.grad_input](void* const* in, void* const* out, void* workspace) {
        const auto* from = static_cast<const float*>(in[0]);
        const auto* where = static_cast<const std::uint8_t*>(in[1]);
        const auto* given = static_cast<const float*>(in[2]);
        auto* to = static_cast<float*>(out[0]);
        auto* packed = static_cast<float*>(workspace);
        for (std::size_t e = 0; e < at.size(); ++e) packed[e] = at[e] < 0 ? 0.0f : given[at[e]];
        parallel_parts(parts, [&](int part) {
          const Range r = part_of(n, part, parts);
          for (std::int64_t i = r.begin; i < r.end; ++i) {
            const std::int64_t image = i * p.o * p.ph * p.pw;
            grad_input(p, from + image, where + image, packed, to + i * p.c * p.h * p.w,
                       packed + weights + part * stride);
          }
        });
      },
      static_cast<std::size_t>(weights + parts * stride) * sizeof(float));
}

std::unique_ptr<Step> make_unpooled_grad_weight(const TensorType& x, const TensorType& dy,
                                                const TensorType& offset, const TensorType& dw,
                                                const UnpooledConvAttrs& attrs, int threads) {
  const UnpoolKernels& k = unpool_kernels(cpu_level());
  const auto shape = unpool_conv(x, dw, dy, offset, attrs, k);
  if (!shape) return nullptr;
  const UnpoolConv p = *shape;
  const auto to = packed_offsets(p, dw, p.vectors);
  const std::int64_t sums = whole_lines(static_cast<std::int64_t>(to.size()));
  if (sums > kMaxWeights) return nullptr;
  const std::int64_t n = x.shape[0], stride = sums + whole_lines(unpool_grad_weight_scratch(p));
  const int parts = parts_of(n, p, threads);
  const auto elements = static_cast<std::int64_t>(dw.bytes() / sizeof(float));  // padding included
  return make_step(
      cat("unpooled:", name(cpu_level())),
      [=, places = unpool_places(p), grad_weight = k.grad_weight](void* const* in, void* const* out,
                                                                  void* workspace) {
        const auto* image = static_cast<const float*>(in[0]);
        const auto* from = static_cast<const float*>(in[1]);
        const auto* where = static_cast<const std::uint8_t*>(in[2]);
        auto* result = static_cast<float*>(out[0]);
        auto* space = static_cast<float*>(workspace);
        parallel_parts(parts, [&](int part) {
          float* const own = space + part * stride;
          std::fill_n(own, sums, 0.0f);
          const Range r = part_of(n, part, parts);
          for (std::int64_t i = r.begin; i < r.end; ++i) {
            const std::int64_t pooled = i * p.o * p.ph * p.pw;
            grad_weight(p, image + i * p.c * p.h * p.w, from + pooled, where + pooled, places, own,
                        own + sums);
          }
        });
        std::fill_n(result, elements, 0.0f);
        for (std::size_t e = 0; e < to.size(); ++e) {
          if (to[e] < 0) continue;
          float sum = 0.0f;
          for (int part = 0; part < parts; ++part) sum += space[part * stride + static_cast<std::int64_t>(e)];
          result[to[e]] = sum;
        }
      },
      static_cast<std::size_t>(parts * stride) * sizeof(float));
}

}  // namespace ingot::cpu
