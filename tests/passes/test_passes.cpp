// Each pass: text in, text out; verified before and after; idempotent; same results by the reference
// executor.
#include "core/ops/conv.h"
#include "tests/passes/pass_run.h"

namespace ingot {
namespace {

TEST(MaskBeforeUnpooling, MasksThePooledImage) {
  constexpr std::string_view before = R"(
%x = input "x" : f32[1, 2, 4, 6]
%dy = input "dy" : f32[1, 2, 2, 3]
%y = relu(%x) : f32[1, 2, 4, 6]
%p, %o = max_pool2d(%y) : f32[1, 2, 2, 3], u8[1, 2, 2, 3]
%g = max_pool2d_grad(%dy, %o) {input_shape=[1, 2, 4, 6]} : f32[1, 2, 4, 6]
%zero = full() {value=0} : f32[]
%m = le(%y, %zero) : bool[1, 2, 4, 6]
%dx = where(%m, %zero, %g) : f32[1, 2, 4, 6]
output "p" = %p
output "dx" = %dx
)";
  EXPECT_EQ(run(mask_before_unpooling, before), canonical(R"(
%x = input "x" : f32[1, 2, 4, 6]
%dy = input "dy" : f32[1, 2, 2, 3]
%y = relu(%x) : f32[1, 2, 4, 6]
%p, %o = max_pool2d(%y) : f32[1, 2, 2, 3], u8[1, 2, 2, 3]
%zero = full() {value=0} : f32[]
%m = le(%p, %zero) : bool[1, 2, 2, 3]
%masked = where(%m, %zero, %dy) : f32[1, 2, 2, 3]
%dx = max_pool2d_grad(%masked, %o) {input_shape=[1, 2, 4, 6]} : f32[1, 2, 4, 6]
output "p" = %p
output "dx" = %dx
)"));
}

TEST(MaskBeforeUnpooling, LeavesOtherMasksAlone) {
  // A mask of another tensor, and a gradient that is also read unmasked.
  for (const std::string_view text : {R"(
%x = input "x" : f32[1, 2, 4, 6]
%dy = input "dy" : f32[1, 2, 2, 3]
%p, %o = max_pool2d(%x) : f32[1, 2, 2, 3], u8[1, 2, 2, 3]
%g = max_pool2d_grad(%dy, %o) {input_shape=[1, 2, 4, 6]} : f32[1, 2, 4, 6]
%zero = full() {value=0} : f32[]
%other = neg(%x) : f32[1, 2, 4, 6]
%m = le(%other, %zero) : bool[1, 2, 4, 6]
%dx = where(%m, %zero, %g) : f32[1, 2, 4, 6]
output "dx" = %dx
)",
                                      R"(
%x = input "x" : f32[1, 2, 4, 6]
%dy = input "dy" : f32[1, 2, 2, 3]
%p, %o = max_pool2d(%x) : f32[1, 2, 2, 3], u8[1, 2, 2, 3]
%g = max_pool2d_grad(%dy, %o) {input_shape=[1, 2, 4, 6]} : f32[1, 2, 4, 6]
%zero = full() {value=0} : f32[]
%m = le(%x, %zero) : bool[1, 2, 4, 6]
%dx = where(%m, %zero, %g) : f32[1, 2, 4, 6]
output "dx" = %dx
output "g" = %g
)"})
    EXPECT_EQ(run(mask_before_unpooling, text), canonical(text));
}

constexpr std::string_view kPooledConvolution = R"(
%x = input "x" : f32[1, 2, 6, 8]
%w = input "w" : f32[3, 2, 3, 3]
%dy = input "dy" : f32[1, 3, 2, 3]
%y = conv2d(%x, %w) : f32[1, 3, 4, 6]
%p, %o = max_pool2d(%y) : f32[1, 3, 2, 3], u8[1, 3, 2, 3]
%u = max_pool2d_grad(%dy, %o) {input_shape=[1, 3, 4, 6]} : f32[1, 3, 4, 6]
%dx = conv2d_grad_input(%u, %w) {input_shape=[1, 2, 6, 8]} : f32[1, 2, 6, 8]
%dw = conv2d_grad_weight(%x, %u) {weight_shape=[3, 2, 3, 3]} : f32[3, 2, 3, 3]
%db = reduce_sum(%u) {axes=[0, 2, 3]} : f32[3]
output "dx" = %dx
output "dw" = %dw
output "db" = %db
)";

TEST(FuseUnpooling, GradientsReadThePooledImage) {
  const auto always = [](const Graph&, const Node&) { return true; };
  EXPECT_EQ(run(fuse_unpooling, kPooledConvolution, always), canonical(R"(
%x = input "x" : f32[1, 2, 6, 8]
%w = input "w" : f32[3, 2, 3, 3]
%dy = input "dy" : f32[1, 3, 2, 3]
%y = conv2d(%x, %w) : f32[1, 3, 4, 6]
%p, %o = max_pool2d(%y) : f32[1, 3, 2, 3], u8[1, 3, 2, 3]
%dx = conv2d_grad_input_unpooled(%dy, %o, %w) {pool_input_shape=[1, 3, 4, 6], input_shape=[1, 2, 6, 8]} : f32[1, 2, 6, 8]
%dw = conv2d_grad_weight_unpooled(%x, %dy, %o) {pool_input_shape=[1, 3, 4, 6], weight_shape=[3, 2, 3, 3]} : f32[3, 2, 3, 3]
%db = reduce_sum(%dy) {axes=[0, 2, 3]} : f32[3]
output "dx" = %dx
output "dw" = %dw
output "db" = %db
)"));
}

TEST(FuseUnpooling, KeepsWhatOthersNeed) {
  const auto always = [](const Graph&, const Node&) { return true; };
  const auto one = [](const Graph&, const Node& n) { return n.op == "conv2d_grad_weight_unpooled"; };
  // A backend without kernels, one without a kernel for one of the readers.
  EXPECT_EQ(run(fuse_unpooling, kPooledConvolution), canonical(kPooledConvolution));
  EXPECT_EQ(run(fuse_unpooling, kPooledConvolution, one), canonical(kPooledConvolution));
  // Readers that want each pixel: an output, a product, a sum over channels alone.
  for (const std::string_view more :
       {"output \"u\" = %u\n", "%z = mul(%u, %y) : f32[1, 3, 4, 6]\noutput \"z\" = %z\n",
        "%z = reduce_sum(%u) {axes=[1]} : f32[1, 4, 6]\noutput \"z\" = %z\n"}) {
    const std::string text = cat(kPooledConvolution, more);
    EXPECT_EQ(run(fuse_unpooling, text, always), canonical(text));
  }
  // Offsets of other windows.
  std::string other(kPooledConvolution);
  other.replace(other.find("max_pool2d(%y)"), 14, "max_pool2d(%y) {kernel=[1, 1]}");
  EXPECT_EQ(run(fuse_unpooling, other, always), canonical(other));
  // Offsets of unknown origin, and dilated windows, which may see nothing but padding.
  for (const auto& [from, to] : {std::pair{"max_pool2d_grad(%dy, %o)", "max_pool2d_grad(%dy, %q)"},
                                 std::pair{"{input_shape=[1, 3, 4, 6]}",
                                           "{dilation=[3, 3], padding=[1, 1], input_shape=[1, 3, 4, 6]}"}}) {
    std::string text(kPooledConvolution);
    text.replace(text.find(from), std::string_view(from).size(), to);
    if (text.find("%q") != std::string::npos)
      text.insert(text.find("%y = "), "%q = input \"q\" : u8[1, 3, 2, 3]\n");
    else
      text.replace(text.find("max_pool2d(%y)"), 14, "max_pool2d(%y) {dilation=[3, 3], padding=[1, 1]}");
    EXPECT_EQ(run(fuse_unpooling, text, always), canonical(text));
  }
}

TEST(DeadCode, KeepsWhatOutputsAndUpdatesNeed) {
  EXPECT_EQ(run(eliminate_dead_code, R"(
%x = input "x" : f32[4]
%w = state "w" : f32[4] parameter constant(1)
%a = exp(%x) : f32[4]
%dead = tanh(%a) : f32[4]
%b = add(%w, %x) : f32[4]
output "y" = %a
update %w = %b
)"),
            canonical(R"(
%x = input "x" : f32[4]
%w = state "w" : f32[4] parameter constant(1)
%a = exp(%x) : f32[4]
%b = add(%w, %x) : f32[4]
output "y" = %a
update %w = %b
)"));
}

TEST(CommonSubexpressions, MergeTwinsButNotDifferentAttributes) {
  EXPECT_EQ(run(eliminate_common_subexpressions, R"(
%x = input "x" : f32[2, 3]
%a = exp(%x) : f32[2, 3]
%b = exp(%x) : f32[2, 3]
%c = reduce_sum(%a) {axes=[0]} : f32[3]
%d = reduce_sum(%b) {axes=[1]} : f32[2]
output "c" = %c
output "d" = %d
)"),
            canonical(R"(
%x = input "x" : f32[2, 3]
%a = exp(%x) : f32[2, 3]
%c = reduce_sum(%a) {axes=[0]} : f32[3]
%d = reduce_sum(%a) {axes=[1]} : f32[2]
output "c" = %c
output "d" = %d
)"));
}

TEST(ConstantFolding, ComputesSmallConstants) {
  PassContext c;
  const Graph g = parse_graph(run(fold_constants, R"(
%x = input "x" : f32[3]
%two = full() {value=2, shape=[3]} : f32[3]
%four = square(%two) : f32[3]
%steps = iota() {n=3, dtype=f32} : f32[3]
%bent = add(%steps, %four) : f32[3]
%y = mul(%x, %bent) : f32[3]
output "y" = %y
)"));
  const Graph small = eliminate_dead_code(g, c);
  ASSERT_EQ(small.nodes().size(), 2u);
  EXPECT_EQ(small.nodes()[0].op, "constant");
  EXPECT_EQ(small.nodes()[1].op, "mul");
}

TEST(Simplify, DropsIdentitiesAndChainsOfViews) {
  EXPECT_EQ(run(simplify, R"(
%x = input "x" : f32[2, 6]
%one = full() {value=1, shape=[]} : f32[]
%zero = full() {value=0, shape=[]} : f32[]
%a = mul(%x, %one) : f32[2, 6]
%b = add(%zero, %a) : f32[2, 6]
%c = reshape(%b) {shape=[3, 4]} : f32[3, 4]
%d = reshape(%c) {shape=[12]} : f32[12]
%e = neg(%d) : f32[12]
%f = neg(%e) : f32[12]
output "y" = %f
)"),
            canonical(R"(
%x = input "x" : f32[2, 6]
%d = reshape(%x) {shape=[12]} : f32[12]
output "y" = %d
)"));
}

TEST(FuseElementwise, OneTapeWithImmediates) {
  const Graph g = parse_graph(run(fuse_elementwise, R"(
%x = input "x" : f32[2, 3]
%b = input "b" : f32[3]
%two = full() {value=2, shape=[]} : f32[]
%a = add(%x, %b) : f32[2, 3]
%c = mul(%a, %two) : f32[2, 3]
%d = relu(%c) : f32[2, 3]
output "y" = %d
)"));
  PassContext c;
  const Graph small = eliminate_dead_code(g, c);
  ASSERT_EQ(small.nodes().size(), 1u);
  EXPECT_EQ(small.nodes()[0].op, "fused");
  EXPECT_EQ(small.nodes()[0].inputs.size(), 2u);
}

TEST(FuseElementwise, AValueReadTwiceOutsideStays) {
  const Graph g = parse_graph(run(fuse_elementwise, R"(
%x = input "x" : f32[2, 3]
%a = exp(%x) : f32[2, 3]
%b = neg(%a) : f32[2, 3]
%s = reduce_sum(%a) : f32[]
output "y" = %b
output "s" = %s
)"));
  EXPECT_EQ(g.nodes().size(), 3u);
}

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

// Two layers whose activations the backward pass reads: their pre-activations are kept anyway.
constexpr const char* kTwoActivations = R"(
%x = input "x" : f32[8, 64]
%w = state "w" : f32[64, 64] parameter uniform(-0.5, 0.5)
%h = matmul(%x, %w) : f32[8, 64]
%a = gelu(%h) : f32[8, 64]  # act1
%i = matmul(%a, %w) : f32[8, 64]
%b = gelu(%i) : f32[8, 64]  # act2
%y = reduce_sum(%b) {axes=[0, 1]} : f32[]
%t = mul(%b, %i) : f32[8, 64]  # grad/act2
%s = mul(%t, %a) : f32[8, 64]  # grad/matmul
%u = mul(%s, %h) : f32[8, 64]  # grad/act1
output "y" = %y
output "u" = %u
)";

TEST(Recompute, RepeatsAnActivationThatMakesThePeak) {
  const std::string after = run(recompute_cheap_values, kTwoActivations);
  EXPECT_EQ(after, canonical(R"(
%x = input "x" : f32[8, 64]
%w = state "w" : f32[64, 64] parameter uniform(-0.5, 0.5)
%h = matmul(%x, %w) : f32[8, 64]
%a = gelu(%h) : f32[8, 64]
%i = matmul(%a, %w) : f32[8, 64]
%b = gelu(%i) : f32[8, 64]
%y = reduce_sum(%b) {axes=[0, 1]} : f32[]
%t = mul(%b, %i) : f32[8, 64]
%c = gelu(%h) : f32[8, 64]
%s = mul(%t, %c) : f32[8, 64]
%u = mul(%s, %h) : f32[8, 64]
output "y" = %y
output "u" = %u
)"));
}

// Here nothing else keeps the operand: repeating would keep it instead of the result.
TEST(Recompute, LeavesWhatWouldKeepItsOperandAlive) {
  std::string text = kTwoActivations;
  const std::string kept = "%u = mul(%s, %h)";
  text.replace(text.find(kept), kept.size(), "%u = mul(%s, %s)");
  EXPECT_EQ(run(recompute_cheap_values, text), canonical(text));
}

// A forward node may read early and late; only the backward pass trades time for memory.
TEST(Recompute, LeavesForwardReadersAlone) {
  std::string text = kTwoActivations;
  const std::string backward = "# grad/matmul";
  text.replace(text.find(backward), backward.size(), "# matmul");
  EXPECT_EQ(run(recompute_cheap_values, text), canonical(text));
}

TEST(Pipeline, RefusesToSkipWhatDoesNotExist) {
  PassContext c;
  c.skip = {"no-such-pass"};
  try {
    run_pipeline(parse_graph("%x = input \"x\" : f32[1]\noutput \"y\" = %x\n"), c);
    FAIL() << "expected an error";
  } catch (const UsageError& e) {
    EXPECT_NE(std::string(e.what()).find("fuse-elementwise"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace ingot
