#include "cpu/flat_row.h"

#include <algorithm>

namespace ingot::cpu {

namespace {

struct Source {
  std::int64_t pixel;  // of the other side; -1: none
  std::int32_t cell;
};

// `sources(pixel)` are the taps of a pixel of the result. The lanes of a tap must lie within `reach` floats.
template <class F>
FlatTables build(std::int64_t channels, std::int64_t pixels, std::int64_t source_pixels, std::int64_t taps,
                 std::int64_t width, std::int64_t reach, const F& sources) {
  constexpr std::int64_t kMaxEntries = 1 << 14;
  const std::int64_t row = pixels * channels, source_row = source_pixels * channels;
  const std::int64_t vectors = (row + width - 1) / width;
  if (channels % width == 0 || row < width || source_row < reach || vectors * taps * width > kMaxEntries)
    return {};
  FlatTables f;
  f.taps = taps;
  for (std::int64_t k = 0; k < vectors; ++k) {
    // The last vector ends with the row: it repeats what the one before it wrote.
    f.start.push_back(std::min(k * width, row - width));
    for (std::int64_t t = 0; t < taps; ++t) {
      std::vector<std::int64_t> from;
      std::int64_t lowest = source_row;
      for (std::int64_t l = 0; l < width; ++l) {
        const std::int64_t e = f.start.back() + l;
        const Source s = sources(e / channels, t);
        from.push_back(s.pixel < 0 ? -1 : s.pixel * channels + e % channels);
        if (s.pixel >= 0) lowest = std::min(lowest, from.back());
        f.cell.push_back(s.cell);
      }
      const std::int64_t base = std::min(lowest, source_row - reach);
      f.base.push_back(base);
      for (const std::int64_t at : from) {
        if (at >= base + reach) return {};
        f.lane.push_back(at < 0 ? 0 : static_cast<std::int32_t>(at - base));
      }
    }
  }
  return f;
}

}  // namespace

FlatTables flat_maxima(std::int64_t channels, std::int64_t w, const FlatColumns& c, std::int64_t width) {
  const auto windows = static_cast<std::int64_t>(c.begin.size());
  std::int64_t taps = 0;
  for (std::size_t j = 0; j < c.begin.size(); ++j) taps = std::max(taps, c.end[j] - c.begin[j]);
  return build(channels, windows, w, taps, width, FlatRow::kSpread * width,
               [&](std::int64_t j, std::int64_t t) -> Source {
                 const auto u = static_cast<std::size_t>(j);
                 // A window with fewer cells looks at its last one again, which changes nothing.
                 const std::int64_t pixel = std::min(c.begin[u] + t, c.end[u] - 1);
                 return {pixel, static_cast<std::int32_t>(pixel - c.start[u])};
               });
}

FlatTables flat_gradient(std::int64_t channels, std::int64_t w, const FlatColumns& c, std::int64_t width) {
  const auto windows = static_cast<std::int64_t>(c.begin.size());
  std::vector<std::vector<Source>> over(static_cast<std::size_t>(w));
  for (std::int64_t j = 0; j < windows; ++j) {
    const auto u = static_cast<std::size_t>(j);
    for (std::int64_t pixel = c.begin[u]; pixel < c.end[u]; ++pixel)
      over[static_cast<std::size_t>(pixel)].push_back({j, static_cast<std::int32_t>(pixel - c.start[u])});
  }
  std::size_t taps = 0;
  for (const auto& windows_over : over) taps = std::max(taps, windows_over.size());
  return build(channels, w, windows, static_cast<std::int64_t>(taps), width, width,
               [&](std::int64_t pixel, std::int64_t t) {
                 const auto& windows_over = over[static_cast<std::size_t>(pixel)];
                 const auto u = static_cast<std::size_t>(t);
                 return u < windows_over.size() ? windows_over[u] : Source{-1, FlatRow::kNoCell};
               });
}

}  // namespace ingot::cpu
