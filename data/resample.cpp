// Pillow's bilinear filter, down first and then across: the first sums run over whole rows, which vectorises
// whatever the number of channels, and leave few rows for the second.

#include <algorithm>
#include <cmath>
#include <vector>

#include "data/detail/image_source.h"

namespace ingot::detail {

namespace {

// For each of the results: which pixels it is made of, and their weights, `most` of them at most.
struct Taps {
  struct Span {
    std::int64_t first = 0, count = 0;
  };
  std::vector<Span> spans;
  std::vector<float> weights;
  std::int64_t most = 0;
  const float* of(std::int64_t i) const { return weights.data() + i * most; }
};

// `results` pixels out of [from, from + length) of a row of `size` pixels. Pixels outside of that range have
// no weight.
void make_taps(double from, double length, std::int64_t size, std::int64_t results, Taps& taps) {
  const double step = length / static_cast<double>(results), support = std::max(step, 1.0);
  const std::int64_t low = std::clamp<std::int64_t>(static_cast<std::int64_t>(std::floor(from)), 0, size - 1);
  const std::int64_t high =
      std::clamp<std::int64_t>(static_cast<std::int64_t>(std::ceil(from + length)), low + 1, size);
  taps.most = static_cast<std::int64_t>(std::ceil(support)) * 2 + 1;
  taps.spans.resize(static_cast<std::size_t>(results));
  taps.weights.assign(static_cast<std::size_t>(results * taps.most), 0.0f);
  for (std::int64_t i = 0; i < results; ++i) {
    const double centre = from + (static_cast<double>(i) + 0.5) * step;
    const auto first =
        std::clamp<std::int64_t>(static_cast<std::int64_t>(centre - support + 0.5), low, high - 1);
    const auto last =
        std::clamp<std::int64_t>(static_cast<std::int64_t>(centre + support + 0.5), first + 1, high);
    const std::int64_t count = std::min(last - first, taps.most);
    float* const w = taps.weights.data() + i * taps.most;
    double sum = 0.0;
    for (std::int64_t k = 0; k < count; ++k) {
      const double distance = std::abs((static_cast<double>(first + k) + 0.5 - centre) / support);
      const double weight = std::max(0.0, 1.0 - distance);
      w[k] = static_cast<float>(weight);
      sum += weight;
    }
    if (sum > 0.0)
      for (std::int64_t k = 0; k < count; ++k) w[k] = static_cast<float>(static_cast<double>(w[k]) / sum);
    else
      w[0] = 1.0f;
    taps.spans[static_cast<std::size_t>(i)] = {first, count};
  }
}

// The channels of a pixel side by side, of which RGB uses three: one multiplication a tap. The compiler has
// one instruction for an operation where the machine does, and several where not: the results are the same.
typedef float Four __attribute__((vector_size(16), aligned(4)));
typedef std::int32_t FourWhole __attribute__((vector_size(16)));

#define INGOT_INLINE [[gnu::always_inline]] inline

// sums[i] = the pixels of `count` rows, weighted. Two rows at a time: half as many sums are read and written.
INGOT_INLINE void add_rows(const std::uint8_t* rows, std::ptrdiff_t stride, const float* weights,
                           std::int64_t count, std::int64_t n, float* __restrict sums) {
  const auto value = [](std::uint8_t v, float weight) { return static_cast<float>(v) * weight; };
  const std::uint8_t *a = rows, *b = rows + stride;
  const float first = weights[0];
  if (count == 1) {
    for (std::int64_t i = 0; i < n; ++i) sums[i] = value(a[i], first);
    return;
  }
  const float second = weights[1];
  for (std::int64_t i = 0; i < n; ++i) sums[i] = value(a[i], first) + value(b[i], second);
  std::int64_t k = 2;
  for (; k + 1 < count; k += 2) {
    a = rows + k * stride;
    b = a + stride;
    const float u = weights[k], v = weights[k + 1];
    for (std::int64_t i = 0; i < n; ++i) sums[i] += value(a[i], u) + value(b[i], v);
  }
  if (k == count) return;
  a = rows + k * stride;
  const float u = weights[k];
  for (std::int64_t i = 0; i < n; ++i) sums[i] += value(a[i], u);
}

// Weights are positive and their sum is one, so that no result is out of range.
INGOT_INLINE void across_rgb(const float* row, const Taps& taps, std::int64_t width, std::uint8_t* out) {
  for (std::int64_t x = 0; x < width; ++x, out += 3) {
    const Taps::Span span = taps.spans[static_cast<std::size_t>(x)];
    const float *at = row + span.first * 3, *w = taps.of(x);
    Four sum = {0.5f, 0.5f, 0.5f, 0.5f};
    for (std::int64_t k = 0; k < span.count; ++k, at += 3) sum += *reinterpret_cast<const Four*>(at) * w[k];
    const FourWhole whole = __builtin_convertvector(sum, FourWhole);
    for (int c = 0; c < 3; ++c) out[c] = static_cast<std::uint8_t>(whole[c]);
  }
}

INGOT_INLINE void across_grey(const float* row, const Taps& taps, std::int64_t width, std::uint8_t* out) {
  for (std::int64_t x = 0; x < width; ++x) {
    const Taps::Span span = taps.spans[static_cast<std::size_t>(x)];
    const float *at = row + span.first, *w = taps.of(x);
    float sum = 0.5f;
    for (std::int64_t k = 0; k < span.count; ++k) sum += at[k] * w[k];
    out[x] = static_cast<std::uint8_t>(sum);
  }
}

struct Work {
  const Pixels& in;
  const Taps &down, &across;
  std::int64_t first, n;  // of the columns' values that count
  float* row;
  std::int64_t width, height;
  std::uint8_t* out;
};

INGOT_INLINE void all_rows(const Work& work) {
  const std::int64_t channels = work.in.channels, stride = work.in.width * channels;
  std::uint8_t* out = work.out;
  for (std::int64_t y = 0; y < work.height; ++y, out += work.width * channels) {
    const Taps::Span span = work.down.spans[static_cast<std::size_t>(y)];
    add_rows(work.in.bytes.data() + span.first * stride + work.first, stride, work.down.of(y), span.count,
             work.n, work.row);
    if (channels == 3)
      across_rgb(work.row, work.across, work.width, out);
    else
      across_grey(work.row, work.across, work.width, out);
  }
}

void all_rows_anywhere(const Work& work) {
  all_rows(work);
}

#ifdef __x86_64__
[[gnu::target("avx2")]] void all_rows_avx2(const Work& work) {
  all_rows(work);
}
#endif

#undef INGOT_INLINE

}  // namespace

void resample(const Pixels& in, const Box& box, std::int64_t width, std::int64_t height, std::uint8_t* out) {
  // A worker decodes image after image, and allocates for the first.
  struct Scratch {
    Taps across, down;
    std::vector<float> row;
  };
  thread_local Scratch own;
  Scratch& scratch = own;
  make_taps(box.left * in.scale - static_cast<double>(in.left), box.width * in.scale, in.width, width,
            scratch.across);
  make_taps(box.top * in.scale - static_cast<double>(in.top), box.height * in.scale, in.height, height,
            scratch.down);
  // Columns that no result is made of stay out of the sums.
  auto& columns = scratch.across.spans;
  const std::int64_t first = columns.front().first, last = columns.back().first + columns.back().count;
  for (auto& span : columns) span.first -= first;
  const std::int64_t n = (last - first) * in.channels;
  scratch.row.resize(static_cast<std::size_t>(n) + 1);  // four are read where three are used
  const Work work{in,     scratch.down, scratch.across, first * in.channels, n, scratch.row.data(), width,
                  height, out};
#ifdef __x86_64__
  if (__builtin_cpu_supports("avx2")) return all_rows_avx2(work);
#endif
  all_rows_anywhere(work);
}

}  // namespace ingot::detail
