#include "core/ops/recurrent.h"
#include "tests/support/op_case.h"

namespace ingot {

INGOT_OP_CASES(recurrent) {
  struct Problem {
    std::string name;
    std::int64_t steps, rows, units;
    bool reverse = false;
    std::vector<double> lengths = {};
    double tolerance = 1e-5;
  };
  // 16 units fill vectors, others do not; seven rows are more than a tile of them. Lengths of nothing and
  // beyond the end are cut.
  const std::vector<Problem> all{
      {"plain", 4, 3, 5},
      {"reverse", 4, 3, 5, true},
      {"one_step", 1, 3, 4},
      {"one_step_reverse", 1, 2, 4, true},
      {"one_row", 5, 1, 6},
      {"vectors", 3, 7, 16},
      {"lengths", 4, 4, 5, false, {4, 1, 3, 2}},
      {"lengths_reverse", 4, 4, 5, true, {4, 1, 3, 2}},
      {"lengths_cut", 3, 3, 20, true, {0, 2, 9}},
      {"many_units", 2, 9, 37, false, {2, 1, 2, 1, 1, 2, 2, 1, 2}},
  };
  for (const Problem& p : all) {
    const Shape y{p.steps, p.rows, p.units}, state{p.rows, p.units};
    const auto sequence = [&](std::int64_t gates) { return Shape{p.steps, p.rows, gates * p.units}; };
    const auto weight = [&](std::int64_t gates) { return uniform({gates * p.units, p.units}, -0.6, 0.6); };
    const auto with_lengths = [&](std::vector<test::InputSpec> in) {
      if (!p.lengths.empty()) in.push_back(values({p.rows}, p.lengths, DType::I32));
      return in;
    };
    const auto gates = [&] { return uniform(sequence(4), 0.05, 0.95); };
    const RecurrentAttrs at{p.reverse, !p.lengths.empty()};

    add({.op = "lstm",
         .name = p.name,
         .attrs = at,
         .inputs = with_lengths({uniform(sequence(4)), weight(4), uniform(state), uniform(state)}),
         .shapes = {y, state, state, sequence(4), y},
         .loss_outputs = {0, 1, 2}});
    add({.op = "lstm_grad",
         .name = p.name,
         .attrs = at,
         .inputs = with_lengths(
             {uniform(y), uniform(state), uniform(state), weight(4), uniform(state), gates(), uniform(y)}),
         .shapes = {sequence(4), state, state}});

    add({.op = "gru",
         .name = p.name,
         .attrs = at,
         .inputs = with_lengths({uniform(sequence(3)), weight(3), uniform({p.units}), uniform(state)}),
         .shapes = {y, state, sequence(4)},
         .loss_outputs = {0, 1}});
    add({.op = "gru_grad",
         .name = p.name,
         .attrs = at,
         .inputs = with_lengths({uniform(y), uniform(state), weight(3), uniform(state), uniform(y), gates()}),
         .shapes = {sequence(3), sequence(3), state}});

    for (const std::string nonlinearity : {"tanh", "relu"}) {
      const bool relu = nonlinearity == "relu";
      const RnnAttrs rnn{nonlinearity, p.reverse, !p.lengths.empty()};
      add({.op = "rnn",
           .name = p.name + "_" + nonlinearity,
           .attrs = rnn,
           .inputs = with_lengths({uniform(sequence(1)), weight(1), uniform(state)}),
           .shapes = {y, state},
           .loss_outputs = {0, 1}});
      add({.op = "rnn_grad",
           .name = p.name + "_" + nonlinearity,
           .attrs = rnn,
           .inputs = with_lengths(
               {uniform(y), uniform(state), weight(1), uniform(y, relu ? -1.0 : -0.9, relu ? 1.0 : 0.9)}),
           .shapes = {y, state}});
    }
  }

  // One unit, weights of 0: i, f, o = 1/2 and g = tanh(p), so c' = c / 2 + g / 2.
  add({.op = "lstm",
       .name = "values",
       .inputs = {values({2, 1, 4}, {0, 0, 0, 0, 0, 0, 20, 0}), values({4, 1}, {0}), values({1, 1}, {7}),
                  values({1, 1}, {1})},
       .expected = {{0.23105857863, 0.31757447619}, {0.31757447619}, {0.75}, {}, {0.5, 0.75}},
       .gradient = false});
  // r, z = 1/2: h' = tanh(p + b / 2) / 2 + h / 2.
  add({.op = "gru",
       .name = "values",
       .inputs = {values({2, 1, 3}, {0, 0, -1, 0, 0, 20}), values({3, 1}, {0}), values({1}, {2}),
                  values({1, 1}, {1})},
       .expected = {{0.5, 0.75}, {0.75}, {0.5, 0.5, 0, 2, 0.5, 0.5, 1, 2}},
       .gradient = false});
  // h' = relu(p + 2 h), from the second step of two back; the padded row keeps its state.
  add({.op = "rnn",
       .name = "values",
       .attrs = RnnAttrs{"relu", true, true},
       .inputs = {values({2, 2, 1}, {1, 9, -3, 9}), values({1, 1}, {2}), values({2, 1}, {2, 5}),
                  values({2}, {2, 0}, DType::I32)},
       .expected = {{3, 0, 1, 0}, {3, 5}},
       .gradient = false});

  add_error({.op = "lstm",
             .name = "gates",
             .inputs = {f32({2, 3, 10}), f32({4, 1}), f32({3, 1}), f32({3, 1})},
             .message = "must be a multiple of its 4 gates"});
  add_error({.op = "lstm",
             .name = "half",
             .inputs = {{DType::BF16, {2, 3, 4}}, f32({4, 1}), f32({3, 1}), f32({3, 1})},
             .message = "the projection must be f32, in which the states are carried, got bf16"});
  add_error({.op = "lstm",
             .name = "weight",
             .inputs = {f32({2, 3, 8}), f32({8, 3}), f32({3, 2}), f32({3, 2})},
             .message = "w_hh must have shape [8, 2]"});
  add_error({.op = "lstm",
             .name = "cell",
             .inputs = {f32({2, 3, 8}), f32({8, 2}), f32({3, 2}), f32({3, 1})},
             .message = "c0 must have shape [3, 2]"});
  add_error({.op = "lstm",
             .name = "lengths_missing",
             .attrs = RecurrentAttrs{false, true},
             .inputs = {f32({2, 3, 8}), f32({8, 2}), f32({3, 2}), f32({3, 2})},
             .message = "expects 5 operands"});
  add_error({.op = "gru",
             .name = "lengths_type",
             .attrs = RecurrentAttrs{false, true},
             .inputs = {f32({2, 3, 6}), f32({6, 2}), f32({2}), f32({3, 2}), i64({3})},
             .message = "lengths must be i32, got i64"});
  add_error({.op = "gru",
             .name = "bias",
             .inputs = {f32({2, 3, 6}), f32({6, 2}), f32({6}), f32({3, 2})},
             .message = "b_hn must have shape [2]"});
  add_error({.op = "rnn",
             .name = "nonlinearity",
             .attrs = RnnAttrs{"gelu"},
             .inputs = {f32({2, 3, 2}), f32({2, 2}), f32({3, 2})},
             .message = "nonlinearity must be tanh or relu, got 'gelu'"});
  add_error({.op = "rnn",
             .name = "rank",
             .inputs = {f32({2, 3}), f32({3, 3}), f32({2, 3})},
             .message = "the projection [T, N, 1 H] must have rank 3"});
  add_error({.op = "rnn",
             .name = "empty",
             .inputs = {f32({0, 3, 2}), f32({2, 2}), f32({3, 2})},
             .message = "is empty"});
  add_error({.op = "lstm_grad",
             .name = "gates",
             .inputs = {f32({2, 3, 2}), f32({3, 2}), f32({3, 2}), f32({8, 2}), f32({3, 2}), f32({2, 3, 6}),
                        f32({2, 3, 2})},
             .message = "gates must have shape [2, 3, 8]"});
  add_error(
      {.op = "gru_grad",
       .name = "state",
       .inputs = {f32({2, 3, 2}), f32({3, 1}), f32({6, 2}), f32({3, 2}), f32({2, 3, 2}), f32({2, 3, 8})},
       .message = "dh_n must have shape [3, 2]"});
  add_error({.op = "rnn_grad",
             .name = "y",
             .inputs = {f32({2, 3, 2}), f32({3, 2}), f32({2, 2}), f32({2, 2, 2})},
             .message = "y must have shape [2, 3, 2]"});
}

}  // namespace ingot
