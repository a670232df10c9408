// Recurrent layers with PyTorch's names, arguments, defaults, state-dict keys and initialisation: RNN, LSTM
// and GRU, stacked and in both directions (core/ops/recurrent.h has the formulas).
//
//   LSTM lstm{"lstm", 32, 64, {.num_layers = 2, .bidirectional = true}};
//   Value y = lstm(x);                                     // x: f32[T, N, 32] -> f32[T, N, 128]
//   LSTM::Result r = lstm.unroll(x, {.lengths = lengths}); // y and the last states h_n, c_n: f32[4, N, 64]
//
// Called like any layer they start from states of zero and give the output alone, so that they fit in a
// Sequential; unroll() takes first states and lengths and gives the last states too. `lengths` (i32[N]) is
// what pack_padded_sequence is for in PyTorch, in any order: padded steps give 0 and leave the states alone,
// and the reverse direction starts at each sequence's own end.
//
// Parameters of layer k: weight_ih_lk[G H, in], weight_hh_lk[G H, H], bias_ih_lk[G H], bias_hh_lk[G H], those
// of the reverse direction with "_reverse" behind; G is 1, 4 and 3. Layers above the first take H, or 2 H, as
// in.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/ops/recurrent.h"
#include "layers/module.h"

namespace ingot {

struct RecurrentLayerOptions {
  std::int64_t num_layers = 1;
  bool bias = true;
  bool batch_first = false;  // x and y are [N, T, ...]; states never
  double dropout = 0.0;      // of the output of each layer but the last, in training
  bool bidirectional = false;
};

// Where a layer starts; what is left out is zeros, and lengths of T.
struct RecurrentStart {
  Value h0{}, c0{};  // [layers directions, N, H]; c0 of LSTM only
  Value lengths{};   // i32[N]
};

struct RecurrentResult {
  Value y;           // [T, N, directions H]
  Value h_n, c_n{};  // [layers directions, N, H]; c_n of LSTM only
};

// What all of them are; a class of its own says which cell.
class RecurrentLayer : public Layer {
 public:
  using Start = RecurrentStart;
  using Result = RecurrentResult;
  Result unroll(Value x, const Start& start = {}, SourceLoc loc = SourceLoc::current());

 protected:
  enum class Cell : std::uint8_t { Tanh, Relu, Lstm, Gru };
  RecurrentLayer(std::string_view type, std::string name, Cell cell, std::int64_t input_size,
                 std::int64_t hidden_size, const RecurrentLayerOptions& options);
  Value forward(Value x) override;

 private:
  Result stack(Value x, const Start& start) const;
  RecurrentWeights weights(Graph& graph, std::int64_t layer, bool reverse) const;

  std::string title_;
  Cell cell_;
  std::int64_t input_, hidden_;
  RecurrentLayerOptions options_;
};

class RNN : public RecurrentLayer {
 public:
  // nonlinearity: "tanh" or "relu".
  RNN(std::string name, std::int64_t input_size, std::int64_t hidden_size, RecurrentLayerOptions options = {},
      const std::string& nonlinearity = "tanh");
};

class LSTM : public RecurrentLayer {
 public:
  LSTM(std::string name, std::int64_t input_size, std::int64_t hidden_size,
       RecurrentLayerOptions options = {});
};

class GRU : public RecurrentLayer {
 public:
  GRU(std::string name, std::int64_t input_size, std::int64_t hidden_size,
      RecurrentLayerOptions options = {});
};

}  // namespace ingot
