// The pass fuse-sums: which sums a convolution makes, and where it must not.
#include "core/base/error.h"
#include "tests/passes/pass_run.h"

namespace ingot {
namespace {

constexpr std::string_view kStats = R"(
%x = input "x" : f32[2, 3, 4, 4]
%w = input "w" : f32[5, 3, 1, 1]
%g = input "gamma" : f32[5]
%b = input "beta" : f32[5]
%m = input "mean" : f32[5]
%v = input "var" : f32[5]
)";

bool always(const Graph&, const Node&) {
  return true;
}

TEST(FuseSums, StatisticsComeFromTheConvolution) {
  const std::string before = cat(kStats, R"(
%r = input "r" : f32[2, 5, 4, 4]
%c = conv2d(%x, %w) : f32[2, 5, 4, 4]
%y, %sm, %sr, %nm, %nv = batch_norm(%c, %g, %b, %m, %v, %r) {momentum=0.3, has_residual=true, activation="relu"} : f32[2, 5, 4, 4], f32[5], f32[5], f32[5], f32[5]
%d = neg(%c) : f32[2, 5, 4, 4]
output "y" = %y
output "nm" = %nm
output "nv" = %nv
output "d" = %d
)");
  EXPECT_EQ(run(fuse_sums, before, always), canonical(cat(kStats, R"(
%r = input "r" : f32[2, 5, 4, 4]
%c, %s, %q = conv2d_sums(%x, %w) : f32[2, 5, 4, 4], f32[5], f32[5]
%sm, %sr, %nm, %nv = batch_norm_statistics(%s, %q, %m, %v) {rows=2, pixels=16, momentum=0.3} : f32[5], f32[5], f32[5], f32[5]
%y = batch_norm_apply(%c, %g, %b, %sm, %sr, %r) {has_residual=true, activation="relu"} : f32[2, 5, 4, 4]
%d = neg(%c) : f32[2, 5, 4, 4]
output "y" = %y
output "nm" = %nm
output "nv" = %nv
output "d" = %d
)")));
  // Where the backend has nothing better, and without a backend.
  const auto never = [](const Graph&, const Node&) { return false; };
  EXPECT_EQ(run(fuse_sums, before, never), canonical(before));
  EXPECT_EQ(run(fuse_sums, before), canonical(before));
}

// Rows that do not count are summed too: the first convolution's may be anything, the second's are 0.
TEST(FuseSums, OnlyWhereRowsThatDoNotCountAreZero) {
  const std::string text = run(fuse_sums, cat(kStats, R"(
%u = input "u" : f32[3, 5, 1, 1]
%g2 = input "gamma2" : f32[3]
%n = input "valid" : i32[]
%c = conv2d(%x, %w) : f32[2, 5, 4, 4]
%y, %sm, %sr, %nm, %nv = batch_norm(%c, %g, %b, %m, %v, %n) {has_valid=true} : f32[2, 5, 4, 4], f32[5], f32[5], f32[5], f32[5]
%z = relu(%y) : f32[2, 5, 4, 4]
%c2 = conv2d(%z, %u) : f32[2, 3, 4, 4]
%y2, %sm2, %sr2, %nm2, %nv2 = batch_norm(%c2, %g2, %g2, %g2, %g2, %n) {has_valid=true} : f32[2, 3, 4, 4], f32[3], f32[3], f32[3], f32[3]
output "y" = %y2
)"),
                               always);
  EXPECT_NE(text.find("= conv2d(%0, %1) : f32[2, 5"), std::string::npos) << text;
  EXPECT_NE(text.find("{has_valid=true} : f32[2, 5"), std::string::npos) << text;
  EXPECT_NE(text.find("= conv2d_sums("), std::string::npos) << text;
  EXPECT_NE(text.find("{rows=2, pixels=16, has_valid=true}"), std::string::npos) << text;
}

// Each sum is looked at once, not once for each way that leads to it.
TEST(FuseSums, SumsOfSums) {
  std::string graph = cat(kStats, R"(
%u = input "u" : f32[3, 5, 1, 1]
%g2 = input "gamma2" : f32[3]
%n = input "valid" : i32[]
%c = conv2d(%x, %w) : f32[2, 5, 4, 4]
%z0, %sm, %sr, %nm, %nv = batch_norm(%c, %g, %b, %m, %v, %n) {has_valid=true} : f32[2, 5, 4, 4], f32[5], f32[5], f32[5], f32[5]
)");
  constexpr int kSums = 50;
  for (int i = 0; i < kSums; ++i)
    graph += cat("%z", i + 1, " = add(%z", i, ", %z", i, ") : f32[2, 5, 4, 4]\n");
  graph += cat("%c2 = conv2d(%z", kSums, R"(, %u) : f32[2, 3, 4, 4]
%y2, %sm2, %sr2, %nm2, %nv2 = batch_norm(%c2, %g2, %g2, %g2, %g2, %n) {has_valid=true} : f32[2, 3, 4, 4], f32[3], f32[3], f32[3], f32[3]
output "y" = %y2
)");
  EXPECT_NE(run(fuse_sums, graph, always).find("= conv2d_sums("), std::string::npos);
}

constexpr std::string_view kBackward = R"(
%x = input "x" : f32[2, 5, 4, 4]
%g = input "gamma" : f32[5]
%b = input "beta" : f32[5]
%m = input "mean" : f32[5]
%v = input "var" : f32[5]
%dy = input "dy" : f32[2, 3, 4, 4]
%w = input "w" : f32[3, 5, 1, 1]
%r = input "r" : f32[2, 5, 4, 4]
%d2 = input "d2" : f32[2, 5, 4, 4]
)";

TEST(FuseSums, MaskFromX) {
  EXPECT_EQ(run(fuse_sums, cat(kBackward, R"(
%d = conv2d_grad_input(%dy, %w) {input_shape=[2, 5, 4, 4]} : f32[2, 5, 4, 4]
%dx, %dg, %db = batch_norm_grad(%d, %x, %g, %m, %v, %b) {activation="relu", mask_from_x=true} : f32[2, 5, 4, 4], f32[5], f32[5]
output "dx" = %dx
output "dg" = %dg
output "db" = %db
)"),
                always),
            canonical(cat(kBackward, R"(
%u, %dg, %db = conv2d_grad_input_sums(%dy, %w, %x, %g, %b, %m, %v) {input_shape=[2, 5, 4, 4]} : f32[2, 5, 4, 4], f32[5], f32[5]
%dx = batch_norm_grad_apply(%u, %x, %g, %m, %v, %dg, %db) : f32[2, 5, 4, 4]
output "dx" = %dx
output "dg" = %dg
output "db" = %db
)")));
}

// The fused op masks by a ReLU.
TEST(FuseSums, Relu6IsLeftAlone) {
  const std::string text = run(fuse_sums, cat(kBackward, R"(
%d = conv2d_grad_input(%dy, %w) {input_shape=[2, 5, 4, 4]} : f32[2, 5, 4, 4]
%dx, %dg, %db = batch_norm_grad(%d, %x, %g, %m, %v, %b) {activation="relu6", mask_from_x=true} : f32[2, 5, 4, 4], f32[5], f32[5]
output "dx" = %dx
)"),
                               always);
  EXPECT_EQ(text.find("_sums"), std::string::npos) << text;
}

// Behind a sum with a residual, whose branch reads the masked gradient too: one batch norm's, and two's.
TEST(FuseSums, TwoGradientsAndAResidual) {
  const std::string forward = cat(kBackward, R"(
%y, %sm, %sr, %nm, %nv = batch_norm(%x, %g, %b, %m, %v, %r) {has_residual=true, activation="relu"} : f32[2, 5, 4, 4], f32[5], f32[5], f32[5], f32[5]
)");
  const std::string_view outputs = R"(
output "dx" = %dx
output "dg" = %dg
output "db" = %db
output "dr" = %dr
)";
  const std::string want = canonical(cat(forward, R"(
%dr, %dg, %db = conv2d_grad_input_sums(%dy, %w, %x, %g, %b, %sm, %sr, %d2, %r) {input_shape=[2, 5, 4, 4], has_residual=true} : f32[2, 5, 4, 4], f32[5], f32[5]
%dx = batch_norm_grad_apply(%dr, %x, %g, %sm, %sr, %dg, %db) : f32[2, 5, 4, 4]
)",
                                         outputs));
  constexpr std::string_view kConv =
      "%d = conv2d_grad_input(%dy, %w) {input_shape=[2, 5, 4, 4]} : f32[2, 5, 4, 4]\n";
  for (const std::string_view gradients :
       {"(%d, %x, %g, %sm, %sr, %y, %d2)", "(%d2, %x, %g, %sm, %sr, %y, %d)"})
    EXPECT_EQ(
        run(fuse_sums,
            cat(forward, kConv, "%dx, %dg, %db, %dr = batch_norm_grad", gradients,
                R"( {activation="relu", has_residual=true, has_dy2=true} : f32[2, 5, 4, 4], f32[5], f32[5], f32[2, 5, 4, 4]
)",
                outputs),
            always),
        want);
  EXPECT_EQ(run(fuse_sums,
                cat(forward, kConv, R"(
%sum = add(%d, %d2) : f32[2, 5, 4, 4]
%zero = full() {value=0} : f32[]
%flat = le(%y, %zero) : bool[2, 5, 4, 4]
%dr = where(%flat, %zero, %sum) : f32[2, 5, 4, 4]
%dx, %dg, %db = batch_norm_grad(%dr, %x, %g, %sm, %sr) : f32[2, 5, 4, 4], f32[5], f32[5]
)",
                    outputs),
                always),
            want);
}

// The residual is a batch norm's, too: it is not stored, and both have their gradients from one reading.
TEST(FuseSums, TwoBatchNormsAdded) {
  const std::string inputs = cat(kBackward, R"(
%g2 = input "gamma2" : f32[5]
%k = input "k" : f32[5, 3, 1, 1]
)");
  constexpr std::string_view kOutputs = R"(
output "dx" = %dx
output "dg" = %dg
output "db" = %db
output "dx2" = %dx2
output "dg2" = %dg2
output "db2" = %db2
output "nm" = %nm
output "nm2" = %nm2
output "y2" = %y2
)";
  EXPECT_EQ(run(fuse_sums,
                cat(inputs, R"(
%c = conv2d(%dy, %k) : f32[2, 5, 4, 4]
%e = conv2d(%dy, %k) {padding=[0, 0]} : f32[2, 5, 4, 4]
%z, %zm, %zr, %nm2, %nv2 = batch_norm(%e, %g2, %b, %m, %v) : f32[2, 5, 4, 4], f32[5], f32[5], f32[5], f32[5]
%y, %sm, %sr, %nm, %nv = batch_norm(%c, %g, %b, %m, %v, %z) {has_residual=true, activation="relu"} : f32[2, 5, 4, 4], f32[5], f32[5], f32[5], f32[5]
%y2 = neg(%y) : f32[2, 5, 4, 4]
%d = conv2d_grad_input(%dy, %w) {input_shape=[2, 5, 4, 4]} : f32[2, 5, 4, 4]
%sum = add(%d, %d2) : f32[2, 5, 4, 4]
%zero = full() {value=0} : f32[]
%flat = le(%y, %zero) : bool[2, 5, 4, 4]
%u = where(%flat, %zero, %sum) : f32[2, 5, 4, 4]
%dx2, %dg2, %db2 = batch_norm_grad(%u, %e, %g2, %zm, %zr) : f32[2, 5, 4, 4], f32[5], f32[5]
%dx, %dg, %db = batch_norm_grad(%u, %c, %g, %sm, %sr) : f32[2, 5, 4, 4], f32[5], f32[5]
)",
                    kOutputs),
                always),
            canonical(cat(inputs, R"(
%c, %s, %q = conv2d_sums(%dy, %k) : f32[2, 5, 4, 4], f32[5], f32[5]
%e, %s2, %q2 = conv2d_sums(%dy, %k) {padding=[0, 0]} : f32[2, 5, 4, 4], f32[5], f32[5]
%zm, %zr, %nm2, %nv2 = batch_norm_statistics(%s2, %q2, %m, %v) {rows=2, pixels=16} : f32[5], f32[5], f32[5], f32[5]
%sm, %sr, %nm, %nv = batch_norm_statistics(%s, %q, %m, %v) {rows=2, pixels=16} : f32[5], f32[5], f32[5], f32[5]
%y = batch_norm_apply_two(%c, %g, %b, %sm, %sr, %e, %g2, %b, %zm, %zr) {activation="relu"} : f32[2, 5, 4, 4]
%y2 = neg(%y) : f32[2, 5, 4, 4]
%u, %dg, %db, %dg2, %db2 = conv2d_grad_input_sums(%dy, %w, %c, %g, %b, %sm, %sr, %d2, %e, %g2, %b, %zm, %zr) {input_shape=[2, 5, 4, 4], has_second=true} : f32[2, 5, 4, 4], f32[5], f32[5], f32[5], f32[5]
%dx, %dx2 = batch_norm_grad_apply(%u, %c, %g, %sm, %sr, %dg, %db, %e, %g2, %zm, %zr, %dg2, %db2) {has_second=true} : f32[2, 5, 4, 4], f32[2, 5, 4, 4]
)",
                          kOutputs)));
}

TEST(FuseSums, LeavesOthersAlone) {
  const std::string_view outputs = "output \"dx\" = %dx\n";
  for (const std::string_view text : {// The unmasked gradient is read by others too.
                                      R"(
%d = conv2d_grad_input(%dy, %w) {input_shape=[2, 5, 4, 4]} : f32[2, 5, 4, 4]
%dx, %dg, %db = batch_norm_grad(%d, %x, %g, %m, %v, %b) {activation="relu", mask_from_x=true} : f32[2, 5, 4, 4], f32[5], f32[5]
output "d" = %d
)",
                                      // A convolution with a bias, and no ReLU in between.
                                      R"(
%d = conv2d_grad_input(%dy, %w) {input_shape=[2, 5, 4, 4]} : f32[2, 5, 4, 4]
%y, %sm, %sr, %nm, %nv = batch_norm(%dy, %h, %h, %h, %h) : f32[2, 3, 4, 4], f32[3], f32[3], f32[3], f32[3]
%dx, %dg, %db = batch_norm_grad(%d, %x, %g, %m, %v) : f32[2, 5, 4, 4], f32[5], f32[5]
output "y" = %y
)"}) {
    const std::string before = cat(kBackward, "%h = input \"h\" : f32[3]\n", text, outputs);
    EXPECT_EQ(run(fuse_sums, before, always), canonical(before));
  }
}

}  // namespace
}  // namespace ingot
