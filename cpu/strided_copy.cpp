#include "cpu/strided_copy.h"

#include <algorithm>
#include <cstring>

#include "cpu/parallel.h"

namespace ingot::cpu {

namespace {

using Bytes = std::uint8_t __attribute__((vector_size(16)));
using BytesMem = std::uint8_t __attribute__((vector_size(16), aligned(1), may_alias));

// N rows of N elements, a vector each, to N columns: log2(N) rounds of interleaving row i with row i + N / 2.
template <class T>
struct Square {
  static constexpr std::int64_t kSide = 16 / static_cast<std::int64_t>(sizeof(T));

  // Elements of two vectors by turns, from element `first` on, as the places of their bytes.
  struct Turns {
    std::uint8_t place[16];
    constexpr explicit Turns(std::int64_t first) : place() {
      constexpr auto kSize = static_cast<std::int64_t>(sizeof(T));
      for (std::int64_t b = 0; b < 16; ++b) {
        const std::int64_t i = b / kSize;
        place[b] = static_cast<std::uint8_t>((first + i / 2 + i % 2 * kSide) * kSize + b % kSize);
      }
    }
  };
  static Bytes load(const void* p) { return *static_cast<const BytesMem*>(p); }

  // y[j * to + i] = x[i * from + j]
  static void transpose(const T* x, std::int64_t from, T* y, std::int64_t to) {
    static constexpr Turns kLow(0), kHigh(kSide / 2);
    const Bytes low = load(kLow.place), high = load(kHigh.place);
    Bytes rows[kSide], turned[kSide];
    for (std::int64_t i = 0; i < kSide; ++i) rows[i] = load(x + i * from);
    for (std::int64_t round = 1; round < kSide; round *= 2) {
      for (std::int64_t i = 0; i < kSide / 2; ++i) {
        turned[2 * i] = __builtin_shuffle(rows[i], rows[i + kSide / 2], low);
        turned[2 * i + 1] = __builtin_shuffle(rows[i], rows[i + kSide / 2], high);
      }
      std::copy_n(turned, kSide, rows);
    }
    for (std::int64_t j = 0; j < kSide; ++j) *reinterpret_cast<BytesMem*>(y + j * to) = rows[j];
  }
};

// y[j * to + i] = x[i * from + j] for i < n, j < m.
template <class T>
void transpose(const T* x, std::int64_t from, T* y, std::int64_t to, std::int64_t n, std::int64_t m) {
  constexpr std::int64_t kSide = Square<T>::kSide;
  const std::int64_t whole_n = n / kSide * kSide, whole_m = m / kSide * kSide;
  for (std::int64_t i = 0; i < whole_n; i += kSide)
    for (std::int64_t j = 0; j < whole_m; j += kSide)
      Square<T>::transpose(x + i * from + j, from, y + j * to + i, to);
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = i < whole_n ? whole_m : 0; j < m; ++j) y[j * to + i] = x[i * from + j];
}

}  // namespace

StridedCopy::StridedCopy(std::vector<Dim> dims, std::size_t element, std::int64_t from_base,
                         std::int64_t to_base)
    : element_(element), from_base_(from_base), to_base_(to_base) {
  std::erase_if(dims, [](const Dim& d) { return d.size == 1; });
  std::stable_sort(dims.begin(), dims.end(), [](const Dim& a, const Dim& b) { return a.to > b.to; });
  for (const Dim& d : dims) {
    if (!outer_.empty() && outer_.back().from == d.from * d.size && outer_.back().to == d.to * d.size)
      outer_.back() = {outer_.back().size * d.size, d.from, d.to};
    else
      outer_.push_back(d);
  }
  if (!outer_.empty()) {
    inner_ = outer_.back();
    outer_.pop_back();
  }
  const auto unit = std::find_if(outer_.begin(), outer_.end(), [](const Dim& d) { return d.from == 1; });
  if (inner_.from != 1 && unit != outer_.end()) {
    tall_ = *unit;
    outer_.erase(unit);
  }
  for (const Dim& d : outer_) outer_count_ *= d.size;
}

bool StridedCopy::is_identity() const {
  return outer_.empty() && tall_.size == 1 && inner_.from == 1 && inner_.to == 1 && from_base_ == 0 &&
         to_base_ == 0;
}

template <class T>
void StridedCopy::run_typed(const T* from, T* to, std::int64_t begin, std::int64_t end) const {
  constexpr std::int64_t kTile = 32;
  for (std::int64_t o = begin; o < end; ++o) {
    const T* x = from + from_base_;
    T* y = to + to_base_;
    std::int64_t rest = o;
    for (std::size_t d = outer_.size(); d-- > 0;) {
      const std::int64_t i = rest % outer_[d].size;
      rest /= outer_[d].size;
      x += i * outer_[d].from;
      y += i * outer_[d].to;
    }
    const std::int64_t n = inner_.size, xs = inner_.from, ys = inner_.to;
    if (tall_.size != 1) {
      for (std::int64_t j0 = 0; j0 < tall_.size; j0 += kTile)
        for (std::int64_t i0 = 0; i0 < n; i0 += kTile) {
          const std::int64_t j1 = std::min(tall_.size, j0 + kTile), i1 = std::min(n, i0 + kTile);
          if (ys == 1) {
            transpose(x + i0 * xs + j0, xs, y + j0 * tall_.to + i0, tall_.to, i1 - i0, j1 - j0);
            continue;
          }
          for (std::int64_t j = j0; j < j1; ++j)
            for (std::int64_t i = i0; i < i1; ++i) y[j * tall_.to + i * ys] = x[i * xs + j];
        }
    } else if (xs == 1 && ys == 1) {
      std::memcpy(y, x, static_cast<std::size_t>(n) * sizeof(T));
    } else if (xs == 0 && ys == 1) {
      std::fill_n(y, n, *x);
    } else {
      for (std::int64_t i = 0; i < n; ++i) y[i * ys] = x[i * xs];
    }
  }
}

void StridedCopy::run(const void* from, void* to, int threads) const {
  const auto go = [&]<class T>(T) {
    const int parts = useful_threads(threads, outer_count_ * inner_.size * tall_.size);
    if (outer_.empty() && tall_.size == 1 && inner_.from == 1 && inner_.to == 1) {
      parallel_ranges(parts, inner_.size, 64, [&](std::int64_t begin, std::int64_t end) {
        std::memcpy(static_cast<T*>(to) + to_base_ + begin, static_cast<const T*>(from) + from_base_ + begin,
                    static_cast<std::size_t>(end - begin) * sizeof(T));
      });
      return;
    }
    parallel_ranges(parts, outer_count_, 1, [&](std::int64_t begin, std::int64_t end) {
      run_typed(static_cast<const T*>(from), static_cast<T*>(to), begin, end);
    });
  };
  switch (element_) {
    case 1:
      return go(std::uint8_t{});
    case 2:
      return go(std::uint16_t{});
    case 4:
      return go(std::uint32_t{});
    default:
      return go(std::uint64_t{});
  }
}

}  // namespace ingot::cpu
