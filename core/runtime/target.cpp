#include "core/runtime/target.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <thread>

#include "core/base/error.h"
#include "core/runtime/backend.h"

namespace ingot {

namespace {

int usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));  // more than 1024 processors
}

std::string processor_name() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with("model name")) continue;
    const auto colon = line.find(':');
    if (colon == std::string::npos) break;
    const auto begin = line.find_first_not_of(' ', colon + 1);
    if (begin != std::string::npos) return line.substr(begin, line.find_last_not_of(' ') + 1 - begin);
  }
  return "CPU";
}

}  // namespace

Target Target::cpu(int threads) {
  if (threads < 0)
    throw UsageError(cat("threads expects 0 (one per core) or a positive number, got ", threads));
  constexpr int kMost = 1024;  // OpenMP keeps a team on the stack of the thread that starts it
  if (threads > kMost)
    throw UsageError(cat("threads expects at most ", kMost, ", got ", threads, "; this process may use ",
                         usable_cores(), " cores, and more threads than cores make it slower"));
  Target t;
  t.backend = "cpu";
  t.threads = threads == 0 ? usable_cores() : threads;
  static const std::string processor = processor_name();
  t.name = cat(processor, ", ", t.threads, t.threads == 1 ? " thread" : " threads");
  const long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGE_SIZE);
  if (pages > 0 && page_bytes > 0)
    t.memory_bytes = static_cast<std::size_t>(pages) * static_cast<std::size_t>(page_bytes);
  return t;
}

Target Target::cuda(int device) {
  return ingot::backend("cuda").target(device);
}

}  // namespace ingot
