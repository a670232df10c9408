// Random tensors and dropout: Philox words for a block of elements at a time, the same bits as the reference.
#include "core/ops/random.h"

#include <algorithm>

#include "core/base/philox.h"
#include "core/runtime/lowering.h"
#include "cpu/parallel.h"
#include "cpu/simd/row_kernels.h"

namespace ingot::cpu {

namespace {

constexpr std::int64_t kBlock = 1024;

bool plain(const TensorType& t, DType dtype) {
  return t.dtype == dtype && t.layout.canonical().is_row_major();
}

// piece(words, begin, n) for all of [0, total) in blocks; word i belongs to element begin + i.
template <class Piece>
void draw(const RowKernels& k, const void* state, std::int64_t stream, std::int64_t total, int parts,
          const Piece& piece) {
  const auto* s = static_cast<const std::int64_t*>(state);
  const auto key = static_cast<std::uint64_t>(s[0]);
  const std::uint64_t high = random_stream(s[1], stream);
  parallel_ranges(parts, total, kBlock, [&](std::int64_t begin, std::int64_t end) {
    std::uint32_t words[kBlock];
    for (; begin < end; begin += kBlock) {
      const std::int64_t n = std::min(kBlock, end - begin);
      k.philox(key, high, static_cast<std::uint64_t>(begin / 4), (n + 3) / 4, words);
      piece(words, begin, n);
    }
  });
}

std::unique_ptr<Step> lower_uniform(const Problem& p) {
  const auto& a = p.attrs<UniformAttrs>();
  if (!plain(p.out(), DType::F32)) return nullptr;
  const RowKernels& k = row_kernels(cpu_level());
  const std::int64_t total = p.out().numel(), stream = a.stream;
  const int parts = useful_threads(p.target.threads, 4 * total);
  const auto lo = static_cast<float>(a.lo), hi = static_cast<float>(a.hi);
  return make_step(cat("philox:", name(cpu_level())), [=, &k](void* const* in, void* const* out, void*) {
    auto* y = static_cast<float*>(out[0]);
    draw(k, in[0], stream, total, parts, [&](const std::uint32_t* words, std::int64_t begin, std::int64_t n) {
      for (std::int64_t i = 0; i < n; ++i) y[begin + i] = uniform_in<float>(words[i], lo, hi);
    });
  });
}

std::unique_ptr<Step> lower_normal(const Problem& p) {
  const auto& a = p.attrs<NormalAttrs>();
  if (!plain(p.out(), DType::F32)) return nullptr;
  const RowKernels& k = row_kernels(cpu_level());
  const std::int64_t total = p.out().numel(), stream = a.stream;
  const int parts = useful_threads(p.target.threads, 16 * total);
  const double mean = a.mean, stddev = a.stddev;
  return make_step(cat("philox:", name(cpu_level())), [=, &k](void* const* in, void* const* out, void*) {
    auto* y = static_cast<float*>(out[0]);
    draw(k, in[0], stream, total, parts, [&](const std::uint32_t* words, std::int64_t begin, std::int64_t n) {
      for (std::int64_t i = 0; i < n; i += 2) {
        double z[2];
        box_muller<double>(words[i], words[i + 1], z[0], z[1]);
        for (std::int64_t j = 0; j < 2 && i + j < n; ++j)
          y[begin + i + j] = static_cast<float>(mean + stddev * z[j]);
      }
    });
  });
}

std::unique_ptr<Step> lower_dropout(const Problem& p) {
  const auto& a = p.attrs<DropoutAttrs>();
  if (!plain(p.in(0), DType::F32) || !plain(p.out(0), DType::F32) || !plain(p.out(1), DType::Bool))
    return nullptr;
  const RowKernels& k = row_kernels(cpu_level());
  const std::int64_t total = p.out().numel(), stream = a.stream;
  const int parts = useful_threads(p.target.threads, 4 * total);
  const auto drop = static_cast<float>(a.p), scale = static_cast<float>(a.p < 1.0 ? 1.0 / (1.0 - a.p) : 0.0);
  return make_step(cat("philox:", name(cpu_level())),
                   [=, &k](void* const* in, void* const* out, void*) {
                     const auto* x = static_cast<const float*>(in[0]);
                     auto* y = static_cast<float*>(out[0]);
                     auto* keep = static_cast<std::uint8_t*>(out[1]);
                     draw(k, in[1], stream, total, parts,
                          [&](const std::uint32_t* words, std::int64_t begin, std::int64_t n) {
                            k.dropout(words, x + begin, n, drop, scale, y + begin, keep + begin);
                          });
                   },
                   0, {{0, 0}});
}

std::unique_ptr<Step> lower_dropout_grad(const Problem& p) {
  const double rate = p.attrs<DropoutGradAttrs>().p;
  if (!plain(p.in(0), DType::F32) || !plain(p.in(1), DType::Bool) || !plain(p.out(), DType::F32))
    return nullptr;
  const std::int64_t total = p.out().numel();
  const int parts = useful_threads(p.target.threads, total);
  const auto scale = static_cast<float>(rate < 1.0 ? 1.0 / (1.0 - rate) : 0.0);
  return make_step("mask",
                   [=](void* const* in, void* const* out, void*) {
                     const auto* dy = static_cast<const float*>(in[0]);
                     const auto* keep = static_cast<const std::uint8_t*>(in[1]);
                     auto* dx = static_cast<float*>(out[0]);
                     parallel_ranges(parts, total, 64, [&](std::int64_t begin, std::int64_t end) {
                       for (std::int64_t i = begin; i < end; ++i) {
                         const float kept = dy[i] * scale;
                         dx[i] = keep[i] != 0 ? kept : 0.0f;
                       }
                     });
                   },
                   0, {{0, 0}});
}

}  // namespace

void add_random(LoweringTable& table) {
  table.add("uniform", {.lower = lower_uniform});
  table.add("normal", {.lower = lower_normal});
  table.add("dropout", {.lower = lower_dropout});
  table.add("dropout_grad", {.lower = lower_dropout_grad});
}

}  // namespace ingot::cpu
