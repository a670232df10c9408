#include "core/ops/attention.h"
#include "tests/support/op_case.h"

namespace ingot {

INGOT_OP_CASES(attention) {
  struct Problem {
    std::string name;
    Shape q, k, v;
    AttentionAttrs attrs{};
    std::vector<double> lengths{};
  };
  // Kernels go through rows and keys in tiles of 64 to 128; sizes on both sides of that, and with a rest.
  const std::vector<Problem> all{
      {"plain", {2, 2, 5, 8}, {2, 2, 6, 8}, {2, 2, 6, 4}},
      {"causal", {1, 2, 7, 6}, {1, 2, 7, 6}, {1, 2, 7, 5}, {.causal = true}},
      {"causal_more_keys", {1, 1, 4, 8}, {1, 1, 9, 8}, {1, 1, 9, 8}, {.causal = true}},
      {"causal_more_rows", {1, 1, 9, 8}, {1, 1, 4, 8}, {1, 1, 4, 8}, {.causal = true}},
      {"scale", {1, 1, 3, 4}, {1, 1, 5, 4}, {1, 1, 5, 3}, {.scale = 0.75}},
      {"grouped", {2, 6, 3, 5}, {2, 2, 4, 5}, {2, 2, 4, 7}, {.causal = true}},
      {"one_head_of_keys", {1, 4, 3, 8}, {1, 1, 5, 8}, {1, 1, 5, 8}},
      {"lengths", {4, 2, 3, 4}, {4, 2, 5, 4}, {4, 2, 5, 6}, {.has_lengths = true}, {5, 0, 2, 9}},
      {"lengths_causal",
       {3, 1, 5, 4},
       {3, 1, 5, 4},
       {3, 1, 5, 4},
       {.causal = true, .has_lengths = true},
       {-1, 3, 5}},
      {"one_row", {2, 4, 1, 16}, {2, 2, 37, 16}, {2, 2, 37, 16}, {.has_lengths = true}, {37, 20}},
      {"one_key", {1, 1, 3, 4}, {1, 1, 1, 4}, {1, 1, 1, 4}},
      {"tiles", {1, 1, 131, 4}, {1, 1, 140, 4}, {1, 1, 140, 8}},
      {"tiles_causal", {1, 2, 130, 8}, {1, 1, 131, 8}, {1, 1, 131, 3}, {.causal = true}},
      {"tiles_lengths", {2, 1, 66, 4}, {2, 1, 150, 4}, {2, 1, 150, 4}, {.has_lengths = true}, {129, 64}},
      // Enough work for two threads, which share one head's keys.
      {"shared_head", {1, 1, 70, 64}, {1, 1, 140, 64}, {1, 1, 140, 64}},
      {"deep", {1, 1, 3, 70}, {1, 1, 5, 70}, {1, 1, 5, 131}},
  };
  for (const Problem& p : all) {
    const Shape y{p.q[0], p.q[1], p.q[2], p.v[3]}, lse{p.q[0], p.q[1], p.q[2]};
    std::vector<test::InputSpec> operands{uniform(p.q, -1.5, 1.5), uniform(p.k, -1.5, 1.5), uniform(p.v)};
    std::vector<test::InputSpec> of_grad{uniform(y),  operands[0], operands[1],
                                         operands[2], uniform(y),  uniform(lse, 2.0, 3.0)};
    if (p.attrs.has_lengths) {
      operands.push_back(values({p.q[0]}, p.lengths, DType::I32));
      of_grad.push_back(operands.back());
    }
    add({.op = "attention", .name = p.name, .attrs = p.attrs, .inputs = operands, .shapes = {y, lse}});
    // Any y and lse will do, not only those that belong to the operands; the weights then add up to more
    // than 1.
    add({.op = "attention_grad",
         .name = p.name,
         .attrs = p.attrs,
         .inputs = of_grad,
         .shapes = {p.q, p.k, p.v},
         .tolerance = 5e-5});
  }
  // Scores 0 and log 3 give weights 1/4 and 3/4.
  add({.op = "attention",
       .name = "values",
       .attrs = AttentionAttrs{.scale = 1.0},
       .inputs = {values({1, 1, 1, 2}, {1.0986122886681098, 5}), values({1, 1, 2, 2}, {0, 0, 1, 0}),
                  values({1, 1, 2, 2}, {4, 8, 12, 0})},
       .expected = {{10, 2}, {1.3862943611198906}}});
  // Scores far from 0: the maximum is taken off before any exponential.
  add({.op = "attention",
       .name = "large_scores",
       .attrs = AttentionAttrs{.scale = 1.0},
       .inputs = {uniform({1, 1, 4, 2}, 95, 105), uniform({1, 1, 70, 2}, -1, 1), uniform({1, 1, 70, 2})},
       .tolerance = 2e-4,  // f32 holds scores of 200 to 1.5e-5
       .gradient = false});

  const auto refuse = [&](std::string name, AttentionAttrs attrs, std::vector<TensorType> inputs,
                          std::string message) {
    add_error({.op = "attention",
               .name = std::move(name),
               .attrs = attrs,
               .inputs = std::move(inputs),
               .message = std::move(message)});
  };
  const TensorType q = f32({2, 4, 3, 8}), k = f32({2, 2, 5, 8}), v = f32({2, 2, 5, 6});
  refuse("rank", {}, {f32({4, 3, 8}), k, v}, "q [B, Hq, Tq, D] must have rank 4");
  refuse("depth", {}, {f32({2, 4, 3, 7}), k, v}, "must agree in B and D");
  refuse("heads", {}, {f32({2, 3, 3, 8}), k, v},
         "the 3 heads of q [2, 3, 3, 8] must be a multiple of the 2 heads");
  refuse("values", {}, {q, k, f32({2, 2, 4, 6})}, "must agree in B, Hk and Tk");
  refuse("type", {}, {q, k, {DType::F16, {2, 2, 5, 6}}}, "v [B, Hk, Tk, Dv] (as q) must be f32, got f16");
  refuse("floating", {}, {i32({2, 4, 3, 8}), k, v}, "q must be floating");
  refuse("scale", {.scale = -1.0}, {q, k, v}, "scale must be greater than 0");
  refuse("no_lengths", {.has_lengths = true}, {q, k, v}, "expects 4 operands (q, k, v, [lengths])");
  refuse("lengths_type", {.has_lengths = true}, {q, k, v, i64({2})}, "lengths must be i32, got i64");
  refuse("lengths_shape", {.has_lengths = true}, {q, k, v, i32({3})},
         "lengths (one number per sample) must have shape [2]");
  const TensorType y = f32({2, 4, 3, 6});
  add_error({.op = "attention_grad",
             .name = "dy",
             .inputs = {f32({2, 4, 3, 8}), q, k, v, y, f32({2, 4, 3})},
             .message = "dy (as y) must have shape [2, 4, 3, 6]"});
  add_error({.op = "attention_grad",
             .name = "lse",
             .inputs = {y, q, k, v, y, f32({2, 4, 3, 1})},
             .message = "lse (one number per row of q) must have shape [2, 4, 3]"});
  add_error({.op = "attention_grad",
             .name = "lse_type",
             .inputs = {y, q, k, v, y, {DType::F16, {2, 4, 3}}},
             .message = "lse must be f32, got f16"});
}

}  // namespace ingot
