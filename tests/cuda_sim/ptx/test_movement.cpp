// Copies, placements, rows by index, sums by index, folds: their launch functions executed as PTX for three
// architectures, with the results of the simulated device.
#include <cmath>
#include <cstring>
#include <functional>

#include "core/base/error.h"
#include "core/ir/tensor.h"
#include "cuda/kernels/argmax.h"
#include "cuda/kernels/copy.h"
#include "cuda/kernels/fill.h"
#include "cuda/kernels/gather.h"
#include "cuda/kernels/place.h"
#include "cuda/kernels/reblock.h"
#include "cuda/kernels/scatter.h"
#include "cuda/kernels/variance.h"
#include "tests/cuda_sim/bytes.h"
#include "tests/cuda_sim/ptx/ptx_launches.h"
#include "tests/cuda_sim/sim_test.h"

namespace ingot {
namespace {

using cuda::ReduceKind;
using cuda::ReduceShape;
using cuda::Stream;

// Operand k at in[k].
using Launch = std::function<void(const void* const* in, void* out, void* workspace, const Stream& stream)>;

class PtxMovement : public SimTest {
 protected:
  static Bytes simulated(const std::vector<Bytes>& inputs, std::size_t out, std::size_t workspace,
                         const Launch& launch) {
    const Stream stream;
    std::vector<Placed> operands;
    operands.reserve(inputs.size());
    std::vector<const void*> in;
    for (const Bytes& bytes : inputs) in.push_back(operands.emplace_back(bytes, 0, stream).data());
    const Placed result(out, 0), scratch(workspace, 0);
    launch(in.data(), result.data(), scratch.data(), stream);
    return result.bytes(stream);
  }

  // `same` compares the results of both; by default bit by bit.
  static void check(const std::string& what, const std::vector<std::string>& files, std::vector<Bytes> inputs,
                    std::size_t out, std::size_t workspace, const Launch& launch,
                    const std::function<bool(const Bytes&, const Bytes&)>& same = std::equal_to<Bytes>()) {
    const Bytes want = simulated(inputs, out, workspace, launch);
    for (const int sm : {80, 90, 120}) {
      const Stream stream;
      PtxLaunches ptx(files, sm);
      std::vector<const void*> in;
      for (Bytes& bytes : inputs) in.push_back(ptx.share(bytes));
      Bytes result(out, 0xA5), scratch(workspace, 0xA5);
      launch(in.data(), ptx.share(result), ptx.share(scratch), stream);
      EXPECT_GT(ptx.launches(), 0) << what;
      EXPECT_TRUE(same(result, want)) << what << ", sm_" << sm;
    }
  }
};

constexpr std::size_t kElements[] = {1, 2, 4, 8};

TEST_F(PtxMovement, Copies) {
  using Axes = std::vector<cuda::CopyAxis>;
  for (const std::size_t element : kElements)
    for (const Axes& axes :
         {Axes{{3, 24, 16}, {16, 1, 1}}, Axes{{5, 7, 7}, {7, 1, 1}}, Axes{{36, 1, 40}, {40, 36, 1}},
          Axes{{2, 17 * 19, 17 * 19}, {19, 1, 17}, {17, 19, 1}}, Axes{{3, 0, 32}, {32, 0, 1}},
          Axes{{4, 1, 20}, {20, 4, 1}}, Axes{{3, 1, 2}, {2, 3, 1}, {2, 6, 12}, {2, 12, 6}}}) {
      std::int64_t from = 1, to = 1;
      for (const cuda::CopyAxis& a : axes) {
        from += (a.size - 1) * a.from;
        to += (a.size - 1) * a.to;
      }
      const auto copy = cuda::plan_copy(axes, element);
      check(cat("copy of ", axes.size(), " axes, element ", element), {"copy.cu"}, {numbered(from, element)},
            static_cast<std::size_t>(to) * element, 0,
            [&](const void* const* in, void* out, void*, const Stream& stream) {
              cuda::strided_copy(copy, in[0], out, stream);
            });
    }
}

TEST_F(PtxMovement, Placements) {
  for (const std::size_t element : kElements) {
    using Axes = std::vector<cuda::PlaceAxis>;
    for (const Axes& axes :
         {Axes{{4, 1, 1, 2, 3}, {7, 2, 1, 3, 1}}, Axes{{5, 1, 1, 3, 32}, {32, 0, 1, 32, 1}},
          Axes{{6, 4, -2, 3, 4}, {9, 1, 2, 4, 1}}}) {
      std::int64_t to = 1, from = 1;
      for (const cuda::PlaceAxis& a : axes) {
        to *= a.size;
        from += (a.count - 1) * a.from;
      }
      const auto placement = cuda::plan_place(axes, element);
      check(cat("place, element ", element), {"place.cu"}, {numbered(from, element)},
            static_cast<std::size_t>(to) * element, 0,
            [&](const void* const* in, void* out, void*, const Stream& stream) {
              cuda::place(placement, in[0], 0x0102030405060708u, out, stream);
            });
    }
    for (const std::int64_t run : {5, 16}) {
      const std::size_t out = static_cast<std::size_t>(3 * 3 * run) * element;
      check(cat("concat, element ", element), {"place.cu"},
            {numbered(3 * run, element), numbered(3 * 2 * run, element, 2)}, out, 0,
            [&](const void* const* in, void* y, void*, const Stream& stream) {
              const std::int64_t runs[] = {run, 2 * run};
              cuda::concat(in, runs, 3, element, y, stream);
            });
    }
    check(cat("fill, element ", element), {"fill.cu"}, {}, 37 * element, 0,
          [&](const void* const*, void* y, void*, const Stream& stream) {
            cuda::fill(0x0102030405060708u, element, y, 37, stream);
          });
  }
  for (const DType dtype : {DType::F16, DType::F32, DType::I64})
    check(
        "iota", {"fill.cu"}, {}, 300 * size_of(dtype), 0,
        [&](const void* const*, void* y, void*, const Stream& stream) { cuda::iota(dtype, y, 300, stream); });
  const TensorType from = parse_type("f32[3, 20, 2, 3]@0231"), to = parse_type("f32[3, 20, 2, 3]@0123:1x16");
  check("reblock", {"reblock.cu"}, {numbered(from.physical_numel(), 4)}, to.bytes(), 0,
        [&](const void* const* in, void* y, void*, const Stream& stream) {
          cuda::reblock(from, to, in[0], y, stream);
        });
}

// i64 indices below `dim`, without structure; some name no row.
Bytes indices(std::int64_t n, std::int64_t dim) {
  std::vector<std::int64_t> v;
  unsigned state = 4;
  for (std::int64_t k = 0; k < n; ++k) {
    state = state * 1664525u + 1013904223u;
    v.push_back(static_cast<std::int64_t>(state >> 8) % (dim + 2) - 1);
  }
  Bytes bytes(v.size() * sizeof(std::int64_t));
  std::memcpy(bytes.data(), v.data(), bytes.size());
  return bytes;
}

TEST_F(PtxMovement, RowsByIndex) {
  for (const DType dtype : {DType::U8, DType::F16, DType::F32, DType::F64})
    for (const std::int64_t inner : {3, 16}) {
      const std::size_t e = size_of(dtype);
      check(cat("gather ", name(dtype)), {"gather.cu"}, {numbered(2 * 5 * inner, e), indices(7, 5)},
            static_cast<std::size_t>(2 * 7 * inner) * e, 0,
            [&](const void* const* in, void* y, void*, const Stream& stream) {
              cuda::gather(dtype, in[0], DType::I64, in[1], y, {2, 5, 7, inner}, true, stream);
            });
      check(cat("one_hot ", name(dtype)), {"gather.cu"}, {indices(9, inner)},
            static_cast<std::size_t>(9 * inner) * e, 0,
            [&](const void* const* in, void* y, void*, const Stream& stream) {
              cuda::one_hot(dtype, DType::I64, in[0], 9, inner, y, stream);
            });
    }
}

// Elements of a small tensor, as bytes.
Bytes drawn(DType dtype, std::int64_t n) {
  Tensor t({dtype, {n}});
  const auto draws = sequence(static_cast<std::size_t>(n), 8);
  for (std::int64_t i = 0; i < n; ++i)
    t.set(i, std::floor(64 + static_cast<double>(draws[static_cast<std::size_t>(i)]) * 60) /
                 (is_floating(dtype) ? 8 : 1));
  Bytes bytes(t.bytes());
  std::memcpy(bytes.data(), t.raw(), bytes.size());
  return bytes;
}

TEST_F(PtxMovement, SumsByIndex) {
  for (const DType dtype : {DType::F32, DType::BF16, DType::I64})
    for (const cuda::ScatterShape& s :
         {cuda::ScatterShape{2, 5, 40, 3}, cuda::ScatterShape{1, 5, 20, 8},
          cuda::ScatterShape{1, 300, 2100, 2}, cuda::ScatterShape{1, 6, 2100, 8}})
      check(cat("scatter ", name(dtype), " of ", s.count), {"scatter.cu", "index_sort.cu"},
            {drawn(dtype, s.outer * s.count * s.inner), indices(s.count, s.dim)},
            static_cast<std::size_t>(s.outer * s.dim * s.inner) * size_of(dtype),
            cuda::scatter_add_workspace(s),
            [&](const void* const* in, void* y, void* workspace, const Stream& stream) {
              cuda::scatter_add(dtype, in[0], DType::I64, in[1], y, s, {.negative = true, .skip = 2},
                                workspace, stream);
            });
}

TEST_F(PtxMovement, Folds) {
  const ReduceShape shapes[] = {{9, 37, 1}, {2, 64, 1}, {2, 1100, 1}, {1, 8200, 1}, {1, 130, 3}, {2, 9, 35}};
  for (const ReduceShape& s : shapes) {
    const std::int64_t n = s.outer * s.length * s.inner, results = s.outer * s.inner;
    for (const DType dtype : {DType::F32, DType::F16, DType::I32})
      check(cat("argmax ", name(dtype), " of ", s.length), {"argmax.cu"}, {drawn(dtype, n)},
            static_cast<std::size_t>(results) * 8, cuda::argmax_workspace(s),
            [&](const void* const* in, void* y, void* workspace, const Stream& stream) {
              cuda::argmax(dtype, in[0], static_cast<std::int64_t*>(y), s, workspace, stream);
            });
    // nvcc contracts products and sums, so that roundings differ.
    check(
        cat("variance of ", s.length), {"variance.cu"}, {drawn(DType::F32, n)},
        static_cast<std::size_t>(results) * 4, cuda::variance_workspace(s),
        [&](const void* const* in, void* y, void* workspace, const Stream& stream) {
          cuda::variance(DType::F32, in[0], y, s, 1.0, workspace, stream);
        },
        [](const Bytes& a, const Bytes& b) {
          for (std::size_t i = 0; i < a.size(); i += sizeof(float)) {
            float x = 0, y = 0;
            std::memcpy(&x, a.data() + i, sizeof x);
            std::memcpy(&y, b.data() + i, sizeof y);
            if (!(std::abs(x - y) <= 1e-5f * y)) return false;
          }
          return true;
        });
    for (const DType dtype : {DType::U8, DType::F64})
      check(cat("sum ", name(dtype), " of ", s.length), {"reduce_exact.cu"}, {drawn(dtype, n)},
            static_cast<std::size_t>(results) * size_of(dtype), cuda::reduce_workspace(s, dtype),
            [&](const void* const* in, void* y, void* workspace, const Stream& stream) {
              cuda::reduce(ReduceKind::Sum, dtype, in[0], y, s, workspace, stream);
            });
  }
}

}  // namespace
}  // namespace ingot
