// What the tests of cuBLASLt's lowering share: a product as a graph of one node with its operands, and what
// its result must be.
//
//   expect_result(product({3, 5}, {7, 5}, {.transpose_b = true}), "cublaslt");   // by this kernel
#pragma once

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/ops/matmul.h"
#include "models/models.h"
#include "optim/optimizer.h"
#include "tests/cuda_sim/backend/backend_test.h"
#include "tests/cuda_sim/device_node.h"
#include "tests/support/cuda_sim/cublaslt_fake.h"
#include "tests/support/typed_case.h"
#include "train/step_graph.h"

#if INGOT_HAS_CUBLASLT

namespace ingot {

struct MatmulNode {
  Graph graph;  // node 0 is the product
  std::vector<Tensor> operands;
};

class CublasLtTest : public CudaBackendTest {
 public:
  static MatmulNode product(const Shape& a, const Shape& b, const MatmulAttrs& at, DType dtype = DType::F32,
                            int seed = 1) {
    MatmulNode node;
    std::vector<Value> in;
    const auto add = [&](const Shape& shape) {
      in.push_back(input(node.graph, cat("x", in.size()), {dtype, shape}));
      Tensor t(TensorType{dtype, shape});
      const auto values = sequence(static_cast<std::size_t>(t.numel()),
                                   static_cast<unsigned>(seed * 10) + static_cast<unsigned>(in.size()));
      for (std::int64_t i = 0; i < t.numel(); ++i)
        t.set(i, static_cast<double>(values[static_cast<std::size_t>(i)]));
      node.operands.push_back(t);
    };
    add(a), add(b);
    const MatmulSizes s = matmul_sizes(a, b, at.transpose_a, at.transpose_b);
    Shape y = s.batch;
    y.push_back(s.m), y.push_back(s.n);
    if (at.has_bias) add(Shape{s.n});
    if (at.has_residual) add(y);
    output("y", apply1("matmul", in, at));
    return node;
  }

  static void expect_equal(const Tensor& got, const MatmulNode& node, const std::string& kernel) {
    const Tensor want = test::rounded_reference(node.graph, node.graph.node({0}), node.operands)[0];
    ASSERT_EQ(got.numel(), want.numel());
    const double tolerance = 1e-5 + 2 * test::rounding(want.dtype());
    for (std::int64_t i = 0; i < want.numel(); ++i)
      ASSERT_NEAR(got.get(i), want.get(i), tolerance * (1.0 + std::abs(want.get(i))))
          << "element " << i << " by " << kernel;
  }

  static void expect_result(const MatmulNode& node, const std::string& kernel) {
    const auto done = run_on_device(node.graph, {0}, node.operands);
    ASSERT_TRUE(done);
    EXPECT_EQ(done->kernel, kernel);
    expect_equal(done->results[0], node, kernel);
  }

  // "5 x 7, ld 5, 6 at 35": six of them.
  static std::string layout(const sim::LtLayout& l) {
    return cat(l.rows, " x ", l.columns, ", ld ", l.ld,
               l.batch == 1 ? "" : cat(", ", l.batch, " at ", l.stride));
  }

  static Graph mlp_training(std::int64_t batch) {
    const auto net = make_model("mlp");
    return training_graph(*net, {DType::F32, model_input("mlp", batch)}, *sgd({.lr = 0.05, .momentum = 0.9}));
  }
};

}  // namespace ingot

#endif
