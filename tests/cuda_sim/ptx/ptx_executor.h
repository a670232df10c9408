// Executes the launches of the simulated device from the PTX that nvcc made of the same .cu files, so that
// host code runs unchanged and a kernel's parameters need not be known.
//
// The kernel is found in the files' modules by its mangled name. Every access is checked by the interpreter:
// bounds, alignment, races, unwritten shared memory, barriers after an exit.
//
//   sim::reset({.sm = 90, .execute = PtxExecutor({"matmul.cu", "matmul_f32.cu"}, 90)});
#pragma once

#include <ptxvm.h>

#include <fstream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/cuda_sim/sim.h"

namespace ingot {

class PtxExecutor {
 public:
  PtxExecutor(const std::vector<std::string>& files, int sm) {
    for (const std::string& file : files) modules_.push_back(module(file, sm));
  }

  std::string operator()(const sim::ForeignLaunch& launch) const {
    for (const Module* m : modules_)
      for (int i = 0; i < ptxvm_kernel_count(m->vm); ++i)
        if (std::string(ptxvm_kernel_name(m->vm, i)) == launch.symbol) return run(m->vm, launch);
    return std::string("none of the PTX files has a kernel ") + launch.symbol;
  }

 private:
  struct Module {
    ptxvm* vm = ptxvm_create();
    std::string trouble;
    Module() = default;
    Module(const Module&) = delete;
    Module& operator=(const Module&) = delete;
    ~Module() { ptxvm_destroy(vm); }
  };

  // Loaded once a process: parsing takes longer than running tiny shapes.
  static const Module* module(const std::string& file, int sm) {
    static std::map<std::string, std::unique_ptr<Module>> loaded;
    const std::string path = std::string(INGOT_PTX_DIR) + "/" + file + ".sm_" + std::to_string(sm) + ".ptx";
    auto& m = loaded[path];
    if (m != nullptr) return m.get();
    m = std::make_unique<Module>();
    std::ifstream in(path);
    std::ostringstream text;
    text << in.rdbuf();
    if (!in)
      m->trouble = path + " is missing: run the tests cuda_ptx_* first (ctest does)";
    else if (ptxvm_load(m->vm, text.str().c_str()) != 0)
      m->trouble = ptxvm_error(m->vm);
    EXPECT_EQ(m->trouble, "") << path;
    return m.get();
  }

  static std::string run(ptxvm* vm, const sim::ForeignLaunch& launch) {
    for (const auto& [base, bytes] : launch.memory)
      if (bytes != 0 && ptxvm_register(vm, base, bytes, "device memory", 0) != 0) return ptxvm_error(vm);
    ptxvm_options options;
    ptxvm_default_options(&options);
    options.seed = 11;
    options.uninit_shared = 1;
    options.exited_at_barrier = 1;
    const std::uint32_t grid[3] = {launch.grid.x, launch.grid.y, launch.grid.z};
    const std::uint32_t block[3] = {launch.block.x, launch.block.y, launch.block.z};
    const int status = ptxvm_launch(vm, launch.symbol, grid, block, launch.dynamic_shared, launch.arguments,
                                    launch.argument_bytes, &options);
    const std::string complaint = status == 0 ? "" : ptxvm_error(vm);
    for (const auto& [base, bytes] : launch.memory)
      if (bytes != 0) ptxvm_unregister(vm, base);
    return complaint;
  }

  std::vector<const Module*> modules_;
};

}  // namespace ingot
