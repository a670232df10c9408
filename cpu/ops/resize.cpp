// Resized channels-last images in f32 and their gradient: the rows of an image are combined first, over all
// their pixels and channels in one stretch, then the pixels of the row that made.
//
// The gradient gathers: a row of dx is made of the rows of dy that read it, whose weights are known when the
// step is made, so every element is written once and in a fixed order.
#include "core/ops/resize.h"

#include "core/runtime/lowering.h"
#include "cpu/parallel.h"
#include "cpu/workspace.h"

namespace ingot::cpu {

namespace {

// What each result along an axis is made of: parts [begin[i], begin[i + 1]) of (source, weight).
struct Sources {
  std::vector<std::size_t> begin{0};
  std::vector<std::int64_t> source;
  std::vector<float> weight;

  void add(std::int64_t from, double w) {
    if (w == 0.0) return;
    source.push_back(from);
    weight.push_back(static_cast<float>(w));
  }
  void close() { begin.push_back(source.size()); }
};

Sources forward_sources(const ResizeAxis& a) {
  Sources s;
  for (std::int64_t o = 0; o < a.out; ++o, s.close()) {
    const auto [first, last, weight] = a.tap(o);
    s.add(first, 1.0 - weight);
    s.add(last, weight);
  }
  return s;
}

// Places rise with o, so what reads one pixel is a run of output pixels.
Sources backward_sources(const ResizeAxis& a) {
  Sources s;
  std::int64_t o = 0;
  for (std::int64_t i = 0; i < a.in; ++i, s.close()) {
    while (o < a.out && a.tap(o).last < i) ++o;
    for (std::int64_t k = o; k < a.out && a.tap(k).first <= i; ++k) {
      const auto [first, last, weight] = a.tap(k);
      s.add(k, (first == i ? 1.0 - weight : 0.0) + (last == i ? weight : 0.0));
    }
  }
  return s;
}

// to[e] = sum of weight * from(source)[e] over n elements, the parts of result i.
template <class From>
void combine(const Sources& s, std::size_t i, std::int64_t n, float* to, const From& from) {
  const std::size_t begin = s.begin[i], end = s.begin[i + 1];
  if (begin == end) std::fill_n(to, n, 0.0f);
  for (std::size_t k = begin; k < end; ++k) {
    const float* const x = from(s.source[k]);
    const float w = s.weight[k];
    if (k == begin)
      for (std::int64_t e = 0; e < n; ++e) to[e] = w * x[e];
    else
      for (std::int64_t e = 0; e < n; ++e) to[e] += w * x[e];
  }
}

struct Images {
  std::int64_t count, channels, in_rows, in_columns, out_rows, out_columns;
};

std::unique_ptr<Step> resize_step(const Problem& p, Sources rows, Sources columns) {
  const Shape &from = p.in(0).shape, &to = p.out().shape;
  const Images g{from[0], from[1], from[2], from[3], to[2], to[3]};
  const int parts = useful_threads(p.target.threads, std::max(p.in(0).numel(), p.out().numel()));
  const std::int64_t line = whole_lines(g.in_columns * g.channels);
  return make_step(
      cat(p.node.op, ":nhwc"),
      [=, rows = std::move(rows), columns = std::move(columns)](void* const* in, void* const* out,
                                                                void* workspace) {
        const auto* x = static_cast<const float*>(in[0]);
        auto* y = static_cast<float*>(out[0]);
        const std::int64_t from_row = g.in_columns * g.channels, to_row = g.out_columns * g.channels;
        parallel_parts(parts, [&](int part) {
          float* const scratch = static_cast<float*>(workspace) + part * line;
          const Range r = part_of(g.count * g.out_rows, part, parts);
          for (std::int64_t row = r.begin; row < r.end; ++row) {
            const auto i = static_cast<std::size_t>(row % g.out_rows);
            const float* const image = x + row / g.out_rows * g.in_rows * from_row;
            const float* made = scratch;
            // A row taken as it is needs no copy.
            if (rows.begin[i + 1] - rows.begin[i] == 1 && rows.weight[rows.begin[i]] == 1.0f)
              made = image + rows.source[rows.begin[i]] * from_row;
            else
              combine(rows, i, from_row, scratch, [&](std::int64_t s) { return image + s * from_row; });
            for (std::int64_t j = 0; j < g.out_columns; ++j)
              combine(columns, static_cast<std::size_t>(j), g.channels, y + row * to_row + j * g.channels,
                      [&](std::int64_t s) { return made + s * g.channels; });
          }
        });
      },
      static_cast<std::size_t>(parts * line) * sizeof(float));
}

bool accepts(const Problem& p) {
  return p.in(0).dtype == DType::F32 && p.in(0).numel() != 0 && lies_channels_last(p.in(0)) &&
         lies_channels_last(p.out());
}

std::unique_ptr<Step> lower_resize(const Problem& p) {
  if (!accepts(p)) return nullptr;
  const auto [h, w] = resize_axes(p.attrs<Resize2dAttrs>(), p.in(0).shape, p.out().shape);
  return resize_step(p, forward_sources(h), forward_sources(w));
}

std::unique_ptr<Step> lower_resize_grad(const Problem& p) {
  if (!accepts(p)) return nullptr;
  const auto [h, w] = resize_axes(p.attrs<Resize2dGradAttrs>(), p.out().shape, p.in(0).shape);
  return resize_step(p, backward_sources(h), backward_sources(w));
}

}  // namespace

void add_resize(LoweringTable& t) {
  t.add("resize2d", {.lower = lower_resize, .layouts = channels_last_layouts});
  t.add("resize2d_grad", {.lower = lower_resize_grad, .layouts = channels_last_layouts});
}

}  // namespace ingot::cpu
