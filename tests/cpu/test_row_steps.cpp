// Lowerings of layer norm and of the ops that pick rows by index.
#include "core/ops/gather.h"
#include "core/ops/norm.h"
#include "tests/cpu/step_check.h"

namespace ingot::test {
namespace {

const StepCheck kExact{.tolerance = 0.0, .own_kernel = true, .unspecified = {}};

TEST(LayerNormSteps, ForwardAndGradient) {
  for (const Shape& s : {Shape{7, 10}, Shape{3, 5, 33}, Shape{200, 257}}) {
    const Shape cells{s[-1]};
    Shape rows = s;
    rows.erase(s.rank() - 1);
    check_step("layer_norm", LayerNormAttrs{-1, 1e-5},
               {random_tensor(s, 1, 3, 5), random_tensor(cells, 2), random_tensor(cells, 3)},
               {.tolerance = 1e-5});
    check_step("layer_norm_grad", LayerNormAttrs{-1, 1e-5},
               {random_tensor(s, 1), random_tensor(s, 2), random_tensor(cells, 3),
                random_tensor(rows, 4, -0.1, 0.1), random_tensor(rows, 5, 0.8, 1.2)},
               {.tolerance = 3e-5});
  }
}

TEST(GatherSteps, PickRows) {
  for (const DType d : {DType::I32, DType::I64}) {
    const Tensor indices = random_tensor({6, 5}, 1, -7, 6.99, d),
                 positive = random_tensor({6, 5}, 1, 0, 6.99, d);
    for (const std::int64_t axis : {0, 1, 2})
      check_step("gather", GatherAttrs{axis}, {random_tensor({7, 8, 9}, 2), axis == 0 ? indices : positive},
                 kExact);
    check_step("gather", GatherAttrs{0}, {random_tensor({7, 3}, 2, 0, 9, DType::I64), indices}, kExact);
    check_step("embedding", EmbeddingAttrs{2}, {random_tensor({7, 900}, 3), positive}, kExact);
    check_step("one_hot", OneHotAttrs{5, DType::F32}, {indices}, kExact);
  }
}

TEST(GatherSteps, AddRows) {
  const Tensor indices = random_tensor({30, 7}, 1, 0, 10.99, DType::I64);
  check_step("embedding_grad", EmbeddingGradAttrs{11, 4}, {random_tensor({30, 7, 130}, 2), indices});
  check_step("scatter_add", ScatterAddAttrs{1, {3, 11, 20}}, {random_tensor({3, 30, 7, 20}, 3), indices});
  check_step("scatter_add", ScatterAddAttrs{0, {11}}, {random_tensor({30, 7}, 3), indices});
}

TEST(GatherSteps, IndexOutOfRangeIsAnError) {
  const Tensor w = random_tensor({3, 4}, 1), indices = Tensor::full({DType::I64, {2}}, 3);
  Graph g;
  apply("embedding", std::vector<Value>{input(g, "w", w.type()), input(g, "i", indices.type())},
        EmbeddingAttrs{});
  const auto step = backend("cpu").lower(g, g.nodes().at(0), Target::cpu(1));
  const Tensor y = Tensor::zeros({DType::F32, {2, 4}});
  void* in[] = {w.raw(), indices.raw()};
  void* out[] = {y.raw()};
  EXPECT_THROW(step->bind({in, out, nullptr, nullptr})->run(), UsageError);
}

}  // namespace
}  // namespace ingot::test
