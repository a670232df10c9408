// core/base/philox.h by NVRTC, executed as PTX: the words and uniform numbers that the CPU has.
#include "core/base/philox.h"

#include <cmath>
#include <vector>

#include "core/base/error.h"
#include "core/base/file.h"
#include "tests/cuda/kernel_run.h"

namespace ingot {
namespace {

constexpr int kBlocks = 64;
constexpr philox::Wide kKey = 0xfedcba9876543210, kStream = 0x123456789abcdef;

TEST(PhiloxOnTheDevice, SameBits) {
  INGOT_NEEDS_PTX();
  const std::string text = read_file(cat(INGOT_SOURCE_DIR, "/core/base/philox.h")) + R"(
extern "C" __global__ void draw(unsigned long long key, unsigned long long stream, unsigned* words, float* uniform,
                                double* normal) {
  const int i = threadIdx.x;
  const ingot::Philox4 four = ingot::Philox(key, stream)(i);
  for (int k = 0; k < 4; ++k) {
    words[4 * i + k] = four.v[k];
    uniform[4 * i + k] = ingot::uniform_in<float>(four.v[k], -0.3f, 0.1f);
  }
  ingot::box_muller<double>(four.v[0], four.v[1], normal[2 * i], normal[2 * i + 1]);
})";
  for (const int arch : kArchitectures) {
    std::vector<philox::Word> words(4 * kBlocks);
    std::vector<float> uniform(4 * kBlocks);
    std::vector<double> normal(2 * kBlocks);
    PtxDevice device(cuda::Nvrtc::instance().compile("draw", text, arch, cuda::KernelFormat::Ptx));
    device.launch("draw", {.threads = {kBlocks, 1, 1}},
                  {PtxArg::of(kKey), PtxArg::of(kStream),
                   PtxArg::write(words.data(), words.size() * sizeof(philox::Word)),
                   PtxArg::write(uniform.data(), uniform.size() * sizeof(float)),
                   PtxArg::write(normal.data(), normal.size() * sizeof(double))});
    const Philox rng(kKey, kStream);
    for (std::size_t i = 0; i < words.size(); ++i) {
      ASSERT_EQ(words[i], rng.bits(i)) << "sm_" << arch << " word " << i;
      ASSERT_EQ(uniform[i], uniform_in<float>(words[i], -0.3f, 0.1f)) << "sm_" << arch << " word " << i;
    }
    for (std::size_t i = 0; i < kBlocks; ++i) {
      double z[2];
      box_muller<double>(words[4 * i], words[4 * i + 1], z[0], z[1]);
      for (std::size_t k = 0; k < 2; ++k)  // a unit in the last place of f64, and what it makes of a root
        ASSERT_NEAR(normal[2 * i + k], z[k], 1e-15 * (1 + std::abs(z[k]))) << "sm_" << arch << " block " << i;
    }
  }
}

}  // namespace
}  // namespace ingot
