#include "tests/cuda_sim/ptx/ptx_executor.h"

#include <ptxvm.h>

#include <filesystem>
#include <map>

#include "core/base/error.h"
#include "core/base/file.h"

namespace ingot {

namespace {

// One .ptx file, parsed when one of its kernels first runs.
struct Module {
  std::string file, text;
  std::unique_ptr<ptxvm, void (*)(ptxvm*)> vm{nullptr, ptxvm_destroy};

  ptxvm* loaded() {
    if (vm == nullptr) {
      vm.reset(ptxvm_create());
      if (ptxvm_load(vm.get(), text.c_str()) != 0)
        throw Error(cat("the interpreter does not take ", file, ": ", ptxvm_error(vm.get())));
    }
    return vm.get();
  }
};

// Read and parsed once a process: that takes longer than running tiny shapes.
Module* module(const std::string& file) {
  static std::map<std::string, Module> known;
  Module& m = known[file];
  if (m.file.empty()) {
    if (!file_exists(file))
      throw Error(cat(file, " is missing: run the tests cuda_ptx_* first (ctest does)"));
    m.text = read_file(file);
    m.file = file;
  }
  return &m;
}

std::string run(ptxvm* vm, const std::string& symbol, const sim::ForeignLaunch& launch, std::size_t seed) {
  for (const auto& [base, bytes] : launch.memory)
    if (bytes != 0 && ptxvm_register(vm, base, bytes, "device memory", 0) != 0) return ptxvm_error(vm);
  ptxvm_options options;
  ptxvm_default_options(&options);
  options.seed = seed;
  options.uninit_shared = 1;
  options.exited_at_barrier = 1;
  const std::uint32_t grid[3] = {launch.grid.x, launch.grid.y, launch.grid.z};
  const std::uint32_t block[3] = {launch.block.x, launch.block.y, launch.block.z};
  const int status = ptxvm_launch(vm, symbol.c_str(), grid, block, launch.dynamic_shared, launch.arguments,
                                  launch.argument_bytes, &options);
  const std::string complaint = status == 0 ? "" : ptxvm_error(vm);
  for (const auto& [base, bytes] : launch.memory)
    if (bytes != 0) ptxvm_unregister(vm, base);
  return complaint;
}

}  // namespace

struct PtxExecutor::Machine {
  struct Kernel {
    Module* module = nullptr;
    std::string symbol;
  };
  std::map<std::string, Kernel> by_symbol, by_name;
  std::size_t launches = 0;

  void add(Module* m) {
    constexpr std::string_view kEntry = ".entry ";
    for (std::size_t at = m->text.find(kEntry); at != std::string::npos; at = m->text.find(kEntry, at + 1)) {
      const std::size_t begin = at + kEntry.size();
      const Kernel kernel{m, m->text.substr(begin, m->text.find('(', begin) - begin)};
      by_symbol[kernel.symbol] = kernel;
      by_name[sim::plain_name(kernel.symbol.c_str())] = kernel;
    }
  }
};

PtxExecutor::PtxExecutor(const std::vector<std::string>& files, int sm)
    : machine_(std::make_shared<Machine>()) {
  for (const std::string& file : files)
    machine_->add(module(cat(INGOT_PTX_DIR, "/", file, ".sm_", sm, ".ptx")));
}

PtxExecutor::PtxExecutor(int sm) : machine_(std::make_shared<Machine>()) {
  const std::string ending = cat(".cu.sm_", sm, ".ptx");
  for (const auto& entry : std::filesystem::directory_iterator(INGOT_PTX_DIR))
    if (const std::string file = entry.path().string(); file.ends_with(ending)) machine_->add(module(file));
  if (machine_->by_symbol.empty())
    throw Error(
        cat("there is no *", ending, " in ", INGOT_PTX_DIR, ": run the tests cuda_ptx_* first (ctest does)"));
}

std::string PtxExecutor::operator()(const sim::ForeignLaunch& launch) const {
  auto found = machine_->by_symbol.find(launch.symbol);
  if (found == machine_->by_symbol.end()) {
    found = machine_->by_name.find(launch.name);
    if (found == machine_->by_name.end()) return cat("none of the PTX files has it (", launch.symbol, ")");
  }
  ++machine_->launches;
  try {
    return run(found->second.module->loaded(), found->second.symbol, launch, machine_->launches);
  } catch (const Error& e) {
    return e.what();
  }
}

std::size_t PtxExecutor::launches() const {
  return machine_->launches;
}

}  // namespace ingot
