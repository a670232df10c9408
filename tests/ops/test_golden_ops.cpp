// Elementwise functions, reductions, gather and padding against PyTorch's figures, gradients included;
// optimiser updates over six steps.
#include <gtest/gtest.h>

#include <cmath>

#include "core/autodiff/differentiate.h"
#include "core/ops/creation.h"
#include "core/ops/elementwise.h"
#include "core/ops/gather.h"
#include "core/ops/reduce.h"
#include "core/ops/update.h"
#include "core/ops/view.h"
#include "tests/ops/eval.h"
#include "tests/support/golden.h"

namespace ingot {
namespace {

constexpr double kTolerance = 1e-9;
// PyTorch's hard sigmoid multiplies by 1/6 rounded to float, in float64 too.
constexpr double kHardSigmoidTolerance = 1e-7;

void expect_close(const Tensor& got, const Tensor& want, const std::string& what,
                  double tolerance = kTolerance) {
  ASSERT_TRUE(got.defined()) << what;
  ASSERT_EQ(got.shape(), want.shape()) << what;
  for (std::int64_t i = 0; i < want.numel(); ++i)
    EXPECT_NEAR(got.get(i), want.get(i), tolerance * (1.0 + std::abs(want.get(i)))) << what << " " << i;
}

// The call that a golden case stands for.
Value call(const golden::OpCase& c, const std::vector<Value>& x) {
  const auto axes = [&] { return c.attrs.list("axes"); };
  const auto keep = [&] { return c.attrs.flag("keepdims"); };
  if (c.op == "relu6") return minimum(relu(x[0]), 6.0);
  if (c.op == "leaky_relu") return leaky_relu(x[0], c.attrs.number("slope"));
  if (c.op == "elu") return elu(x[0], c.attrs.number("alpha"));
  if (c.op == "sum") return sum(x[0], axes(), keep());
  if (c.op == "mean") return mean(x[0], axes(), keep());
  if (c.op == "max") return max(x[0], axes(), keep());
  if (c.op == "min") return min(x[0], axes(), keep());
  if (c.op == "variance") return var(x[0], axes(), keep(), c.attrs.number("correction"));
  if (c.op == "argmax") return argmax(x[0], c.attrs.integer("axis"));
  if (c.op == "embedding") return embedding(x[0], x[1]);
  if (c.op == "gather") return gather(x[0], x[1], c.attrs.integer("axis"));
  if (c.op == "one_hot") return one_hot(x[0], c.attrs.integer("classes"), DType::F64);
  if (c.op == "pad") return pad(x[0], c.attrs.list("before"), c.attrs.list("after"), c.attrs.number("value"));
  if (c.op == "concat") return concat(x, c.attrs.integer("axis"));
  return apply1(c.op, x);  // the scalar functions have PyTorch's names
}

void check_family(const std::string& family) {
  const auto cases = golden::op_cases(family);
  ASSERT_FALSE(cases.empty());
  for (const golden::OpCase& c : cases) {
    SCOPED_TRACE(c.title());
    // torch.gather picks single elements, ours whole slices as ONNX does; see Golden.GatherElements.
    if (c.op == "gather") continue;
    Graph g;
    std::vector<Value> x;
    std::map<ValueId, Tensor> feeds;
    for (const Tensor& t : c.inputs) {
      x.push_back(input(g, cat("x", x.size()), t.type()));
      feeds[x.back().id()] = t;
    }
    const Value y = call(c, x);
    expect_close(eval(y, feeds), c.outputs.at(0), "output");
    std::vector<Value> wrt;
    std::vector<Tensor> want;
    for (std::size_t i = 0; i < c.grads.size(); ++i) {
      if (!c.grads[i].defined()) continue;
      wrt.push_back(x[i]);
      want.push_back(c.grads[i]);
    }
    if (wrt.empty()) continue;
    const Value loss = sum(y * constant(g, c.cotangents.at(0)));
    const auto grads = differentiate(g, loss, wrt);
    for (std::size_t i = 0; i < wrt.size(); ++i)
      expect_close(eval(grads[i], feeds), want[i], cat("gradient ", i),
                   c.op == "hard_sigmoid" ? kHardSigmoidTolerance : kTolerance);
  }
}

TEST(Golden, Activations) {
  check_family("activation");
}

TEST(Golden, Reductions) {
  check_family("reduce");
}

TEST(Golden, GatherAndFriends) {
  check_family("gather");
}

// torch.gather along an axis of a matrix is our gather on the flat elements.
TEST(Golden, GatherElements) {
  for (const golden::OpCase& c : golden::op_cases("gather", "gather")) {
    SCOPED_TRACE(c.title());
    Graph g;
    const Value x = input(g, "x", c.inputs[0].type());
    const std::int64_t columns = x.dim(1), axis = c.attrs.integer("axis");
    const Tensor& at = c.inputs[1];
    Tensor flat(at.type());
    for (std::int64_t i = 0; i < at.numel(); ++i) {
      const std::int64_t row = i / at.shape()[1], column = i % at.shape()[1];
      const auto k = static_cast<std::int64_t>(at.get(i));
      flat.set(i, static_cast<double>(axis == 0 ? k * columns + column : row * columns + k));
    }
    const Value y = gather(reshape(x, {-1}), constant(g, flat), 0);
    const std::map<ValueId, Tensor> feeds{{x.id(), c.inputs[0]}};
    expect_close(eval(y, feeds), c.outputs.at(0), "output");
    const Value wrt[] = {x};
    const auto grads = differentiate(g, sum(y * constant(g, c.cotangents.at(0))), wrt);
    expect_close(eval(grads.at(0), feeds), c.grads.at(0), "gradient");
  }
}

struct Rule {
  std::string op;
  Attrs attrs;
  std::size_t states;
};

Rule rule_of(const golden::OpCase& c) {
  const auto number = [&](const char* name) { return c.attrs.number(name); };
  if (c.op == "sgd")
    return {"sgd",
            SgdAttrs{1, number("momentum"), number("dampening"), number("weight_decay"),
                     c.attrs.flag("nesterov")},
            number("momentum") != 0.0 ? 1u : 0u};
  if (c.op == "rmsprop")
    return {"rmsprop",
            RmspropAttrs{1, number("alpha"), number("eps"), number("weight_decay"), number("momentum")},
            number("momentum") != 0.0 ? 2u : 1u};
  return {
      "adam",
      AdamAttrs{1, number("beta1"), number("beta2"), number("eps"), number("weight_decay"), c.op == "adamw"},
      2u};
}

TEST(Golden, Updates) {
  int checked = 0;
  for (const golden::OpCase& c : golden::op_cases("update")) {
    if (c.op == "clip_grad_norm") continue;
    SCOPED_TRACE(c.title());
    const Rule rule = rule_of(c);
    std::vector<Tensor> kept{c.inputs[0]};
    for (std::size_t i = 0; i < rule.states; ++i) kept.push_back(Tensor::zeros(c.inputs[0].type()));
    for (std::size_t step = 1; step < c.inputs.size(); ++step) {
      Graph g;
      const auto scalar = [&](double v) { return full(g, v, {DType::F64, {}}); };
      std::vector<Value> operands{scalar(c.attrs.number("lr")), scalar(static_cast<double>(step)),
                                  scalar(1.0), constant(g, kept[0]), constant(g, c.inputs[step])};
      for (std::size_t i = 1; i < kept.size(); ++i) operands.push_back(constant(g, kept[i]));
      const auto next = apply(rule.op, operands, rule.attrs);
      for (std::size_t i = 0; i < kept.size(); ++i) kept[i] = eval(next.at(i));
      expect_close(kept[0], c.outputs.at(step - 1), cat("step ", step));
    }
    ++checked;
  }
  EXPECT_GE(checked, 10);
}

}  // namespace
}  // namespace ingot
