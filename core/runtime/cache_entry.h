// What a backend keeps on the disk between processes: compiled kernels, measured choices.
//
//   for (const CacheEntry& e : backend("cuda").cache_entries()) std::cout << e.title << "\n";
#pragma once

#include <cstdint>
#include <string>

namespace ingot {

struct CacheEntry {
  std::string title;  // "choice: conv2d ...", "kernel: ew_add, sm_90, ..."
  std::string file;
  std::uint64_t bytes = 0;
};

}  // namespace ingot
