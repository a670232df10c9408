#include "cpu/planar_conv.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/runtime/lowering.h"
#include "cpu/parallel.h"
#include "cpu/simd/conv_kernels.h"
#include "cpu/workspace.h"

namespace ingot::cpu {

namespace {

// How much of the vectors is put to use when `n` lanes are wanted.
double used_lanes(std::int64_t n, std::int64_t width) {
  return static_cast<double>(n) / static_cast<double>((n + width - 1) / width * width);
}

// Where the kernel's weight [c][kh][kw][o] finds its elements.
std::vector<std::int32_t> weight_offsets(const PlanarProblem& q, const PlanarConv& p) {
  const LayoutIndex index(q.weight);
  std::vector<std::int32_t> at;
  for (std::int64_t c = 0; c < p.c; ++c)
    for (std::int64_t a = 0; a < p.kh; ++a)
      for (std::int64_t b = 0; b < p.kw; ++b)
        for (std::int64_t o = 0; o < p.o; ++o) {
          const std::array<std::int64_t, 4> forward{o, c, a, b}, turned{c, o, p.kh - 1 - a, p.kw - 1 - b};
          at.push_back(static_cast<std::int32_t>(index.offset(q.gradient ? turned : forward)));
        }
  return at;
}

bool image(const TensorType& t) {
  return t.dtype == DType::F32 && t.numel() != 0 && lies_channels_last(t);
}

}  // namespace

std::unique_ptr<Step> make_planar(const PlanarProblem& q, int threads) {
  if (!image(q.from) || !image(q.to) || q.weight.dtype != DType::F32 || q.top < 0 || q.left < 0)
    return nullptr;
  PlanarConv p;
  p.c = q.from.shape[1], p.h = q.from.shape[2], p.w = q.from.shape[3];
  p.o = q.to.shape[1], p.oh = q.to.shape[2], p.ow = q.to.shape[3];
  p.kh = q.weight.shape[2], p.kw = q.weight.shape[3], p.top = q.top, p.left = q.left;
  const ConvKernels& k = conv_kernels(cpu_level());
  // The price of splitting and joining channels is worth it when lanes over columns are clearly fuller.
  if (p.o > PlanarConv::kMaxOutputs || p.oh < PlanarConv::kRows || p.scratch_floats() > kMaxScratch ||
      used_lanes(p.ow, k.width) < 1.4 * used_lanes(p.o, k.width))
    return nullptr;
  const std::int64_t n = q.from.shape[0];
  const int parts = static_cast<int>(
      std::min<std::int64_t>(n, useful_threads(threads, n * p.c * p.oh * p.ow * p.kh * p.kw)));
  const auto at = weight_offsets(q, p);
  const auto weights = static_cast<std::int64_t>(at.size());
  const std::int64_t stride = whole_lines(p.scratch_floats());
  Workspace measure(nullptr);
  measure.take<float>(weights);
  measure.take<float>(parts * stride);
  return make_step(
      cat("planar:", name(cpu_level())),
      [=, relu = q.relu, has_bias = q.has_bias, planar = k.planar](void* const* in, void* const* out,
                                                                   void* workspace) {
        const auto* x = static_cast<const float*>(in[0]);
        const auto* given = static_cast<const float*>(in[1]);
        const auto* bias = has_bias ? static_cast<const float*>(in[2]) : nullptr;
        auto* y = static_cast<float*>(out[0]);
        Workspace space(workspace);
        auto* weight = space.take<float>(weights);
        for (std::int64_t i = 0; i < weights; ++i) weight[i] = given[at[static_cast<std::size_t>(i)]];
        auto* scratch = space.take<float>(parts * stride);
        parallel_parts(parts, [&](int part) {
          const Range r = part_of(n, part, parts);
          for (std::int64_t i = r.begin; i < r.end; ++i)
            planar(p, x + i * p.c * p.h * p.w, weight, bias, relu, y + i * p.o * p.oh * p.ow,
                   scratch + part * stride);
        });
      },
      measure.used());
}

std::unique_ptr<Step> make_planar_grad_weight(const TensorType& x, const TensorType& dy, const TensorType& dw,
                                              std::int64_t top, std::int64_t left, int threads) {
  if (!image(x) || !image(dy) || dw.dtype != DType::F32) return nullptr;
  PlanarConv p;
  p.c = x.shape[1], p.h = x.shape[2], p.w = x.shape[3];
  p.o = dy.shape[1], p.oh = dy.shape[2], p.ow = dy.shape[3];
  p.kh = dw.shape[2], p.kw = dw.shape[3], p.top = top, p.left = left;
  const ConvKernels& k = conv_kernels(cpu_level());
  const std::int64_t sums = p.o * p.c * p.kh * p.kw * PlanarConv::kMaxWidth;
  const std::int64_t stride = whole_lines(PlanarGradScratch::floats(p));
  // oneDNN puts output channels into the lanes; splitting x pays while few channels share the work.
  if (p.o > PlanarConv::kMaxOutputs || p.c > 2 || stride + sums > kMaxScratch ||
      used_lanes(p.ow, k.width) < 1.4 * used_lanes(p.o, k.width))
    return nullptr;
  const std::int64_t n = x.shape[0];
  const int parts = static_cast<int>(
      std::min<std::int64_t>(n, useful_threads(threads, n * p.c * p.oh * p.ow * p.kh * p.kw)));
  std::vector<std::int64_t> to;
  const LayoutIndex index(dw);
  for (std::int64_t o = 0; o < p.o; ++o)
    for (std::int64_t c = 0; c < p.c; ++c)
      for (std::int64_t a = 0; a < p.kh; ++a)
        for (std::int64_t b = 0; b < p.kw; ++b) {
          const std::array<std::int64_t, 4> at{o, c, a, b};
          to.push_back(index.offset(at));
        }
  const auto elements = static_cast<std::int64_t>(dw.bytes() / sizeof(float));  // padding included
  return make_step(
      cat("planar:", name(cpu_level())),
      [=, planar_grad_weight = k.planar_grad_weight](void* const* in, void* const* out, void* workspace) {
        const auto* from = static_cast<const float*>(in[0]);
        const auto* grad = static_cast<const float*>(in[1]);
        auto* result = static_cast<float*>(out[0]);
        auto* space = static_cast<float*>(workspace);
        parallel_parts(parts, [&](int part) {
          float* const own = space + part * (stride + sums);
          std::fill_n(own, sums, 0.0f);
          const Range r = part_of(n, part, parts);
          for (std::int64_t i = r.begin; i < r.end; ++i)
            planar_grad_weight(p, from + i * p.c * p.h * p.w, grad + i * p.o * p.oh * p.ow, own, own + sums);
        });
        std::fill_n(result, elements, 0.0f);
        for (std::size_t e = 0; e < to.size(); ++e) {
          double sum = 0.0;
          for (int part = 0; part < parts; ++part) {
            const float* lanes =
                space + part * (stride + sums) + static_cast<std::int64_t>(e) * PlanarConv::kMaxWidth;
            for (std::int64_t l = 0; l < PlanarConv::kMaxWidth; ++l) sum += static_cast<double>(lanes[l]);
          }
          result[to[e]] = static_cast<float>(sum);
        }
      },
      static_cast<std::size_t>(parts * (stride + sums)) * sizeof(float));
}

std::unique_ptr<Step> make_spread(const TensorType& dy, const TensorType& weight, const TensorType& dx,
                                  std::int64_t top, std::int64_t left, int threads) {
  if (!image(dy) || !image(dx) || weight.dtype != DType::F32) return nullptr;
  const ConvKernels& k = conv_kernels(cpu_level());
  SpreadConv p;
  p.o = dy.shape[1], p.h = dy.shape[2], p.w = dy.shape[3];
  p.c = dx.shape[1], p.xh = dx.shape[2], p.xw = dx.shape[3];
  p.kh = weight.shape[2], p.kw = weight.shape[3], p.top = top, p.left = left;
  p.vectors = (p.kw * p.c + k.width - 1) / k.width;
  p.block = k.spread_block(p.vectors, p.w);
  if (p.block == 0 || p.scratch_floats() > kMaxScratch) return nullptr;
  // Lanes put to use: here, over dx's columns (which computes products with the zeros around dy too), and
  // over its channels.
  const double here = used_lanes(p.kw * p.c, k.width) * used_lanes(p.w, p.block);
  const double planar =
      p.c > PlanarConv::kMaxOutputs
          ? 0.0
          : used_lanes(p.xw, k.width) * static_cast<double>(p.h * p.w) / static_cast<double>(p.xh * p.xw);
  if (here < 1.4 * used_lanes(p.c, k.width) || here < 1.2 * planar) return nullptr;
  std::vector<std::int64_t> at;  // of the weight's elements by [a][o][run], -1: zero
  const LayoutIndex index(weight);
  for (std::int64_t a = 0; a < p.kh; ++a)
    for (std::int64_t o = 0; o < p.o; ++o)
      for (std::int64_t e = 0; e < p.vectors * k.width; ++e) {
        const std::array<std::int64_t, 4> element{o, e % p.c, a, e / p.c};
        at.push_back(e < p.kw * p.c ? index.offset(element) : -1);
      }
  const auto weights = whole_lines(static_cast<std::int64_t>(at.size()));
  const std::int64_t n = dy.shape[0], stride = whole_lines(p.scratch_floats());
  const int parts = static_cast<int>(
      std::min<std::int64_t>(n, useful_threads(threads, n * p.o * p.h * p.w * p.kh * p.vectors)));
  return make_step(
      cat("spread:", name(cpu_level())),
      [=, spread = k.spread](void* const* in, void* const* out, void* workspace) {
        const auto* from = static_cast<const float*>(in[0]);
        const auto* given = static_cast<const float*>(in[1]);
        auto* to = static_cast<float*>(out[0]);
        auto* packed = static_cast<float*>(workspace);
        for (std::size_t e = 0; e < at.size(); ++e) packed[e] = at[e] < 0 ? 0.0f : given[at[e]];
        parallel_parts(parts, [&](int part) {
          const Range r = part_of(n, part, parts);
          for (std::int64_t i = r.begin; i < r.end; ++i)
            spread(p, from + i * p.o * p.h * p.w, packed, to + i * p.c * p.xh * p.xw,
                   packed + weights + part * stride);
        });
      },
      static_cast<std::size_t>(weights + parts * stride) * sizeof(float));
}

}  // namespace ingot::cpu
