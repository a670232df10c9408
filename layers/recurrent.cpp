#include "layers/recurrent.h"

#include <utility>
#include <vector>

#include "core/ops/view.h"
#include "layers/detail/checks.h"
#include "layers/layers.h"

namespace ingot {

namespace {

// Layer k's state of one direction, [N, H], of all.
Value one_of(Value states, std::int64_t k) {
  return states.defined() ? reshape(slice(states, 0, k, k + 1), {states.dim(1), states.dim(2)}) : Value();
}

Value stacked(const std::vector<Value>& states) {
  std::vector<Value> rows;
  for (const Value& s : states) rows.push_back(unsqueeze(s, 0));
  return rows.size() == 1 ? rows[0] : concat(rows, 0);
}

}  // namespace

RecurrentLayer::RecurrentLayer(std::string_view type, std::string name, Cell cell, std::int64_t input_size,
                               std::int64_t hidden_size, const RecurrentLayerOptions& options)
    : Layer(std::move(name)),
      title_(detail::titled(type, this->name())),
      cell_(cell),
      input_(input_size),
      hidden_(hidden_size),
      options_(options) {
  detail::require_positive(title_, "input_size", input_);
  detail::require_positive(title_, "hidden_size", hidden_);
  detail::require_positive(title_, "num_layers", options_.num_layers);
  if (!(options_.dropout >= 0.0 && options_.dropout <= 1.0))
    throw UsageError(cat(title_, ": dropout must be a probability, got ", options_.dropout));
  if (options_.dropout > 0.0 && options_.num_layers == 1)
    throw UsageError(cat(title_, ": dropout ", options_.dropout,
                         " would do nothing: it comes between layers, and num_layers is 1"));
}

RecurrentWeights RecurrentLayer::weights(Graph& graph, std::int64_t layer, bool reverse) const {
  const std::int64_t gates = cell_ == Cell::Lstm ? 4 : cell_ == Cell::Gru ? 3 : 1, rows = gates * hidden_;
  const std::int64_t in = layer == 0 ? input_ : (options_.bidirectional ? 2 : 1) * hidden_;
  const Init init = detail::uniform_bound(hidden_);
  const auto make = [&](std::string_view what, const Shape& shape) {
    return parameter(graph, cat(what, "_l", layer, reverse ? "_reverse" : ""), {DType::F32, shape}, init);
  };
  RecurrentWeights w;
  w.w_ih = make("weight_ih", {rows, in});
  w.w_hh = make("weight_hh", {rows, hidden_});
  if (options_.bias) {
    w.b_ih = make("bias_ih", {rows});
    w.b_hh = make("bias_hh", {rows});
  }
  return w;
}

RecurrentLayer::Result RecurrentLayer::stack(Value x, const Start& start) const {
  if (x.rank() != 3 || x.dim(2) != input_)
    throw ShapeError(cat(title_, ": x must be ", options_.batch_first ? "[N, T, " : "[T, N, ", input_,
                         "], got ", to_string(x.type())));
  if (start.c0.defined() && cell_ != Cell::Lstm)
    throw UsageError(cat(title_, ": only an LSTM has a cell state c0"));
  const std::int64_t directions = options_.bidirectional ? 2 : 1;
  if (options_.batch_first) x = transpose(x, {1, 0, 2});
  const Shape states{options_.num_layers * directions, x.dim(1), hidden_};
  for (const Value& s : {start.h0, start.c0})
    if (s.defined() && !(s.shape() == states))
      throw ShapeError(
          cat(title_, ": first states must be ", to_string(states), ", got ", to_string(s.type())));
  std::vector<Value> h_n, c_n;
  for (std::int64_t layer = 0; layer < options_.num_layers; ++layer) {
    if (layer > 0 && options_.dropout > 0.0) x = Dropout("", options_.dropout)(x);
    std::vector<Value> sides;
    for (const bool reverse : {false, true}) {
      if (reverse && !options_.bidirectional) break;
      const std::int64_t k = layer * directions + (reverse ? 1 : 0);
      const RecurrentWeights w = weights(x.graph(), layer, reverse);
      const RecurrentOptions o{reverse, start.lengths};
      const Value h0 = one_of(start.h0, k);
      Recurrent r;
      if (cell_ == Cell::Lstm) {
        const Lstm l = lstm(x, w, h0, one_of(start.c0, k), o);
        r = {l.y, l.h_n};
        c_n.push_back(l.c_n);
      } else {
        r = cell_ == Cell::Gru ? gru(x, w, h0, o) : rnn(x, w, cell_ == Cell::Relu ? "relu" : "tanh", h0, o);
      }
      sides.push_back(r.y);
      h_n.push_back(r.h_n);
    }
    x = sides.size() == 1 ? sides[0] : concat(sides, 2);
  }
  Result result;
  result.y = options_.batch_first ? transpose(x, {1, 0, 2}) : x;
  result.h_n = stacked(h_n);
  if (cell_ == Cell::Lstm) result.c_n = stacked(c_n);
  return result;
}

Value RecurrentLayer::forward(Value x) {
  return stack(x, {}).y;
}

RecurrentLayer::Result RecurrentLayer::unroll(Value x, const Start& start, SourceLoc loc) {
  const Scope scope(x.graph(), name(), loc);
  try {
    return stack(x, start);
  } catch (Error& e) {
    e.add_context(scope_path(x.graph()), user_line(x.graph(), loc));
    throw;
  }
}

RNN::RNN(std::string name, std::int64_t input_size, std::int64_t hidden_size, RecurrentLayerOptions options,
         const std::string& nonlinearity)
    : RecurrentLayer("RNN", std::move(name),
                     ops::rnn_is_relu({.nonlinearity = nonlinearity}) ? Cell::Relu : Cell::Tanh, input_size,
                     hidden_size, options) {}

LSTM::LSTM(std::string name, std::int64_t input_size, std::int64_t hidden_size, RecurrentLayerOptions options)
    : RecurrentLayer("LSTM", std::move(name), Cell::Lstm, input_size, hidden_size, options) {}

GRU::GRU(std::string name, std::int64_t input_size, std::int64_t hidden_size, RecurrentLayerOptions options)
    : RecurrentLayer("GRU", std::move(name), Cell::Gru, input_size, hidden_size, options) {}

}  // namespace ingot
