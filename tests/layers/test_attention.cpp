// MultiheadAttention and RMSNorm as layers: state-dict keys, initialisation, values and gradients of
// PyTorch's (tests/golden/op_multihead_attention.json) in compiled programs, and refusals.
#include "layers/attention.h"

#include <algorithm>
#include <cmath>

#include "core/autodiff/differentiate.h"
#include "core/ops/attention.h"
#include "core/ops/creation.h"
#include "core/ops/elementwise.h"
#include "core/ops/normalize.h"
#include "core/ops/reduce.h"
#include "core/runtime/interpreter.h"
#include "tests/layers/layer_run.h"
#include "tests/support/golden.h"

namespace ingot {
namespace {

using Keys = std::map<std::string, std::string>;

void expect_close(const Tensor& got, const Tensor& want, const std::string& what) {
  ASSERT_EQ(got.shape(), want.shape()) << what;
  for (std::int64_t i = 0; i < want.numel(); ++i)
    ASSERT_NEAR(got.get(i), want.get(i), 1e-5 * std::max(1.0, std::abs(want.get(i))))
        << what << ", element " << i;
}

// One case of the golden file as a program: y, and the gradients of sum(y cotangent).
void check_case(const golden::OpCase& c) {
  SCOPED_TRACE(c.title());
  MultiheadAttention attend("mha", c.attrs.integer("embed_dim"), c.attrs.integer("num_heads"),
                            {.bias = c.attrs.flag("bias"), .batch_first = c.attrs.flag("batch_first")});
  const auto operands = static_cast<std::size_t>(c.attrs.integer("operands"));
  const std::size_t first_parameter = operands + (c.attrs.flag("has_lengths") ? 1 : 0);
  std::vector<std::string> parameters{"in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"};
  if (!c.attrs.flag("bias")) parameters = {"in_proj_weight", "out_proj.weight"};
  ASSERT_EQ(c.inputs.size(), first_parameter + parameters.size());

  Graph g;
  std::vector<Value> in;
  for (std::size_t i = 0; i < operands; ++i)
    in.push_back(input(g, cat("x", i), {DType::F32, c.inputs[i].shape()}));
  MultiheadAttentionArgs args{.is_causal = c.attrs.flag("is_causal")};
  if (first_parameter > operands)
    args.lengths = input(g, "lengths", {DType::I32, c.inputs[operands].shape()});
  const Value y = operands == 1 ? attend(in[0], args) : attend(in[0], in[1], in[2], args);
  output("y", y);
  for (const std::string& p : parameters) in.emplace_back(g, g.find_state("mha." + p)->value);
  const Value loss = sum(mul(y, constant(g, c.cotangents[0].to(DType::F32))));
  const std::vector<Value> grads = differentiate(g, loss, in);
  for (std::size_t i = 0; i < grads.size(); ++i) output(cat("g", i), grads[i]);

  Session s(compile(g, {.target = Target::cpu(2)}));
  for (std::size_t i = 0; i < operands; ++i) s.input(cat("x", i)).copy_from(c.inputs[i].to(DType::F32));
  if (first_parameter > operands) s.input("lengths").copy_from(c.inputs[operands].to(DType::I32));
  for (std::size_t i = 0; i < parameters.size(); ++i)
    s.set_state("mha." + parameters[i], c.inputs[first_parameter + i].to(DType::F32));
  s.run();
  expect_close(s.output("y"), c.outputs[0], "y");
  for (std::size_t i = 0; i < grads.size(); ++i) {
    const std::size_t k = i < operands ? i : i - operands + first_parameter;
    expect_close(s.output(cat("g", i)), c.grads[k], cat("gradient of operand ", k));
  }
}

TEST(MultiheadAttention, IsPyTorchs) {
  const auto cases = golden::op_cases("multihead_attention");
  EXPECT_EQ(cases.size(), 6u);
  for (const golden::OpCase& c : cases) check_case(c);
}

double greatest(const Tensor& t) {
  double most = 0.0;
  for (std::int64_t i = 0; i < t.numel(); ++i) most = std::max(most, std::abs(t.get(i)));
  return most;
}

TEST(MultiheadAttention, KeysAndInitialisationArePyTorchs) {
  MultiheadAttention attend("mha", 24, 4);
  const TensorType x{DType::F32, {5, 2, 24}};
  EXPECT_EQ(keys_of(layer_graph(attend, x)), (Keys{{"mha.in_proj_weight", "f32[72, 24]"},
                                                   {"mha.in_proj_bias", "f32[72]"},
                                                   {"mha.out_proj.weight", "f32[24, 24]"},
                                                   {"mha.out_proj.bias", "f32[24]"}}));
  const LayerRun run(attend, x);
  // Xavier: sqrt(6 / (24 + 72)); a linear layer: 1 / sqrt(24).
  const double of_in = greatest(run.state("mha.in_proj_weight")),
               of_out = greatest(run.state("mha.out_proj.weight"));
  EXPECT_LE(of_in, 0.25);
  EXPECT_GT(of_in, 0.24);
  EXPECT_LE(of_out, 0.2042);
  EXPECT_GT(of_out, 0.19);
  EXPECT_EQ(greatest(run.state("mha.in_proj_bias")), 0.0);
  EXPECT_EQ(greatest(run.state("mha.out_proj.bias")), 0.0);
  MultiheadAttention bare("mha", 24, 4, {.bias = false});
  EXPECT_EQ(keys_of(layer_graph(bare, x)),
            (Keys{{"mha.in_proj_weight", "f32[72, 24]"}, {"mha.out_proj.weight", "f32[24, 24]"}}));
}

// No Tq x Tk matrix: four times the positions need four times the memory, not sixteen times.
TEST(MultiheadAttention, MemoryGrowsWithTheLength) {
  const auto arena = [](std::int64_t positions) {
    MultiheadAttention attend("mha", 8, 2, {.batch_first = true});
    Graph g;
    const Value x = input(g, "x", {DType::F32, {1, positions, 8}});
    const Value y = attend(x, {.is_causal = true});
    output("dx", differentiate(g, sum(square(y)), {{x}})[0]);
    return compile(g, {.target = Target::cpu(2)})->report().arena_bytes;
  };
  EXPECT_LT(arena(4096), 4.5 * static_cast<double>(arena(1024)));
}

TEST(MultiheadAttention, Refuses) {
  EXPECT_TRUE(says(message_of<UsageError>([] { MultiheadAttention("mha", 10, 4); }),
                   "MultiheadAttention 'mha': embed_dim 10 must be a multiple of num_heads 4"));
  EXPECT_THROW(MultiheadAttention("mha", 8, 0), UsageError);
  MultiheadAttention attend("mha", 8, 2);
  Graph g;
  const Value x = input(g, "x", {DType::F32, {3, 2, 8}}), other = input(g, "other", {DType::F32, {3, 2, 6}});
  EXPECT_REFUSED(ShapeError, HERE(attend(other)), "mha", "must be [T, B, 8], got [3, 2, 6]");
  EXPECT_REFUSED(ShapeError, HERE(attend(x, other, other)), "mha", "got [3, 2, 6]");
}

TEST(RMSNorm, ComputesRmsNorm) {
  RMSNorm norm("norm", {3, 4}, {.eps = 1e-3});
  const Tensor x = formula::unit("x", {2, 3, 4});
  LayerRun run(norm, x.type());
  EXPECT_EQ(keys_of(layer_graph(norm, x.type())), (Keys{{"norm.weight", "f32[3, 4]"}}));
  for (std::int64_t i = 0; i < 12; ++i) ASSERT_EQ(run.state("norm.weight").get(i), 1.0);
  const Tensor y = run.with_formula()(x);
  Graph g;
  output("y", rms_norm(input(g, "x", x.type()), {3, 4}, input(g, "w", {DType::F32, {3, 4}}), 1e-3));
  expect_close(y, evaluate(g, {{"x", x}, {"w", run.state("norm.weight")}}).outputs.at("y"), "y");
  RMSNorm bare("norm", {4}, {.elementwise_affine = false});
  EXPECT_EQ(keys_of(layer_graph(bare, x.type())), Keys{});
  Graph wrong;
  const Value five = input(wrong, "x", {DType::F32, {2, 5}});
  EXPECT_REFUSED(ShapeError, HERE(norm(five)), "norm", "the last axes of x must be [3, 4], got f32[2, 5]");
}

}  // namespace
}  // namespace ingot
