// The list of kernels that coverage is measured against.
#include "tests/cuda_sim/kernel_names.h"

#include <algorithm>

#include "gtest/gtest.h"

namespace ingot {
namespace {

TEST(KernelNames, NamespacesBoundsAndTemplates) {
  const std::string text = R"(
// __global__ void in_a_comment(int) {}
#define MACRO(name) \
  __global__ void name##_in_a_macro(int);
namespace ingot::rows {
namespace {
constexpr int kThreads = 128; struct S { int x; };
}  // namespace
template <class T, int n>
__global__ void __launch_bounds__(max(kThreads, 32), 2)
    warp_kernel(const T* x, const char* s = "__global__ void in_a_string(") { if (x) { } }
}  // namespace ingot::rows
namespace ingot { namespace other { /* __global__ void no( */
__global__ void plain_kernel(float* y);
} }
__global__ __launch_bounds__(64) void at_the_top() {}
)";
  EXPECT_EQ(kernels_in(text), (std::vector<std::string>{"ingot::rows::warp_kernel",
                                                        "ingot::other::plain_kernel", "at_the_top"}));
}

TEST(KernelNames, OfThisTree) {
  const auto all = kernel_names(INGOT_SOURCE_DIR "/cuda/kernels");
  EXPECT_TRUE(std::is_sorted(all.begin(), all.end()));
  EXPECT_GE(all.size(), 9u);
  EXPECT_EQ(std::count_if(all.begin(), all.end(),
                          [](const std::string& k) { return k.ends_with("::warp_rows_grad_kernel"); }),
            1);
}

}  // namespace
}  // namespace ingot
