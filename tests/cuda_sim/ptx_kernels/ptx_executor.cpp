#include "tests/cuda_sim/ptx_kernels/ptx_executor.h"

#include <dlfcn.h>
#include <ptxvm.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>

#include "core/base/error.h"
#include "tests/support/cuda_sim/engine.h"
#include "tests/support/cuda_sim/machine.h"
#include "tests/support/cuda_sim/report.h"

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

std::string symbol_of(const void* function) {
  Dl_info info{};
  if (dladdr(function, &info) == 0 || info.dli_sname == nullptr || info.dli_saddr != function) return "";
  return info.dli_sname;
}

}  // namespace

struct PtxExecutor::Impl {
  std::vector<std::unique_ptr<Module>> modules;
  std::map<std::string, Module*> by_kernel;
  std::size_t launches = 0;

  cudaError_t run(const sim::Launch& launch) {
    const std::string symbol = symbol_of(launch.function);
    const auto found = by_kernel.find(symbol);
    if (found == by_kernel.end()) {
      sim::report(sim::Fault::BadHandle, cat("kernel '", launch.name, "' (", symbol,
                                             ") is in none of the .ptx files; is its source among those that "
                                             "nvcc compiled?"));
      return cudaErrorInvalidDeviceFunction;
    }
    ++launches;
    ptxvm* const vm = found->second->loaded();
    std::vector<void*> registered;
    for (const sim::Allocation* a : sim::machine().memory().live()) {
      if (a->state != sim::Allocation::State::Live || a->bytes == 0) continue;
      registered.push_back(reinterpret_cast<void*>(a->base));
      ptxvm_register(vm, registered.back(), a->bytes, sim::describe(*a).c_str(), 0);
    }
    ptxvm_options options;
    ptxvm_default_options(&options);
    options.seed = launches;
    options.uninit_shared = 1;
    const std::array<std::uint32_t, 3> grid{launch.grid.x, launch.grid.y, launch.grid.z};
    const std::array<std::uint32_t, 3> block{launch.block.x, launch.block.y, launch.block.z};
    const int status = ptxvm_launch(vm, symbol.c_str(), grid.data(), block.data(), launch.dynamic_shared,
                                    launch.arguments.data(), launch.arguments.size(), &options);
    if (status != 0) sim::report(sim::Fault::OutOfBounds, cat("as PTX: ", ptxvm_error(vm)));
    for (void* const p : registered) ptxvm_unregister(vm, p);
    return status == 0 ? cudaSuccess : cudaErrorIllegalAddress;
  }
};

PtxExecutor::PtxExecutor(const std::string& folder, int sm) : impl_(new Impl) {
  const std::string ending = cat(".sm_", sm, ".ptx");
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string file = entry.path().string();
    if (!file.ends_with(ending)) continue;
    auto module = std::make_unique<Module>();
    module->file = file;
    std::ostringstream text;
    text << std::ifstream(file).rdbuf();
    module->text = text.str();
    constexpr std::string_view kEntry = ".entry ";
    for (std::size_t at = module->text.find(kEntry); at != std::string::npos;
         at = module->text.find(kEntry, at + 1)) {
      const std::size_t begin = at + kEntry.size();
      impl_->by_kernel[module->text.substr(begin, module->text.find('(', begin) - begin)] = module.get();
    }
    impl_->modules.push_back(std::move(module));
  }
  if (impl_->modules.empty())
    throw Error(
        cat("there is no *", ending, " in ", folder, ": run the tests cuda_ptx_* first (ctest does)"));
  sim::engine().use([impl = impl_](const sim::Launch& launch) { return impl->run(launch); });
}

PtxExecutor::~PtxExecutor() {
  sim::engine().use({});
  delete impl_;
}

std::size_t PtxExecutor::launches() const {
  return impl_->launches;
}

}  // namespace ingot
