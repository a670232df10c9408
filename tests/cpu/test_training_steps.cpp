// Lowerings that a training step spends its time in: batch norm, losses, optimiser updates.
#include "core/ops/loss.h"
#include "core/ops/norm.h"
#include "core/ops/softmax.h"
#include "core/ops/update.h"
#include "tests/cpu/step_check.h"

namespace ingot::test {
namespace {

Tensor count_of(std::int32_t n) {
  Tensor t = Tensor::zeros({DType::I32, {}});
  t.set(0, n);
  return t;
}

// Images in `type`: their results are rounded once.
StepCheck check_in(DType type, double tolerance) {
  if (type == DType::F32) return {.tolerance = tolerance};
  return {.tolerance = tolerance + 1.0 / 256, .kernel = "bf16:"};
}

void check_batch_norm(const Shape& s, const BatchNormAttrs& at, std::int32_t valid = 0,
                      DType type = DType::F32) {
  const Shape c{s[1]};
  const bool high = at.activation == "relu6";  // results on both sides of 6
  std::vector<Tensor> in{random_tensor(s, 1, 2.0, 5.0, type),
                         high ? random_tensor(c, 2, 2.0, 4.0) : random_tensor(c, 2),
                         high ? random_tensor(c, 3, 1.0, 5.0) : random_tensor(c, 3), random_tensor(c, 4),
                         random_tensor(c, 5, 0.5, 2)};
  if (at.has_valid) in.push_back(count_of(valid));
  if (at.has_residual) in.push_back(random_tensor(s, 6, -2.0, 2.0, type));
  check_step("batch_norm", at, in, check_in(type, 1e-5));
}

TEST(BatchNormSteps, Forward) {
  for (const Shape& s : {Shape{5, 16, 7, 9}, Shape{4, 3, 20, 21}, Shape{2, 20, 6, 6}, Shape{3, 64, 5, 5},
                         Shape{3, 130, 3, 5}, Shape{37, 10}, Shape{2, 100, 3, 3}, Shape{4, 8, 11}})
    check_batch_norm(s, {});
  check_batch_norm({5, 16, 7, 9}, {.has_residual = true, .activation = "relu"});
  check_batch_norm({5, 10, 7, 9}, {.has_valid = true, .activation = "relu"}, 3);
  check_batch_norm({5, 10, 7, 9}, {.has_valid = true, .has_residual = true, .activation = ""}, 0);
  check_batch_norm({9, 32, 33, 31}, {.activation = "relu"});  // several threads
  for (const Shape& s : {Shape{5, 64, 7, 9}, Shape{5, 10, 7, 9}, Shape{9, 32, 33, 31}}) {
    check_batch_norm(s, {.activation = "relu6"});
    check_batch_norm(s, {.has_valid = true, .has_residual = true, .activation = "relu6"}, 3);
  }
}

TEST(BatchNormSteps, ForwardInBf16) {
  for (const Shape& s : {Shape{5, 16, 7, 9}, Shape{4, 3, 20, 21}, Shape{2, 100, 3, 3}, Shape{37, 10}})
    check_batch_norm(s, {}, 0, DType::BF16);
  check_batch_norm({5, 16, 7, 9}, {.has_residual = true, .activation = "relu"}, 0, DType::BF16);
  check_batch_norm({5, 10, 7, 9}, {.has_valid = true, .activation = "relu"}, 3, DType::BF16);
  check_batch_norm({9, 32, 33, 31}, {.has_residual = true, .activation = ""}, 0, DType::BF16);
  for (const Shape& s : {Shape{5, 64, 7, 9}, Shape{5, 10, 7, 9}}) {
    check_batch_norm(s, {.activation = "relu6"}, 0, DType::BF16);
    check_batch_norm(s, {.has_residual = true, .activation = "relu6"}, 0, DType::BF16);
  }
}

TEST(BatchNormSteps, LargeMeanKeepsTheVariance) {
  const Shape s{8, 16, 16, 16}, c{16};
  check_step("batch_norm", BatchNormAttrs{},
             {random_tensor(s, 1, 1000.0, 1001.0), random_tensor(c, 2), random_tensor(c, 3),
              random_tensor(c, 4), random_tensor(c, 5, 0.5, 2)},
             {.tolerance = 2e-3});
}

void check_batch_norm_grad(const Shape& s, const BatchNormGradAttrs& at, std::int32_t valid = 0,
                           DType type = DType::F32) {
  const Shape c{s[1]};
  std::vector<Tensor> in{random_tensor(s, 1, -2.0, 2.0, type), random_tensor(s, 2, 2, 5, type),
                         random_tensor(c, 3), random_tensor(c, 4, 3.4, 3.6), random_tensor(c, 5, 0.9, 1.1)};
  if (at.has_valid) in.push_back(count_of(valid));
  if (!at.activation.empty() && !at.mask_from_x)
    in.push_back(random_tensor(s, 6, -2.0, at.activation == "relu6" ? 9.0 : 2.0, type));
  if (at.mask_from_x) {
    in[2] = random_tensor(c, 3, 2.0, 4.0);
    in.push_back(random_tensor(c, 6, 1.0, 5.0));
  }
  if (at.has_dy2) in.push_back(random_tensor(s, 7, -2.0, 2.0, type));
  check_step("batch_norm_grad", at, in, check_in(type, 2e-5));
}

TEST(BatchNormSteps, Gradient) {
  for (const Shape& s : {Shape{5, 16, 7, 9}, Shape{4, 3, 20, 21}, Shape{2, 20, 6, 6}, Shape{3, 130, 3, 5},
                         Shape{37, 10}, Shape{9, 32, 33, 31}})
    check_batch_norm_grad(s, {});
  check_batch_norm_grad({5, 16, 7, 9}, {.activation = "relu", .has_residual = true});
  check_batch_norm_grad({5, 10, 7, 9}, {.has_valid = true, .activation = "relu"}, 3);
  check_batch_norm_grad({5, 10, 7, 9}, {.has_valid = true, .activation = "", .has_residual = true}, 0);
}

// From y, whose upper bound is a pass of its own over stretches, and from x.
TEST(BatchNormSteps, GradientOfRelu6) {
  for (const DType type : {DType::F32, DType::BF16})
    for (const Shape& s : {Shape{5, 64, 7, 9}, Shape{5, 10, 7, 9}, Shape{9, 32, 33, 31}})
      for (const bool from_x : {false, true})
        for (const bool two : {false, true}) {
          check_batch_norm_grad(s, {.activation = "relu6", .has_dy2 = two, .mask_from_x = from_x}, 0, type);
          check_batch_norm_grad(s,
                                {.has_valid = true,
                                 .activation = "relu6",
                                 .has_residual = true,
                                 .has_dy2 = two,
                                 .mask_from_x = from_x},
                                3, type);
        }
}

TEST(BatchNormSteps, GradientInBf16) {
  for (const Shape& s : {Shape{5, 16, 7, 9}, Shape{4, 3, 20, 21}, Shape{3, 130, 3, 5}, Shape{37, 10}})
    check_batch_norm_grad(s, {}, 0, DType::BF16);
  check_batch_norm_grad({9, 32, 33, 31}, {.activation = "relu", .has_residual = true}, 0, DType::BF16);
  check_batch_norm_grad({5, 16, 7, 9}, {.activation = "relu"}, 0, DType::BF16);
  check_batch_norm_grad({5, 10, 7, 9}, {.has_valid = true, .activation = "relu"}, 3, DType::BF16);
}

TEST(BatchNormSteps, TwoGradients) {
  for (const DType type : {DType::F32, DType::BF16})
    for (const Shape& s : {Shape{5, 16, 7, 9}, Shape{9, 32, 33, 31}, Shape{4, 3, 20, 21}}) {
      check_batch_norm_grad(s, {.activation = "relu", .has_residual = true, .has_dy2 = true}, 0, type);
      check_batch_norm_grad(s, {.has_dy2 = true}, 0, type);
    }
}

TEST(BatchNormSteps, Inference) {
  const Shape c{12};
  check_step("batch_norm_infer", BatchNormInferAttrs{},
             {random_tensor({3, 12, 9, 10}, 1), random_tensor(c, 2), random_tensor(c, 3), random_tensor(c, 4),
              random_tensor(c, 5, 0.5, 2)});
}

TEST(SoftmaxSteps, LastAxis) {
  for (const Shape& s : {Shape{7, 10}, Shape{3, 5, 33}, Shape{300, 257}, Shape{4, 1}}) {
    const Tensor x = random_tensor(s, 1, -20, 20), dy = random_tensor(s, 2), y = random_tensor(s, 3, -1, 0);
    check_step("softmax", SoftmaxAttrs{-1}, {x});
    check_step("log_softmax", SoftmaxAttrs{s.rank() - 1}, {x});
    check_step("softmax_grad", SoftmaxAttrs{-1}, {dy, y}, {.tolerance = 1e-5});
    check_step("log_softmax_grad", SoftmaxAttrs{-1}, {dy, y}, {.tolerance = 1e-5});
  }
}

TEST(LossSteps, CrossEntropy) {
  for (const DType d : {DType::I32, DType::I64})
    for (const double smoothing : {0.0, 0.1})
      for (const std::int64_t classes : {10, 1000}) {
        const Tensor x = random_tensor({37, classes}, 1, -9, 9), labels = random_tensor({37}, 2, 0, 9.99, d);
        labels.set(5, -100);
        const SoftmaxCrossEntropyAttrs at{smoothing, -100};
        check_step("softmax_cross_entropy", at, {x, labels}, {.tolerance = 1e-5});
        check_step("softmax_cross_entropy_grad", at,
                   {random_tensor({37}, 3), x, labels, random_tensor({37}, 4, 9, 10)}, {.tolerance = 1e-5});
      }
}

TEST(LossSteps, LabelOutOfRangeIsAnError) {
  const Tensor x = random_tensor({3, 4}, 1), labels = Tensor::full({DType::I64, {3}}, 4);
  Graph g;
  apply("softmax_cross_entropy", std::vector<Value>{input(g, "x", x.type()), input(g, "l", labels.type())},
        SoftmaxCrossEntropyAttrs{});
  const auto step = backend("cpu").lower(g, g.nodes().at(0), Target::cpu(1));
  const Tensor loss = Tensor::zeros({DType::F32, {3}}), lse = loss.clone();
  void* in[] = {x.raw(), labels.raw()};
  void* out[] = {loss.raw(), lse.raw()};
  EXPECT_THROW(step->bind({in, out, nullptr, nullptr})->run(), UsageError);
}

std::vector<Tensor> update_operands(int roles, double step) {
  std::vector<Tensor> in;
  for (const double v : {0.1, step, 0.5}) {
    Tensor t = Tensor::full({DType::F32, {}}, v);
    in.push_back(t);
  }
  for (int r = 0; r < roles; ++r)
    for (const Shape& s : {Shape{16, 3, 3, 3}, Shape{7}, Shape{200, 301}})
      in.push_back(random_tensor(s, static_cast<unsigned>(r) * 10u + static_cast<unsigned>(s.rank()),
                                 r < 2 ? -1 : 0.1, 1));
  return in;
}

TEST(UpdateSteps, Sgd) {
  for (const double step : {1.0, 4.0})
    for (const bool nesterov : {false, true})
      check_step("sgd", SgdAttrs{3, 0.9, nesterov ? 0.0 : 0.2, 5e-4, nesterov}, update_operands(3, step));
  check_step("sgd", SgdAttrs{3, 0.0, 0.0, 1e-2, false}, update_operands(2, 2));
}

TEST(UpdateSteps, AdamAndRmsprop) {
  for (const double step : {1.0, 9.0})
    for (const bool decoupled : {false, true})
      check_step("adam", AdamAttrs{3, 0.9, 0.999, 1e-8, 1e-2, decoupled}, update_operands(4, step),
                 {.tolerance = 1e-5});
  check_step("rmsprop", RmspropAttrs{3, 0.99, 1e-8, 1e-2, 0.0, false}, update_operands(3, 2),
             {.tolerance = 1e-5});
  check_step("rmsprop", RmspropAttrs{3, 0.99, 1e-8, 1e-2, 0.9, false}, update_operands(4, 2),
             {.tolerance = 1e-5});
}

TEST(UpdateSteps, GlobalNorm) {
  check_step("global_norm", {},
             {random_tensor({3, 5, 7, 9}, 1), random_tensor({}, 2), random_tensor({100000}, 3)});
}

}  // namespace
}  // namespace ingot::test
