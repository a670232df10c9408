// A tensor among a constant, and tensors side by side.
//
//   place:  y[j] = x[i] where j_d = begin_d + i_d step_d on every axis d, else the constant
//   concat: y[o, a_0 + ... + a_(k-1) + i] = x_k[o, i]
//
// Bytes that must move: the operands once, the result once. Threads walk over the result in pieces of up to
// 16 bytes, four in flight in each; what is constant is not read. Concat walks over its operands, one row of
// blocks for each.
#include "cuda/kernels/place.h"

#include <algorithm>
#include <cstring>

#include "cuda/base/launch.h"
#include "cuda/kernels/divide.h"
#include "cuda/kernels/units.h"

namespace ingot::cuda::place_kernels {

using namespace gpu;

constexpr int kThreads = 256;
constexpr int kItems = 4;  // pieces in flight in a thread
constexpr int kMaxAxes = Placement::kMaxAxes;
constexpr int kMaxParts = 24;

// Counted in pieces.
struct Axes {
  Divider size[kMaxAxes], step[kMaxAxes];
  long long begin[kMaxAxes], count[kMaxAxes], from[kMaxAxes];
  int rank = 0;
  long long pieces = 1;
};

// Where axis d's position comes from; adds to `source` and tells whether it comes from the operand.
__device__ inline bool inside(const Axes& a, int d, long long at, long long& source) {
  const long long ahead = at - a.begin[d];
  if (ahead < 0) return false;
  const long long i = a.step[d].quotient(ahead);
  source += i * a.from[d];
  return i < a.count[d] && i * a.step[d].divisor == ahead;
}

// Bound by: bandwidth (loads, stores); narrow where Unit != uint4.
template <class Unit>
__global__ void place_kernel(Axes a, const Unit* from, Unit* to, Unit value) {
  const long long first =
      static_cast<long long>(blockIdx.x) * (kThreads * kItems) + static_cast<int>(threadIdx.x);
  Unit unit[kItems];
#pragma unroll
  for (int k = 0; k < kItems; ++k) {
    long long piece = first + k * kThreads, source = 0;
    if (piece >= a.pieces) continue;
    bool part = true;
    for (int d = a.rank - 1; d > 0 && part; --d) {
      const long long next = a.size[d].quotient(piece);
      part = inside(a, d, piece - next * a.size[d].divisor, source);
      piece = next;
    }
    part = part && inside(a, 0, piece, source);
    unit[k] = part ? from[source] : value;
  }
#pragma unroll
  for (int k = 0; k < kItems; ++k)
    if (first + k * kThreads < a.pieces) to[first + k * kThreads] = unit[k];
}

// Counted in pieces.
struct Parts {
  const void* from[kMaxParts];
  Divider run[kMaxParts];
  long long pieces[kMaxParts], start[kMaxParts];  // of all rows; in the result's row
  long long pitch;                                // of the result
};

// Bound by: bandwidth (loads, stores); narrow where Unit != uint4.
template <class Unit>
__global__ void concat_kernel(Parts p, Unit* to) {
  const unsigned part = blockIdx.y;
  const auto* const from = static_cast<const Unit*>(p.from[part]);
  const long long pieces = p.pieces[part], stride = static_cast<long long>(gridDim.x) * (kThreads * kItems);
  long long first = static_cast<long long>(blockIdx.x) * (kThreads * kItems) + static_cast<int>(threadIdx.x);
  for (; first < pieces; first += stride) {
    Unit unit[kItems];
#pragma unroll
    for (int k = 0; k < kItems; ++k)
      if (first + k * kThreads < pieces) unit[k] = from[first + k * kThreads];
#pragma unroll
    for (int k = 0; k < kItems; ++k) {
      const long long piece = first + k * kThreads;
      if (piece >= pieces) continue;
      const long long row = p.run[part].quotient(piece);
      to[row * p.pitch + p.start[part] + piece - row * p.run[part].divisor] = unit[k];
    }
  }
}

// ---- Launches -------------------------------------------------------------------------------------------

template <class Unit>
Unit repeated(std::uint64_t value, std::size_t element) {
  unsigned char bytes[16];
  for (std::size_t i = 0; i < 16; ++i) bytes[i] = static_cast<unsigned char>(value >> (8 * (i % element)));
  Unit unit;
  std::memcpy(&unit, bytes, sizeof(Unit));
  return unit;
}

// `ratio` elements of the innermost axis are a piece; it divides everything there is.
Axes axes_of(const Placement& p, std::int64_t ratio) {
  Axes a;
  for (PlaceAxis axis : p.axes) {
    const bool last = a.rank + 1 == static_cast<int>(p.axes.size());
    if (last && ratio > 1)
      axis = {axis.size / ratio, axis.begin / ratio, 1, axis.count / ratio, 1};
    else
      axis.from /= ratio;
    const int d = a.rank++;
    a.size[d] = Divider(axis.size);
    a.step[d] = Divider(axis.step);
    a.begin[d] = axis.begin;
    a.count[d] = axis.count;
    a.from[d] = axis.from;
    a.pieces *= axis.size;
  }
  return a;
}

void check_element(std::size_t element) {
  if (element != 1 && element != 2 && element != 4 && element != 8)
    throw UsageError(cat("placing moves elements of 1, 2, 4 or 8 bytes, got ", element));
}

}  // namespace ingot::cuda::place_kernels

namespace ingot::cuda {

Placement plan_place(std::vector<PlaceAxis> axes, std::size_t element) {
  place_kernels::check_element(element);
  Placement p;
  p.element = element;
  for (PlaceAxis& a : axes) {
    const std::int64_t last = a.begin + (a.count - 1) * a.step;
    if (a.size < 0 || a.count < 0 || a.step == 0 ||
        (a.count > 0 && (std::min(a.begin, last) < 0 || std::max(a.begin, last) >= a.size)))
      throw UsageError(cat("placing needs positions inside the axis, got ", a.count, " from ", a.begin,
                           " in steps of ", a.step, " on an axis of ", a.size));
    if (a.count == 0) a.begin = 0;
    if (a.count <= 1) a.step = 1;
    if (a.step < 0) {
      p.from_base += (a.count - 1) * a.from;
      a = {a.size, last, -a.step, a.count, -a.from};
    }
    if (a.size == 1 && a.count == 1) continue;
    // An axis whose successor is not padded: whole rows of it.
    if (!p.axes.empty()) {
      PlaceAxis& outer = p.axes.back();
      const bool whole = a.begin == 0 && a.step == 1 && a.count == a.size;
      if (whole && outer.step == 1 && (outer.count <= 1 || outer.from == a.from * a.size)) {
        outer = {outer.size * a.size, outer.begin * a.size, 1, outer.count * a.size, a.from};
        continue;
      }
    }
    p.axes.push_back(a);
  }
  if (p.axes.empty()) p.axes.push_back({1, 0, 1, 1, 1});
  if (p.axes.size() > static_cast<std::size_t>(Placement::kMaxAxes))
    throw UsageError(cat("placing takes at most ", Placement::kMaxAxes, " axes that cannot be joined, got ",
                         p.axes.size()));
  return p;
}

void place(const Placement& p, const void* from, std::uint64_t value, void* to, const Stream& stream) {
  using namespace place_kernels;
  for (const PlaceAxis& a : p.axes)
    if (a.size == 0) return;
  const PlaceAxis& inner = p.axes.back();
  std::size_t unit = p.element;
  if (inner.step == 1 && (inner.from == 1 || inner.count <= 1)) {
    std::int64_t bits = p.from_base | inner.size | inner.begin | inner.count;
    for (std::size_t d = 0; d + 1 < p.axes.size(); ++d) bits |= p.axes[d].from;
    unit = std::max(
        unit, widest_unit({static_cast<std::size_t>(bits) * p.element, address_of(from), address_of(to)}));
  }
  const auto ratio = static_cast<std::int64_t>(unit / p.element);
  const Axes a = axes_of(p, ratio);
  with_unit(unit, [&]<class Unit>(Unit*) {
    const unsigned blocks = blocks_for(static_cast<std::size_t>(a.pieces), kThreads * kItems);
    launch(place_kernel<Unit>, dim3(blocks), dim3(kThreads), 0, stream, a,
           static_cast<const Unit*>(from) + p.from_base / ratio, static_cast<Unit*>(to),
           repeated<Unit>(value, p.element));
  });
}

void concat(const void* const* from, std::span<const std::int64_t> runs, std::int64_t outer,
            std::size_t element, void* to, const Stream& stream) {
  using namespace place_kernels;
  check_element(element);
  std::int64_t pitch = 0;
  std::size_t bits = address_of(to);
  for (std::size_t k = 0; k < runs.size(); ++k) {
    pitch += runs[k];
    if (runs[k] != 0) bits |= static_cast<std::size_t>(runs[k]) * element | address_of(from[k]);
  }
  if (outer == 0 || pitch == 0) return;
  const std::size_t unit = widest_unit({bits});
  const auto ratio = static_cast<std::int64_t>(unit / element);
  std::int64_t start = 0;
  for (std::size_t next = 0; next < runs.size();) {
    Parts p;
    p.pitch = pitch / ratio;
    unsigned count = 0;
    std::int64_t most = 0;
    for (; next < runs.size() && count < kMaxParts; ++next) {
      const std::int64_t run = runs[next] / ratio;
      if (run == 0) continue;
      p.from[count] = from[next];
      p.run[count] = Divider(run);
      p.pieces[count] = outer * run;
      p.start[count] = start;
      most = std::max(most, outer * run);
      start += run;
      ++count;
    }
    if (count == 0) break;
    constexpr std::int64_t kMostBlocks = 1 << 20;  // along x; each then walks on
    const auto blocks =
        std::min<std::int64_t>(kMostBlocks, (most + kThreads * kItems - 1) / (kThreads * kItems));
    with_unit(unit, [&]<class Unit>(Unit*) {
      launch(concat_kernel<Unit>, dim3(static_cast<unsigned>(blocks), count), dim3(kThreads), 0, stream, p,
             static_cast<Unit*>(to));
    });
  }
}

}  // namespace ingot::cuda
