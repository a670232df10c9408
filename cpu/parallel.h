// Work split over threads in fixed pieces, so that results do not depend on scheduling.
//
// `parts` calls f(part) once for every part, on that many threads; `ranges` cuts [0, n) into contiguous,
// nearly equal ranges whose borders are multiples of `align`.
//
//   parallel_ranges(threads, n, 16, [&](std::int64_t begin, std::int64_t end) { ... });
#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>

namespace ingot::cpu {

// The threads worth starting for `work` elements: starting a team costs about as much as 8k of them.
inline int useful_threads(int threads, std::int64_t work) {
  constexpr std::int64_t kWorth = 16384;
  return static_cast<int>(std::clamp<std::int64_t>(work / kWorth, 1, std::max(threads, 1)));
}

template <class F>
void parallel_parts(int parts, const F& f) {
  if (parts <= 1) {
    f(0);
    return;
  }
#pragma omp parallel num_threads(parts)
  for (int part = omp_get_thread_num(); part < parts; part += omp_get_num_threads()) f(part);
}

struct Range {
  std::int64_t begin, end;
};
inline Range part_of(std::int64_t n, int part, int parts, std::int64_t align = 1) {
  const std::int64_t units = (n + align - 1) / align;
  return {std::min(n, units * part / parts * align), std::min(n, units * (part + 1) / parts * align)};
}

template <class F>
void parallel_ranges(int parts, std::int64_t n, std::int64_t align, const F& f) {
  parallel_parts(parts, [&](int part) {
    const Range r = part_of(n, part, parts, align);
    if (r.begin < r.end) f(r.begin, r.end);
  });
}

}  // namespace ingot::cpu
