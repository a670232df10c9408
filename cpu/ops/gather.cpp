// Rows picked by index: gather, embedding, one_hot copy runs of bytes; embedding_grad and scatter_add sum f32
// rows in the order of the indices, threads taking columns so that no two write one place. take_along_axis
// and put_along_axis move single elements.
#include "core/ops/gather.h"

#include <algorithm>
#include <cstring>

#include "core/runtime/lowering.h"
#include "cpu/parallel.h"

namespace ingot::cpu {

namespace {

bool plain(const TensorType& t) {
  return t.layout.canonical().is_row_major();
}
bool is_index(const TensorType& t) {
  return plain(t) && (t.dtype == DType::I32 || t.dtype == DType::I64);
}

struct Indices {
  const void* data;
  bool wide;
  std::int64_t operator[](std::int64_t i) const {
    return wide ? static_cast<const std::int64_t*>(data)[i] : static_cast<const std::int32_t*>(data)[i];
  }
};

// Checked before the threads start, since they may not throw.
void check(const Indices& indices, std::int64_t n, std::int64_t low, std::int64_t high, std::string_view op) {
  for (std::int64_t i = 0; i < n; ++i)
    if (indices[i] < low || indices[i] >= high)
      throw UsageError(cat(op, ": index ", indices[i], " is out of range for ", high, " rows"));
}

struct Split {
  std::int64_t outer = 1, dim = 1, inner = 1;
  Split(const Shape& s, std::int64_t axis_attr) {
    const int axis = s.normalize_axis(static_cast<int>(axis_attr));
    for (int d = 0; d < s.rank(); ++d) (d < axis ? outer : d == axis ? dim : inner) *= s[d];
  }
};

// Copies row index[k] of each outer block. `negative`: indices may count from the end.
std::unique_ptr<Step> pick(const Problem& p, const Split& s, bool negative) {
  if (!plain(p.in(0)) || !plain(p.out()) || !is_index(p.in(1))) return nullptr;
  const std::int64_t n = p.in(1).numel();
  const bool wide = p.in(1).dtype == DType::I64;
  const std::size_t bytes = static_cast<std::size_t>(s.inner) * size_of(p.out().dtype);
  const int parts = useful_threads(p.target.threads, p.out().numel());
  const std::string op = p.node.op;
  return make_step("rows", [=](void* const* in, void* const* out, void*) {
    const Indices indices{in[1], wide};
    check(indices, n, negative ? -s.dim : 0, s.dim, op);
    parallel_ranges(parts, s.outer * n, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const std::int64_t index = indices[i % n], row = index < 0 ? index + s.dim : index;
        std::memcpy(
            static_cast<std::byte*>(out[0]) + static_cast<std::size_t>(i) * bytes,
            static_cast<const std::byte*>(in[0]) + static_cast<std::size_t>(i / n * s.dim + row) * bytes,
            bytes);
      }
    });
  });
}

std::unique_ptr<Step> lower_gather(const Problem& p) {
  return pick(p, Split(p.in(0).shape, p.attrs<GatherAttrs>().axis), true);
}
std::unique_ptr<Step> lower_embedding(const Problem& p) {
  return pick(p, Split(p.in(0).shape, 0), false);
}

// Adds row k of each outer block to row index[k] of the result; `skip` is a row that gets nothing.
std::unique_ptr<Step> add_rows(const Problem& p, const Split& s, bool negative, std::int64_t skip) {
  if (!plain(p.in(0)) || !plain(p.out()) || !is_index(p.in(1)) || p.out().dtype != DType::F32) return nullptr;
  const std::int64_t n = p.in(1).numel(), width = s.inner;
  const bool wide = p.in(1).dtype == DType::I64;
  const int parts = useful_threads(p.target.threads, p.out().numel() + p.in(0).numel());
  const std::string op = p.node.op;
  // In double, as the reference sums; the result is rounded once.
  const auto bytes = static_cast<std::size_t>(p.out().numel()) * sizeof(double);
  return make_step(
      "rows",
      [=](void* const* in, void* const* out, void* workspace) {
        const Indices indices{in[1], wide};
        check(indices, n, negative ? -s.dim : 0, s.dim, op);
        const auto* x = static_cast<const float*>(in[0]);
        auto* sums = static_cast<double*>(workspace);
        auto* y = static_cast<float*>(out[0]);
        // Parts share the outer blocks, or the columns of the only one.
        const bool by_column = s.outer < parts;
        parallel_parts(parts, [&](int part) {
          const Range blocks = by_column ? Range{0, s.outer} : part_of(s.outer, part, parts);
          const Range columns = by_column ? part_of(width, part, parts, 16) : Range{0, width};
          for (std::int64_t o = blocks.begin; o < blocks.end; ++o) {
            double* to = sums + o * s.dim * width;
            for (std::int64_t r = 0; r < s.dim; ++r)
              std::fill(to + r * width + columns.begin, to + r * width + columns.end, 0.0);
            for (std::int64_t k = 0; k < n; ++k) {
              const std::int64_t index = indices[k], row = index < 0 ? index + s.dim : index;
              if (row == skip) continue;
              const float* from = x + (o * n + k) * width;
              for (std::int64_t c = columns.begin; c < columns.end; ++c)
                to[row * width + c] += static_cast<double>(from[c]);
            }
            for (std::int64_t r = 0; r < s.dim; ++r)
              for (std::int64_t c = columns.begin; c < columns.end; ++c)
                y[(o * s.dim + r) * width + c] = static_cast<float>(to[r * width + c]);
          }
        });
      },
      bytes);
}

std::unique_ptr<Step> lower_scatter_add(const Problem& p) {
  return add_rows(p, Split(p.out().shape, p.attrs<ScatterAddAttrs>().axis), true, -1);
}
std::unique_ptr<Step> lower_embedding_grad(const Problem& p) {
  return add_rows(p, Split(p.out().shape, 0), false, p.attrs<EmbeddingGradAttrs>().padding_idx);
}

// How take_along_axis and put_along_axis walk: `whole` has `dim` elements along the axis, `some` as many as
// there are indices.
struct Along {
  Split whole, some;
  std::size_t element;
  bool wide;

  // f(element of `some`, element of `whole`), in parallel.
  template <class F>
  void for_each(const void* index_data, int parts, std::string_view op, const F& f) const {
    const Indices indices{index_data, wide};
    const std::int64_t n = some.outer * some.dim * some.inner;
    check(indices, n, -whole.dim, whole.dim, op);
    parallel_ranges(parts, n, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t k = begin; k < end; ++k) {
        const std::int64_t index = indices[k], row = index < 0 ? index + whole.dim : index;
        const std::int64_t o = k / (some.dim * some.inner);
        f(static_cast<std::size_t>(k) * element,
          static_cast<std::size_t>((o * whole.dim + row) * whole.inner + k % some.inner) * element);
      }
    });
  }
};

std::unique_ptr<Step> lower_take_along_axis(const Problem& p) {
  if (!plain(p.in(0)) || !plain(p.out()) || !is_index(p.in(1))) return nullptr;
  const std::int64_t axis = p.attrs<TakeAlongAxisAttrs>().axis;
  const Along a{
      {p.in(0).shape, axis}, {p.out().shape, axis}, size_of(p.out().dtype), p.in(1).dtype == DType::I64};
  const int parts = useful_threads(p.target.threads, p.out().numel());
  return make_step("elements", [=](void* const* in, void* const* out, void*) {
    a.for_each(in[1], parts, "take_along_axis", [&](std::size_t some, std::size_t whole) {
      std::memcpy(static_cast<std::byte*>(out[0]) + some, static_cast<const std::byte*>(in[0]) + whole,
                  a.element);
    });
  });
}

// One thread: of the same place written twice, the later write stays.
std::unique_ptr<Step> lower_put_along_axis(const Problem& p) {
  if (!plain(p.in(0)) || !plain(p.out()) || !is_index(p.in(1))) return nullptr;
  const std::int64_t axis = p.attrs<PutAlongAxisAttrs>().axis;
  const Along a{
      {p.out().shape, axis}, {p.in(0).shape, axis}, size_of(p.out().dtype), p.in(1).dtype == DType::I64};
  return make_step("elements", [=, bytes = p.out().bytes()](void* const* in, void* const* out, void*) {
    if (bytes != 0) std::memset(out[0], 0, bytes);
    a.for_each(in[1], 1, "put_along_axis", [&](std::size_t some, std::size_t whole) {
      std::memcpy(static_cast<std::byte*>(out[0]) + whole, static_cast<const std::byte*>(in[0]) + some,
                  a.element);
    });
  });
}

std::unique_ptr<Step> lower_one_hot(const Problem& p) {
  if (!is_index(p.in(0)) || !plain(p.out())) return nullptr;
  const std::int64_t n = p.in(0).numel(), depth = p.attrs<OneHotAttrs>().depth;
  const bool wide = p.in(0).dtype == DType::I64;
  const Tensor one = Tensor::full({p.out().dtype, {}}, 1.0);
  const std::size_t element = size_of(p.out().dtype), bytes = p.out().bytes();
  return make_step("rows", [=](void* const* in, void* const* out, void*) {
    if (bytes != 0) std::memset(out[0], 0, bytes);
    const Indices indices{in[0], wide};
    for (std::int64_t k = 0; k < n; ++k) {
      const std::int64_t index = indices[k];
      if (index < -depth || index >= depth) continue;
      const std::int64_t at = k * depth + (index < 0 ? index + depth : index);
      std::memcpy(static_cast<std::byte*>(out[0]) + static_cast<std::size_t>(at) * element, one.raw(),
                  element);
    }
  });
}

}  // namespace

void add_gather(LoweringTable& table) {
  table.add("gather", {.lower = lower_gather});
  table.add("scatter_add", {.lower = lower_scatter_add});
  table.add("embedding", {.lower = lower_embedding});
  table.add("embedding_grad", {.lower = lower_embedding_grad});
  table.add("take_along_axis", {.lower = lower_take_along_axis});
  table.add("put_along_axis", {.lower = lower_put_along_axis});
  table.add("one_hot", {.lower = lower_one_hot});
}

}  // namespace ingot::cpu
