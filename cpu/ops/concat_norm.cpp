// Batch norm of a concatenation, by the kernels of batch norm on its pieces (core/ops/concat_norm.h).
//
// In channels-last memory a piece is a tensor of its own, whose numbers belong to its own channels; y and dy
// have rows of all channels. Threads take ranges of pixels and go through them in blocks: for each piece the
// kernels see contiguous numbers, the piece's own and some of y or dy, which pass through a block of scratch
// in the first cache. So no kernel knows of pieces, and what is moved beyond batch norm's bytes never leaves
// the core.
#include "core/ops/concat_norm.h"

#include <cmath>

#include "cpu/ops/norm_passes.h"

namespace ingot::cpu {

using namespace norm;

namespace {

// Pixels of a block: a multiple of every piece's period (kTile, 16 rows, or one row of a piece).
constexpr std::int64_t kBlock = kTile;

struct PieceOf {
  std::int64_t channels, before;  // before: channels of the pieces before it
  std::int64_t period, tables;    // tables: where its tables begin
};

bool channels_inner(const TensorType& t, Geometry& g) {
  return geometry_of(t, g) && g.inner;
}

struct Concatenation {
  std::int64_t rows = 0, pixels = 1, channels = 0, periods = 0, longest = 0, widest = 0;
  std::vector<PieceOf> pieces;

  // Pieces are operands [first, first + count); nothing where they are not channels-last.
  static std::optional<Concatenation> of(const Problem& p, int first, int count) {
    Concatenation c;
    for (int i = 0; i < count; ++i) {
      Geometry g;
      if (!channels_inner(p.in(first + i), g)) return std::nullopt;
      c.rows = g.rows, c.pixels = g.pixels;
      c.pieces.push_back({g.channels, c.channels, g.period, c.periods});
      c.channels += g.channels;
      c.periods += g.period;
      c.longest = std::max(c.longest, g.period);
      c.widest = std::max(c.widest, g.channels);
    }
    return c;
  }
  std::int64_t numel() const { return rows * pixels * channels; }
};

// Tables and sums of all pieces, and what a thread works in.
struct Memory {
  float* tables[kTables];  // periods
  double *sum, *sq;        // channels
  double *sums, *sqs;      // periods of each thread
  float* kernel;           // 2 longest periods of each thread
  float* blocks[3];        // kBlock pixels of the widest piece, of each thread
  std::int64_t block, periods, longest;

  static Memory carve(Workspace& w, const Concatenation& c, int parts, int blocks) {
    Memory m{};
    m.block = whole_lines(kBlock * c.widest), m.periods = c.periods, m.longest = whole_lines(2 * c.longest);
    for (float*& t : m.tables) t = w.take<float>(c.periods);
    m.sum = w.take<double>(c.channels), m.sq = w.take<double>(c.channels);
    m.sums = w.take<double>(c.periods * parts), m.sqs = w.take<double>(c.periods * parts);
    m.kernel = w.take<float>(m.longest * parts);
    for (int i = 0; i < blocks; ++i) m.blocks[i] = w.take<float>(m.block * parts);
    return m;
  }
  static std::size_t bytes(const Concatenation& c, int parts, int blocks) {
    Workspace w(nullptr);
    carve(w, c, parts, blocks);
    return w.used();
  }

  double* sums_of(int part) const { return sums + part * periods; }
  double* sqs_of(int part) const { return sqs + part * periods; }
  float* kernel_of(int part) const { return kernel + part * longest; }
  float* block_of(int i, int part) const { return blocks[i] + part * block; }

  // values[c] of all channels into table t, repeated to each piece's period.
  template <class F>
  void fill(const Concatenation& c, int t, const F& value) const {
    for (const PieceOf& p : c.pieces)
      for (std::int64_t i = 0; i < p.period; ++i) tables[t][p.tables + i] = value(p.before + i % p.channels);
  }
  void clear(int part) const {
    std::fill_n(sums_of(part), periods, 0.0);
    std::fill_n(sqs_of(part), periods, 0.0);
  }
  // The threads' sums, in their order.
  void total(const Concatenation& c, int parts) const {
    std::fill_n(sum, c.channels, 0.0);
    std::fill_n(sq, c.channels, 0.0);
    for (int part = 0; part < parts; ++part)
      for (const PieceOf& p : c.pieces)
        for (std::int64_t i = 0; i < p.period; ++i) {
          sum[p.before + i % p.channels] += sums_of(part)[p.tables + i];
          sq[p.before + i % p.channels] += sqs_of(part)[p.tables + i];
        }
  }
};

// Rows of `bytes` bytes between memory of different pitches. Whole cache lines are what most pieces have.
void copy_rows(const void* from, std::int64_t from_pitch, void* to, std::int64_t to_pitch, std::int64_t rows,
               std::int64_t bytes) {
  const auto* f = static_cast<const std::byte*>(from);
  auto* t = static_cast<std::byte*>(to);
  for (std::int64_t r = 0; r < rows; ++r, f += from_pitch, t += to_pitch) {
    if (bytes % 64 != 0) {
      std::memcpy(t, f, static_cast<std::size_t>(bytes));
      continue;
    }
    for (std::int64_t at = 0; at < bytes; at += 64) std::memcpy(t + at, f + at, 64);
  }
}

// f(piece's index, first pixel, pixels, part) for all pieces of a block, block after block, of `pixels`
// pixels.
template <class F>
void for_blocks(const Concatenation& c, int parts, std::int64_t pixels, const F& f) {
  parallel_parts(parts, [&](int part) {
    const Range r = part_of(pixels, part, parts, kBlock);
    for (std::int64_t at = r.begin; at < r.end; at += kBlock)
      for (std::size_t k = 0; k < c.pieces.size(); ++k) f(k, at, std::min(kBlock, r.end - at), part);
  });
}

std::int64_t counted_rows(const Concatenation& c, const void* valid) {
  return valid == nullptr ? c.rows
                          : std::clamp<std::int64_t>(*static_cast<const std::int32_t*>(valid), 0, c.rows);
}

// y = act(x a + b) by tables 0 and 1, and 0 in the rows that do not count.
void scale_pieces(const Concatenation& c, const Images& m, const Memory& w, int parts, std::int64_t rows,
                  void* const* x, void* y, const Cut& cut) {
  const NormKernels& k = m.kernels();
  for_blocks(c, parts, rows * c.pixels, [&](std::size_t i, std::int64_t at, std::int64_t pixels, int part) {
    const PieceOf& p = c.pieces[i];
    float* const block = w.block_of(0, part);
    k.scale_shift(m.at(x[i], at * p.channels), nullptr, block, pixels * p.channels, p.period,
                  w.tables[0] + p.tables, w.tables[1] + p.tables, cut);
    copy_rows(block, m.bytes(p.channels), m.at(y, at * c.channels + p.before), m.bytes(c.channels), pixels,
              m.bytes(p.channels));
  });
  const std::int64_t end = rows * c.pixels * c.channels;
  std::memset(m.at(y, end), 0, static_cast<std::size_t>(m.bytes(c.numel() - end)));
}

struct Lowered {
  Concatenation c;
  Images m;
  int parts = 1;
};
// Nothing where a piece, or the concatenation `whole`, lies in other memory or has no kernels.
std::optional<Lowered> lowered(const Problem& p, int first, int count, const TensorType& whole) {
  const auto c = Concatenation::of(p, first, count);
  const auto m = Images::of_type(p.in(first).dtype);
  Geometry g;
  if (!c || !m || !channels_inner(whole, g)) return std::nullopt;
  for (int i = 0; i < first; ++i) {
    const DType type = p.in(i).dtype;
    if (type != DType::F32 && type != DType::I32 && p.in(i).shape != whole.shape) return std::nullopt;
  }
  return Lowered{*c, *m, useful_threads(p.target.threads, c->numel())};
}

std::string kernel_name(const Images& m) {
  return m.kernel_name(Geometry{}, "pieces:");
}

std::unique_ptr<Step> lower_forward(const Problem& p) {
  const auto& at = p.attrs<ConcatBatchNormAttrs>();
  const int first = at.first_piece();
  const auto low = lowered(p, first, p.num_inputs() - first, p.out(0));
  if (!low) return nullptr;
  const Cut cut = cut_of(clip_of(p.node.op, at.activation));
  const bool has_valid = at.has_valid;
  const double eps = at.eps, momentum = at.momentum;
  return make_step(
      kernel_name(low->m),
      [=, c = low->c, m = low->m, parts = low->parts](void* const* in, void* const* out, void* workspace) {
        Workspace space(workspace);
        const Memory w = Memory::carve(space, c, parts, 1);
        const NormKernels& k = m.kernels();
        const auto f = [&](int i) { return static_cast<const float*>(in[i]); };
        const auto o = [&](int i) { return static_cast<float*>(out[i]); };
        void* const* x = in + first;
        const std::int64_t rows = counted_rows(c, has_valid ? in[4] : nullptr);
        const double count = static_cast<double>(rows * c.pixels);
        // Sums are of x - its first value, so that they cancel less.
        for (std::size_t i = 0; i < c.pieces.size(); ++i) {
          const PieceOf& piece = c.pieces[i];
          for (std::int64_t j = 0; j < piece.period; ++j)
            w.tables[0][piece.tables + j] = rows > 0 ? m.get(x[i], j % piece.channels) : 0.0f;
        }
        for (int part = 0; part < parts; ++part) w.clear(part);
        for_blocks(c, parts, rows * c.pixels,
                   [&](std::size_t i, std::int64_t pixel, std::int64_t pixels, int part) {
                     const PieceOf& piece = c.pieces[i];
                     k.stats(m.at(x[i], pixel * piece.channels), pixels * piece.channels, piece.period,
                             w.tables[0] + piece.tables, w.sums_of(part) + piece.tables,
                             w.sqs_of(part) + piece.tables, w.kernel_of(part));
                   });
        w.total(c, parts);
        const double move = rows > 0 ? momentum : 0.0;
        for (const PieceOf& piece : c.pieces)
          for (std::int64_t j = 0; j < piece.channels; ++j) {
            const std::int64_t ch = piece.before + j;
            double mean = 0.0, m2 = 0.0;
            if (rows > 0) {
              const double offset = w.sum[ch] / count;
              mean = static_cast<double>(w.tables[0][piece.tables + j]) + offset;
              m2 = std::max(w.sq[ch] - w.sum[ch] * offset, 0.0);
            }
            const double var = rows > 0 ? m2 / count : 0.0;
            o(1)[ch] = static_cast<float>(mean);
            o(2)[ch] = static_cast<float>(1.0 / std::sqrt(var + eps));
            o(3)[ch] = static_cast<float>((1.0 - move) * static_cast<double>(f(2)[ch]) + move * mean);
            o(4)[ch] = static_cast<float>((1.0 - move) * static_cast<double>(f(3)[ch]) +
                                          move * (m2 / std::max(count - 1.0, 1.0)));
            w.sum[ch] = static_cast<double>(f(0)[ch]) / std::sqrt(var + eps);
            w.sq[ch] = static_cast<double>(f(1)[ch]) - mean * w.sum[ch];
          }
        w.fill(c, 0, [&](std::int64_t ch) { return static_cast<float>(w.sum[ch]); });
        w.fill(c, 1, [&](std::int64_t ch) { return static_cast<float>(w.sq[ch]); });
        scale_pieces(c, m, w, parts, rows, x, out[0], cut);
      },
      Memory::bytes(low->c, low->parts, 1), {{2, 3}, {3, 4}});
}

std::unique_ptr<Step> lower_apply(const Problem& p) {
  const auto& at = p.attrs<ConcatBatchNormApplyAttrs>();
  const int first = at.first_piece();
  const auto low = lowered(p, first, p.num_inputs() - first, p.out(0));
  if (!low) return nullptr;
  const Cut cut = cut_of(clip_of(p.node.op, at.activation));
  const bool has_valid = at.has_valid;
  return make_step(
      kernel_name(low->m),
      [=, c = low->c, m = low->m, parts = low->parts](void* const* in, void* const* out, void* workspace) {
        Workspace space(workspace);
        const Memory w = Memory::carve(space, c, parts, 1);
        const auto f = [&](int i, std::int64_t ch) {
          return static_cast<double>(static_cast<const float*>(in[i])[ch]);
        };
        const auto scale = [&](std::int64_t ch) { return f(0, ch) * f(3, ch); };
        w.fill(c, 0, [&](std::int64_t ch) { return static_cast<float>(scale(ch)); });
        w.fill(c, 1, [&](std::int64_t ch) { return static_cast<float>(f(1, ch) - f(2, ch) * scale(ch)); });
        scale_pieces(c, m, w, parts, counted_rows(c, has_valid ? in[4] : nullptr), in + first, out[0], cut);
      },
      Memory::bytes(low->c, low->parts, 1));
}

std::unique_ptr<Step> lower_grad(const Problem& p) {
  const auto& at = p.attrs<ConcatBatchNormGradAttrs>();
  const int first = at.first_piece(), pieces = at.pieces(p.num_inputs());
  const auto low = lowered(p, first, pieces, p.in(0));
  if (!low) return nullptr;
  for (int i = 0; i < pieces; ++i)
    if (!same_place(p.in(first + i), p.out(i)) ||
        (at.has_added && !same_place(p.in(first + i), p.in(first + pieces + i))))
      return nullptr;
  const LastFunction act = clip_of(p.node.op, at.activation);
  const bool clips = !act.none(), has_valid = at.has_valid, has_added = at.has_added;
  return make_step(
      kernel_name(low->m),
      [=, c = low->c, m = low->m, parts = low->parts](void* const* in, void* const* out, void* workspace) {
        Workspace space(workspace);
        const Memory w = Memory::carve(space, c, parts, 2);
        const NormKernels& k = m.kernels();
        const auto f = [&](int i, std::int64_t ch) {
          return static_cast<double>(static_cast<const float*>(in[i])[ch]);
        };
        void* const* x = in + first;
        const std::int64_t rows = counted_rows(c, has_valid ? in[4] : nullptr);
        const double count = std::max(static_cast<double>(rows * c.pixels), 1.0);
        const Cut mask_cut = mask_cut_of(act);
        const auto scale = [&](std::int64_t ch) { return f(1, ch) * f(3, ch); };
        w.fill(c, 0, [&](std::int64_t ch) { return static_cast<float>(f(2, ch)); });
        w.fill(c, 1, [&](std::int64_t ch) { return static_cast<float>(scale(ch)); });
        if (clips)
          w.fill(c, 2, [&](std::int64_t ch) {
            return static_cast<float>(f(4 + has_valid, ch) - f(2, ch) * scale(ch));
          });
        // use(piece, its index, element, elements, dy, mask): a block of dy, and of what y was before the
        // activation.
        const auto blocks = [&](const auto& use) {
          for_blocks(c, parts, rows * c.pixels,
                     [&](std::size_t i, std::int64_t pixel, std::int64_t pixels, int part) {
                       const PieceOf& piece = c.pieces[i];
                       float *const dy = w.block_of(0, part), *mask = nullptr;
                       const std::int64_t element = pixel * piece.channels, n = pixels * piece.channels;
                       copy_rows(m.at(static_cast<const void*>(in[0]), pixel * c.channels + piece.before),
                                 m.bytes(c.channels), dy, m.bytes(piece.channels), pixels,
                                 m.bytes(piece.channels));
                       if (clips) {
                         mask = w.block_of(1, part);
                         k.scale_shift(m.at(x[i], element), nullptr, mask, n, piece.period,
                                       w.tables[1] + piece.tables, w.tables[2] + piece.tables, mask_cut);
                       }
                       use(piece, i, element, n, dy, mask, part);
                     });
        };
        for (int part = 0; part < parts; ++part) w.clear(part);
        blocks([&](const PieceOf& piece, std::size_t i, std::int64_t element, std::int64_t n, float* dy,
                   float* mask, int part) {
          k.grad_stats(dy, mask, m.at(x[i], element), n, piece.period, w.tables[0] + piece.tables,
                       w.sums_of(part) + piece.tables, w.sqs_of(part) + piece.tables, w.kernel_of(part));
        });
        w.total(c, parts);
        auto* const dgamma = static_cast<float*>(out[pieces]);
        auto* const dbeta = static_cast<float*>(out[pieces + 1]);
        for (std::int64_t ch = 0; ch < c.channels; ++ch) {
          dgamma[ch] = static_cast<float>(w.sq[ch] * f(3, ch));
          dbeta[ch] = static_cast<float>(w.sum[ch]);
        }
        w.fill(c, 3, [&](std::int64_t ch) {
          return static_cast<float>(scale(ch) * f(3, ch) * (w.sq[ch] * f(3, ch)) / count);
        });
        w.fill(c, 4, [&](std::int64_t ch) { return static_cast<float>(scale(ch) * w.sum[ch] / count); });
        blocks([&](const PieceOf& piece, std::size_t i, std::int64_t element, std::int64_t n, float* dy,
                   float* mask, int) {
          const std::int64_t t = piece.tables;
          void* const to = has_added ? dy : m.at(out[i], element);
          k.grad_apply(dy, mask, m.at(x[i], element), to, n, piece.period, w.tables[0] + t, w.tables[1] + t,
                       w.tables[3] + t, w.tables[4] + t);
          if (has_added)
            k.masked_sum(dy, m.at(in[first + pieces + static_cast<int>(i)], element), nullptr,
                         m.at(out[i], element), n);
        });
        for (std::size_t i = 0; i < c.pieces.size(); ++i) {
          const std::int64_t channels = c.pieces[i].channels, end = rows * c.pixels * channels;
          const auto rest = static_cast<std::size_t>(m.bytes((c.rows - rows) * c.pixels * channels));
          if (rest == 0) continue;
          if (has_added)
            std::memmove(m.at(out[i], end), m.at(in[first + pieces + static_cast<int>(i)], end), rest);
          else
            std::memset(m.at(out[i], end), 0, rest);
        }
      },
      Memory::bytes(low->c, low->parts, 2),
      op("concat_batch_norm_grad").in_place(p.node.attrs, p.num_inputs()));
}

// Images channels-last, whatever they have before.
Backend::Layouts channels_last(const Problem& p, const std::vector<bool>&) {
  const auto layout = [](const TensorType& t) {
    return t.shape.rank() > 2 ? Layout::channels_last(t.shape.rank()) : Layout::row_major();
  };
  Backend::Layouts l;
  for (int i = 0; i < p.num_inputs(); ++i) l.inputs.push_back(layout(p.in(i)));
  for (int i = 0; i < p.num_outputs(); ++i) l.outputs.push_back(layout(p.out(i)));
  return l;
}

}  // namespace

void add_concat_norm(LoweringTable& table) {
  table.add("concat_batch_norm", {.lower = lower_forward, .layouts = channels_last});
  table.add("concat_batch_norm_apply", {.lower = lower_apply, .layouts = channels_last});
  table.add("concat_batch_norm_grad", {.lower = lower_grad, .layouts = channels_last});
}

}  // namespace ingot::cpu
