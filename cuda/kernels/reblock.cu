// Layouts with blocks.
//
// An axis of a blocked layout is written in mixed radix: its outer position and one digit for each of its
// blocks, the innermost the lowest. A digit has a place among the logical axis (what the digits below it
// count) and a stride in memory, so
//   index along the axis = sum over digits of (offset / stride % size) place
//   offset               = sum over axes and digits of (index / place % size) stride
// are one formula with the two columns exchanged. A thread takes an element of the result, finds the logical
// index of each axis by the first, and where to read by the second; beyond an axis' end lie zeros.
// Bytes that must move: the elements once in, the result with its padding once out.
#include "cuda/kernels/reblock.h"

#include <vector>

#include "core/base/error.h"
#include "cuda/base/launch.h"
#include "cuda/kernels/divide.h"
#include "cuda/kernels/units.h"

namespace ingot::cuda::reblock_kernels {

using namespace gpu;

constexpr int kThreads = 256;
constexpr int kMaxDigits = Shape::kMaxRank + Layout::kMaxBlocks;

// Digits of the axes, one axis behind the other: those of axis a are [first[a], first[a + 1]).
struct Digits {
  Divider unit[kMaxDigits], size[kMaxDigits];
  long long worth[kMaxDigits];
  int first[Shape::kMaxRank + 1];

  __device__ long long turned(int axis, long long number) const {
    long long sum = 0;
    for (int d = first[axis]; d < first[axis + 1]; ++d) {
      const long long above = unit[d].quotient(number);
      sum += (above - size[d].quotient(above) * size[d].divisor) * worth[d];
    }
    return sum;
  }
};

struct Map {
  Digits to_index, to_source;
  long long extent[Shape::kMaxRank];
  int rank;
};

// Bound by: bandwidth, narrow: what lies in a row in the result comes from anywhere in the source.
template <class T>
__global__ void reblock_kernel(Map m, const T* from, T* to, long long n) {
  const long long at = static_cast<long long>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  if (at >= n) return;
  long long source = 0;
  bool inside = true;
  for (int a = 0; a < m.rank; ++a) {
    const long long index = m.to_index.turned(a, at);
    inside = inside && index < m.extent[a];
    source += m.to_source.turned(a, index);
  }
  to[at] = inside ? from[source] : T(0);
}

// With `by_stride` a digit is found by its stride and counts its place; otherwise the reverse.
Digits digits_of(const TensorType& t, bool by_stride) {
  struct Digit {
    std::int64_t place, stride, size;
  };
  const int rank = t.shape.rank();
  std::vector<std::vector<Digit>> axes(static_cast<std::size_t>(rank));
  std::int64_t stride = 1;
  std::vector<std::int64_t> place(static_cast<std::size_t>(rank), 1);
  for (int b = t.layout.num_blocks - 1; b >= 0; --b) {
    const Layout::Block block = t.layout.blocks[static_cast<std::size_t>(b)];
    axes[block.axis].push_back({place[block.axis], stride, block.size});
    place[block.axis] *= block.size;
    stride *= block.size;
  }
  for (int i = rank - 1; i >= 0; --i) {
    const auto a =
        static_cast<std::size_t>(t.layout.is_row_major() ? i : t.layout.order[static_cast<std::size_t>(i)]);
    const std::int64_t outer = (t.shape[static_cast<int>(a)] + place[a] - 1) / place[a];
    axes[a].push_back({place[a], stride, outer});
    stride *= outer;
  }
  Digits d;
  int next = 0;
  for (std::size_t a = 0; a < axes.size(); ++a) {
    d.first[a] = next;
    for (const Digit& digit : axes[a]) {
      d.unit[next] = Divider(by_stride ? digit.stride : digit.place);
      d.size[next] = Divider(digit.size);
      d.worth[next++] = by_stride ? digit.place : digit.stride;
    }
  }
  d.first[rank] = next;
  return d;
}

}  // namespace ingot::cuda::reblock_kernels

namespace ingot::cuda {

void reblock(const TensorType& from_type, const TensorType& to_type, const void* from, void* to,
             const Stream& stream) {
  using namespace reblock_kernels;
  if (from_type.dtype != to_type.dtype || from_type.shape != to_type.shape)
    throw UsageError(cat("a change of layout keeps dtype and shape, got ", to_string(from_type), " and ",
                         to_string(to_type)));
  if (to_type.numel() == 0) return;
  Map m;
  m.to_index = digits_of(to_type, true);
  m.to_source = digits_of(from_type, false);
  m.rank = to_type.shape.rank();
  for (int a = 0; a < m.rank; ++a) m.extent[a] = to_type.shape[a];
  const long long n = to_type.physical_numel();
  with_element(size_of(to_type.dtype), [&]<class T>(T*) {
    launch(reblock_kernel<T>, dim3(blocks_for(static_cast<std::size_t>(n), kThreads)), dim3(kThreads), 0,
           stream, m, static_cast<const T*>(from), static_cast<T*>(to), n);
  });
}

}  // namespace ingot::cuda
