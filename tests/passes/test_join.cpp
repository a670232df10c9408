// Joining: what is alike and independent becomes one node, nothing is read before it is made, no state is
// written while its old content is still wanted, and the peak stays.
#include "tests/passes/pass_run.h"

namespace ingot {
namespace {

std::string join(
    std::string_view text, const KernelOracle& worth = [](const auto&, const auto&) { return true; }) {
  return run(join_elementwise, text, worth);
}

TEST(Join, CastsOfAllWeights) {
  EXPECT_EQ(join(R"(
%a = state "a" : f32[3, 3] parameter uniform(-1, 1)
%b = state "b" : f32[3, 4] parameter uniform(-1, 1)
%g = input "g" : f32[3, 3]
%h = input "h" : f32[3, 4]
%p = cast(%a) {dtype=bf16} : bf16[3, 3]
%y = transpose(%p) {perm=[1, 0]} : bf16[3, 3]
%q = cast(%b) {dtype=bf16} : bf16[3, 4]
%z = transpose(%q) {perm=[1, 0]} : bf16[4, 3]
output "y" = %y
output "z" = %z
update %a = %g
update %b = %h
)"),
            canonical(R"(
%a = state "a" : f32[3, 3] parameter uniform(-1, 1)
%b = state "b" : f32[3, 4] parameter uniform(-1, 1)
%g = input "g" : f32[3, 3]
%h = input "h" : f32[3, 4]
%p, %q = fused_many(%a, %b) {count=2, expr="f32;%1=cast.bf16(%0)->%1"} : bf16[3, 3], bf16[3, 4]
%y = transpose(%p) {perm=[1, 0]} : bf16[3, 3]
%z = transpose(%q) {perm=[1, 0]} : bf16[4, 3]
output "y" = %y
output "z" = %z
update %a = %g
update %b = %h
)"));
}

// Constants become part of the tape; one flag for all is shared.
TEST(Join, CountersAndTheirChoice) {
  EXPECT_EQ(join(R"(
%n = input "n" : f32[]
%a = state "a" : i64[] buffer constant(3)
%b = state "b" : i64[] buffer constant(5)
%u = state "u" : f32[2] buffer uniform(-1, 1)
%v = state "v" : f32[4] buffer uniform(-1, 1)
%p = input "p" : f32[2]
%q = input "q" : f32[4]
%one = full() {value=1, dtype=i64} : i64[]
%c = add(%a, %one) : i64[]
%d = add(%b, %one) : i64[]
%ok = is_finite(%n) : bool[]
%s = where(%ok, %p, %u) : f32[2]
%t = where(%ok, %q, %v) : f32[4]
%e = where(%ok, %c, %a) : i64[]
%f = where(%ok, %d, %b) : i64[]
update %a = %e
update %b = %f
update %u = %s
update %v = %t
)"),
            canonical(R"(
%n = input "n" : f32[]
%a = state "a" : i64[] buffer constant(3)
%b = state "b" : i64[] buffer constant(5)
%u = state "u" : f32[2] buffer uniform(-1, 1)
%v = state "v" : f32[4] buffer uniform(-1, 1)
%p = input "p" : f32[2]
%q = input "q" : f32[4]
%c, %d = fused_many(%a, %b) {count=2, expr="i64;%1=const.i64(1);%2=add(%0,%1)->%2"} : i64[], i64[]
%ok = is_finite(%n) : bool[]
%s, %t = fused_many(%ok, %p, %q, %u, %v) {count=2, shared=1, expr="bool,f32,f32;%3=where(%0,%1,%2)->%3"} : f32[2], f32[4]
%e, %f = fused_many(%ok, %ok, %c, %d, %a, %b) {count=2, expr="bool,i64,i64;%3=where(%0,%1,%2)->%3"} : i64[], i64[]
update %a = %e
update %b = %f
update %u = %s
update %v = %t
)"));
}

// Gradients come one by one: the group stands where the last one is there.
TEST(Join, WaitsForTheLastOperand) {
  EXPECT_EQ(join(R"(
%x = input "x" : f32[2, 2]
%k = input "k" : f32[32]
%m = exp(%k) : f32[32]
%o = reduce_sum(%m) : f32[]
%y = matmul(%x, %x) : f32[2, 2]
%a = cast(%y) {dtype=bf16} : bf16[2, 2]
%z = matmul(%y, %x) : f32[2, 2]
%b = cast(%z) {dtype=bf16} : bf16[2, 2]
output "o" = %o
output "a" = %a
output "b" = %b
)"),
            canonical(R"(
%x = input "x" : f32[2, 2]
%k = input "k" : f32[32]
%m = exp(%k) : f32[32]
%o = reduce_sum(%m) : f32[]
%y = matmul(%x, %x) : f32[2, 2]
%z = matmul(%y, %x) : f32[2, 2]
%a, %b = fused_many(%y, %z) {count=2, expr="f32;%1=cast.bf16(%0)->%1"} : bf16[2, 2], bf16[2, 2]
output "o" = %o
output "a" = %a
output "b" = %b
)"));
}

void stays(std::string_view text) {
  EXPECT_EQ(join(text), canonical(text));
}

// The second reads, through a product or itself, what the first makes: a group of both would be a cycle.
TEST(Join, NotAcrossADependency) {
  stays(R"(
%x = input "x" : f32[2, 2]
%a = exp(%x) : f32[2, 2]
%p = matmul(%a, %x) : f32[2, 2]
%b = exp(%p) : f32[2, 2]
output "b" = %b
)");
  stays(R"(
%x = input "x" : f32[2]
%a = exp(%x) : f32[2]
%b = exp(%a) : f32[2]
output "b" = %b
)");
}

// Of three, the one in the middle depends on the first; the last does not.
TEST(Join, LeavesOutWhatDepends) {
  EXPECT_EQ(join(R"(
%x = input "x" : f32[2]
%y = input "y" : f32[5]
%a = exp(%x) : f32[2]
%b = exp(%a) : f32[2]
%c = exp(%y) : f32[5]
output "b" = %b
output "c" = %c
)"),
            canonical(R"(
%x = input "x" : f32[2]
%y = input "y" : f32[5]
%a, %c = fused_many(%x, %y) {count=2, expr="f32;%1=exp(%0)->%1"} : f32[2], f32[5]
%b = exp(%a) : f32[2]
output "b" = %b
output "c" = %c
)"));
}

// Two groups of which each would have to stand before the other: only one is made.
TEST(Join, NoTwoGroupsThatWaitForEachOther) {
  const std::string after = join(R"(
%x = input "x" : f32[2]
%y = input "y" : f32[3]
%a = exp(%x) : f32[2]
%b = tanh(%a) : f32[2]
%c = tanh(%y) : f32[3]
%d = exp(%c) : f32[3]
output "b" = %b
output "d" = %d
)");
  EXPECT_EQ(after.find("fused_many"), after.rfind("fused_many")) << after;
  EXPECT_NE(after.find("fused_many"), std::string::npos) << after;
}

// Writing %s with the first group would come before the product that reads what it held.
TEST(Join, LeavesAStateToItsReaders) {
  stays(R"(
%s = state "s" : f32[2, 2] buffer uniform(-1, 1)
%x = input "x" : f32[2, 2]
%a = exp(%x) : f32[2, 2]
%p = matmul(%a, %s) : f32[2, 2]
%t = exp(%s) : f32[2, 2]
output "p" = %p
update %s = %t
)");
  // Nor does a reader wait until the state was written.
  stays(R"(
%s = state "s" : f32[2, 2] buffer uniform(-1, 1)
%x = input "x" : f32[2, 2]
%a = exp(%s) : f32[2, 2]
%t = tanh(%x) : f32[2, 2]
%p = matmul(%t, %x) : f32[2, 2]
%b = exp(%p) : f32[2, 2]
output "a" = %a
output "b" = %b
update %s = %t
)");
}

// Both results would be alive where only one was.
TEST(Join, NotWhereThePeakWouldRise) {
  constexpr std::string_view wide = R"(
%x = input "x" : f32[64, 2]
%y = input "y" : f32[2, 64]
%a = exp(%x) : f32[64, 2]
%p = reduce_sum(%a) : f32[]
%b = exp(%y) : f32[2, 64]
%q = reduce_sum(%b) : f32[]
output "p" = %p
output "q" = %q
)";
  stays(wide);
  // Unless more is alive elsewhere.
  std::string beside(wide);
  beside += "%z = matmul(%x, %y) : f32[64, 64]\n%r = reduce_sum(%z) : f32[]\noutput \"r\" = %r\n";
  EXPECT_NE(join(beside).find("fused_many"), std::string::npos);
}

// As many as the peak allows, in order.
TEST(Join, TheLongestGroupThatThePeakAllows) {
  std::string text;
  for (int i = 0; i < 7; ++i) text += cat("%x", i, " = input \"x", i, "\" : f32[16, ", i + 1, "]\n");
  text += "%k = input \"k\" : f32[4, 32]\n%m = exp(%k) : f32[4, 32]\n%o = reduce_sum(%m) : f32[]\n";
  for (int i = 0; i < 7; ++i)
    text += cat("%a", i, " = tanh(%x", i, ") : f32[16, ", i + 1, "]\n%b", i, " = reduce_sum(%a", i,
                ") : f32[]\noutput \"b", i, "\" = %b", i, "\n");
  text += "output \"o\" = %o\n";
  // 128 elements are alive at %m: 16 (1 + 2 + 3) fit, and not 4 more; then 4 alone, and so on.
  const std::string after = join(text);
  EXPECT_NE(after.find("count=3"), std::string::npos) << after;
  EXPECT_EQ(after.find("fused_many"), after.rfind("fused_many")) << after;
}

TEST(Join, LeavesWhatTheBackendDoesNotWant) {
  constexpr std::string_view two = R"(
%x = input "x" : f32[2]
%y = input "y" : f32[300]
%z = input "z" : f32[3]
%a = exp(%x) : f32[2]
%b = exp(%y) : f32[300]
%c = exp(%z) : f32[3]
output "a" = %a
output "b" = %b
output "c" = %c
)";
  EXPECT_EQ(run(join_elementwise, two), canonical(two)) << "no backend";
  const std::string after = join(two, [](const Graph& g, const Node& n) {
    return n.op == "fused_many" && g.type(n.outputs.at(0)).numel() < 100;
  });
  EXPECT_NE(after.find("count=2"), std::string::npos) << after;
  EXPECT_NE(after.find("= exp("), std::string::npos) << after;
}

// What a session computes once must not become part of each step.
TEST(Join, LeavesWhatIsConstant) {
  stays(R"(
%w = state "w" : f32[2] parameter uniform(-1, 1)
%x = input "x" : f32[3]
%a = exp(%w) : f32[2]
%b = exp(%x) : f32[3]
output "a" = %a
output "b" = %b
)");
}

// A result of another shape than its operands is no group of vectors.
TEST(Join, LeavesBroadcastsAndOtherFunctions) {
  stays(R"(
%x = input "x" : f32[2, 3]
%y = input "y" : f32[3]
%z = input "z" : f32[2, 3]
%a = add(%x, %y) : f32[2, 3]
%b = add(%z, %y) : f32[2, 3]
%c = add(%x, %z) : f32[2, 3]
%d = mul(%x, %z) : f32[2, 3]
%e = cast(%x) {dtype=bf16} : bf16[2, 3]
%f = cast(%x) {dtype=f16} : f16[2, 3]
output "a" = %a
output "b" = %b
output "c" = %c
output "d" = %d
output "e" = %e
output "f" = %f
)");
}

}  // namespace
}  // namespace ingot
