// Recurrent networks: for each time step a product with w_hh and one kernel for what follows it, all recorded
// in the run's graph. The states lie in the results h_n and c_n, those of the gradients in dh0 and dc0, which
// the product adds to in place. The products of all steps at once are nodes of their own.
#include "core/ops/recurrent.h"

#include "cuda/base/memory.h"
#include "cuda/kernels/matmul.h"
#include "cuda/kernels/recurrent.h"
#include "cuda/ops/launch_step.h"
#include "cuda/ops/operands.h"

namespace ingot::cuda {

namespace {

struct Layer {
  RecurrentCell cell = RecurrentCell::Lstm;
  std::int64_t gates = 1, steps = 0, rows = 0, units = 0;
  bool reverse = false, allow_tf32 = false;
  int lengths = -1;  // operand

  std::int64_t state() const { return rows * units; }
  std::size_t state_bytes() const { return static_cast<std::size_t>(state()) * sizeof(float); }
  RecurrentSizes sizes(void* const* in, std::int64_t t) const {
    return {rows, units, lengths < 0 ? nullptr : static_cast<const std::int32_t*>(in[lengths]), t};
  }
  // The step that comes k-th, in the order of time.
  std::int64_t at(std::int64_t k) const { return reverse ? steps - 1 - k : k; }
  // sums[N, G H] = h w_hh^T, and dh[N, H] += dr[N, G H] w_hh.
  MatmulProblem forward() const {
    return {.m = rows, .n = gates * units, .k = units, .transpose_b = true, .allow_tf32 = allow_tf32};
  }
  MatmulProblem backward() const {
    return {.m = rows, .n = units, .k = gates * units, .allow_tf32 = allow_tf32};
  }
};

std::size_t up_to_64(std::size_t bytes) {
  return (bytes + 63) / 64 * 64;
}

// `sequence` has the type [T, N, H]. Nothing for what the kernels do not take.
std::optional<Layer> layer_of(const Problem& p, const TensorType& sequence, int fixed) {
  if (sequence.dtype != DType::F32 || !all_plain(p)) return std::nullopt;
  Layer l;
  const auto set = [&](RecurrentCell cell, std::int64_t gates, bool reverse, bool has_lengths) {
    l.cell = cell, l.gates = gates, l.reverse = reverse;
    if (has_lengths) l.lengths = fixed;
  };
  if (p.node.op.starts_with("rnn")) {
    const auto& a = p.attrs<RnnAttrs>();
    set(ops::rnn_is_relu(a) ? RecurrentCell::Relu : RecurrentCell::Tanh, 1, a.reverse, a.has_lengths);
  } else {
    const auto& a = p.attrs<RecurrentAttrs>();
    const bool lstm = p.node.op.starts_with("lstm");
    set(lstm ? RecurrentCell::Lstm : RecurrentCell::Gru, lstm ? 4 : 3, a.reverse, a.has_lengths);
  }
  l.steps = sequence.shape[0], l.rows = sequence.shape[1], l.units = sequence.shape[2];
  l.allow_tf32 = p.target.allow_tf32;
  return l;
}

const float* read(const void* from, std::int64_t element = 0) {
  return static_cast<const float*>(from) + element;
}
float* written(void* to, std::int64_t element = 0) {
  return static_cast<float*>(to) + element;
}

std::unique_ptr<Step> lower_forward(const Problem& p) {
  const bool lstm = p.node.op == "lstm", gru = p.node.op == "gru";
  const auto found = layer_of(p, p.out(0), lstm || gru ? 4 : 3);
  if (!found) return nullptr;
  const Layer& l = *found;
  const std::size_t sums_bytes = up_to_64(static_cast<std::size_t>(l.gates) * l.state_bytes());
  return launch_step(
      p.node.op,
      [l, lstm, gru, sums_bytes](void* const* in, void* const* out, void* workspace, const Stream& stream) {
        copy_on_device(out[1], in[gru ? 3 : 2], l.state_bytes(), stream);
        if (lstm) copy_on_device(out[2], in[3], l.state_bytes(), stream);
        float* const sums = written(workspace);
        for (std::int64_t k = 0; k < l.steps; ++k) {
          const std::int64_t t = l.at(k), at = t * l.state();
          matmul(l.forward(), out[1], in[1], sums, {}, static_cast<std::byte*>(workspace) + sums_bytes,
                 stream);
          RecurrentStep s{.projection = read(in[0], l.gates * at),
                          .sums = sums,
                          .h = written(out[1]),
                          .y = written(out[0], at)};
          if (lstm) {
            s.c = written(out[2]);
            s.gates = written(out[3], 4 * at);
            s.cells = written(out[4], at);
          }
          if (gru) {
            s.b_hn = read(in[2]);
            s.gates = written(out[2], 4 * at);
          }
          recurrent_step(l.cell, l.sizes(in, t), s, stream);
        }
      },
      sums_bytes + matmul_workspace(l.forward()));
}

std::unique_ptr<Step> lower_backward(const Problem& p) {
  const bool lstm = p.node.op == "lstm_grad", gru = p.node.op == "gru_grad";
  const auto found = layer_of(p, p.in(0), lstm ? 7 : gru ? 6 : 4);
  if (!found) return nullptr;
  const Layer& l = *found;
  return launch_step(
      p.node.op,
      [l, lstm, gru](void* const* in, void* const* out, void* workspace, const Stream& stream) {
        void* const dh = out[gru ? 2 : 1];
        copy_on_device(dh, in[1], l.state_bytes(), stream);
        if (lstm) copy_on_device(out[2], in[2], l.state_bytes(), stream);
        for (std::int64_t k = l.steps - 1; k >= 0; --k) {
          const std::int64_t t = l.at(k), at = t * l.state();
          RecurrentGradStep s{.dy = read(in[0], at), .dh = written(dh), .dp = written(out[0], l.gates * at)};
          if (lstm) {
            s.gates = read(in[5], 4 * at);
            s.cells = read(in[6], at);
            s.before = k == 0 ? read(in[4]) : read(in[6], l.at(k - 1) * l.state());
            s.dc = written(out[2]);
          } else if (gru) {
            s.gates = read(in[5], 4 * at);
            s.before = k == 0 ? read(in[3]) : read(in[4], l.at(k - 1) * l.state());
            s.dr = written(out[1], 3 * at);
          } else {
            s.y = read(in[3], at);
          }
          // Sequences start from their own ends, which may be any step's.
          if (l.reverse && l.lengths >= 0 && (lstm || gru)) s.first = read(in[lstm ? 4 : 3]);
          recurrent_grad_step(l.cell, l.sizes(in, t), s, stream);
          matmul(l.backward(), gru ? s.dr : s.dp, in[lstm ? 3 : 2], dh, {.residual = dh}, workspace, stream);
        }
      },
      matmul_workspace(l.backward()));
}

}  // namespace

void add_recurrent(LoweringTable& table) {
  for (const char* op : {"lstm", "gru", "rnn"}) table.add(op, {.lower = lower_forward});
  for (const char* op : {"lstm_grad", "gru_grad", "rnn_grad"}) table.add(op, {.lower = lower_backward});
}

}  // namespace ingot::cuda
