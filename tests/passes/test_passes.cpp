// Each pass: text in, text out; verified before and after; idempotent; same results by the reference
// executor.
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

// Two layers whose activations the backward pass reads: their pre-activations are kept anyway.
constexpr const char* kTwoActivations = R"(
%x = input "x" : f32[2048, 64]
%w = state "w" : f32[64, 64] parameter uniform(-0.5, 0.5)
%h = matmul(%x, %w) : f32[2048, 64]
%a = gelu(%h) : f32[2048, 64]  # act1
%i = matmul(%a, %w) : f32[2048, 64]
%b = gelu(%i) : f32[2048, 64]  # act2
%y = reduce_sum(%b) {axes=[0, 1]} : f32[]
%t = mul(%b, %i) : f32[2048, 64]  # grad/act2
%s = mul(%t, %a) : f32[2048, 64]  # grad/matmul
%u = mul(%s, %h) : f32[2048, 64]  # grad/act1
output "y" = %y
output "u" = %u
)";

TEST(Recompute, RepeatsAnActivationThatMakesThePeak) {
  const std::string after = run(recompute_cheap_values, kTwoActivations);
  EXPECT_EQ(after, canonical(R"(
%x = input "x" : f32[2048, 64]
%w = state "w" : f32[64, 64] parameter uniform(-0.5, 0.5)
%h = matmul(%x, %w) : f32[2048, 64]
%a = gelu(%h) : f32[2048, 64]
%i = matmul(%a, %w) : f32[2048, 64]
%b = gelu(%i) : f32[2048, 64]
%y = reduce_sum(%b) {axes=[0, 1]} : f32[]
%t = mul(%b, %i) : f32[2048, 64]
%c = gelu(%h) : f32[2048, 64]
%s = mul(%t, %c) : f32[2048, 64]
%u = mul(%s, %h) : f32[2048, 64]
output "y" = %y
output "u" = %u
)"));
}

// The same of 100 KiB each: what that frees is not worth a step.
TEST(Recompute, LeavesWhatIsSmall) {
  std::string text = kTwoActivations;
  for (std::size_t at = 0; (at = text.find("[2048, 64]", at)) != std::string::npos;)
    text.replace(at, 10, "[400, 64]");
  EXPECT_EQ(run(recompute_cheap_values, text), canonical(text));
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
