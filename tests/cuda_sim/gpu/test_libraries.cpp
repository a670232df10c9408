// NVIDIA's libraries on a GPU: that the lowerings take them where they are, and that what they compute is the
// op's reference. Skipped where a library is missing, with what is missing.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "cuda/libs/cublaslt.h"
#include "cuda/libs/cudnn.h"
#include "tests/cuda_sim/device_node.h"
#include "tests/cuda_sim/sim_test.h"
#include "tests/support/typed_case.h"

namespace ingot::test {
namespace {

class Libraries : public SimTest {
 protected:
  static void expect_close(const Tensor& got, const Tensor& want, double tolerance) {
    for (std::int64_t i = 0; i < want.numel(); ++i) {
      const double a = got.get(i), b = want.get(i);
      if ((std::isnan(a) && std::isnan(b)) || a == b) continue;
      ASSERT_LE(std::abs(a - b), tolerance * (1.0 + std::abs(b)))
          << "element " << i << " is " << a << ", expected " << b;
    }
  }

  // Every OpCase of the op, by the kernels whose name begins so; how many of them took one.
  // Where `row` is not empty, by the candidate of that name alone.
  static int check(const std::string& op, const std::string& kernel, const std::string& row = {}) {
    int taken = 0;
    for (const CaseIn& in : all_cases()) {
      if (in.c.op != op) continue;
      const auto t = typed_case(in.c, in.dtype, false);
      if (!t) continue;
      const Node& node = t->graph.node({0});
      const std::vector<Tensor> operands(t->inputs.begin(),
                                         t->inputs.begin() + static_cast<std::ptrdiff_t>(node.inputs.size()));
      SCOPED_TRACE(cat(op, " ", in.c.name, " in ", name(in.dtype)));
      const auto done = run_on_device(t->graph, {0}, operands, in.c.unspecified, row);
      if (!done || !done->kernel.starts_with(kernel)) continue;
      ++taken;
      const auto all = rounded_reference(t->graph, node, operands);
      for (std::size_t k = 0; k < all.size(); ++k)
        expect_close(done->results[k], all[k], std::max(in.c.tolerance, 1e-5) + 2 * rounding(all[k].dtype()));
    }
    return taken;
  }
};

TEST_F(Libraries, MatrixProductsByCublasLt) {
  if (const auto missing = cuda::CublasLt::missing()) GTEST_SKIP() << *missing;
  EXPECT_GT(check("matmul", "cublaslt"), 15);
}

TEST_F(Libraries, ConvolutionsByCudnn) {
  if (const std::string missing = cuda::cudnn_missing(); !missing.empty()) GTEST_SKIP() << missing;
  for (const char* op : {"conv2d", "conv2d_grad_input", "conv2d_grad_weight"})
    EXPECT_GT(check(op, "cudnn:"), 0) << op;
}

// The running variance among the results: that cuDNN's is the unbiased one is shown here and nowhere else.
TEST_F(Libraries, BatchNormAndAveragePoolingByCudnn) {
  if (const std::string missing = cuda::cudnn_missing(); !missing.empty()) GTEST_SKIP() << missing;
  for (const char* op : {"batch_norm", "batch_norm_grad", "avg_pool2d"})
    EXPECT_GT(check(op, "cudnn:", "cudnn"), 0) << op;
}

}  // namespace
}  // namespace ingot::test
