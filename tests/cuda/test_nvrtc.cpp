// NVRTC: found or named as missing, its options, its log in the error.
#include "cuda/jit/nvrtc.h"

#include <algorithm>
#include <string>

#include "core/base/error.h"
#include "core/base/file.h"
#include "cuda/jit/kernel_source.h"
#include "gtest/gtest.h"
#include "tests/cuda/kernel_run.h"
#include "tests/support/messages.h"

namespace ingot {
namespace {

using cuda::KernelFormat;
using cuda::Nvrtc;

TEST(Nvrtc, SaysWhatToInstallWhenAbsent) {
  const std::string said = message_of<DeviceError>([] { Nvrtc({{"libno-such-nvrtc.so.1", "libm.so.6"}, {}}); });
  EXPECT_TRUE(says(said, "CUDA Toolkit", "LD_LIBRARY_PATH", "libno-such-nvrtc.so.1", "pip install"));
  EXPECT_TRUE(says(said, "libm.so.6", "nvrtc"));  // a library that loads, but is another one
}

TEST(Nvrtc, Version) {
  INGOT_NEEDS_NVRTC();
  const std::string version = Nvrtc::instance().version();
  EXPECT_GE(std::stoi(version), 12) << version;
  EXPECT_NE(version.find('.'), std::string::npos);
  const auto all = Nvrtc::instance().architectures();
  for (const int arch : kArchitectures) EXPECT_EQ(std::count(all.begin(), all.end(), arch), 1) << arch;
}

TEST(Nvrtc, OptionsKeepTheCpusRounding) {
  const auto options = Nvrtc::options(90, KernelFormat::Ptx);
  const auto has = [&](std::string_view o) { return std::count(options.begin(), options.end(), o) == 1; };
  EXPECT_TRUE(has("--gpu-architecture=compute_90"));
  EXPECT_TRUE(has("--fmad=false"));
  for (const std::string& o : options) EXPECT_EQ(o.find("fast"), std::string::npos) << o;
  EXPECT_EQ(Nvrtc::options(120, KernelFormat::Cubin)[0], "--gpu-architecture=sm_120");
}

TEST(Nvrtc, ALogForTextItRefuses) {
  INGOT_NEEDS_NVRTC();
  const std::string said = message_of<Error>([] {
    Nvrtc::instance().compile("broken", "extern \"C\" __global__ void broken() {\n  undeclared = 1;\n}\n", 90,
                              KernelFormat::Ptx);
  });
  EXPECT_TRUE(says(said, "broken.cu(2)", "undeclared", "sm_90", "2\t  undeclared = 1;")) << said;
}

TEST(Nvrtc, AnArchitectureItDoesNotKnow) {
  INGOT_NEEDS_NVRTC();
  const std::string said =
      message_of<UsageError>([] { Nvrtc::instance().compile("k", "", 999, KernelFormat::Ptx); });
  EXPECT_TRUE(says(said, "sm_999", "sm_90", "Toolkit"));
}

TEST(Nvrtc, EmbeddedHeadersAreThoseOfTheTree) {
  std::vector<std::string> names;
  for (const cuda::EmbeddedHeader& h : cuda::embedded_headers()) {
    names.emplace_back(h.name);
    EXPECT_EQ(read_file(std::string(INGOT_SOURCE_DIR) + "/" + h.name), h.text) << h.name;
  }
  EXPECT_EQ(names, (std::vector<std::string>{"core/expr/scalar_math.h", "core/expr/scalar_ops.h",
                                             "cuda/jit/element.h"}));
}

}  // namespace
}  // namespace ingot
