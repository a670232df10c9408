// The harness of the PTX interpreter itself: parameters of every kind, and that it reports what kernels do
// wrong.
#include "tests/support/ptx_device.h"

#include <numeric>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "tests/cuda/kernel_run.h"
#include "tests/support/messages.h"

namespace ingot {
namespace {

std::string compiled(const std::string& text) {
  return cuda::Nvrtc::instance().compile("test", text, 90, cuda::KernelFormat::Ptx);
}

// Sums a block's values in shared memory; `barrier` and `limit` spoil it.
std::string block_sum(const std::string& barrier, const std::string& limit) {
  return cat(R"(
struct Args { const int* from; int* to; short n; };
extern "C" __global__ void block_sum(const Args a, int scale) {
  extern __shared__ int s[];
  if (threadIdx.x < )",
             limit, ") s[threadIdx.x] = a.from[threadIdx.x] * scale;\n  ", barrier, R"(
  int sum = 0;
  for (int i = 0; i < a.n; ++i) sum += s[i];
  a.to[threadIdx.x] = sum;
})");
}

struct Args {
  const int* from;
  int* to;
  short n;
};

std::string run_block_sum(const std::string& barrier, const std::string& limit, std::vector<int>& to) {
  std::vector<int> from(32);
  std::iota(from.begin(), from.end(), 1);
  to.assign(32, 0);
  PtxDevice device(compiled(block_sum(barrier, limit)));
  device.share(from.data(), from.size() * sizeof(int), false);
  device.share(to.data(), to.size() * sizeof(int), true);
  return message_of<Error>([&] {
    device.launch("block_sum", {.threads = {32, 1, 1}, .shared_bytes = 128},
                  {PtxArg::of(Args{from.data(), to.data(), 32}), PtxArg::of(3)});
  });
}

TEST(PtxDevice, StructsOfPointersAndSharedMemory) {
  INGOT_NEEDS_PTX();
  std::vector<int> to;
  EXPECT_EQ(run_block_sum("__syncthreads();", "32", to), "(nothing was thrown)");
  EXPECT_EQ(to, std::vector<int>(32, 3 * 32 * 33 / 2));
}

TEST(PtxDevice, ReportsMissingBarriersAndUnwrittenSharedMemory) {
  INGOT_NEEDS_PTX();
  std::vector<int> to;
  EXPECT_TRUE(says(run_block_sum("", "32", to), "block_sum", "shared"));
  EXPECT_TRUE(says(run_block_sum("__syncthreads();", "31", to), "block_sum", "shared"));
}

TEST(PtxDevice, RefusesWhatItCannotRun) {
  INGOT_NEEDS_PTX();
  EXPECT_THROW(PtxDevice("this is no PTX"), Error);
  PtxDevice device(compiled("extern \"C\" __global__ void k(int* y, long long v) { *y = int(v); }"));
  int y = 0;
  EXPECT_THROW(device.launch("k", {}, {PtxArg::write(&y, 4), PtxArg::of(1)}), UsageError);  // 8 bytes, not 4
  device.launch("k", {}, {PtxArg::write(&y, 4), PtxArg::of(7ll)});
  EXPECT_EQ(y, 7);
}

}  // namespace
}  // namespace ingot
