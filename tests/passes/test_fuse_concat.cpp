// The pass fuse-concat: which concatenations are not made, and that nothing but memory changes.
#include <cmath>

#include "core/runtime/session.h"
#include "models/densenet.h"
#include "optim/optimizer.h"
#include "tests/passes/pass_run.h"
#include "train/step_graph.h"

namespace ingot {
namespace {

constexpr std::string_view kOperands = R"(
%x = input "x" : f32[2, 3, 4, 4]
%z = input "z" : f32[2, 2, 4, 4]
%g = input "gamma" : f32[5]
%b = input "beta" : f32[5]
%m = input "mean" : f32[5]
%v = input "var" : f32[5]
%g8 = input "gamma8" : f32[8]
%dy = input "dy" : f32[2, 8, 4, 4]
%dc = input "dc" : f32[2, 5, 4, 4]
)";

bool always(const Graph&, const Node&) {
  return true;
}

// A layer's forward pass and gradient: c goes on to a second concatenation, whose gradient comes back.
constexpr std::string_view kForward = R"(
%c = concat(%x, %z) {axis=1} : f32[2, 5, 4, 4]
%y, %sm, %sr, %nm, %nv = batch_norm(%c, %g, %b, %m, %v) {eps=0.1, activation="relu"} : f32[2, 5, 4, 4], f32[5], f32[5], f32[5], f32[5]
%d = concat(%c, %x) {axis=1} : f32[2, 8, 4, 4]
%y8, %sm8, %sr8, %nm8, %nv8 = batch_norm(%d, %g8, %g8, %g8, %g8) {momentum=0.3} : f32[2, 8, 4, 4], f32[8], f32[8], f32[8], f32[8]
output "y" = %y
output "nv" = %nv
output "y8" = %y8
)";

TEST(FuseConcat, PiecesGoToBatchNorm) {
  const std::string before = cat(kOperands, kForward);
  EXPECT_EQ(run(fuse_concat, before, always), canonical(cat(kOperands, R"(
%y, %sm, %sr, %nm, %nv = concat_batch_norm(%g, %b, %m, %v, %x, %z) {eps=0.1, activation="relu"} : f32[2, 5, 4, 4], f32[5], f32[5], f32[5], f32[5]
%y8, %sm8, %sr8, %nm8, %nv8 = concat_batch_norm(%g8, %g8, %g8, %g8, %x, %z, %x) {momentum=0.3} : f32[2, 8, 4, 4], f32[8], f32[8], f32[8], f32[8]
output "y" = %y
output "nv" = %nv
output "y8" = %y8
)")));
  const auto never = [](const Graph&, const Node&) { return false; };
  EXPECT_EQ(run(fuse_concat, before, never), canonical(before));
  EXPECT_EQ(run(fuse_concat, before), canonical(before));
}

// In inference, after fold-batch-norm.
TEST(FuseConcat, PiecesGoToBatchNormWithGivenStatistics) {
  EXPECT_EQ(run(fuse_concat, cat(kOperands, R"(
%c = concat(%x, %z) {axis=1} : f32[2, 5, 4, 4]
%y = batch_norm_apply(%c, %g, %b, %m, %v) {activation="relu"} : f32[2, 5, 4, 4]
output "y" = %y
)"),
                always),
            canonical(cat(kOperands, R"(
%y = concat_batch_norm_apply(%g, %b, %m, %v, %x, %z) {activation="relu"} : f32[2, 5, 4, 4]
output "y" = %y
)")));
}

TEST(FuseConcat, GradientsComeInPiecesAndAreAddedInPieces) {
  const std::string before = cat(kOperands, R"(
%c = concat(%x, %z) {axis=1} : f32[2, 5, 4, 4]
%d = concat(%c, %x) {axis=1} : f32[2, 8, 4, 4]
%d8, %dg8, %db8 = batch_norm_grad(%dy, %d, %g8, %g8, %g8, %g8) {activation="relu", mask_from_x=true} : f32[2, 8, 4, 4], f32[8], f32[8]
%s = slice(%d8) {starts=[0, 0, 0, 0], ends=[2, 5, 4, 4], steps=[1, 1, 1, 1]} : f32[2, 5, 4, 4]
%t = slice(%d8) {starts=[0, 5, 0, 0], ends=[2, 8, 4, 4], steps=[1, 1, 1, 1]} : f32[2, 3, 4, 4]
%d5, %dg5, %db5 = batch_norm_grad(%dc, %c, %g, %m, %v) {eps=0.1} : f32[2, 5, 4, 4], f32[5], f32[5]
%sum = add(%s, %d5) : f32[2, 5, 4, 4]
%sx = slice(%sum) {starts=[0, 0, 0, 0], ends=[2, 3, 4, 4], steps=[1, 1, 1, 1]} : f32[2, 3, 4, 4]
%sz = slice(%sum) {starts=[0, 3, 0, 0], ends=[2, 5, 4, 4], steps=[1, 1, 1, 1]} : f32[2, 2, 4, 4]
output "t" = %t
output "sx" = %sx
output "sz" = %sz
output "dg5" = %dg5
)");
  EXPECT_EQ(run(fuse_concat, before, always), canonical(cat(kOperands, R"(
%dx, %dz, %t, %dg8, %db8 = concat_batch_norm_grad(%dy, %g8, %g8, %g8, %g8, %x, %z, %x) {activation="relu"} : f32[2, 3, 4, 4], f32[2, 2, 4, 4], f32[2, 3, 4, 4], f32[8], f32[8]
%sx, %sz, %dg5, %db5 = concat_batch_norm_grad(%dc, %g, %m, %v, %x, %z, %dx, %dz) {eps=0.1, has_added=true} : f32[2, 3, 4, 4], f32[2, 2, 4, 4], f32[5], f32[5]
output "t" = %t
output "sx" = %sx
output "sz" = %sz
output "dg5" = %dg5
)")));
}

// Whatever else reads a gradient in pieces reads it whole: here slices across pieces and another op.
TEST(FuseConcat, GradientsAreJoinedWhereTheyAreReadWhole) {
  const std::string text = run(fuse_concat, cat(kOperands, R"(
%c = concat(%x, %z) {axis=1} : f32[2, 5, 4, 4]
%d5, %dg5, %db5 = batch_norm_grad(%dc, %c, %g, %m, %v) : f32[2, 5, 4, 4], f32[5], f32[5]
%s = slice(%d5) {starts=[0, 1, 0, 0], ends=[2, 4, 4, 4], steps=[1, 1, 1, 1]} : f32[2, 3, 4, 4]
%n = neg(%d5) : f32[2, 5, 4, 4]
output "s" = %s
output "n" = %n
output "d5" = %d5
)"),
                               always);
  EXPECT_EQ(text, canonical(cat(kOperands, R"(
%dx, %dz, %dg5, %db5 = concat_batch_norm_grad(%dc, %g, %m, %v, %x, %z) : f32[2, 3, 4, 4], f32[2, 2, 4, 4], f32[5], f32[5]
%d5 = concat(%dx, %dz) {axis=1} : f32[2, 5, 4, 4]
%s = slice(%d5) {starts=[0, 1, 0, 0], ends=[2, 4, 4, 4], steps=[1, 1, 1, 1]} : f32[2, 3, 4, 4]
%n = neg(%d5) : f32[2, 5, 4, 4]
output "s" = %s
output "n" = %n
output "d5" = %d5
)")));
}

TEST(FuseConcat, StaysWhereAnotherReaderNeedsIt) {
  for (const char* reader :
       {"%r = neg(%c) : f32[2, 5, 4, 4]", "%r = concat(%c, %c) {axis=1} : f32[2, 10, 4, 4]",
        "%r = concat(%c, %c) {axis=0} : f32[4, 5, 4, 4]",
        // as the residual, and behind a mask of y's
        "%r, %1, %2, %3, %4 = batch_norm(%dc, %g, %b, %m, %v, %c) {has_residual=true} : f32[2, 5, 4, 4], "
        "f32[5], f32[5], f32[5], f32[5]",
        "%r, %1, %2 = batch_norm_grad(%dc, %c, %g, %m, %v, %dc) {activation=\"relu\"} : f32[2, 5, 4, 4], "
        "f32[5], f32[5]",
        "%r, %1, %2 = batch_norm_grad(%c, %c, %g, %m, %v) : f32[2, 5, 4, 4], f32[5], f32[5]"}) {
    const std::string before = cat(kOperands, R"(
%c = concat(%x, %z) {axis=1} : f32[2, 5, 4, 4]
%y, %sm, %sr, %nm, %nv = batch_norm(%c, %g, %b, %m, %v) : f32[2, 5, 4, 4], f32[5], f32[5], f32[5], f32[5]
)",
                                   reader, "\noutput \"y\" = %y\noutput \"r\" = %r\n");
    EXPECT_EQ(run(fuse_concat, before, always), canonical(before));
  }
  const std::string result = cat(kOperands, R"(
%c = concat(%x, %z) {axis=1} : f32[2, 5, 4, 4]
%y, %sm, %sr, %nm, %nv = batch_norm(%c, %g, %b, %m, %v) : f32[2, 5, 4, 4], f32[5], f32[5], f32[5], f32[5]
output "y" = %y
output "c" = %c
)");
  EXPECT_EQ(run(fuse_concat, result, always), canonical(result));
}

// Three steps of a small DenseNet: the same numbers, no concatenation and no slice left, and less memory.
TEST(FuseConcat, DenseNetTrainsTheSame) {
  for (const DType dtype : {DType::F32, DType::BF16}) {
    const auto net = make_densenet({.layers = {3, 4, 3, 2}, .growth = 16, .stem = 24}, 3, 10);
    const Graph g = training_graph(*net, {DType::F32, {6, 3, 64, 64}}, *sgd({.lr = 0.01, .momentum = 0.9}),
                                   {}, {.compute = dtype, .overrides = {}});
    const ProgramPtr fused = compile(g, {.target = Target::cpu(2)});
    const ProgramPtr plain = compile(g, {.target = Target::cpu(2), .skip_passes = {"fuse-concat"}});
    for (const Node& n : fused->graph().nodes()) {
      EXPECT_NE(n.op, "concat") << n.name;
      EXPECT_NE(n.op, "slice") << n.name;
    }
    EXPECT_LT(fused->report().total_bytes, plain->report().total_bytes);
    Session a(fused, {.seed = 5}), b(plain, {.seed = 5});
    // Batch norm's biases away from ReLU's kink, at which two orders of summing may take two sides.
    for (Session* s : {&a, &b})
      for (const auto& [name, t] : s->states())
        if (name.find("norm") != std::string::npos && name.ends_with(".bias"))
          s->set_state(name, Tensor::full(t.type(), 2.0));
    for (int step = 0; step < 3; ++step) {
      for (Session* s : {&a, &b}) {
        const Tensor x = s->input("x"), labels = s->input("labels");
        for (std::int64_t i = 0; i < x.numel(); ++i) x.set(i, std::sin(0.37 * static_cast<double>(i + step)));
        for (std::int64_t i = 0; i < labels.numel(); ++i) labels.set(i, static_cast<double>((i + step) % 10));
        s->input("valid_rows").set(0, step == 2 ? 4.0 : 6.0);
        s->run();
      }
      const double want = b.output("loss").item();
      EXPECT_NEAR(a.output("loss").item(), want, (dtype == DType::F32 ? 1e-5 : 1e-2) * want) << step;
    }
  }
}

}  // namespace
}  // namespace ingot
