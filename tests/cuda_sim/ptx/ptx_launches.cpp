#include "tests/cuda_sim/ptx/ptx_launches.h"

#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <ptxvm.h>

#include <cstring>
#include <fstream>
#include <sstream>

#include "gtest/gtest.h"

namespace ingot {

struct PtxLaunches::Machine {
  std::vector<ptxvm*> modules;
  int launches = 0;

  // nvcc and g++ mangle names alike; the test program exports its own.
  void launch(const cudaLaunchConfig_t& config, const void* function, void** arguments) {
    Dl_info info{};
    ASSERT_TRUE(dladdr(function, &info) != 0 && info.dli_sname != nullptr)
        << "a kernel without a name: does the program export its symbols?";
    for (ptxvm* const vm : modules)
      for (int k = 0; k < ptxvm_kernel_count(vm); ++k)
        if (std::strcmp(ptxvm_kernel_name(vm, k), info.dli_sname) == 0)
          return launch(vm, k, config, arguments);
    ADD_FAILURE() << info.dli_sname << " is in none of the modules; name its file";
  }

  void launch(ptxvm* vm, int kernel, const cudaLaunchConfig_t& config, void** arguments) {
    std::vector<unsigned char> bytes(ptxvm_kernel_param_bytes(vm, kernel));
    for (int i = 0; i < ptxvm_kernel_params(vm, kernel); ++i) {
      std::size_t offset = 0, size = 0;
      ASSERT_EQ(ptxvm_kernel_param(vm, kernel, i, &offset, &size), 0);
      std::memcpy(bytes.data() + offset, arguments[i], size);
    }
    const std::uint32_t grid[3] = {config.gridDim.x, config.gridDim.y, config.gridDim.z};
    const std::uint32_t block[3] = {config.blockDim.x, config.blockDim.y, config.blockDim.z};
    ptxvm_options options;
    ptxvm_default_options(&options);
    options.seed = static_cast<std::uint64_t>(++launches);
    options.uninit_shared = 1;
    options.exited_at_barrier = 1;
    const char* const name = ptxvm_kernel_name(vm, kernel);
    EXPECT_EQ(
        ptxvm_launch(vm, name, grid, block, config.dynamicSmemBytes, bytes.data(), bytes.size(), &options), 0)
        << ptxvm_error(vm);
  }
};

namespace {

// Tests run on one thread.
PtxLaunches::Machine* active = nullptr;

}  // namespace

PtxLaunches::PtxLaunches(const std::vector<std::string>& files, int sm)
    : machine_(std::make_unique<Machine>()) {
  EXPECT_EQ(active, nullptr) << "one at a time";
  for (const std::string& file : files) {
    const std::string path = std::string(INGOT_PTX_DIR) + "/" + file + ".sm_" + std::to_string(sm) + ".ptx";
    std::ifstream in(path);
    EXPECT_TRUE(in) << path << " is missing: run the tests cuda_ptx_* first (ctest does)";
    std::ostringstream text;
    text << in.rdbuf();
    ptxvm* const vm = ptxvm_create();
    EXPECT_EQ(ptxvm_load(vm, text.str().c_str()), 0) << path << ": " << ptxvm_error(vm);
    machine_->modules.push_back(vm);
  }
  active = machine_.get();
}

PtxLaunches::~PtxLaunches() {
  active = nullptr;
  for (ptxvm* const vm : machine_->modules) ptxvm_destroy(vm);
}

void PtxLaunches::share(void* data, std::size_t bytes) {
  if (bytes == 0) return;
  for (ptxvm* const vm : machine_->modules)
    EXPECT_EQ(ptxvm_register(vm, data, bytes, "buffer", 0), 0) << ptxvm_error(vm);
}

int PtxLaunches::launches() const {
  return machine_->launches;
}

}  // namespace ingot

// The linker sends calls of the runtime here (CMakeLists.txt, --wrap).
extern "C" {
cudaError_t __real_cudaLaunchKernelExC(const cudaLaunchConfig_t*, const void*, void**);
cudaError_t __real_cudaMemsetAsync(void*, int, size_t, cudaStream_t);

cudaError_t __wrap_cudaLaunchKernelExC(const cudaLaunchConfig_t* config, const void* function,
                                       void** arguments) {
  if (ingot::active == nullptr) return __real_cudaLaunchKernelExC(config, function, arguments);
  ingot::active->launch(*config, function, arguments);
  return cudaSuccess;
}

cudaError_t __wrap_cudaMemsetAsync(void* data, int value, size_t bytes, cudaStream_t stream) {
  if (ingot::active == nullptr) return __real_cudaMemsetAsync(data, value, bytes, stream);
  std::memset(data, value, bytes);
  return cudaSuccess;
}
}
