// An op defined outside the library: shape inference, gradient, reference. It joins differentiation, planning
// and printing like any other, and runs on the CPU by its reference.
//
//   build/release/bin/example_custom_op
#include <ingot/ingot.h>

#include <cmath>
#include <cstdio>

using namespace ingot;

namespace {

// y = x^2 / (1 + x^2), elementwise (the Geman-McClure penalty); dy/dx = 2x / (1 + x^2)^2.
std::vector<TensorType> infer_penalty(const InferArgs& a) {
  if (!is_floating(a.dtype(0))) throw ShapeError("geman_mcclure: expects a floating operand");
  return {a.inputs[0]};
}

std::vector<Value> penalty_gradient(GradContext& c) {
  const Value x = c.input(0);
  return {c.grad() * 2.0 * x / square(1.0 + square(x))};
}

void penalty_reference(const RefArgs& a) {
  for (std::int64_t i = 0; i < a.inputs[0].numel(); ++i) {
    const double x = a.inputs[0].get(i);
    a.outputs[0].set(i, x * x / (1.0 + x * x));
  }
}

Value geman_mcclure(Value x, SourceLoc loc = SourceLoc::current()) {
  return apply1("geman_mcclure", {x}, {}, loc);
}

}  // namespace

int main() {
  OpDef def;
  def.name = "geman_mcclure";
  def.doc = "Robust penalty x^2 / (1 + x^2)";
  def.infer = infer_penalty;
  def.gradient = penalty_gradient;
  def.reference = penalty_reference;
  Registry::instance().add(def);

  // Fit one number to five measurements, one of them wildly off.
  Graph g;
  const Value measured = input(g, "measured", {DType::F32, {5}});
  const Value guess = parameter(g, "guess", {DType::F32, {1}}, Init::constant(0.0));
  const Value loss = sum(geman_mcclure(measured - guess));
  output("loss", loss);
  adam({.lr = 0.05})->minimize(loss);

  Session session(compile(g));
  session.input("measured").copy_from(Tensor::of({0.9f, 1.1f, 1.0f, 1.05f, 40.0f}));
  for (int step = 0; step < 200; ++step) session.run();
  std::printf("robust mean %.3f (the plain mean is %.3f)\n", session.state("guess").item(), 44.05 / 5);
}
