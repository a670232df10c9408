#include "cpu/planar_conv.h"

#include "core/base/error.h"
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

}  // namespace

std::unique_ptr<Step> make_planar(const PlanarProblem& q, int threads) {
  constexpr std::int64_t kMaxScratch = 1 << 17;  // floats: half of a usual second cache
  const auto image = [](const TensorType& t) {
    return t.dtype == DType::F32 && t.numel() != 0 &&
           t.same_memory({t.dtype, t.shape, Layout::channels_last(4)});
  };
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
  const std::int64_t stride = (p.scratch_floats() + 15) / 16 * 16;  // a thread's own cache lines
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

}  // namespace ingot::cpu
