// KernelCache: compiled kernels, and measured choices among kernels, on the disk, so that a program's second
// start compiles and measures nothing.
//
// An entry is one file, named by the hash of its key. It holds the key itself, the compiled kernel and a
// checksum: a key that differs, a damaged or a cut file is no hit, and the entry is written anew. Files are
// written beside their place and renamed, so a reader sees a whole entry or none, and processes may share a
// folder; two that miss at the same time both compile, and one of them writes. When the folder outgrows its
// bound, entries that were used longest ago go. A folder that cannot be made, read or written costs one log
// line and no more. Functions may be called from several threads.
//
//   KernelCache cache(KernelCache::default_folder());
//   std::string ptx = compile_cached(Nvrtc::instance(), cache, kernel, 90, KernelFormat::Ptx);
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/runtime/cache_entry.h"
#include "cuda/jit/kernel_source.h"
#include "cuda/jit/nvrtc.h"

namespace ingot::cuda {

class KernelCache {
 public:
  static constexpr std::uint64_t kDefaultBytes = std::uint64_t{256} << 20;
  using Log = std::function<void(std::string_view line)>;
  static void log_to_stderr(std::string_view line);

  // $INGOT_CACHE_DIR, else $XDG_CACHE_HOME/ingot, else ~/.cache/ingot; "" when none of them is set.
  static std::string default_folder();

  // An empty `folder` caches nothing.
  explicit KernelCache(std::string folder, std::uint64_t max_bytes = kDefaultBytes, Log log = log_to_stderr);

  // The whole entries of the folder, latest used first: the key's first line, and the file.
  std::vector<CacheEntry> entries() const;
  // Removes every entry; gives how many there were.
  std::size_t clear();

  // The entry of `key`, or what `build` makes (and the cache then keeps). What `build` throws passes through.
  std::string get(std::string_view key, const std::function<std::string()>& build);

  struct Stats {
    std::int64_t hits = 0, misses = 0;
    std::int64_t damaged = 0;  // of the misses: an entry was there and wrong
    std::int64_t evicted = 0;
  };
  Stats stats() const;
  const std::string& folder() const { return folder_; }
  std::string path_of(std::string_view key) const;

 private:
  std::optional<std::string> read(std::string_view key);
  void write(std::string_view key, std::string_view kernel);
  void evict(std::string_view keep);
  void complain(std::string_view why);

  std::string folder_;
  std::uint64_t max_bytes_;
  Log log_;
  mutable std::mutex mutex_;  // guards what follows
  Stats stats_;
  bool complained_ = false;
};

// Everything that decides what the compiler makes of a kernel.
std::string kernel_key(std::string_view nvrtc_version, std::string_view text, int arch, KernelFormat format);

std::string compile_cached(const Nvrtc& nvrtc, KernelCache& cache, const KernelSource& kernel, int arch,
                           KernelFormat format);

}  // namespace ingot::cuda
