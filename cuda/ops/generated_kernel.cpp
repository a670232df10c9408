#include "cuda/ops/generated_kernel.h"

#include <algorithm>
#include <exception>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "cuda/base/device_info.h"
#include "cuda/base/launch.h"

namespace ingot::cuda {

class GeneratedKernels {
 public:
  // Never destroyed: modules are given back by the process's end, when the CUDA runtime may be gone already.
  static GeneratedKernels& instance() {
    static auto* const one = new GeneratedKernels;
    return *one;
  }

  std::shared_ptr<GeneratedKernel> get(KernelSource source) {
    const int device = current_device();
    const std::lock_guard lock(mutex_);
    ++stats_.asked;
    auto [at, fresh] = kernels_.try_emplace({device, source.text});
    if (fresh) {
      auto [arch, unknown] = architectures_.try_emplace(device, 0);
      if (unknown) arch->second = device_info(device).sm;
      at->second = std::shared_ptr<GeneratedKernel>(new GeneratedKernel(std::move(source), arch->second));
      if (at->second->source_.blocks > 0) pending_.push_back(at->second);
    }
    return at->second;
  }

  void load(GeneratedKernel& kernel) {
    const std::lock_guard lock(mutex_);
    if (kernel.loaded_) return;
    if (kernel.image_.empty()) {
      if (std::none_of(pending_.begin(), pending_.end(), [&](const auto& k) { return k.get() == &kernel; }))
        pending_.push_back(kernel.shared_from_this());
      compile_pending(&kernel);
    }
    kernel.module_ = Module(kernel.source_.name, kernel.image_);
    kernel.kernel_ = kernel.module_.kernel(kernel.source_.name);
    kernel.image_ = {};
    ++stats_.loaded;
    kernel.loaded_ = true;
  }

  void compile() {
    const std::lock_guard lock(mutex_);
    compile_pending(nullptr);
  }

  void use(std::unique_ptr<KernelCompiler> compiler) {
    const std::lock_guard lock(mutex_);
    compiler_ = std::move(compiler);
  }

  GeneratedKernelStats stats() {
    const std::lock_guard lock(mutex_);
    return stats_;
  }

 private:
  GeneratedKernels() : compiler_(std::make_unique<NvrtcCompiler>()) {}

  // All that wait. A text that is refused waits no longer, and is an error only of the kernel that needs it
  // now; whoever launches it later tries again.
  void compile_pending(const GeneratedKernel* wanted) {
    std::vector<KernelJob> jobs;
    for (const auto& k : pending_) jobs.push_back({&k->source_, k->arch_});
    std::vector<CompiledKernel> results = compiler_->compile_all(jobs);
    std::exception_ptr error;
    for (std::size_t i = 0; i < pending_.size(); ++i) {
      pending_[i]->image_ = std::move(results[i].image);
      if (results[i].error == nullptr)
        ++stats_.compiled;
      else if (pending_[i].get() == wanted)
        error = results[i].error;
    }
    pending_.clear();
    if (error != nullptr) std::rethrow_exception(error);
  }

  std::mutex mutex_;
  std::unique_ptr<KernelCompiler> compiler_;
  std::map<std::pair<int, std::string>, std::shared_ptr<GeneratedKernel>> kernels_;
  std::map<int, int> architectures_;
  std::vector<std::shared_ptr<GeneratedKernel>> pending_;
  GeneratedKernelStats stats_;
};

void GeneratedKernel::launch(std::span<void* const> arguments, const Stream& stream) {
  if (source_.blocks == 0) return;
  if (!loaded_) GeneratedKernels::instance().load(*this);
  cuda::launch(kernel_, dim3(static_cast<unsigned>(source_.blocks)),
               dim3(static_cast<unsigned>(source_.threads)), 0, stream, arguments);
}

std::shared_ptr<GeneratedKernel> generated_kernel(KernelSource source) {
  return GeneratedKernels::instance().get(std::move(source));
}

void compile_generated_kernels() {
  GeneratedKernels::instance().compile();
}

void use_kernel_compiler(std::unique_ptr<KernelCompiler> compiler) {
  GeneratedKernels::instance().use(std::move(compiler));
}

GeneratedKernelStats generated_kernel_stats() {
  return GeneratedKernels::instance().stats();
}

}  // namespace ingot::cuda
