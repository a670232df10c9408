// Running sums and selection by a mask.
//
// A line of elements along the axis is summed by one thread, in double, as the reference does: the same bits.
// Lines that lie side by side go together, so that memory is read in rows. A selection copies runs of bytes.
#include "core/ops/scan.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "core/ops/reference.h"
#include "core/runtime/lowering.h"
#include "cpu/parallel.h"

namespace ingot::cpu {

namespace {

bool plain(const TensorType& t) {
  return t.layout.canonical().is_row_major();
}

constexpr std::int64_t kColumns = 64;  // lines that one thread sums together

// Columns [first, first + width) of one outer index.
template <class T>
void sum_lines(const T* x, T* y, const ops::AxisSplit& s, std::int64_t first, std::int64_t width,
               const CumsumAttrs& attrs) {
  using Sum = std::conditional_t<std::is_integral_v<T>, std::uint64_t, double>;
  Sum sums[kColumns] = {};
  for (std::int64_t k = 0; k < s.dim; ++k) {
    const std::int64_t row = (attrs.reverse ? s.dim - 1 - k : k) * s.inner + first;
    for (std::int64_t c = 0; c < width; ++c) {
      const Sum before = sums[c];
      sums[c] = before + static_cast<Sum>(x[row + c]);
      y[row + c] = static_cast<T>(attrs.exclusive ? before : sums[c]);
    }
  }
}

template <class T>
std::unique_ptr<Step> sum_step(const Problem& p) {
  const CumsumAttrs attrs = p.attrs<CumsumAttrs>();
  const Shape& shape = p.in(0).shape;
  const ops::AxisSplit s = ops::split_at(shape, shape.normalize_axis(static_cast<int>(attrs.axis)));
  const int parts = useful_threads(p.target.threads, p.in(0).numel());
  // Running sums may take the operand's place: each element is read before it is written, by the same thread.
  return make_step("scan",
                   [=](void* const* in, void* const* out, void*) {
                     const std::int64_t groups = (s.inner + kColumns - 1) / kColumns;
                     parallel_ranges(parts, s.outer * groups, 1, [&](std::int64_t begin, std::int64_t end) {
                       for (std::int64_t g = begin; g < end; ++g) {
                         const std::int64_t base = g / groups * s.dim * s.inner,
                                            first = g % groups * kColumns;
                         sum_lines(static_cast<const T*>(in[0]) + base, static_cast<T*>(out[0]) + base, s,
                                   first, std::min(kColumns, s.inner - first), attrs);
                       }
                     });
                   },
                   0, {{0, 0}});
}

std::unique_ptr<Step> lower_cumsum(const Problem& p) {
  if (!plain(p.in(0)) || !plain(p.out())) return nullptr;
  switch (p.in(0).dtype) {
    case DType::F32:
      return sum_step<float>(p);
    case DType::F64:
      return sum_step<double>(p);
    case DType::I32:
      return sum_step<std::int32_t>(p);
    case DType::I64:
      return sum_step<std::int64_t>(p);
    default:
      return nullptr;
  }
}

std::unique_ptr<Step> lower_compress(const Problem& p) {
  if (!plain(p.in(0)) || !plain(p.in(1)) || !plain(p.out())) return nullptr;
  const Shape& shape = p.in(0).shape;
  const ops::AxisSplit s =
      ops::split_at(shape, shape.normalize_axis(static_cast<int>(p.attrs<CompressAttrs>().axis)));
  const std::size_t bytes = static_cast<std::size_t>(s.inner) * size_of(p.in(0).dtype);
  const int parts = useful_threads(p.target.threads, p.in(0).numel());
  return make_step("rows", [=](void* const* in, void* const* out, void*) {
    const auto* const mask = static_cast<const std::uint8_t*>(in[1]);
    std::int64_t count = 0;
    for (std::int64_t k = 0; k < s.dim; ++k) count += mask[k] != 0;
    *static_cast<std::int64_t*>(out[1]) = count;
    parallel_ranges(parts, s.outer, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t o = begin; o < end; ++o) {
        const std::size_t base = static_cast<std::size_t>(o * s.dim) * bytes;
        const std::byte* from = static_cast<const std::byte*>(in[0]) + base;
        std::byte* to = static_cast<std::byte*>(out[0]) + base;
        for (std::int64_t k = 0; k < s.dim; ++k, from += bytes) {
          if (mask[k] == 0) continue;
          std::memcpy(to, from, bytes);
          to += bytes;
        }
        std::memset(to, 0, static_cast<std::size_t>(s.dim - count) * bytes);
      }
    });
  });
}

}  // namespace

void add_scan(LoweringTable& table) {
  table.add("cumsum", {.lower = lower_cumsum});
  table.add("compress", {.lower = lower_compress});
}

}  // namespace ingot::cpu
