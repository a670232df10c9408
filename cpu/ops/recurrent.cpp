// Recurrent networks: each thread takes some sequences from their first step to their last, so that no thread
// waits for another between steps; one tile of a step's product with w_hh becomes gates and states before the
// next (cpu/simd/recurrent_kernels.h). w_hh is packed once a call.
#include "core/ops/recurrent.h"

#include <algorithm>
#include <cstring>

#include "core/runtime/lowering.h"
#include "cpu/parallel.h"
#include "cpu/simd/recurrent_kernels.h"
#include "cpu/workspace.h"

namespace ingot::cpu {

namespace {

enum class Cell : std::uint8_t { Lstm, Gru, Rnn };

struct Layer {
  Cell cell = Cell::Lstm;
  std::int64_t gates = 1, steps = 0, rows = 0, units = 0;
  bool reverse = false, relu = false;
  int lengths = -1;  // operand
  int parts = 1;

  // The step that comes k-th, in the order of time.
  std::int64_t at(std::int64_t k) const { return reverse ? steps - 1 - k : k; }
  const std::int32_t* lengths_of(void* const* in, std::int64_t row) const {
    return lengths < 0 ? nullptr : static_cast<const std::int32_t*>(in[lengths]) + row;
  }
  // Sequences start or end at steps of their own, so that y does not hold the state everywhere.
  bool ragged() const { return lengths >= 0; }
};

// `sequence` has the type [T, N, H]. Nothing for what the kernels do not take.
std::optional<Layer> layer_of(const Problem& p, const TensorType& sequence, int fixed) {
  if (sequence.dtype != DType::F32) return std::nullopt;
  for (int i = 0; i < p.num_inputs(); ++i)
    if (!p.in(i).layout.canonical().is_row_major()) return std::nullopt;
  for (int i = 0; i < p.num_outputs(); ++i)
    if (!p.out(i).layout.canonical().is_row_major()) return std::nullopt;
  Layer l;
  bool has_lengths = false;
  if (p.node.op.starts_with("rnn")) {
    const auto& a = p.attrs<RnnAttrs>();
    l.cell = Cell::Rnn, l.gates = 1, l.relu = ops::rnn_is_relu(a);
    l.reverse = a.reverse, has_lengths = a.has_lengths;
  } else {
    const auto& a = p.attrs<RecurrentAttrs>();
    const bool lstm = p.node.op.starts_with("lstm");
    l.cell = lstm ? Cell::Lstm : Cell::Gru, l.gates = lstm ? 4 : 3;
    l.reverse = a.reverse, has_lengths = a.has_lengths;
  }
  if (has_lengths) l.lengths = fixed;
  l.steps = sequence.shape[0], l.rows = sequence.shape[1], l.units = sequence.shape[2];
  const RecurrentKernels& k = recurrent_kernels(cpu_level());
  const int work = useful_threads(p.target.threads, sequence.numel() * l.gates * l.units / 16);
  l.parts = static_cast<int>(std::clamp<std::int64_t>(l.rows / k.rows, 1, work));
  return l;
}

// f(first row, rows) on every thread.
template <class F>
void for_rows(const Layer& l, const F& f) {
  parallel_ranges(l.parts, l.rows, 1, [&](std::int64_t begin, std::int64_t end) { f(begin, end - begin); });
}

const float* read(const void* from, std::int64_t element) {
  return static_cast<const float*>(from) + element;
}
float* written(void* to, std::int64_t element) {
  return static_cast<float*>(to) + element;
}
void copy(float* to, const float* from, std::int64_t floats) {
  std::memcpy(to, from, static_cast<std::size_t>(floats) * sizeof(float));
}

struct ForwardMemory {
  float *packed, *states;  // states: two of [N, H], of ragged sequences
  static ForwardMemory carve(Workspace& w, const Layer& l) {
    const RecurrentKernels& k = recurrent_kernels(cpu_level());
    ForwardMemory m{};
    m.packed = w.take<float>(k.packed_floats(l.units, l.gates, l.units));
    if (l.ragged()) m.states = w.take<float>(2 * l.rows * l.units);
    return m;
  }
};

void run_forward(const Layer& l, const RecurrentKernels& k, void* const* in, void* const* out,
                 void* workspace) {
  Workspace w(workspace);
  const ForwardMemory m = ForwardMemory::carve(w, l);
  const bool lstm = l.cell == Cell::Lstm, gru = l.cell == Cell::Gru;
  const void* const h0 = in[gru ? 3 : 2];
  const std::int64_t H = l.units, state = l.rows * H;
  k.pack({static_cast<const float*>(in[1]), H, l.gates, H, H, 1}, m.packed);
  for_rows(l, [&](std::int64_t row, std::int64_t rows) {
    const std::int64_t from = row * H;
    RecurrentForward s{.rows = rows, .units = H, .weights = m.packed, .lengths = l.lengths_of(in, row)};
    s.relu = l.relu;
    if (gru) s.b_hn = read(in[2], 0);
    if (lstm) {
      s.c = written(out[2], from);
      copy(s.c, read(in[3], from), rows * H);
    }
    const float* before = read(h0, from);
    for (std::int64_t i = 0; i < l.steps; ++i) {
      const std::int64_t t = l.at(i), at = t * state + from;
      s.step = t;
      s.before = before;
      s.projection = read(in[0], l.gates * at);
      s.y = written(out[0], at);
      if (l.ragged()) s.after = m.states + (i % 2) * state + from;
      if (lstm) s.cells = written(out[4], at);
      if (lstm || gru) s.gates = written(out[lstm ? 3 : 2], 4 * at);
      (lstm ? k.lstm : gru ? k.gru : k.rnn)(s);
      before = l.ragged() ? s.after : s.y;
    }
    copy(written(out[1], from), before, rows * H);
  });
}

void run_backward(const Layer& l, const RecurrentKernels& k, void* const* in, void* const* out,
                  void* workspace) {
  const bool lstm = l.cell == Cell::Lstm, gru = l.cell == Cell::Gru;
  const std::int64_t H = l.units, state = l.rows * H, width = l.gates * H;
  const void* const first = lstm ? in[4] : gru ? in[3] : nullptr;   // c0, h0
  const void* const states = lstm ? in[6] : gru ? in[4] : nullptr;  // cells, y
  auto* const packed = static_cast<float*>(workspace);
  k.pack({static_cast<const float*>(in[lstm ? 3 : 2]), width, 1, H, 1, H}, packed);
  for_rows(l, [&](std::int64_t row, std::int64_t rows) {
    const std::int64_t from = row * H;
    RecurrentBackward s{.rows = rows, .units = H, .lengths = l.lengths_of(in, row)};
    s.relu = l.relu;
    s.dh = written(out[gru ? 2 : 1], from);
    copy(s.dh, read(in[1], from), rows * H);
    if (lstm) {
      s.dc = written(out[2], from);
      copy(s.dc, read(in[2], from), rows * H);
    }
    if (first != nullptr && l.reverse && l.ragged()) s.first = read(first, from);
    for (std::int64_t i = l.steps - 1; i >= 0; --i) {
      const std::int64_t t = l.at(i), at = t * state + from;
      s.step = t;
      s.dy = read(in[0], at);
      s.dp = written(out[0], l.gates * at);
      if (gru) s.dr = written(out[1], 3 * at);
      if (lstm) s.cells = read(in[6], at);
      if (first == nullptr)
        s.y = s.before = read(in[3], at);
      else
        s.gates = read(in[5], 4 * at);
      if (first != nullptr) s.before = i == 0 ? read(first, from) : read(states, l.at(i - 1) * state + from);
      (lstm ? k.lstm_grad : gru ? k.gru_grad : k.rnn_grad)(s);
      k.add_product(gru ? s.dr : s.dp, rows, width, packed, s.dh, H);
    }
  });
}

std::unique_ptr<Step> lower_forward(const Problem& p) {
  const auto l = layer_of(p, p.out(0), p.node.op == "rnn" ? 3 : 4);
  if (!l) return nullptr;
  Workspace sizes(nullptr);
  ForwardMemory::carve(sizes, *l);
  return make_step(
      "recurrent",
      [l = *l, &k = recurrent_kernels(cpu_level())](void* const* in, void* const* out, void* workspace) {
        run_forward(l, k, in, out, workspace);
      },
      sizes.used());
}

std::unique_ptr<Step> lower_backward(const Problem& p) {
  const auto l = layer_of(p, p.in(0), p.node.op == "lstm_grad" ? 7 : p.node.op == "gru_grad" ? 6 : 4);
  if (!l) return nullptr;
  const RecurrentKernels& k = recurrent_kernels(cpu_level());
  const auto bytes =
      static_cast<std::size_t>(k.packed_floats(l->gates * l->units, 1, l->units)) * sizeof(float);
  return make_step(
      "recurrent",
      [l = *l, &k](void* const* in, void* const* out, void* workspace) {
        run_backward(l, k, in, out, workspace);
      },
      bytes);
}

}  // namespace

void add_recurrent(LoweringTable& table) {
  for (const char* op : {"lstm", "gru", "rnn"}) table.add(op, {.lower = lower_forward});
  for (const char* op : {"lstm_grad", "gru_grad", "rnn_grad"}) table.add(op, {.lower = lower_backward});
}

}  // namespace ingot::cpu
