// The first element that is not finite, of many tensors.
//
//   first = min over tensors t and elements i with an exponent of all ones:  t 2^40 + i
//
// Bytes that must move: each element once. A number is NaN or infinite when all bits of its exponent are set,
// so 16 bytes are looked at as words, without converting. Only a thread that found something writes, by an
// integer minimum, which does not depend on the order.
#include "cuda/kernels/check.h"

#include "core/base/error.h"
#include "cuda/base/kernel.h"
#include "cuda/base/launch.h"
#include "cuda/base/memory.h"
#include "cuda/kernels/tensor_table.h"

namespace ingot::cuda::check_kernels {

using namespace gpu;

constexpr int kThreads = 256;
constexpr int kChunkBytes = kThreads * 16 * 16;  // of a block
constexpr int kMostTensors = 120;                // 32 bytes each
constexpr int kElementBits = 40;

// Counts are of 16-bit units, so that one path serves all dtypes: an f32 is two, an f64 four.
struct Entry : TensorEntry {
  int tensor = 0;
  const void* data = nullptr;
  unsigned short exponent = 0;  // its bits within the highest unit
  unsigned char unit_bits = 0;  // log2 of an element's units
};
using Table = TensorTable<Entry, kMostTensors>;
static_assert(sizeof(Table) <= 4000, "all arguments of a kernel have 4 KiB");
constexpr long long kChunk = kChunkBytes / 2;

// Whether a 16-bit unit, the highest of its element, has all bits of the exponent: all dtypes keep theirs
// there.
__device__ inline bool bad_unit(unsigned unit, unsigned exponent) {
  return (unit & exponent) == exponent;
}

// The first bad element of eight units at `at`, or -1.
__device__ inline long long first_bad(const Vec16<unsigned short>& units, long long at, const Entry& own) {
  const int highest = (1 << own.unit_bits) - 1;
#pragma unroll
  for (int k = 0; k < 8; ++k)
    if ((k & highest) == highest && bad_unit(units.at[k], own.exponent)) return (at + k) >> own.unit_bits;
  return -1;
}

// Bound by: bandwidth (loads).
__global__ void __launch_bounds__(kThreads)
    check_kernel(const __grid_constant__ Table table, unsigned long long* first) {
  const Entry& own = table.mine();
  const auto* const units = static_cast<const unsigned short*>(own.data);
  const long long begin = Table::block_of(own) * kChunk, left = own.count - begin,
                  end = begin + (left < kChunk ? left : kChunk);
  const bool wide = reinterpret_cast<unsigned long long>(own.data) % 16 == 0;
  long long found = -1;
  if (wide) {
#pragma unroll 4
    for (long long i = begin + static_cast<int>(threadIdx.x) * 8; i + 8 <= end; i += kThreads * 8) {
      const Vec16<unsigned short> v = load16(units + i);
      const long long bad = first_bad(v, i, own);
      if (found < 0) found = bad;
    }
  }
  const int highest = (1 << own.unit_bits) - 1;
  const long long rest = wide ? begin + (end - begin) / 8 * 8 : begin;
  for (long long i = rest + static_cast<int>(threadIdx.x); i < end; i += kThreads)
    if (found < 0 && (i & highest) == highest && bad_unit(units[i], own.exponent)) found = i >> own.unit_bits;
  if (found >= 0)
    atomicMin(first, (static_cast<unsigned long long>(own.tensor) << kElementBits) +
                         static_cast<unsigned long long>(found));
}

unsigned short exponent_of(DType dtype) {
  return dtype == DType::F64 ? 0x7ff0 : dtype == DType::F16 ? 0x7c00 : 0x7f80;
}
unsigned char unit_bits_of(DType dtype) {
  return dtype == DType::F64 ? 2 : dtype == DType::F32 ? 1 : 0;
}

void require_fit(std::span<const CheckOperand> tensors) {
  constexpr std::size_t kTensors = std::size_t{1} << (63 - kElementBits);
  constexpr std::int64_t kElements = std::int64_t{1} << kElementBits;
  if (tensors.size() > kTensors)
    throw UsageError(
        cat("find_not_finite looks at up to ", kTensors, " tensors at once, got ", tensors.size()));
  for (const CheckOperand& t : tensors) {
    if (!is_floating(t.dtype))
      throw UsageError(cat("find_not_finite takes floating tensors, got ", name(t.dtype)));
    if (t.count > kElements)
      throw UsageError(cat("find_not_finite takes tensors of up to ", kElements, " elements, got ", t.count));
  }
}

void issue_checks(std::span<const CheckOperand> tensors, std::uint64_t* first, const Stream& stream) {
  auto batch = make_batcher<Entry, kMostTensors>(kChunk, [&](const Table& table, unsigned blocks) {
    launch(check_kernel, dim3(blocks), dim3(kThreads), 0, stream, table,
           reinterpret_cast<unsigned long long*>(first));
  });
  for (std::size_t t = 0; t < tensors.size(); ++t) {
    Entry e;
    e.data = tensors[t].data;
    e.unit_bits = unit_bits_of(tensors[t].dtype);
    e.exponent = exponent_of(tensors[t].dtype);
    e.count = static_cast<long long>(tensors[t].count) << e.unit_bits;
    e.tensor = static_cast<int>(t);
    batch.add(e);
  }
  batch.finish();
}

}  // namespace ingot::cuda::check_kernels

namespace ingot::cuda {

using namespace check_kernels;

std::optional<NotFinite> not_finite(std::uint64_t answer) {
  if (answer == kAllFinite) return std::nullopt;
  const std::uint64_t elements = std::uint64_t{1} << kElementBits;
  return NotFinite{static_cast<std::int64_t>(answer / elements),
                   static_cast<std::int64_t>(answer % elements)};
}

void forget_not_finite(std::uint64_t* first, const Stream& stream) {
  fill_bytes(first, 0xff, sizeof *first, stream);
}

void find_not_finite(std::span<const CheckOperand> tensors, std::uint64_t* first, const Stream& stream) {
  require_fit(tensors);
  forget_not_finite(first, stream);
  issue_checks(tensors, first, stream);
}

void find_more_not_finite(std::span<const CheckOperand> tensors, std::uint64_t* first, const Stream& stream) {
  require_fit(tensors);
  issue_checks(tensors, first, stream);
}

}  // namespace ingot::cuda
