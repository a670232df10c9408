#include "core/runtime/backend.h"

#include <map>
#include <mutex>

namespace ingot {

namespace {

struct Backends {
  std::mutex mutex;
  std::map<std::string, std::unique_ptr<Backend>, std::less<>> by_name;
};

Backends& backends() {
  static auto* const b = new Backends;  // never destroyed: tensors in static storage may outlive main
  return *b;
}

}  // namespace

void register_backend(std::unique_ptr<Backend> b) {
  Backends& all = backends();
  const std::lock_guard lock(all.mutex);
  const std::string name(b->name());
  if (!all.by_name.emplace(name, std::move(b)).second)
    throw UsageError(cat("backend '", name, "' is registered already"));
}

const Backend& backend(std::string_view name) {
  static std::once_flag once;
  std::call_once(once, [] {
    register_cpu_backend();
    register_cuda_backend();
  });
  Backends& all = backends();
  const std::lock_guard lock(all.mutex);
  if (const auto it = all.by_name.find(name); it != all.by_name.end()) return *it->second;
  std::vector<std::string_view> have;
  for (const auto& [n, _] : all.by_name) have.push_back(n);
  if (name == "cuda")
    throw UsageError(
        cat("this build of Ingot has no CUDA backend; it has: ", join(have),
            ". To get it, install the CUDA Toolkit (12.8 or later) and build Ingot with -DINGOT_CUDA=ON"));
  throw UsageError(cat("there is no backend '", name, "'; this build has: ", join(have)));
}

}  // namespace ingot
