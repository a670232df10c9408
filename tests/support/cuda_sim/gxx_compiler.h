// The compiler of generated kernels for the simulated device: the g++ that builds these tests, after
// jit/prelude.h, into a shared object that the simulator loads (kernel_table.h).
//
// What was compiled once in this process is not compiled again. Several kernels go through one run of the
// compiler, whose start takes longer than a kernel; they share an image then, which says behind its end which
// one is meant. Accesses are reported as those of .cu files
// are when `check_accesses`. A product and a sum round once exactly where the kernel asks for it, as on a
// GPU.
//
//   GxxCompiler compiler(kChecksAccesses);
//   const cuda::Module module(k.name, compiler.compile(k, 90));
#pragma once

#include <map>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "cuda/jit/compiler.h"

namespace ingot::sim {

class GxxCompiler final : public cuda::KernelCompiler {
 public:
  explicit GxxCompiler(bool check_accesses) : check_accesses_(check_accesses) {}
  // The same code for every architecture. Throws Error with the compiler's log and the text.
  std::string compile(const cuda::KernelSource& kernel, int arch) override;
  std::vector<cuda::CompiledKernel> compile_all(std::span<const cuda::KernelJob> jobs) override;

  struct Stats {
    int compiled = 0, found = 0, runs = 0;
    double seconds = 0;  // in the compiler, summed over threads
  };
  Stats stats() const;

 private:
  // One image with all of them.
  std::string run(std::span<const cuda::KernelSource* const> kernels) const;
  void run_batch(std::span<const cuda::KernelJob> jobs, const std::vector<std::size_t>& batch,
                 std::vector<cuda::CompiledKernel>& results);
  const std::string* find(const std::string& text) const;

  bool check_accesses_;
  mutable std::mutex mutex_;  // guards what follows
  std::map<std::string, std::string, std::less<>> images_;
  Stats stats_;
};

}  // namespace ingot::sim
