// Thrust's stable_sort_by_key (a radix sort: Adinets and Merrill, "Onesweep", 2022) and inclusive_scan_by_key
// (one pass: Merrill and Garland, "Single-pass parallel prefix scan with decoupled look-back", 2016).
//
// Bytes that must move. A sort: 12 in and 12 out an element for each of the key's eight bytes, and the keys
// once more. A scan: x in, y out; elements are read and written where they lie, whatever their dtype.
#include "cuda/libs/thrust_policy.h"  // sets what the others read

#include <thrust/iterator/counting_iterator.h>
#include <thrust/iterator/tabulate_output_iterator.h>
#include <thrust/iterator/transform_iterator.h>
#include <thrust/scan.h>
#include <thrust/sort.h>
#include <thrust/system_error.h>

#include "cuda/kernels/any_element.h"
#include "cuda/libs/thrust.h"

namespace ingot::cuda {

namespace {

// What is read and written is chosen by calls that are not inlined: an algorithm's kernels repeat them for
// each element that a thread holds, and the library would grow by 40 KB.

// Elements in the order of their sums, one line behind the other.
struct Lines {
  unsigned length;
  long long inner;
  bool reverse;

  __host__ __device__ unsigned line(unsigned place) const { return place / length; }
  __host__ __device__ unsigned index(unsigned place) const { return place % length; }
  __host__ __device__ long long element(unsigned place) const {
    const long long of = line(place), l = index(place), outer = of / inner;
    return (outer * length + (reverse ? length - 1 - l : l)) * inner + (of - outer * inner);
  }
};

struct LineOf {
  Lines lines;
  __host__ __device__ unsigned operator()(unsigned place) const { return lines.line(place); }
};

struct Load {
  Lines lines;
  const void* x;
  DType dtype;
  [[gnu::noinline]] __host__ __device__ long long operator()(unsigned place) const {
    return gpu::load_as<long long>(x, dtype, lines.element(place));
  }
};

struct Store {
  Lines lines;
  void* y;
  DType dtype;
  bool exclusive;
  [[gnu::noinline]] __host__ __device__ void operator()(unsigned place, long long sum) const {
    if (!exclusive) return gpu::store_as<long long>(y, dtype, lines.element(place), sum);
    // The next element of the line begins with this sum, the first one with nothing.
    const unsigned l = lines.index(place);
    if (l == 0) gpu::store_as<long long>(y, dtype, lines.element(place), 0);
    if (l + 1 < lines.length) gpu::store_as<long long>(y, dtype, lines.element(place + 1), sum);
  }
};

void sort(Scratch& scratch, unsigned long long* keys, unsigned* places, unsigned n, const Stream& stream) {
  thrust::stable_sort_by_key(gpu_policy(scratch, stream), keys, keys + n, places);
}

void scan(Scratch& scratch, const Load& load, const Store& store, unsigned n, const Stream& stream) {
  const thrust::counting_iterator<unsigned> places(0u);
  const auto lines = thrust::make_transform_iterator(places, LineOf{load.lines});
  thrust::inclusive_scan_by_key(gpu_policy(scratch, stream), lines, lines + n,
                                thrust::make_transform_iterator(places, load),
                                thrust::make_tabulate_output_iterator(store));
}

// Whether what `run` asks for, all of it before it issues anything, is no more than `bytes`; yes where no
// device can be asked.
template <class Run>
bool fits([[maybe_unused]] std::size_t bytes, [[maybe_unused]] Run&& run) {
#if !defined(INGOT_CUDA_SIM)  // there it would be the work itself, on the host
  try {
    Scratch measure = Scratch::measuring();
    run(measure, Stream::borrow(nullptr));
  } catch (const Scratch::Asked& asked) {
    return asked.bytes + 2 * Scratch::kAlign <= bytes;
  } catch (const thrust::system_error&) {
  }
#endif
  return true;
}

constexpr std::size_t kFixed = std::size_t{128} << 10;  // histograms of eight digits, rounding of each array

}  // namespace

// A second array of keys and places, and 1024 bytes a tile for the look-back; no tuning has tiles of fewer
// than 1024 elements.
std::size_t thrust_sort_workspace(std::int64_t n) {
  return static_cast<std::size_t>(n) * (sizeof(unsigned long long) + sizeof(unsigned) + 1) + kFixed;
}

// A state of at most 64 bytes a tile; no tuning has tiles of fewer than 256 elements.
std::size_t thrust_scan_workspace(std::int64_t n) {
  return static_cast<std::size_t>(n) / 4 + kFixed;
}

bool thrust_sort_fits(std::int64_t n) {
  if (n > kMostOfThrust) return false;
  return fits(thrust_sort_workspace(n), [&](Scratch& scratch, const Stream& stream) {
    sort(scratch, nullptr, nullptr, static_cast<unsigned>(n), stream);
  });
}

bool thrust_scan_fits(std::int64_t n) {
  if (n > kMostOfThrust) return false;
  return fits(thrust_scan_workspace(n), [&](Scratch& scratch, const Stream& stream) {
    const Lines lines{static_cast<unsigned>(n), 1, false};
    scan(scratch, {lines, nullptr, DType::I64}, {lines, nullptr, DType::I64, false}, static_cast<unsigned>(n),
         stream);
  });
}

void thrust_sort(unsigned long long* keys, unsigned* places, std::int64_t n, void* workspace,
                 const Stream& on) {
  on_stream("thrust::stable_sort_by_key", on, [=](const Stream& stream) {
    Scratch scratch(workspace, thrust_sort_workspace(n));
    sort(scratch, keys, places, static_cast<unsigned>(n), stream);
  });
}

void thrust_running_sum(DType x_dtype, const void* x, DType y_dtype, void* y, const ReduceShape& s,
                        const ScanKind& kind, void* workspace, const Stream& on) {
  if (is_floating(x_dtype) || is_floating(y_dtype) || y_dtype == DType::Bool)
    throw UsageError(cat("a running sum by Thrust is an integer, i32, i64 or u8, of integers or bool, got ",
                         name(y_dtype), " of ", name(x_dtype)));
  const std::int64_t n = s.outer * s.length * s.inner;
  if (n == 0) return;
  const Lines lines{static_cast<unsigned>(s.length), s.inner, kind.reverse};
  const Load load{lines, x, x_dtype};
  const Store store{lines, y, y_dtype, kind.exclusive};
  on_stream("thrust::inclusive_scan_by_key", on, [=](const Stream& stream) {
    Scratch scratch(workspace, thrust_scan_workspace(n));
    scan(scratch, load, store, static_cast<unsigned>(n), stream);
  });
}

}  // namespace ingot::cuda
