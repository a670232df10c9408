#include "tests/support/cuda_sim/warp_math.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "tests/support/cuda_sim/access.h"
#include "tests/support/cuda_sim/engine.h"

namespace ingot::sim {

namespace {

bool is_there(const WarpOp& op, int lane) {
  return (op.arrived >> lane & 1u) != 0;
}

// __syncwarp: each lane now knows what every other lane of the mask knew and did.
void synchronise(const WarpOp& op, int warp_index) {
  Engine& e = engine();
  WarpState& warp = e.warp_of(warp_index * 32);
  warp.synchronised = true;
  std::uint32_t joined[32] = {};
  for (int lane = 0; lane < 32; ++lane)
    if (is_there(op, lane))
      for (int other = 0; other < 32; ++other)
        joined[other] = std::max(joined[other], warp.known[lane][other]);
  for (int lane = 0; lane < 32; ++lane)
    if (is_there(op, lane)) joined[lane] = ++e.state(warp_index * 32 + lane).clock;
  for (int lane = 0; lane < 32; ++lane)
    if (is_there(op, lane)) std::memcpy(warp.known[lane], joined, sizeof joined);
}

// The lane whose value `lane` receives (PTX ISA, shfl.sync); -1 keeps its own.
int source_lane(Shuffle kind, int lane, int parameter, int width) {
  const int first = lane & ~(width - 1), last = first + width - 1;
  switch (kind) {
    case Shuffle::Index:
      return first | (parameter & (width - 1));
    case Shuffle::Xor:
      return (lane ^ parameter) <= last ? lane ^ parameter : -1;
    case Shuffle::Up:
      return lane - parameter >= first ? lane - parameter : -1;
    case Shuffle::Down:
      return lane + parameter <= last ? lane + parameter : -1;
  }
  return -1;
}

void shuffle(WarpOp& op) {
  unsigned char old[32][16];
  for (int lane = 0; lane < 32; ++lane)
    if (is_there(op, lane)) std::memcpy(old[lane], op.lanes[lane]->value, op.lanes[lane]->bytes);
  for (int lane = 0; lane < 32; ++lane) {
    if (!is_there(op, lane)) continue;
    const LaneData& data = *op.lanes[lane];
    const int from = source_lane(static_cast<Shuffle>(op.variant), lane, data.parameter, data.width);
    if (from < 0) continue;
    if (from < 32 && is_there(op, from))
      std::memcpy(data.value, old[from], data.bytes);
    else
      std::memset(data.value, 0xFF, data.bytes);  // a lane that takes no part: undefined on a GPU
  }
}

void ballot(WarpOp& op) {
  unsigned votes = 0;
  for (int lane = 0; lane < 32; ++lane)
    if (is_there(op, lane) && op.lanes[lane]->parameter != 0) votes |= 1u << lane;
  for (int lane = 0; lane < 32; ++lane)
    if (is_there(op, lane)) std::memcpy(op.lanes[lane]->value, &votes, sizeof votes);
}

double f16_value(unsigned bits) {
  __half_raw raw;
  raw.x = static_cast<unsigned short>(bits);
  return static_cast<double>(__half2float(__half(raw)));
}

double bf16_value(unsigned bits) {
  return static_cast<double>(std::bit_cast<float>(bits << 16));
}

double tf32_value(unsigned bits) {
  return static_cast<double>(std::bit_cast<float>(bits & 0xffffe000u));
}

// Exact products, summed in double and rounded once: what the hardware's f32 accumulation approximates.
void multiply(WarpOp& op) {
  const auto kind = static_cast<MmaKind>(op.variant);
  const int depth = kind == MmaKind::TF32 ? 8 : 16;
  double a[16][16] = {}, b[16][8] = {};
  for (int lane = 0; lane < 32; ++lane) {
    const auto* const x = static_cast<const unsigned*>(op.lanes[lane]->first);
    const auto* const y = static_cast<const unsigned*>(op.lanes[lane]->second);
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; ++i) {
      const int row = g + 8 * (i % 2);
      if (kind == MmaKind::TF32) {
        a[row][t + 4 * (i / 2)] = tf32_value(x[i]);
        continue;
      }
      const auto value = kind == MmaKind::F16 ? f16_value : bf16_value;
      a[row][2 * t + 8 * (i / 2)] = value(x[i] & 0xffffu);
      a[row][2 * t + 8 * (i / 2) + 1] = value(x[i] >> 16);
    }
    for (int i = 0; i < 2; ++i) {
      if (kind == MmaKind::TF32) {
        b[t + 4 * i][g] = tf32_value(y[i]);
        continue;
      }
      const auto value = kind == MmaKind::F16 ? f16_value : bf16_value;
      b[2 * t + 8 * i][g] = value(y[i] & 0xffffu);
      b[2 * t + 8 * i + 1][g] = value(y[i] >> 16);
    }
  }
  for (int lane = 0; lane < 32; ++lane) {
    auto* const d = static_cast<float*>(op.lanes[lane]->value);
    for (int i = 0; i < 4; ++i) {
      const int row = lane / 4 + 8 * (i / 2), column = 2 * (lane % 4) + i % 2;
      double sum = static_cast<double>(d[i]);
      for (int k = 0; k < depth; ++k) sum += a[row][k] * b[k][column];
      d[i] = static_cast<float>(sum);
    }
  }
}

void load_matrices(WarpOp& op, int warp) {
  const int matrices = op.variant / 2;
  const bool transposed = op.variant % 2 != 0;
  unsigned short elements[4][8][8];
  for (int lane = 0; lane < 8 * matrices; ++lane) {
    const void* const row = op.lanes[lane]->first;
    if (engine().judging())
      judge_for(warp * 32 + lane, reinterpret_cast<std::uintptr_t>(row), 16, Access::Read,
                op.lanes[lane]->second);
    std::memcpy(elements[lane / 8][lane % 8], row, 16);
  }
  for (int lane = 0; lane < 32; ++lane) {
    auto* const r = static_cast<unsigned*>(op.lanes[lane]->value);
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < matrices; ++i) {
      const unsigned low = transposed ? elements[i][2 * t][g] : elements[i][g][2 * t];
      const unsigned high = transposed ? elements[i][2 * t + 1][g] : elements[i][g][2 * t + 1];
      r[i] = low | high << 16;
    }
  }
}

}  // namespace

void run_warp_op(WarpOp& op, int warp) {
  switch (op.kind) {
    case WarpKind::Barrier:
      return synchronise(op, warp);
    case WarpKind::Shuffle:
      return shuffle(op);
    case WarpKind::Ballot:
      return ballot(op);
    case WarpKind::Mma:
      return multiply(op);
    case WarpKind::LdMatrix:
      return load_matrices(op, warp);
  }
}

void land(const AsyncCopy& copy) {
  if (engine().judging()) {
    const auto from = reinterpret_cast<std::uintptr_t>(copy.global);
    if (copy.valid == copy.bytes)
      judge(from, static_cast<std::size_t>(copy.valid), Access::Read, copy.code);
    else
      for (int i = 0; i < copy.valid; ++i)
        judge(from + static_cast<std::uintptr_t>(i), 1, Access::Read, copy.code);
    judge(reinterpret_cast<std::uintptr_t>(copy.shared), static_cast<std::size_t>(copy.bytes), Access::Write,
          copy.code);
  }
  std::memset(copy.shared, 0, static_cast<std::size_t>(copy.bytes));
  std::memcpy(copy.shared, copy.global, static_cast<std::size_t>(copy.valid));
}

}  // namespace ingot::sim
