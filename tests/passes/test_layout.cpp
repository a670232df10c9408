// The layout pass: what a state's layout follows from, through casts too. A made-up backend likes the weights
// of convolutions channels-last and images row-major.
#include <gtest/gtest.h>

#include "core/op/text.h"
#include "core/op/verify.h"
#include "core/ops/view.h"
#include "core/passes/pass.h"
#include "core/runtime/lowering.h"

namespace ingot {
namespace {

std::string text_of(const Graph& g) {
  return print_graph(g, {.names = false, .locations = false});
}

NodeLayouts wishes(const Graph& g, const Node& n, const std::vector<bool>& state_free) {
  const Target target;
  const Problem p{g, n, target};
  if (n.op == "conv2d") return {{{}, Layout::channels_last(4)}, {{}}};
  if (n.op == "conv2d_grad_weight") return {{{}, {}}, {Layout::channels_last(4)}};
  if (n.op == "cast" || n.op == "mul") return elementwise_layouts(p, state_free);
  if (n.op == "reorder") return {{p.in(0).layout}, {p.attrs<ReorderAttrs>().layout}};
  return row_major_layouts(p);
}

std::string run(std::string_view text, const LayoutOracle& oracle = wishes) {
  const Graph before = parse_graph(text);
  verify(before);
  PassContext context;
  context.layouts = oracle;
  const Graph after = assign_layouts(before, context);
  verify(after);
  EXPECT_EQ(text_of(assign_layouts(after, context)), text_of(after)) << "not idempotent";
  return text_of(after);
}
std::string canonical(std::string_view text) {
  return text_of(parse_graph(text));
}

// The weight lies as its cast's reader wants it, so does its gradient behind a cast back, and the cast stands
// where it did: no reorder anywhere.
TEST(LayoutPass, GoesThroughTheCastOfAWeightAndOfItsGradient) {
  EXPECT_EQ(run(R"(
%x = input "x" : bf16[1, 2, 4, 4]
%dy = input "dy" : bf16[1, 2, 4, 4]
%w = state "w" : f32[2, 2, 3, 3] parameter constant(1)
%c = cast(%w) {dtype=bf16} : bf16[2, 2, 3, 3]
%y = conv2d(%x, %c) {padding=[1, 1]} : bf16[1, 2, 4, 4]
%g = conv2d_grad_weight(%x, %dy) {padding=[1, 1], weight_shape=[2, 2, 3, 3]} : bf16[2, 2, 3, 3]
%gf = cast(%g) {dtype=f32} : f32[2, 2, 3, 3]
%new = mul(%w, %gf) : f32[2, 2, 3, 3]
output "y" = %y
update %w = %new
)"),
            canonical(R"(
%x = input "x" : bf16[1, 2, 4, 4]
%dy = input "dy" : bf16[1, 2, 4, 4]
%w = state "w" : f32[2, 2, 3, 3]@0231 parameter constant(1)
%c = cast(%w) {dtype=bf16} : bf16[2, 2, 3, 3]@0231
%y = conv2d(%x, %c) {padding=[1, 1]} : bf16[1, 2, 4, 4]
%g = conv2d_grad_weight(%x, %dy) {padding=[1, 1], weight_shape=[2, 2, 3, 3]} : bf16[2, 2, 3, 3]@0231
%gf = cast(%g) {dtype=f32} : f32[2, 2, 3, 3]@0231
%new = mul(%w, %gf) : f32[2, 2, 3, 3]@0231
output "y" = %y
update %w = %new
)"));
}

TEST(LayoutPass, GoesThroughACastOfACast) {
  EXPECT_EQ(run(R"(
%x = input "x" : f32[1, 2, 4, 4]
%w = state "w" : f32[2, 2, 3, 3] parameter constant(1)
%h = cast(%w) {dtype=bf16} : bf16[2, 2, 3, 3]
%c = cast(%h) {dtype=f32} : f32[2, 2, 3, 3]
%y = conv2d(%x, %c) {padding=[1, 1]} : f32[1, 2, 4, 4]
output "y" = %y
)"),
            canonical(R"(
%x = input "x" : f32[1, 2, 4, 4]
%w = state "w" : f32[2, 2, 3, 3]@0231 parameter constant(1)
%h = cast(%w) {dtype=bf16} : bf16[2, 2, 3, 3]@0231
%c = cast(%h) {dtype=f32} : f32[2, 2, 3, 3]@0231
%y = conv2d(%x, %c) {padding=[1, 1]} : f32[1, 2, 4, 4]
output "y" = %y
)"));
}

// Who reads the state itself before the cast's reader does decides.
TEST(LayoutPass, TheFirstReaderDecidesOverACastThatWaits) {
  EXPECT_EQ(run(R"(
%x = input "x" : bf16[1, 2, 4, 4]
%w = state "w" : f32[2, 2, 3, 3] parameter constant(1)
%c = cast(%w) {dtype=bf16} : bf16[2, 2, 3, 3]
%n = neg(%w) : f32[2, 2, 3, 3]
%y = conv2d(%x, %c) {padding=[1, 1]} : bf16[1, 2, 4, 4]
output "y" = %y
output "n" = %n
)"),
            canonical(R"(
%x = input "x" : bf16[1, 2, 4, 4]
%w = state "w" : f32[2, 2, 3, 3] parameter constant(1)
%n = neg(%w) : f32[2, 2, 3, 3]
%c = cast(%w) {dtype=bf16} : bf16[2, 2, 3, 3]
%r = reorder(%c) {layout=@0231} : bf16[2, 2, 3, 3]@0231
%y = conv2d(%x, %r) {padding=[1, 1]} : bf16[1, 2, 4, 4]
output "y" = %y
output "n" = %n
)"));
}

// A layout that the cast cannot keep (elementwise code would write a block's padding) is the reader's affair.
TEST(LayoutPass, StopsAtACastThatDoesNotKeepTheLayout) {
  const LayoutOracle padded = [](const Graph& g, const Node& n, const std::vector<bool>& state_free) {
    NodeLayouts l = wishes(g, n, state_free);
    if (n.op == "conv2d") l.inputs[1].blocks[0] = {0, 16}, l.inputs[1].num_blocks = 1;
    return l;
  };
  EXPECT_EQ(run(R"(
%x = input "x" : bf16[1, 2, 4, 4]
%w = state "w" : f32[2, 2, 3, 3] parameter constant(1)
%c = cast(%w) {dtype=bf16} : bf16[2, 2, 3, 3]
%y = conv2d(%x, %c) {padding=[1, 1]} : bf16[1, 2, 4, 4]
output "y" = %y
)",
                padded),
            canonical(R"(
%x = input "x" : bf16[1, 2, 4, 4]
%w = state "w" : f32[2, 2, 3, 3] parameter constant(1)
%c = cast(%w) {dtype=bf16} : bf16[2, 2, 3, 3]
%r = reorder(%c) {layout=@0231:0x16} : bf16[2, 2, 3, 3]@0231:0x16
%y = conv2d(%x, %r) {padding=[1, 1]} : bf16[1, 2, 4, 4]
output "y" = %y
)"));
}

TEST(LayoutPass, KeepsCastsThatOnlyAnOutputReads) {
  constexpr std::string_view text = R"(
%w = state "w" : f32[2, 2, 3, 3] parameter constant(1)
%c = cast(%w) {dtype=bf16} : bf16[2, 2, 3, 3]
%d = cast(%c) {dtype=f32} : f32[2, 2, 3, 3]
output "c" = %c
output "d" = %d
)";
  EXPECT_EQ(run(text), canonical(text));
}

}  // namespace
}  // namespace ingot
