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

std::uint8_t to_byte(float v) {
  return static_cast<std::uint8_t>(std::clamp(v, 0.0f, 255.0f) + 0.5f);
}

// Eight or so floats at once on any machine: the compiler vectorises these loops.
void add_row(const std::uint8_t* __restrict in, float weight, std::int64_t n, float* __restrict sums) {
  for (std::int64_t i = 0; i < n; ++i) sums[i] += weight * static_cast<float>(in[i]);
}
void start_row(const std::uint8_t* __restrict in, float weight, std::int64_t n, float* __restrict sums) {
  for (std::int64_t i = 0; i < n; ++i) sums[i] = weight * static_cast<float>(in[i]);
}

// Four channels side by side, of which RGB uses three: one multiplication a tap.
typedef float Four __attribute__((vector_size(16), aligned(4)));

void across_rgb(const float* row, const Taps& taps, std::int64_t width, std::uint8_t* out) {
  for (std::int64_t x = 0; x < width; ++x, out += 3) {
    const Taps::Span span = taps.spans[static_cast<std::size_t>(x)];
    const float *at = row + span.first * 3, *w = taps.of(x);
    Four sum = {0.0f, 0.0f, 0.0f, 0.0f};
    for (std::int64_t k = 0; k < span.count; ++k, at += 3) sum += *reinterpret_cast<const Four*>(at) * w[k];
    for (int c = 0; c < 3; ++c) out[c] = to_byte(sum[c]);
  }
}

void across_grey(const float* row, const Taps& taps, std::int64_t width, std::uint8_t* out) {
  for (std::int64_t x = 0; x < width; ++x) {
    const Taps::Span span = taps.spans[static_cast<std::size_t>(x)];
    const float *at = row + span.first, *w = taps.of(x);
    float sum = 0.0f;
    for (std::int64_t k = 0; k < span.count; ++k) sum += at[k] * w[k];
    out[x] = to_byte(sum);
  }
}

}  // namespace

void resample(const Pixels& in, const Box& box, std::int64_t width, std::int64_t height, std::uint8_t* out) {
  // A worker decodes image after image, and allocates for the first.
  thread_local Taps across, down;
  thread_local std::vector<float> row;
  make_taps(box.left * in.scale - static_cast<double>(in.left), box.width * in.scale, in.width, width,
            across);
  make_taps(box.top * in.scale - static_cast<double>(in.top), box.height * in.scale, in.height, height, down);
  // Columns that no result is made of stay out of the sums.
  const std::int64_t first = across.spans.front().first;
  const std::int64_t last = across.spans.back().first + across.spans.back().count;
  for (auto& span : across.spans) span.first -= first;
  const std::int64_t stride = in.width * in.channels, n = (last - first) * in.channels;
  row.assign(static_cast<std::size_t>(n) + 1, 0.0f);  // four are read where three are used
  for (std::int64_t y = 0; y < height; ++y, out += width * in.channels) {
    const Taps::Span span = down.spans[static_cast<std::size_t>(y)];
    const std::uint8_t* line = in.bytes.data() + span.first * stride + first * in.channels;
    const float* const w = down.of(y);
    start_row(line, w[0], n, row.data());
    for (std::int64_t k = 1; k < span.count; ++k) add_row(line + k * stride, w[k], n, row.data());
    if (in.channels == 3)
      across_rgb(row.data(), across, width, out);
    else
      across_grey(row.data(), across, width, out);
  }
}

}  // namespace ingot::detail
