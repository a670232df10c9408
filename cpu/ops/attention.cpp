// Attention in f32: threads over blocks of rows of all heads. The gradient's threads take whole heads of
// keys, where they are fewer than threads parts of their keys, and then the parts' dq are added up.
#include "core/ops/attention.h"

#include <algorithm>
#include <cstring>

#include "core/runtime/lowering.h"
#include "cpu/parallel.h"
#include "cpu/simd/attention_kernels.h"
#include "cpu/workspace.h"

namespace ingot::cpu {

namespace {

using Tiles = AttentionTiles;

bool plain_f32(const Problem& p) {
  const auto fits = [](const TensorType& t) {
    return (t.dtype == DType::F32 || t.dtype == DType::I32) && t.layout.canonical().is_row_major();
  };
  for (int i = 0; i < p.num_inputs(); ++i)
    if (!fits(p.in(i))) return false;
  for (int i = 0; i < p.num_outputs(); ++i)
    if (!fits(p.out(i))) return false;
  return true;
}

std::int64_t parts_of(std::int64_t n, std::int64_t size) {
  return (n + size - 1) / size;
}

int threads_for(const Problem& p, const AttentionSizes& s) {
  // A multiply-add is about a sixteenth of what a thread's worth is counted in.
  const double work = s.pairs() * static_cast<double>(s.depth + s.v_depth) / 16.0;
  return useful_threads(p.target.threads, static_cast<std::int64_t>(std::min(work, 1e15)));
}

// Keys of a sample that count.
std::int64_t length_of(const AttentionSizes& s, const std::int32_t* lengths, std::int64_t sample) {
  return lengths == nullptr ? s.keys : s.counted(lengths[sample]);
}
const std::int32_t* lengths_at(void* const* in, int i, bool present) {
  return present ? static_cast<const std::int32_t*>(in[i]) : nullptr;
}

// Rows of `n` floats as rows of whole vectors; those that are already stay where they are.
const float* padded_rows(const float* x, std::int64_t rows, std::int64_t n, float* to) {
  const std::int64_t wide = Tiles::padded(n);
  if (wide == n) return x;
  for (std::int64_t r = 0; r < rows; ++r) {
    std::copy_n(x + r * n, n, to + r * wide);
    std::fill(to + r * wide + n, to + (r + 1) * wide, 0.0f);
  }
  return to;
}
std::int64_t padded_floats(std::int64_t rows, std::int64_t n) {
  return Tiles::padded(n) == n ? 0 : rows * Tiles::padded(n);
}

struct ForwardMemory {
  float *panels, *values, *scratch;  // of every head of keys; scratch of every thread
  std::int64_t panel_floats, value_floats, scratch_floats;
  ForwardMemory(Workspace& w, const AttentionSizes& s, int threads)
      : panel_floats(Tiles::packed(s.keys, s.depth)),
        value_floats(padded_floats(s.keys, s.v_depth)),
        scratch_floats(whole_lines(AttentionBlock::scratch_floats(Tiles::padded(s.v_depth)))) {
    panels = w.take<float>(s.batch * s.k_heads * panel_floats);
    values = w.take<float>(s.batch * s.k_heads * value_floats);
    scratch = w.take<float>(threads * scratch_floats);
  }
};

std::unique_ptr<Step> lower_attention(const Problem& p) {
  if (!plain_f32(p)) return p.decline("the kernel computes row-major f32");
  const AttentionSizes s(p.in(0).shape, p.in(1).shape, p.in(2).shape, p.attrs<AttentionAttrs>());
  const int threads = threads_for(p, s);
  Workspace measure(nullptr);
  const ForwardMemory sizes(measure, s, threads);
  return make_step(
      cat("attention:", name(cpu_level())),
      [=, &kernels = attention_kernels(cpu_level()), has_lengths = p.attrs<AttentionAttrs>().has_lengths](
          void* const* in, void* const* out, void* workspace) {
        const auto f = [&](int i) { return static_cast<const float*>(in[i]); };
        const std::int32_t* const lengths = lengths_at(in, 3, has_lengths);
        Workspace w(workspace);
        const ForwardMemory m(w, s, threads);
        const std::int64_t heads = s.batch * s.k_heads, v_row = Tiles::padded(s.v_depth);
        parallel_ranges(threads, heads, 1, [&](std::int64_t begin, std::int64_t end) {
          for (std::int64_t h = begin; h < end; ++h) {
            const std::int64_t keys = length_of(s, lengths, h / s.k_heads);
            kernels.pack(f(1) + h * s.keys * s.depth, keys, s.depth, m.panels + h * m.panel_floats);
            padded_rows(f(2) + h * s.keys * s.v_depth, keys, s.v_depth, m.values + h * m.value_floats);
          }
        });
        // Causal rows cost more the later they come: threads take turns.
        const std::int64_t blocks = parts_of(s.rows, Tiles::kRows), all = s.batch * s.q_heads * blocks;
        parallel_parts(threads, [&](int thread) {
          for (std::int64_t i = thread; i < all; i += threads) {
            const std::int64_t head = i / blocks, sample = head / s.q_heads,
                               key_head = sample * s.k_heads + s.k_head(head % s.q_heads);
            AttentionBlock b;
            b.first = i % blocks * Tiles::kRows;
            b.rows = std::min(s.rows - b.first, Tiles::kRows);
            b.keys = length_of(s, lengths, sample);
            b.depth = s.depth;
            b.v_depth = s.v_depth;
            b.v_row = v_row;
            b.scale = static_cast<float>(s.scale);
            b.causal = s.causal;
            const std::int64_t row = head * s.rows + b.first;
            b.q = f(0) + row * s.depth;
            b.k_panels = m.panels + key_head * m.panel_floats;
            b.v = m.value_floats != 0 ? m.values + key_head * m.value_floats
                                      : f(2) + key_head * s.keys * s.v_depth;
            b.y = static_cast<float*>(out[0]) + row * s.v_depth;
            b.lse = static_cast<float*>(out[1]) + row;
            b.scratch = m.scratch + thread * m.scratch_floats;
            kernels.forward(b);
          }
        });
      },
      measure.used());
}

// What one head of keys needs while its gradient is computed, or one part of it.
struct GradMemory {
  float *dq, *delta, *q_rows, *dy_rows, *k_panels, *v_panels, *k_rows, *dk, *dv, *scratch;
  std::int64_t floats;  // in all
  GradMemory(float* at, const AttentionSizes& s) {
    Workspace w(at);
    const std::int64_t sharers = s.q_heads / s.k_heads, rows = sharers * s.rows,
                       depth = Tiles::padded(s.depth), v_depth = Tiles::padded(s.v_depth);
    dq = w.take<float>(sharers * parts_of(s.rows, Tiles::kRows) * Tiles::kRows * depth);
    delta = w.take<float>(rows);
    q_rows = w.take<float>(padded_floats(rows, s.depth));
    dy_rows = w.take<float>(padded_floats(rows, s.v_depth));
    k_panels = w.take<float>(Tiles::packed(Tiles::kKeys, s.depth));
    v_panels = w.take<float>(Tiles::packed(Tiles::kKeys, s.v_depth));
    k_rows = w.take<float>(padded_floats(Tiles::kKeys, s.depth));
    dk = w.take<float>(Tiles::strips(Tiles::kKeys) * depth);
    dv = w.take<float>(Tiles::strips(Tiles::kKeys) * v_depth);
    scratch = w.take<float>(AttentionGradBlock::kScratch);
    floats = static_cast<std::int64_t>(w.used() / sizeof(float));
  }
};

struct GradOperands {
  const float *dy, *q, *k, *v, *y, *lse;
  float *dq, *dk, *dv;
};

// Every `parts`-th block of keys of a head of keys, from `part` on; leaves its share of dq in m.dq.
void grad_of_keys(const AttentionKernels& kernels, const AttentionSizes& s, const GradOperands& o,
                  std::int64_t head, std::int64_t length, int part, int parts, const GradMemory& m) {
  const std::int64_t sharers = s.q_heads / s.k_heads, rows = sharers * s.rows, first_row = head * rows;
  const std::int64_t depth = Tiles::padded(s.depth), v_depth = Tiles::padded(s.v_depth);
  AttentionGradBlock b;
  b.heads = sharers;
  b.rows = s.rows;
  b.depth = s.depth;
  b.v_depth = s.v_depth;
  b.scale = static_cast<float>(s.scale);
  b.causal = s.causal;
  b.q = o.q + first_row * s.depth;
  b.dy = o.dy + first_row * s.v_depth;
  b.lse = o.lse + first_row;
  b.delta = m.delta;
  b.q_rows = padded_rows(b.q, rows, s.depth, m.q_rows);
  b.dy_rows = padded_rows(b.dy, rows, s.v_depth, m.dy_rows);
  b.k_panels = m.k_panels;
  b.v_panels = m.v_panels;
  b.dq = m.dq;
  b.dk = m.dk;
  b.dv = m.dv;
  b.scratch = m.scratch;
  const float* const y = o.y + first_row * s.v_depth;
  for (std::int64_t r = 0; r < rows; ++r) {
    float sum = 0.0f;
    for (std::int64_t d = 0; d < s.v_depth; ++d) sum += b.dy[r * s.v_depth + d] * y[r * s.v_depth + d];
    m.delta[r] = sum;
  }
  std::fill_n(m.dq, sharers * parts_of(s.rows, Tiles::kRows) * Tiles::kRows * depth, 0.0f);
  for (std::int64_t at = part * Tiles::kKeys; at < s.keys; at += parts * Tiles::kKeys) {
    const std::int64_t all = std::min(s.keys - at, Tiles::kKeys), first_key = head * s.keys + at;
    b.first = at;
    b.keys = std::clamp<std::int64_t>(length - at, 0, all);
    float *const dk = o.dk + first_key * s.depth, *const dv = o.dv + first_key * s.v_depth;
    if (b.keys > 0) {
      kernels.pack(o.k + first_key * s.depth, b.keys, s.depth, m.k_panels);
      kernels.pack(o.v + first_key * s.v_depth, b.keys, s.v_depth, m.v_panels);
      b.k_rows = padded_rows(o.k + first_key * s.depth, b.keys, s.depth, m.k_rows);
      kernels.backward(b);
    }
    for (std::int64_t j = 0; j < b.keys; ++j) {
      std::copy_n(m.dk + j * depth, s.depth, dk + j * s.depth);
      std::copy_n(m.dv + j * v_depth, s.v_depth, dv + j * s.v_depth);
    }
    std::fill(dk + b.keys * s.depth, dk + all * s.depth, 0.0f);
    std::fill(dv + b.keys * s.v_depth, dv + all * s.v_depth, 0.0f);
  }
}

// dq of one of q's heads from the shares of all parts, `stride` floats apart, in order.
void join_dq(const AttentionSizes& s, std::int64_t sharer, const float* shares, std::int64_t stride,
             int parts, float* dq) {
  const std::int64_t depth = Tiles::padded(s.depth),
                     first = sharer * parts_of(s.rows, Tiles::kRows) * Tiles::kRows;
  for (std::int64_t r = 0; r < s.rows; ++r)
    for (std::int64_t d = 0; d < s.depth; ++d) {
      const float* const share = shares + (first + r) * depth + d;
      float sum = share[0];
      for (int part = 1; part < parts; ++part) sum += share[part * stride];
      dq[r * s.depth + d] = sum;
    }
}

std::unique_ptr<Step> lower_attention_grad(const Problem& p) {
  if (!plain_f32(p)) return p.decline("the kernel computes row-major f32");
  const AttentionSizes s(p.in(1).shape, p.in(2).shape, p.in(3).shape, p.attrs<AttentionAttrs>());
  const int threads = threads_for(p, s);
  const std::int64_t heads = s.batch * s.k_heads;
  const int parts =
      static_cast<int>(std::clamp<std::int64_t>(heads == 0 ? 1 : parts_of(threads, heads), 1,
                                                std::max<std::int64_t>(parts_of(s.keys, Tiles::kKeys), 1)));
  const std::int64_t units = heads * parts, memories = parts == 1 ? threads : units,
                     floats = GradMemory(nullptr, s).floats;
  return make_step(
      cat("attention:", name(cpu_level())),
      [=, &kernels = attention_kernels(cpu_level()), has_lengths = p.attrs<AttentionAttrs>().has_lengths](
          void* const* in, void* const* out, void* workspace) {
        const auto f = [&](int i) { return static_cast<const float*>(in[i]); };
        const auto g = [&](int i) { return static_cast<float*>(out[i]); };
        const GradOperands o{f(0), f(1), f(2), f(3), f(4), f(5), g(0), g(1), g(2)};
        const std::int32_t* const lengths = lengths_at(in, 6, has_lengths);
        const auto memory = [&](std::int64_t i) {
          return GradMemory(static_cast<float*>(workspace) + i * floats, s);
        };
        const std::int64_t sharers = s.q_heads / s.k_heads;
        const auto join = [&](std::int64_t head, const float* shares) {
          for (std::int64_t i = 0; i < sharers; ++i)
            join_dq(s, i, shares, floats, parts, o.dq + (head * sharers + i) * s.rows * s.depth);
        };
        parallel_parts(threads, [&](int thread) {
          for (std::int64_t u = thread; u < units; u += threads) {
            const std::int64_t head = u / parts;
            const GradMemory m = memory(parts == 1 ? thread : u);
            grad_of_keys(kernels, s, o, head, length_of(s, lengths, head / s.k_heads),
                         static_cast<int>(u % parts), parts, m);
            if (parts == 1) join(head, m.dq);
          }
        });
        if (parts == 1) return;
        for (std::int64_t head = 0; head < heads; ++head) join(head, memory(head * parts).dq);
      },
      static_cast<std::size_t>(memories * floats) * sizeof(float));
}

}  // namespace

void add_attention(LoweringTable& table) {
  table.add("attention", {.lower = lower_attention});
  table.add("attention_grad", {.lower = lower_attention_grad});
}

}  // namespace ingot::cpu
