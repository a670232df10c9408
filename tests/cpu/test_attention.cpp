// Lowerings of attention: rows and keys around the edges of blocks, strips and vectors, threads that share a
// head, and operands in half precision. (Masks and shapes of every kind: tests/ops/cases_attention.cpp.)
#include "core/base/half_types.h"
#include "core/op/reference.h"
#include "core/ops/attention.h"
#include "tests/cpu/step_check.h"

namespace ingot::test {
namespace {

struct Problem {
  Shape q, k;
  std::int64_t v_depth;
  AttentionAttrs attrs{};
  std::vector<double> lengths{};
};

// The gradient's y and lse are those of the operands, as in a training step.
void check(const Problem& p, DType dtype = DType::F32, double tolerance = 1e-5) {
  Shape v = p.k;
  v[3] = p.v_depth;
  std::vector<Tensor> operands{random_tensor(p.q, 1), random_tensor(p.k, 2), random_tensor(v, 3)};
  Tensor lengths;
  if (p.attrs.has_lengths) operands.push_back(Tensor::from<double>({p.q[0]}, p.lengths).to(DType::I32));
  const std::vector<Tensor> results = run_reference(op("attention"), p.attrs, operands);
  std::vector<Tensor> of_grad{random_tensor(results[0].shape(), 4)};
  of_grad.insert(of_grad.end(), operands.begin(), operands.begin() + 3);
  of_grad.insert(of_grad.end(), results.begin(), results.end());
  if (p.attrs.has_lengths) of_grad.push_back(operands.back());
  if (is_half(dtype)) {
    for (std::size_t i = 0; i < 3; ++i) operands[i] = operands[i].to(dtype);
    for (std::size_t i = 0; i < 5; ++i) of_grad[i] = of_grad[i].to(dtype);
  }
  check_step("attention", p.attrs, operands, {.tolerance = tolerance});
  check_step("attention_grad", p.attrs, of_grad, {.tolerance = 4 * tolerance});
}

TEST(AttentionSteps, EdgesOfBlocks) {
  // A block has 96 rows or 128 keys, a strip 6 rows, a panel 64 keys.
  check({{1, 2, 96, 16}, {1, 2, 128, 16}, 16});
  check({{1, 2, 97, 16}, {1, 2, 129, 16}, 32, {.causal = true}});
  check({{1, 1, 200, 64}, {1, 1, 260, 64}, 64, {.causal = true}});
  check({{2, 1, 5, 20}, {2, 1, 65, 20}, 48});
  check({{1, 1, 191, 7}, {1, 1, 15, 7}, 9, {.causal = true}});
}

TEST(AttentionSteps, SharedHeadsAndLengths) {
  check({{2, 6, 40, 24}, {2, 2, 130, 24}, 24, {.has_lengths = true}, {130, 3}});
  check({{3, 4, 60, 32}, {3, 1, 300, 32}, 40, {.causal = true, .has_lengths = true}, {256, 0, 20}});
  check({{1, 8, 1, 64}, {1, 2, 333, 64}, 64});
}

TEST(AttentionSteps, HalfPrecision) {
  check({{1, 2, 50, 16}, {1, 2, 70, 16}, 16, {.causal = true}}, DType::BF16, 1e-2);
  check({{1, 2, 50, 16}, {1, 2, 70, 16}, 16, {.causal = true}}, DType::F16, 2e-3);
}

TEST(AttentionSteps, NothingToDo) {
  check({{0, 2, 3, 4}, {0, 2, 5, 4}, 4});
  check({{2, 2, 0, 4}, {2, 2, 5, 4}, 4});
  check({{2, 2, 3, 4}, {2, 2, 0, 4}, 4});
}

}  // namespace
}  // namespace ingot::test
