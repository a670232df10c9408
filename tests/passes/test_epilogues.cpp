// What convolutions, products and batch norms take along: epilogues, their masks in the backward pass, and
// batch norm folded into a convolution.
#include "core/ops/conv.h"
#include "tests/passes/pass_run.h"

namespace ingot {
namespace {

TEST(Epilogues, ConvolutionTakesBiasResidualAndRelu) {
  EXPECT_EQ(run(fuse_epilogues, R"(
%x = input "x" : f32[2, 3, 5, 5]
%r = input "r" : f32[2, 4, 5, 5]
%w = state "w" : f32[4, 3, 3, 3] parameter uniform(-0.5, 0.5)
%b = state "b" : f32[4, 1, 1] parameter uniform(-0.5, 0.5)
%c = conv2d(%x, %w) {padding=[1, 1]} : f32[2, 4, 5, 5]
%d = add(%c, %b) : f32[2, 4, 5, 5]
%e = add(%r, %d) : f32[2, 4, 5, 5]
%f = relu(%e) : f32[2, 4, 5, 5]
output "y" = %f
)"),
            canonical(R"(
%x = input "x" : f32[2, 3, 5, 5]
%r = input "r" : f32[2, 4, 5, 5]
%w = state "w" : f32[4, 3, 3, 3] parameter uniform(-0.5, 0.5)
%b = state "b" : f32[4, 1, 1] parameter uniform(-0.5, 0.5)
%v = reshape(%b) {shape=[4]} : f32[4]
%f = conv2d(%x, %w, %v, %r) {padding=[1, 1], has_bias=true, has_residual=true, activation="relu"} : f32[2, 4, 5, 5]
output "y" = %f
)"));
}

TEST(Epilogues, AnOutputIsNotSwallowed) {
  const std::string text = canonical(R"(
%x = input "x" : f32[2, 3]
%w = state "w" : f32[3, 4] parameter uniform(-0.5, 0.5)
%m = matmul(%x, %w) : f32[2, 4]
%y = relu(%m) : f32[2, 4]
output "m" = %m
output "y" = %y
)");
  EXPECT_EQ(run(fuse_epilogues, text), text);
}

TEST(FoldBatchNorm, BecomesOneConvolution) {
  const Graph g = parse_graph(run(fold_batch_norm, R"(
%x = input "x" : f32[2, 3, 5, 5]
%w = state "w" : f32[4, 3, 3, 3] parameter uniform(-0.5, 0.5)
%g = state "g" : f32[4] parameter uniform(0.5, 1.5)
%b = state "b" : f32[4] parameter uniform(-0.5, 0.5)
%m = state "m" : f32[4] buffer uniform(-0.5, 0.5)
%v = state "v" : f32[4] buffer uniform(0.5, 1.5)
%c = conv2d(%x, %w) : f32[2, 4, 3, 3]
%y = batch_norm_infer(%c, %g, %b, %m, %v) : f32[2, 4, 3, 3]
output "y" = %y
)"));
  int convolutions = 0;
  for (const Node& n : g.nodes()) {
    EXPECT_NE(n.op, "batch_norm_infer");
    convolutions += n.op == "conv2d" ? 1 : 0;
  }
  EXPECT_EQ(convolutions, 1);
}

// The weight is folded in f32, before its cast.
TEST(FoldBatchNorm, ReachesThroughCasts) {
  const Graph before = parse_graph(R"(
%x = input "x" : bf16[2, 3, 5, 5]
%w = state "w" : f32[4, 3, 3, 3] parameter uniform(-0.5, 0.5)
%k = state "k" : f32[4] parameter uniform(-0.5, 0.5)
%g = state "g" : f32[4] parameter uniform(0.5, 1.5)
%b = state "b" : f32[4] parameter uniform(-0.5, 0.5)
%m = state "m" : f32[4] buffer uniform(-0.5, 0.5)
%v = state "v" : f32[4] buffer uniform(0.5, 1.5)
%wc = cast(%w) {dtype=bf16} : bf16[4, 3, 3, 3]
%kc = cast(%k) {dtype=bf16} : bf16[4]
%c = conv2d(%x, %wc, %kc) {has_bias=true} : bf16[2, 4, 3, 3]
%y = batch_norm_infer(%c, %g, %b, %m, %v) : bf16[2, 4, 3, 3]
output "y" = %y
)");
  PassContext context;
  const Graph after = fold_batch_norm(before, context);
  verify(after);
  int casts = 0;
  for (const Node& n : after.nodes()) {
    EXPECT_NE(n.op, "batch_norm_infer");
    if (n.op == "mul") {
      EXPECT_EQ(after.type(n.outputs[0]).dtype, DType::F32);
    }
    casts += n.op == "cast";
  }
  EXPECT_EQ(casts, 2);
}

// Before its convolution, as in DenseNet, there is nothing to fold it into: it takes the ReLU, with the root
// computed once. Not where the variance moves from step to step.
TEST(FoldBatchNorm, WithoutConvolutionItTakesEpilogues) {
  constexpr std::string_view kGraph = R"(
%x = input "x" : f32[2, 4, 3, 3]
%g = state "g" : f32[4] parameter uniform(0.5, 1.5)
%b = state "b" : f32[4] parameter uniform(-0.5, 0.5)
%m = state "m" : f32[4] buffer uniform(-0.5, 0.5)
%v = state "v" : f32[4] buffer uniform(0.5, 1.5)
%y = batch_norm_infer(%x, %g, %b, %m, %v) {eps=0.01} : f32[2, 4, 3, 3]
%z = relu(%y) : f32[2, 4, 3, 3]
output "z" = %z
)";
  const std::string folded = run(fold_batch_norm, kGraph);
  EXPECT_EQ(run(fuse_epilogues, folded), canonical(R"(
%x = input "x" : f32[2, 4, 3, 3]
%g = state "g" : f32[4] parameter uniform(0.5, 1.5)
%b = state "b" : f32[4] parameter uniform(-0.5, 0.5)
%m = state "m" : f32[4] buffer uniform(-0.5, 0.5)
%v = state "v" : f32[4] buffer uniform(0.5, 1.5)
%e = full() {value=0.01, shape=[]} : f32[]
%s = add(%v, %e) : f32[4]
%r = rsqrt(%s) : f32[4]
%z = batch_norm_apply(%x, %g, %b, %m, %r) {activation="relu"} : f32[2, 4, 3, 3]
output "z" = %z
)"));
  const std::string moving = cat(kGraph, "%n = add(%v, %v) : f32[4]\nupdate %v = %n\n");
  EXPECT_EQ(run(fold_batch_norm, moving), canonical(moving));
}

// The ReLU mask of the incoming gradient moves into batch_norm_grad, which hands the masked gradient on.
TEST(Epilogues, BatchNormGradientTakesTheMask) {
  const Graph g = parse_graph(run(fuse_epilogues, R"(
%x = input "x" : f32[4, 3, 2, 2]
%r = input "r" : f32[4, 3, 2, 2]
%dz = input "dz" : f32[4, 3, 2, 2]
%g = state "g" : f32[3] parameter uniform(0.5, 1.5)
%b = state "b" : f32[3] parameter uniform(-0.5, 0.5)
%m = state "m" : f32[3] buffer constant(0)
%v = state "v" : f32[3] buffer constant(1)
%zero = full() {value=0, shape=[]} : f32[]
%y, %mean, %rstd, %nm, %nv = batch_norm(%x, %g, %b, %m, %v) : f32[4, 3, 2, 2], f32[3], f32[3], f32[3], f32[3]
%s = add(%y, %r) : f32[4, 3, 2, 2]
%z = relu(%s) : f32[4, 3, 2, 2]
%le = le(%z, %zero) : bool[4, 3, 2, 2]
%dy = where(%le, %zero, %dz) : f32[4, 3, 2, 2]
%dx, %dg, %db = batch_norm_grad(%dy, %x, %g, %mean, %rstd) : f32[4, 3, 2, 2], f32[3], f32[3]
%dr = neg(%dy) : f32[4, 3, 2, 2]
output "z" = %z
output "dx" = %dx
output "dr" = %dr
update %m = %nm
update %v = %nv
)"));
  std::map<std::string, int> count;
  for (const Node& n : g.nodes()) ++count[n.op];
  EXPECT_EQ(count["where"], 0);
  EXPECT_EQ(count["relu"], 0);
  EXPECT_EQ(count["add"], 0);
  EXPECT_EQ(count["batch_norm_grad"], 1);
}

// ReLU6 as the layer writes it; its gradient's masks look at v, or what became of it.
constexpr std::string_view kRelu6 = R"(
%x = input "x" : f32[4, 3, 2, 2]
%dz = input "dz" : f32[4, 3, 2, 2]
%g = state "g" : f32[3] parameter uniform(3, 5)
%b = state "b" : f32[3] parameter uniform(2, 5)
%m = state "m" : f32[3] buffer constant(0)
%v = state "v" : f32[3] buffer constant(1)
%zero = full() {value=0, shape=[]} : f32[]
%six = full() {value=6, shape=[]} : f32[]
%y, %mean, %rstd, %nm, %nv = batch_norm(%x, %g, %b, %m, %v) : f32[4, 3, 2, 2], f32[3], f32[3], f32[3], f32[3]
%ge = ge(%y, %six) : bool[4, 3, 2, 2]
%r = relu(%y) : f32[4, 3, 2, 2]
%z = where(%ge, %six, %r) : f32[4, 3, 2, 2]
)";

TEST(Epilogues, BatchNormTakesRelu6AndItsMask) {
  EXPECT_EQ(run(fuse_epilogues, cat(kRelu6, R"(
%le = le(%r, %zero) : bool[4, 3, 2, 2]
%d1 = where(%ge, %zero, %dz) : f32[4, 3, 2, 2]
%dy = where(%le, %zero, %d1) : f32[4, 3, 2, 2]
%dx, %dg, %db = batch_norm_grad(%dy, %x, %g, %mean, %rstd) : f32[4, 3, 2, 2], f32[3], f32[3]
output "z" = %z
output "dx" = %dx
update %m = %nm
)")),
            canonical(R"(
%x = input "x" : f32[4, 3, 2, 2]
%dz = input "dz" : f32[4, 3, 2, 2]
%g = state "g" : f32[3] parameter uniform(3, 5)
%b = state "b" : f32[3] parameter uniform(2, 5)
%m = state "m" : f32[3] buffer constant(0)
%v = state "v" : f32[3] buffer constant(1)
%z, %mean, %rstd, %nm, %nv = batch_norm(%x, %g, %b, %m, %v) {activation="relu6"} : f32[4, 3, 2, 2], f32[3], f32[3], f32[3], f32[3]
%dx, %dg, %db = batch_norm_grad(%dz, %x, %g, %mean, %rstd, %b) {activation="relu6", mask_from_x=true} : f32[4, 3, 2, 2], f32[3], f32[3]
output "z" = %z
output "dx" = %dx
update %m = %nm
)"));
}

// Masks whose gradient goes elsewhere look at the fused node's result.
TEST(Epilogues, MasksOfRelu6LookAtItsResult) {
  const std::string text = run(fuse_epilogues, cat(kRelu6, R"(
%le = le(%r, %zero) : bool[4, 3, 2, 2]
%d1 = where(%ge, %zero, %dz) : f32[4, 3, 2, 2]
%dy = where(%le, %zero, %d1) : f32[4, 3, 2, 2]
output "z" = %z
output "dy" = %dy
)"));
  EXPECT_NE(text.find("relu6"), std::string::npos) << text;
  EXPECT_EQ(text.find("= relu("), std::string::npos) << text;
  EXPECT_EQ(text.find("batch_norm_grad"), std::string::npos) << text;
}

// Half of the masks is not the mask of ReLU6.
TEST(Epilogues, BatchNormGradientWantsBothMasksOfRelu6) {
  for (const char* dy : {"%dy = where(%le, %zero, %dz)", "%dy = where(%ge, %zero, %dz)"}) {
    const std::string text =
        run(fuse_epilogues, cat(kRelu6, "%le = le(%r, %zero) : bool[4, 3, 2, 2]\n", dy, R"( : f32[4, 3, 2, 2]
%dx, %dg, %db = batch_norm_grad(%dy, %x, %g, %mean, %rstd) : f32[4, 3, 2, 2], f32[3], f32[3]
output "z" = %z
output "dx" = %dx
)"));
    EXPECT_NE(text.find("relu6"), std::string::npos) << text;
    EXPECT_EQ(text.find("mask_from_x"), std::string::npos) << text;
  }
}

// Another bound, and readers that need what is not there any more.
TEST(Epilogues, WhatOnlyLooksLikeRelu6) {
  const auto fused = [](std::string text) {
    return run(fuse_epilogues, text).find("relu6") != std::string::npos;
  };
  const std::string z = "output \"z\" = %z\n";
  EXPECT_TRUE(fused(cat(kRelu6, z)));
  EXPECT_FALSE(fused(cat(kRelu6, z, "output \"r\" = %r\n")));
  EXPECT_FALSE(fused(cat(kRelu6, z, "output \"y\" = %y\n")));
  EXPECT_FALSE(fused(cat(kRelu6, "%n = neg(%r) : f32[4, 3, 2, 2]\noutput \"n\" = %n\n", z)));
  std::string five(kRelu6);
  five.replace(five.find("value=6"), 7, "value=5");
  EXPECT_FALSE(fused(five + z));
  std::string early(kRelu6);
  early.insert(early.find("%z ="), "%c = cast(%ge) {dtype=f32} : f32[4, 3, 2, 2]\n");
  EXPECT_FALSE(fused(early + "output \"c\" = %c\n" + z));
}

// A convolution takes what the backend's kernel for it takes, a product ReLU alone.
TEST(Epilogues, ConvolutionsAskTheBackend) {
  const std::string head = R"(
%x = input "x" : f32[2, 3, 5, 5]
%w = state "w" : f32[4, 3, 3, 3] parameter uniform(-0.5, 0.5)
%b = state "b" : f32[4] parameter uniform(-0.5, 0.5)
%six = full() {value=6, shape=[]} : f32[]
%c = conv2d(%x, %w, %b) {has_bias=true} : f32[2, 4, 3, 3]
)";
  const std::string relu6 = head + R"(
%ge = ge(%c, %six) : bool[2, 4, 3, 3]
%r = relu(%c) : f32[2, 4, 3, 3]
%y = where(%ge, %six, %r) : f32[2, 4, 3, 3]
output "y" = %y
)",
                    silu = head + "%y = silu(%c) : f32[2, 4, 3, 3]\noutput \"y\" = %y\n";
  std::vector<std::string> asked;
  const auto answer = [&](bool yes) {
    return [&asked, yes](const Graph&, const Node& n) {
      asked.push_back(n.attrs.as<Conv2dAttrs>().activation);
      return yes;
    };
  };
  EXPECT_NE(run(fuse_epilogues, relu6, answer(true)).find("activation=\"relu6\""), std::string::npos);
  EXPECT_NE(run(fuse_epilogues, silu, answer(true)).find("activation=\"silu\""), std::string::npos);
  EXPECT_EQ(std::set(asked.begin(), asked.end()), (std::set<std::string>{"relu6", "silu"}));
  for (const std::string& text : {relu6, silu}) {
    EXPECT_EQ(run(fuse_epilogues, text, answer(false)).find("activation"), std::string::npos);
    EXPECT_EQ(run(fuse_epilogues, text).find("activation"), std::string::npos);
  }
}

// A sum of two gradients, masked or not, becomes two operands; one that somebody else reads stays.
TEST(Epilogues, BatchNormGradientTakesTheSum) {
  const auto counts = [](const char* tail) {
    const Graph g = parse_graph(run(fuse_epilogues, std::string(R"(
%x = input "x" : f32[4, 3, 2, 2]
%d1 = input "d1" : f32[4, 3, 2, 2]
%d2 = input "d2" : f32[4, 3, 2, 2]
%g = state "g" : f32[3] parameter uniform(0.5, 1.5)
%b = state "b" : f32[3] parameter uniform(-0.5, 0.5)
%m = state "m" : f32[3] buffer constant(0)
%v = state "v" : f32[3] buffer constant(1)
%zero = full() {value=0, shape=[]} : f32[]
%y, %mean, %rstd, %nm, %nv = batch_norm(%x, %g, %b, %m, %v) : f32[4, 3, 2, 2], f32[3], f32[3], f32[3], f32[3]
%z = relu(%y) : f32[4, 3, 2, 2]
%s = add(%d1, %d2) : f32[4, 3, 2, 2]
%le = le(%z, %zero) : bool[4, 3, 2, 2]
%dy = where(%le, %zero, %s) : f32[4, 3, 2, 2]
)") + tail));
    std::map<std::string, int> count;
    for (const Node& n : g.nodes()) {
      ++count[n.op];
      if (n.op == "batch_norm_grad") count["operands"] = static_cast<int>(n.inputs.size());
    }
    return count;
  };
  auto masked = counts(R"(
%dx, %dg, %db = batch_norm_grad(%dy, %x, %g, %mean, %rstd) : f32[4, 3, 2, 2], f32[3], f32[3]
output "z" = %z
output "dx" = %dx
)");
  EXPECT_EQ(masked["add"], 0);
  EXPECT_EQ(masked["where"], 0);
  EXPECT_EQ(masked["operands"], 7);  // with beta, whose mask is x's, and dy2
  auto plain = counts(R"(
%dx, %dg, %db = batch_norm_grad(%s, %x, %g, %mean, %rstd) : f32[4, 3, 2, 2], f32[3], f32[3]
output "z" = %z
output "dx" = %dx
)");
  EXPECT_EQ(plain["add"], 0);
  EXPECT_EQ(plain["operands"], 6);
  auto read = counts(R"(
%dx, %dg, %db = batch_norm_grad(%dy, %x, %g, %mean, %rstd) : f32[4, 3, 2, 2], f32[3], f32[3]
output "z" = %z
output "dx" = %dx
output "s" = %s
)");
  EXPECT_EQ(read["add"], 1);
  EXPECT_EQ(read["operands"], 6);
}

}  // namespace
}  // namespace ingot
