#include "tests/support/cuda_sim/gxx_compiler.h"

#include <chrono>
#include <cstdlib>

#include "core/base/error.h"
#include "tests/support/cuda_sim/kernel_table.h"
#include "tests/support/temp_dir.h"

namespace ingot::sim {

namespace {

constexpr std::size_t kBatch = 24;

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

std::string GxxCompiler::compile(const cuda::KernelSource& kernel, int arch) {
  const cuda::KernelJob job{&kernel, arch};
  cuda::CompiledKernel result = compile_all({&job, 1}).front();
  if (result.error != nullptr) std::rethrow_exception(result.error);
  return std::move(result.image);
}

std::vector<cuda::CompiledKernel> GxxCompiler::compile_all(std::span<const cuda::KernelJob> jobs) {
  std::vector<cuda::CompiledKernel> results(jobs.size());
  // Jobs without an image yet, of each text the first; batches of them.
  std::map<std::string_view, std::size_t> first;
  for (std::size_t i = 0; i < jobs.size(); ++i)
    if (find(jobs[i].kernel->text) == nullptr) first.try_emplace(jobs[i].kernel->text, i);
  std::vector<std::vector<std::size_t>> batches;
  for (const auto& [text, i] : first) {
    if (batches.empty() || batches.back().size() == kBatch) batches.emplace_back();
    batches.back().push_back(i);
  }
  cuda::on_all_cores(batches.size(), [&](std::size_t b) { run_batch(jobs, batches[b], results); });
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    if (const std::string* image = find(jobs[i].kernel->text))
      results[i].image = *image;
    else
      results[i].error = results[first.at(jobs[i].kernel->text)].error;
  }
  const std::lock_guard lock(mutex_);
  stats_.found += static_cast<int>(jobs.size() - first.size());
  return results;
}

void GxxCompiler::run_batch(std::span<const cuda::KernelJob> jobs, const std::vector<std::size_t>& batch,
                            std::vector<cuda::CompiledKernel>& results) {
  std::vector<const cuda::KernelSource*> kernels;
  for (const std::size_t i : batch) kernels.push_back(jobs[i].kernel);
  const auto start = std::chrono::steady_clock::now();
  std::string image;
  try {
    image = run(kernels);
  } catch (...) {
    // One of them is refused: each alone then, so that the others have their image.
    if (batch.size() == 1)
      results[batch[0]].error = std::current_exception();
    else
      for (const std::size_t i : batch) run_batch(jobs, {i}, results);
    return;
  }
  const std::lock_guard lock(mutex_);
  ++stats_.runs;
  stats_.compiled += static_cast<int>(batch.size());
  stats_.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  for (std::size_t k = 0; k < kernels.size(); ++k)
    images_.emplace(kernels[k]->text, cat(image, kImageNote, kernel_prefix(k)));
}

// Entries stay where they are, so the image may be read without the lock.
const std::string* GxxCompiler::find(const std::string& text) const {
  const std::lock_guard lock(mutex_);
  const auto found = images_.find(text);
  return found == images_.end() ? nullptr : &found->second;
}

std::string GxxCompiler::run(std::span<const cuda::KernelSource* const> kernels) const {
  const TempDir folder;
  const std::string file = folder / "kernels.cu", image = folder / "kernels.so", log = folder / "log";
  // Each text in a namespace of its own, its kernel under a name of its own. The headers come first, outside
  // of the namespaces. Findings then name lines of the text, as a user of NVRTC would see them.
  std::string text;
  for (const cuda::EmbeddedHeader& h : cuda::embedded_headers()) text += cat("#include \"", h.name, "\"\n");
  for (std::size_t k = 0; k < kernels.size(); ++k) {
    const std::string& name = kernels[k]->name;
    const std::string prefix = kernel_prefix(k);
    text += cat("#define ", name, " ", prefix, name, "\nnamespace ", prefix, " {\n#line 1 \"", name,
                ".cu\"\n", kernels[k]->text, "\nINGOT_SIM_KERNEL(", name, ")\n}\n#undef ", name, "\n");
  }
  write_raw(file, text);
  if (std::system(command(file, image, log, check_accesses_).c_str()) != 0)
    throw Error(
        cat("g++ refuses the kernel ", kernels[0]->name, ":\n", read_raw(log), "\n", kernels[0]->text));
  return read_raw(image);
}

GxxCompiler::Stats GxxCompiler::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

}  // namespace ingot::sim
