// Recurrent networks: LSTM (Hochreiter and Schmidhuber 1997), GRU (Cho et al., arXiv 1406.1078) and the plain
// RNN of Elman, with PyTorch's formulas, gate orders and padded sequences (torch.nn.LSTM, GRU, RNN; ONNX
// LSTM, GRU, RNN). One call is one layer in one direction; layers/recurrent.h stacks them.
//
//   lstm  i, f, g, o = sigmoid, sigmoid, tanh, sigmoid(W_ih x + b_ih + W_hh h + b_hh)
//         c' = f c + i g;  h' = o tanh(c')
//   gru   r, z = sigmoid(W_ih x + b_ih + W_hh h + b_hh);  n = tanh(W_in x + b_in + r (W_hn h + b_hn))
//         h' = (1 - z) n + z h
//   rnn   h' = tanh or relu(W_ih x + b_ih + W_hh h + b_hh)
//
// x[T, N, I] holds T steps of N sequences, weights are [G H, I] and [G H, H] with the G gates one after
// another in the order above, biases [G H], states [N, H]. `lengths` (i32[N]) says how many steps of each
// sequence count: those behind leave the state alone and y = 0; numbers outside [0, T] count as 0 and T. With
// `reverse` each sequence runs from its own last step to its first.
//
// The ops hold only what needs one step after another. What does not is ordinary nodes around them, which the
// functions append: the projection W_ih x of all T steps is one matmul, and so are the gradients of both
// weights and of x. So these run on each backend's fastest products and in the compute type of mixed
// precision, nobody computes the gradient of an x that is data, and a kernel for the ops is short:
//
//   lstm(p[T, N, 4H], w_hh, h0, c0, [lengths])
//       -> y[T, N, H], h_n, c_n, gates[T, N, 4H], cells[T, N, H]
//   gru(p[T, N, 3H], w_hh, b_hn[H], h0, [lengths])
//       -> y, h_n, gates[T, N, 4H]
//   rnn(p[T, N, H], w_hh, h0, [lengths])
//       -> y, h_n
//   lstm_grad(dy, dh_n, dc_n, w_hh, c0, gates, cells, [lengths])
//       -> dp, dh0, dc0
//   gru_grad(dy, dh_n, w_hh, h0, y, gates, [lengths])
//       -> dp, dr[T, N, 3H], dh0
//   rnn_grad(dy, dh_n, w_hh, y, [lengths])
//       -> dp, dh0
//
// p is the projection with the biases that may be added to it: all but b_hn, which r multiplies. gates are
// those after their functions, of gru r, z, n and W_hn h + b_hn; cells are c'. dr is the gradient of
// W_hh h + b_hh, which differs from dp in n. Everything a padded step leaves behind is 0. All floating
// operands are f32 (f64 for references): under mixed precision the recurrence stays f32, the products around
// it do not.
//
// Differentiable once. Cost: 2 T N G H^2 flops, as many for the gradient. Errors: ShapeError when ranks,
// dtypes or sizes do not fit, UsageError for an unknown nonlinearity.
//
//   const Lstm r = lstm(x, {w_ih, w_hh, b_ih, b_hh});                       // from states of zero
//   Value backwards = gru(x, weights, h0, {.reverse = true, .lengths = n}).y;
#pragma once

#include <string>

#include "core/op/builder.h"

namespace ingot {

struct RecurrentAttrs {
  bool reverse = false, has_lengths = false;
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("reverse", s.reverse);
    v("has_lengths", s.has_lengths);
  }
};

struct RnnAttrs {
  std::string nonlinearity = "tanh";  // or "relu"
  bool reverse = false, has_lengths = false;
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("nonlinearity", s.nonlinearity);
    v("reverse", s.reverse);
    v("has_lengths", s.has_lengths);
  }
};

struct RecurrentWeights {
  Value w_ih, w_hh;
  Value b_ih{}, b_hh{};  // both or none
};

struct RecurrentOptions {
  bool reverse = false;
  Value lengths{};  // i32[N]; none: all steps count
};

struct Recurrent {
  Value y, h_n;
};
struct Lstm {
  Value y, h_n, c_n;
};

// An undefined h0 or c0 is zeros.
Lstm lstm(Value x, const RecurrentWeights& weights, Value h0 = {}, Value c0 = {},
          const RecurrentOptions& options = {}, SourceLoc loc = SourceLoc::current());
Recurrent gru(Value x, const RecurrentWeights& weights, Value h0 = {}, const RecurrentOptions& options = {},
              SourceLoc loc = SourceLoc::current());
Recurrent rnn(Value x, const RecurrentWeights& weights, const std::string& nonlinearity = "tanh",
              Value h0 = {}, const RecurrentOptions& options = {}, SourceLoc loc = SourceLoc::current());

namespace ops {
// Whether a step's function is relu; throws UsageError for neither that nor tanh.
bool rnn_is_relu(const RnnAttrs& attrs);
}  // namespace ops

}  // namespace ingot
