#include "cpu/winograd.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/base/half.h"
#include "core/runtime/lowering.h"
#include "cpu/parallel.h"
#include "cpu/simd/conv_bf16_kernels.h"
#include "cpu/simd/conv_winograd_kernels.h"
#include "cpu/workspace.h"

namespace ingot::cpu {

namespace {

using Grid = WinogradGrid;
constexpr std::int64_t kPoints = Grid::kPoints, kLanes = Grid::kChannels, kTaps = 9;
// Bytes of evaluated taps that are made once for all threads; beyond, each thread makes those of a panel of
// outputs, which stay in its second-level cache, and the evaluated patches are shared instead.
constexpr std::int64_t kSharedTaps = 2560 << 10;
// Bytes that a thread's patches and sums may have to stay in the second-level cache, and one panel of taps in
// the first.
constexpr std::int64_t kSecondLevel = 512 << 10, kFirstLevel = 32 << 10;
constexpr std::int64_t kFloat = sizeof(float);
// Bytes of evaluated tiles that all threads share: they stay in a third-level cache.
constexpr std::int64_t kEvaluated = 12 << 20;
// Channels whose evaluations lie together where patches are evaluated for all threads.
constexpr std::int64_t kChannelBlock = 128;
constexpr std::int64_t kStage = kLanes;  // input channels whose taps are evaluated together

float number(float v) {
  return v;
}
float number(bf16 v) {
  return v.to_float();
}
void copy(const float* from, float* to) {
  std::memcpy(to, from, kLanes * sizeof(float));
}
void copy(const bf16* from, float* to) {
  for (std::int64_t l = 0; l < kLanes; ++l) to[l] = from[l].to_float();
}
void put(float& to, float v) {
  to = v;
}
void put(bf16& to, float v) {
  to = bf16::from(v);
}

// Where the taps of a weight lie: an element's offset is a sum over the axes. `k` counts the channels that
// are summed over, `o` those of the result; both are taken 16 at a time, `k` kStage at a time.
class Taps {
 public:
  Taps(const WinogradKernels& kernels, const TensorType& w, bool gradient)
      : kernels_(&kernels), dtype_(w.dtype) {
    const LayoutIndex index(w);
    const auto axis = [&](std::size_t which) {
      std::vector<std::int64_t> offsets;
      for (std::int64_t i = 0; i < w.shape[static_cast<int>(which)]; ++i) {
        std::array<std::int64_t, 4> at{};
        at[which] = i;
        offsets.push_back(index.offset(at));
      }
      return offsets;
    };
    o_ = axis(gradient ? 1 : 0), k_ = axis(gradient ? 0 : 1);
    for (std::int64_t i = 0; i < kTaps; ++i) {
      const std::int64_t t = gradient ? kTaps - 1 - i : i;  // turned by half a circle
      const std::array<std::int64_t, 4> at{0, 0, t / 3, t % 3};
      tap_.push_back(index.offset(at));
    }
    o_runs_ = runs(o_), k_runs_ = runs(k_);
  }

  // taps[9][kStage][panel] of the channels from k0 and o0 on.
  void gather(const void* w, std::int64_t k0, std::int64_t o0, std::int64_t panel, float* taps) const {
    dtype_ == DType::BF16 ? gather_as(static_cast<const bf16*>(w), k0, o0, panel, taps)
                          : gather_as(static_cast<const float*>(w), k0, o0, panel, taps);
  }
  // The inverse: gradients to where the weight's elements lie.
  void scatter(const float* taps, std::int64_t k0, std::int64_t o0, std::int64_t panel, void* w) const {
    dtype_ == DType::BF16 ? scatter_as(taps, k0, o0, panel, static_cast<bf16*>(w))
                          : scatter_as(taps, k0, o0, panel, static_cast<float*>(w));
  }

 private:
  static std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }
  // Whether 16 neighbours are neighbours in memory.
  static bool runs(const std::vector<std::int64_t>& v) {
    for (std::size_t i = 0; i < v.size(); ++i)
      if (v[i] - v[i - i % kLanes] != static_cast<std::int64_t>(i % kLanes)) return false;
    return true;
  }

  template <class T>
  void gather_as(const T* w, std::int64_t k0, std::int64_t o0, std::int64_t panel, float* taps) const {
    for (std::int64_t t = 0; t < kTaps; ++t, taps += kStage * panel)
      for (std::int64_t b = 0; b < panel; b += kLanes) {
        const std::int64_t* const o = o_.data() + o0 + b;
        if (k_runs_) {
          kernels_->transpose(dtype_, w + tap_[at(t)] + k_[at(k0)], o, taps + b, panel);
          continue;
        }
        for (std::int64_t i = 0; i < kStage; ++i) {
          const T* const from = w + tap_[at(t)] + k_[at(k0 + i)];
          float* const to = taps + i * panel + b;
          if (o_runs_)
            copy(from + o[0], to);
          else
            for (std::int64_t l = 0; l < kLanes; ++l) to[l] = number(from[o[l]]);
        }
      }
  }
  template <class T>
  void scatter_as(const float* taps, std::int64_t k0, std::int64_t o0, std::int64_t panel, T* w) const {
    for (std::int64_t t = 0; t < kTaps; ++t)
      for (std::int64_t i = 0; i < kStage; ++i)
        for (std::int64_t b = 0; b < panel; b += kLanes, taps += kLanes) {
          T* const to = w + tap_[at(t)] + k_[at(k0 + i)];
          const std::int64_t* const o = o_.data() + o0 + b;
          if (o_runs_)
            for (std::int64_t l = 0; l < kLanes; ++l) put(to[o[0] + l], taps[l]);
          else
            for (std::int64_t l = 0; l < kLanes; ++l) put(to[o[l]], taps[l]);
        }
  }

  const WinogradKernels* kernels_;
  DType dtype_;
  std::vector<std::int64_t> o_, k_, tap_;
  bool o_runs_ = false, k_runs_ = false;
};

bool image(const TensorType& t) {
  return (t.dtype == DType::F32 || t.dtype == DType::BF16) && t.numel() != 0 && lies_channels_last(t) &&
         t.shape[1] % kLanes == 0;
}

Grid grid_of(const Shape& image, const Shape& results, std::int64_t top, std::int64_t left) {
  return {image[1],
          image[2],
          image[3],
          (results[2] + Grid::kTile - 1) / Grid::kTile,
          (results[3] + Grid::kTile - 1) / Grid::kTile,
          top,
          left};
}

// `count` cut into nearly equal pieces of at most about `most`, each a multiple of `align`.
std::int64_t even_piece(std::int64_t count, std::int64_t most, std::int64_t align) {
  const std::int64_t pieces = std::max<std::int64_t>(1, (count + most - 1) / most);
  return ((count + pieces - 1) / pieces + align - 1) / align * align;
}

// A convolution cut into panels of outputs and blocks of tiles.
struct Plan {
  const WinogradKernels* k = nullptr;
  DType dtype = DType::F32;
  Grid x, y;
  std::int64_t tiles = 0, c = 0, panel = 0, panels = 0, rows = 0;
  std::int64_t block = 0;                       // tiles that are multiplied together
  std::int64_t taps_pitch = 0, sums_pitch = 0;  // floats from point to point
  bool has_bias = false, has_residual = false, relu = false;

  std::int64_t taps_floats() const { return kPoints * taps_pitch; }  // of a panel
  std::int64_t sums_floats() const { return kPoints * sums_pitch; }
  std::int64_t stage_floats() const { return kTaps * kStage * panel; }

  void evaluate_taps(const Taps& taps, const void* w, std::int64_t at_panel, std::int64_t stage, float* u,
                     float* staged) const {
    taps.gather(w, stage * kStage, at_panel * panel, panel, staged);
    k->taps(staged, kStage * panel, u + stage * kStage * panel, taps_pitch);
  }
  WinogradEpilogue epilogue(void* const* in) const {
    return {has_bias ? in[2] : nullptr, has_residual ? in[2 + has_bias] : nullptr, relu};
  }
  // One panel's results of `count` tiles from `first` on, whose patches begin at v.
  void results_of(const WinogradPoints& v, const float* u, std::int64_t first, std::int64_t count,
                  std::int64_t at_panel, float* sums, const WinogradEpilogue& e, void* to) const {
    const std::int64_t whole = (count + rows - 1) / rows * rows;
    const std::int64_t part = even_piece(v.channels, kFirstLevel / kFloat / panel, 1);
    const auto patches = [&](std::int64_t f, std::int64_t j) {
      return v.data + f * v.pitch + j / v.channels * v.block + j % v.channels;
    };
    for (std::int64_t f = 0; f < kPoints; ++f)
      for (std::int64_t j = 0; j < c;) {
        const std::int64_t channels = std::min(part, v.channels - j % v.channels), next = j + channels;
        const float* const at = u + f * taps_pitch + j * panel;
        k->products(patches(f, j), v.channels, at, channels, whole, panel, sums + f * sums_pitch, j != 0,
                    next < c ? patches(f, next) : patches(f + 1, 0), at + channels * panel);
        j = next;
      }
    k->results(dtype, y, sums, sums_pitch, first, count, at_panel * panel, panel, e, to);
  }
};

// As many channels as multiply well from the first-level cache while their tiles follow one another in
// memory.
std::int64_t channel_block(std::int64_t channels, std::int64_t most) {
  std::int64_t block = most;
  while (channels % block != 0) block /= 2;
  return block;
}

// Evaluations of `tiles` tiles of an image in blocks of channels, each by itself.
WinogradPoints points_of(std::int64_t tiles, std::int64_t block) {
  WinogradPoints p;
  p.pitch = Grid::pitch_of(tiles * block);
  p.channels = block;
  p.block = kPoints * p.pitch;
  return p;
}
WinogradPoints at(WinogradPoints p, float* data, std::int64_t tile = 0) {
  p.data = data + tile * p.channels;
  return p;
}

// The taps once for all threads; each thread takes its tiles, a block at a time, from patches to results.
std::unique_ptr<Step> by_tiles(Plan plan, const WinogradProblem& q, int parts) {
  const std::int64_t most = std::max(kSecondLevel / (kPoints * kFloat * (plan.c + plan.panel)),
                                     std::min<std::int64_t>(24, 2 * plan.rows));
  plan.block = even_piece((plan.tiles + parts - 1) / parts,
                          std::max(most / plan.rows, std::int64_t{1}) * plan.rows, plan.rows);
  plan.sums_pitch = Grid::pitch_of(plan.block * plan.panel);
  const WinogradPoints patches = points_of(plan.block, plan.c);
  const std::int64_t v_floats = patches.block;
  const std::int64_t own = v_floats + std::max(plan.sums_floats(), plan.stage_floats());
  const auto carve = [=](Workspace& w, float*& u) {
    u = w.take<float>(plan.panels * plan.taps_floats());
    return w.take<float>(parts * own);
  };
  Workspace measure(nullptr);
  float* unused = nullptr;
  carve(measure, unused);
  const Taps taps(*plan.k, q.weight, q.gradient);
  return make_step(
      "winograd:tiles",
      [=](void* const* in, void* const* out, void* workspace) {
        Workspace w(workspace);
        float* u = nullptr;
        float* const scratch = carve(w, u);
        const std::int64_t stages = plan.c / kStage;
        parallel_parts(parts, [&](int part) {
          const Range r = part_of(plan.panels * stages, part, parts);
          for (std::int64_t i = r.begin; i < r.end; ++i)
            plan.evaluate_taps(taps, in[1], i / stages, i % stages, u + i / stages * plan.taps_floats(),
                               scratch + part * own);
        });
        const WinogradEpilogue e = plan.epilogue(in);
        parallel_parts(parts, [&](int part) {
          const WinogradPoints v = at(patches, scratch + part * own);
          float* const sums = v.data + v_floats;
          const Range r = part_of(plan.tiles, part, parts);
          for (std::int64_t t = r.begin; t < r.end; t += plan.block) {
            const std::int64_t count = std::min(plan.block, r.end - t);
            plan.k->patches(plan.dtype, plan.x, in[0], t, count, v);
            for (std::int64_t p = 0; p < plan.panels; ++p)
              plan.results_of(v, u + p * plan.taps_floats(), t, count, p, sums, e, out[0]);
          }
        });
      },
      measure.used());
}

// The patches once for all threads, some tiles at a time; each thread takes panels of outputs, whose taps
// stay in its cache.
std::unique_ptr<Step> by_outputs(Plan plan, const WinogradProblem& q, int parts) {
  const std::int64_t chunk = even_piece(
      plan.tiles, std::max<std::int64_t>(plan.rows, kEvaluated / (kPoints * kFloat * plan.c)), plan.rows);
  // Where there are fewer panels than threads, some share one and take part of the tiles.
  const std::int64_t splits = (parts + plan.panels - 1) / plan.panels, items = plan.panels * splits;
  const std::int64_t split = even_piece((chunk + splits - 1) / splits, chunk, plan.rows);
  plan.block = even_piece(
      split, std::max<std::int64_t>(plan.rows, kSecondLevel / (kPoints * kFloat * plan.panel)), plan.rows);
  plan.sums_pitch = Grid::pitch_of(plan.block * plan.panel);
  // The last block of rows may read beyond the last tile.
  const WinogradPoints patches = points_of(chunk + plan.rows, channel_block(plan.c, kChannelBlock));
  const std::int64_t v_floats = plan.c / patches.channels * patches.block;
  const std::int64_t own = plan.taps_floats() + std::max(plan.sums_floats(), plan.stage_floats());
  const auto carve = [=](Workspace& w, float*& v) {
    v = w.take<float>(v_floats);
    return w.take<float>(parts * own);
  };
  Workspace measure(nullptr);
  float* unused = nullptr;
  carve(measure, unused);
  const Taps taps(*plan.k, q.weight, q.gradient);
  return make_step(
      "winograd:outputs",
      [=](void* const* in, void* const* out, void* workspace) {
        Workspace w(workspace);
        float* v = nullptr;
        float* const scratch = carve(w, v);
        const WinogradEpilogue e = plan.epilogue(in);
        for (std::int64_t first = 0; first < plan.tiles; first += chunk) {
          const std::int64_t tiles = std::min(chunk, plan.tiles - first);
          parallel_ranges(parts, tiles, 1, [&](std::int64_t begin, std::int64_t end) {
            plan.k->patches(plan.dtype, plan.x, in[0], first + begin, end - begin, at(patches, v, begin));
          });
          parallel_parts(parts, [&](int part) {
            float *const u = scratch + part * own, *const sums = u + plan.taps_floats();
            const Range r = part_of(items, part, parts);
            std::int64_t evaluated = -1;
            for (std::int64_t i = r.begin; i < r.end; ++i) {
              const std::int64_t p = i / splits, begin = i % splits * split;
              if (p != evaluated)
                for (std::int64_t stage = 0; stage < plan.c / kStage; ++stage)
                  plan.evaluate_taps(taps, in[1], p, stage, u, sums);
              evaluated = p;
              const std::int64_t end = std::min(tiles, begin + split);
              for (std::int64_t t = begin; t < end; t += plan.block)
                plan.results_of(at(patches, v, t), u, first + t, std::min(plan.block, end - t), p, sums, e,
                                out[0]);
            }
          });
        }
      },
      measure.used());
}

// The gradient of taps over panels of outputs.
struct GradPlan {
  const WinogradKernels* k = nullptr;
  DType dtype = DType::F32;
  Grid x, dy;
  std::int64_t tiles = 0, c = 0, o = 0, panel = 0, panels = 0;

  std::int64_t stage_floats() const { return kTaps * kStage * panel; }
  // Adds the products of a block of channels and a panel over `count` tiles to sums[36][channels][panel], as
  // many tiles at a time as stay in the first-level cache.
  void add(const WinogradPoints& v, std::int64_t block, std::int64_t channels, const WinogradPoints& g,
           std::int64_t at_panel, std::int64_t count, float* sums, std::int64_t pitch) const {
    const std::int64_t cached = even_piece(count, kFirstLevel / kFloat / (channels + panel), 1);
    for (std::int64_t f = 0; f < kPoints; ++f)
      for (std::int64_t t = 0; t < count; t += cached) {
        const float* const patches = v.data + block * v.block + f * v.pitch + t * channels;
        const float* const gradients = g.data + at_panel * g.block + f * g.pitch + t * panel;
        const std::int64_t some = std::min(cached, count - t);
        const bool last = t + some == count;
        k->outer_products(patches, channels, gradients, panel, some, sums + f * pitch,
                          last ? patches + v.pitch - t * channels : patches + some * channels,
                          last ? gradients + g.pitch - t * panel : gradients + some * panel);
      }
  }
};

// Each thread sums over its tiles; the sums are added in the end.
std::unique_ptr<Step> gradient_by_tiles(const GradPlan& plan, const TensorType& dw, int parts) {
  const std::int64_t per_tile = kPoints * kFloat * (plan.c + plan.o);
  const std::int64_t block = even_piece((plan.tiles + parts - 1) / parts,
                                        std::clamp<std::int64_t>(kSecondLevel / per_tile, 24, 96), 1);
  const WinogradPoints patches = points_of(block, plan.c), gradients = points_of(block, plan.panel);
  const std::int64_t u_pitch = Grid::pitch_of(plan.c * plan.o), u_floats = kPoints * u_pitch;
  const std::int64_t v_floats = patches.block, g_floats = plan.panels * gradients.block;
  const std::int64_t own = u_floats + std::max(v_floats + g_floats, plan.stage_floats());
  const Taps taps(*plan.k, dw, false);
  const std::size_t cleared = dw.physical_numel() != dw.numel() ? dw.bytes() : 0;  // padding of blocks
  return make_step(
      "winograd:tiles",
      [=](void* const* in, void* const* out, void* workspace) {
        auto* const space = static_cast<float*>(workspace);
        if (cleared != 0) std::memset(out[0], 0, cleared);
        parallel_parts(parts, [&](int part) {
          float* const u = space + part * own;
          const WinogradPoints v = at(patches, u + u_floats), g = at(gradients, v.data + v_floats);
          std::fill_n(u, u_floats, 0.0f);
          const Range r = part_of(plan.tiles, part, parts);
          for (std::int64_t t = r.begin; t < r.end; t += block) {
            const std::int64_t count = std::min(block, r.end - t);
            plan.k->patches(plan.dtype, plan.x, in[0], t, count, v);
            plan.k->gradients(plan.dtype, plan.dy, in[1], t, count, g);
            for (std::int64_t p = 0; p < plan.panels; ++p)
              plan.add(v, 0, plan.c, g, p, count, u + p * plan.panel * plan.c, u_pitch);
          }
        });
        const std::int64_t stages = plan.c / kStage, n = kStage * plan.panel;
        parallel_parts(parts, [&](int part) {
          float* const staged = space + part * own + u_floats;
          const Range r = part_of(plan.panels * stages, part, parts);
          for (std::int64_t i = r.begin; i < r.end; ++i) {
            float* const total = space + i * n;  // panels lie one behind the other, as the stages in them
            for (int other = 1; other < parts; ++other)
              for (std::int64_t f = 0; f < kPoints; ++f) {
                const float* const from = total + other * own + f * u_pitch;
                float* const to = total + f * u_pitch;
                for (std::int64_t l = 0; l < n; ++l) to[l] += from[l];
              }
            plan.k->tap_gradients(total, u_pitch, n, staged);
            taps.scatter(staged, i % stages * kStage, i / stages * plan.panel, plan.panel, out[0]);
          }
        });
      },
      static_cast<std::size_t>(parts * own * kFloat));
}

// Patches and gradients are evaluated for all threads, some tiles at a time; each thread makes some of the
// sums.
std::unique_ptr<Step> gradient_by_channels(const GradPlan& plan, const TensorType& dw, int parts) {
  const std::int64_t c_block = channel_block(plan.c, kLanes * 4);
  const std::int64_t c_blocks = plan.c / c_block, items = c_blocks * plan.panels;
  const std::int64_t block = even_piece(
      plan.tiles, std::max<std::int64_t>(64, kEvaluated / (kPoints * kFloat * (plan.c + plan.o))), 1);
  const WinogradPoints patches = points_of(block, c_block), gradients = points_of(block, plan.panel);
  const std::int64_t u_pitch = Grid::pitch_of(c_block * plan.panel), u_floats = kPoints * u_pitch;
  // With all tiles at once a thread's sums are done before it begins the next.
  const bool once = block >= plan.tiles;
  const auto carve = [=](Workspace& w, float*& v, float*& g, float*& u) {
    v = w.take<float>(c_blocks * patches.block);
    g = w.take<float>(plan.panels * gradients.block);
    u = w.take<float>((once ? parts : items) * u_floats);
    return w.take<float>(parts * plan.stage_floats());
  };
  Workspace measure(nullptr);
  float* unused[3];
  carve(measure, unused[0], unused[1], unused[2]);
  const Taps taps(*plan.k, dw, false);
  const std::size_t cleared = dw.physical_numel() != dw.numel() ? dw.bytes() : 0;
  return make_step(
      "winograd:channels",
      [=](void* const* in, void* const* out, void* workspace) {
        Workspace w(workspace);
        float *v = nullptr, *g = nullptr, *u = nullptr;
        float* const stages = carve(w, v, g, u);
        if (cleared != 0) std::memset(out[0], 0, cleared);
        for (std::int64_t t = 0; t < plan.tiles; t += block) {
          const std::int64_t count = std::min(block, plan.tiles - t);
          parallel_ranges(parts, count, 1, [&](std::int64_t begin, std::int64_t end) {
            plan.k->patches(plan.dtype, plan.x, in[0], t + begin, end - begin, at(patches, v, begin));
            plan.k->gradients(plan.dtype, plan.dy, in[1], t + begin, end - begin, at(gradients, g, begin));
          });
          parallel_parts(parts, [&](int part) {
            float* const staged = stages + part * plan.stage_floats();
            const Range r = part_of(items, part, parts);
            for (std::int64_t i = r.begin; i < r.end; ++i) {
              const std::int64_t b = i % c_blocks, p = i / c_blocks;
              float* const sums = u + (once ? part : i) * u_floats;
              if (t == 0) std::fill_n(sums, u_floats, 0.0f);
              plan.add(at(patches, v), b, c_block, at(gradients, g), p, count, sums, u_pitch);
              if (t + block < plan.tiles) continue;
              for (std::int64_t s = 0; s < c_block; s += kStage) {
                plan.k->tap_gradients(sums + s * plan.panel, u_pitch, kStage * plan.panel, staged);
                taps.scatter(staged, b * c_block + s, p * plan.panel, plan.panel, out[0]);
              }
            }
          });
        }
      },
      measure.used());
}

// Cycles of a core (measured on a Zen 5; what counts is how they compare): to evaluate a tile's pixels and
// its results for 16 channels, to evaluate 16 weights, and to multiply and add a vector. A direct convolution
// in bf16 adds two products at once.
constexpr double kPatchCycles = 225, kResultCycles = 180, kTapCycles = 130, kProductCycles = 0.53;

}  // namespace

Layout winograd_weight_layout() {
  Layout l;
  l.rank = 4;
  for (std::uint8_t i = 0; i < 4; ++i) l.order[i] = i;
  l.num_blocks = 2;
  l.blocks[0] = {1, kLanes};
  l.blocks[1] = {0, kLanes};
  return l;
}

double winograd_share(const Shape& x, const Shape& y, DType dtype) {
  const std::int64_t tiles =
      (y[2] + Grid::kTile - 1) / Grid::kTile * ((y[3] + Grid::kTile - 1) / Grid::kTile);
  const auto c = static_cast<double>(x[1]) / kLanes, o = static_cast<double>(y[1]) / kLanes;
  const auto number = static_cast<double>(y[0] * tiles), results = static_cast<double>(y[0] * y[2] * y[3]);
  const double pairs = c * o * kLanes;
  const bool halves = dtype == DType::BF16 && bfloat_conv_kernels() != nullptr;
  const double direct = results * kTaps * pairs * kProductCycles / (halves ? 2 : 1);
  const double here =
      number * (kPoints * pairs * kProductCycles + c * kPatchCycles + o * kResultCycles) + pairs * kTapCycles;
  return here / direct;
}

std::unique_ptr<Step> make_winograd(const WinogradProblem& q, int threads) {
  const WinogradKernels* k = winograd_kernels(cpu_level());
  if (k == nullptr || !image(q.from) || !image(q.to) || q.weight.shape[2] != 3 || q.weight.shape[3] != 3 ||
      (q.residual != nullptr && (!image(*q.residual) || q.residual->dtype != q.to.dtype)))
    return nullptr;
  Plan plan;
  plan.k = k;
  plan.dtype = q.from.dtype;
  plan.x = grid_of(q.from.shape, q.to.shape, q.top, q.left);
  plan.y = grid_of(q.to.shape, q.to.shape, 0, 0);
  plan.tiles = q.from.shape[0] * plan.x.rows * plan.x.columns;
  plan.c = q.from.shape[1];
  plan.panel = k->panel(q.to.shape[1]), plan.panels = q.to.shape[1] / plan.panel;
  plan.rows = k->rows(plan.panel);
  plan.taps_pitch = Grid::pitch_of(plan.c * plan.panel);
  plan.has_bias = q.has_bias, plan.has_residual = q.residual != nullptr, plan.relu = q.relu;
  const int parts = useful_threads(threads, q.to.numel() * plan.c);
  auto step = plan.panels * plan.taps_floats() * kFloat <= kSharedTaps ? by_tiles(plan, q, parts)
                                                                       : by_outputs(plan, q, parts);
  step->arithmetic = winograd_share(q.from.shape, q.to.shape, plan.dtype);
  return step;
}

std::unique_ptr<Step> make_winograd_grad_weight(const TensorType& x, const TensorType& dy,
                                                const TensorType& dw, std::int64_t top, std::int64_t left,
                                                int threads) {
  const WinogradKernels* k = winograd_kernels(cpu_level());
  if (k == nullptr || !image(x) || !image(dy) || dw.shape[2] != 3 || dw.shape[3] != 3) return nullptr;
  GradPlan plan;
  plan.k = k;
  plan.dtype = x.dtype;
  plan.x = grid_of(x.shape, dy.shape, top, left);
  plan.dy = grid_of(dy.shape, dy.shape, 0, 0);
  plan.tiles = x.shape[0] * plan.x.rows * plan.x.columns;
  plan.c = x.shape[1], plan.o = dy.shape[1];
  plan.panel = k->panel(plan.o), plan.panels = plan.o / plan.panel;
  const int parts = useful_threads(threads, dy.numel() * plan.c);
  auto step = kPoints * plan.c * plan.o * kFloat <= kSharedTaps / 2 ? gradient_by_tiles(plan, dw, parts)
                                                                    : gradient_by_channels(plan, dw, parts);
  step->arithmetic = winograd_share(x.shape, dy.shape, plan.dtype);
  return step;
}

}  // namespace ingot::cpu
