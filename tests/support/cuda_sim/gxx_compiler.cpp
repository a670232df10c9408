#include "tests/support/cuda_sim/gxx_compiler.h"

#include <chrono>
#include <cstdlib>

#include "core/base/error.h"
#include "tests/support/temp_dir.h"

namespace ingot::sim {

namespace {

std::string quoted(const std::string& word) {
  return cat("'", word, "'");
}

std::string command(const std::string& text, const std::string& image, const std::string& log, bool checked) {
  const std::string root = INGOT_SOURCE_DIR, sim = root + "/tests/support/cuda_sim";
  // Line tables name the place of a finding; vectorising would merge accesses of a thread; a frame larger
  // than a stack must touch the page below it. What the image needs is in the program, so nothing is linked
  // to it.
  std::string c =
      cat(quoted(INGOT_SIM_CXX),
          " -x c++ -std=c++20 -O1 -g1 -w -fPIC -shared -nostdlib -ffp-contract=off "
          "-fno-tree-vectorize -fno-exceptions -fstack-clash-protection -nostdinc++ -isystem ",
          quoted(sim + "/jit/include"), " -I", quoted(root), " -include ", quoted(sim + "/jit/prelude.h"));
#if defined(__x86_64__)
  if (__builtin_cpu_supports("fma")) c += " -mfma";
#endif
  if (checked) c += " -fsanitize=thread --param=tsan-instrument-func-entry-exit=0";
  return cat(c, " ", quoted(text), " -o ", quoted(image), " 2> ", quoted(log));
}

}  // namespace

std::string GxxCompiler::compile(const cuda::KernelSource& kernel, int) {
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = images_.find(kernel.text); found != images_.end()) {
      ++stats_.found;
      return found->second;
    }
  }
  const auto start = std::chrono::steady_clock::now();
  std::string image = run(kernel);
  const std::lock_guard lock(mutex_);
  ++stats_.compiled;
  stats_.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return images_.emplace(kernel.text, std::move(image)).first->second;
}

std::string GxxCompiler::run(const cuda::KernelSource& kernel) const {
  const TempDir folder;
  const std::string text = folder / "kernel.cu", image = folder / "kernel.so", log = folder / "log";
  // Findings then name lines of the text, as a user of NVRTC would see them.
  write_raw(text, cat("#line 1 \"", kernel.name, ".cu\"\n", kernel.text, "\nINGOT_SIM_KERNEL(", kernel.name,
                      ")\n"));
  if (std::system(command(text, image, log, check_accesses_).c_str()) != 0)
    throw Error(cat("g++ refuses the kernel ", kernel.name, ":\n", read_raw(log), "\n", kernel.text));
  return read_raw(image);
}

GxxCompiler::Stats GxxCompiler::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

}  // namespace ingot::sim
