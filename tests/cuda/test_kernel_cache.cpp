// The kernel cache: hits, damage, races of processes and threads, its bound, folders that cannot be used.
#include "cuda/jit/kernel_cache.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "core/base/error.h"
#include "gtest/gtest.h"
#include "tests/cuda/kernel_run.h"
#include "tests/support/messages.h"
#include "tests/support/temp_dir.h"

namespace ingot {
namespace {

namespace fs = std::filesystem;
using cuda::KernelCache;
using cuda::KernelFormat;

// Sets a variable of the environment for a scope; null removes it.
class Environment {
 public:
  Environment(const char* name, const char* value) : name_(name) {
    if (const char* old = std::getenv(name)) old_ = old;
    set(value);
  }
  ~Environment() { set(old_ ? old_->c_str() : nullptr); }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  void set(const char* value) {
    if (value != nullptr)
      ::setenv(name_, value, 1);
    else
      ::unsetenv(name_);
  }
  const char* name_;
  std::optional<std::string> old_;
};

std::function<std::string()> never() {
  return []() -> std::string { throw UsageError("built, though the cache has it"); };
}
std::function<std::string()> gives(const std::string& kernel) {
  return [kernel] { return kernel; };
}
std::vector<std::string> files_in(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& e : fs::directory_iterator(folder)) names.push_back(e.path().filename().string());
  return names;
}

TEST(KernelCache, FolderFromTheEnvironment) {
  const Environment home("HOME", "/home/x"), none("INGOT_CACHE_DIR", nullptr), xdg("XDG_CACHE_HOME", "");
  EXPECT_EQ(KernelCache::default_folder(), "/home/x/.cache/ingot");
  const Environment cache("XDG_CACHE_HOME", "/caches");
  EXPECT_EQ(KernelCache::default_folder(), "/caches/ingot");
  const Environment own("INGOT_CACHE_DIR", "/mine");
  EXPECT_EQ(KernelCache::default_folder(), "/mine");
  const Environment a("INGOT_CACHE_DIR", nullptr), b("XDG_CACHE_HOME", nullptr), c("HOME", nullptr);
  EXPECT_EQ(KernelCache::default_folder(), "");
}

TEST(KernelCache, KeepsWhatWasBuilt) {
  const TempDir dir;
  const char zero = '\0';
  const std::string binary = cat("a", zero, "b\n", zero), key = cat("key", zero, "with zero");
  ASSERT_EQ(binary.size(), 5u);
  KernelCache cache(dir / "deep/er");
  EXPECT_EQ(cache.get(key, gives(binary)), binary);
  EXPECT_EQ(cache.get(key, never()), binary);
  EXPECT_EQ(cache.get("other", gives("")), "");
  KernelCache again(dir / "deep/er");
  EXPECT_EQ(again.get(key, never()), binary);
  EXPECT_EQ(again.get("other", never()), "");
  EXPECT_EQ(cache.stats().hits, 1);
  EXPECT_EQ(cache.stats().misses, 2);
  EXPECT_EQ(again.stats().hits, 2);
  EXPECT_EQ(files_in(dir / "deep/er").size(), 2u);  // nothing unfinished
}

TEST(KernelCache, WhatBuildThrowsPassesThroughAndIsNotKept) {
  const TempDir dir;
  KernelCache cache(dir.path());
  EXPECT_THROW(cache.get("k", never()), UsageError);
  EXPECT_EQ(cache.get("k", gives("good")), "good");
}

TEST(KernelCache, EveryDamagedByteIsSeen) {
  const TempDir dir;
  KernelCache cache(dir.path());
  cache.get("the key", gives("the kernel"));
  const std::string path = cache.path_of("the key"), good = read_raw(path);
  int damaged = 0;
  const auto rebuilt_from = [&](const std::string& bytes) {
    write_raw(path, bytes);
    ++damaged;
    EXPECT_EQ(cache.get("the key", gives("the kernel")), "the kernel");
    EXPECT_EQ(cache.stats().damaged, damaged) << "byte pattern of " << bytes.size();
    EXPECT_EQ(read_raw(path), good);
  };
  for (std::size_t i = 0; i < good.size(); ++i) {
    std::string bytes = good;
    bytes[i] = static_cast<char>(bytes[i] ^ 0x10);
    rebuilt_from(bytes);
  }
  for (std::size_t i = 0; i < good.size(); i += 7) rebuilt_from(good.substr(0, i));
  rebuilt_from(good + "x");
  EXPECT_EQ(cache.get("the key", never()), "the kernel");
}

// Another key in this key's file, as if two hashes were equal.
TEST(KernelCache, AnotherKeysEntryIsNoHit) {
  const TempDir dir;
  KernelCache cache(dir.path());
  cache.get("one", gives("kernel of one"));
  fs::copy_file(cache.path_of("one"), cache.path_of("two"));
  EXPECT_EQ(cache.get("two", gives("kernel of two")), "kernel of two");
  EXPECT_EQ(cache.get("one", never()), "kernel of one");
}

// Four processes want the same kernels at the same time, again and again, in one small folder.
TEST(KernelCache, ProcessesShareAFolder) {
  const TempDir dir;
  std::vector<pid_t> children;
  for (int p = 0; p < 4; ++p) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      // No gtest in here: the exit status tells.
      int status = 0;
      try {
        KernelCache cache(dir.path(), 3000, [&](std::string_view) { status = 2; });
        for (int i = 0; i < 150; ++i) {
          const std::string key = cat("key ", i % 10), kernel(static_cast<std::size_t>(300 + i % 10), 'k');
          if (cache.get(key, gives(kernel)) != kernel) status = 3;
        }
        if (cache.stats().damaged != 0) status = 4;
      } catch (...) {
        status = 5;
      }
      ::_exit(status);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 0);
  }
  std::uintmax_t bytes = 0;
  for (const auto& e : fs::directory_iterator(dir.path())) {
    EXPECT_EQ(e.path().extension(), ".kernel");
    bytes += e.file_size();
  }
  // Two processes may each finish an entry after the other one has counted.
  EXPECT_LE(bytes, 3000u + 4 * 400);
  EXPECT_GT(bytes, 0u);
}

TEST(KernelCache, ThreadsShareACache) {
  const TempDir dir;
  std::atomic<int> wrong = 0, lines = 0;
  KernelCache cache(dir.path(), 2000, [&](std::string_view) { ++lines; });
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 60; ++i) {
        const std::string key = cat(i % 7), kernel = cat("kernel ", i % 7, std::string(300, '.'));
        if (cache.get(key, gives(kernel)) != kernel) ++wrong;
      }
    });
  for (auto& t : threads) t.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(lines, 0);
  EXPECT_EQ(cache.stats().hits + cache.stats().misses, 240);
  EXPECT_EQ(cache.stats().damaged, 0);
}

TEST(KernelCache, EvictsWhatWasUsedLongestAgo) {
  const TempDir dir;
  KernelCache cache(dir.path(), 2500);
  const std::string kernel(500, 'k');
  const auto age = [&](std::string_view key, int seconds) {
    fs::last_write_time(cache.path_of(key), fs::file_time_type::clock::now() - std::chrono::seconds(seconds));
  };
  for (const char* key : {"a", "b", "c", "d"}) cache.get(key, gives(kernel));
  write_raw(dir / "notes.txt", std::string(5000, 'n'));  // not ours: neither counted nor removed
  write_raw(dir / "0123.kernel.tmp", "left by a killed process");
  fs::last_write_time(dir / "0123.kernel.tmp", fs::file_time_type::clock::now() - std::chrono::hours(2));
  write_raw(dir / "4567.kernel.tmp", "being written");
  age("a", 400), age("b", 300), age("c", 200), age("d", 100);
  EXPECT_EQ(cache.get("a", never()), kernel);  // now the youngest
  EXPECT_EQ(cache.stats().evicted, 0);
  cache.get("e", gives(kernel));  // five entries of about 560 bytes: one goes
  EXPECT_EQ(cache.stats().evicted, 1);
  EXPECT_FALSE(fs::exists(cache.path_of("b")));
  for (const char* key : {"a", "c", "d", "e"}) EXPECT_TRUE(fs::exists(cache.path_of(key))) << key;
  EXPECT_TRUE(fs::exists(dir / "notes.txt"));
  EXPECT_FALSE(fs::exists(dir / "0123.kernel.tmp"));
  EXPECT_TRUE(fs::exists(dir / "4567.kernel.tmp"));
  // A kernel that alone is too large is built and not kept, and costs no other entry.
  EXPECT_EQ(cache.get("huge", gives(std::string(3000, 'h'))).size(), 3000u);
  EXPECT_FALSE(fs::exists(cache.path_of("huge")));
  EXPECT_EQ(cache.stats().evicted, 1);
}

TEST(KernelCache, AFolderThatCannotBeUsedCostsOneLine) {
  const TempDir dir;
  write_raw(dir / "file", "");
  for (const std::string& folder : {dir / "file", dir / "file/below", std::string("/proc/ingot")}) {
    std::vector<std::string> lines;
    KernelCache cache(folder, KernelCache::kDefaultBytes,
                      [&](std::string_view line) { lines.emplace_back(line); });
    for (int i = 0; i < 3; ++i) EXPECT_EQ(cache.get("k", gives("kernel")), "kernel");
    ASSERT_EQ(lines.size(), 1u) << folder;
    EXPECT_TRUE(says(lines[0], folder, "INGOT_CACHE_DIR"));
    EXPECT_EQ(cache.stats().misses, 3);
  }
  KernelCache nowhere("");
  EXPECT_EQ(nowhere.get("k", gives("kernel")), "kernel");
}

// An ordinary user in a child process: the superuser may write anywhere.
TEST(KernelCache, AReadOnlyFolderIsStillRead) {
  const TempDir dir;
  KernelCache(dir.path()).get("kept", gives("kernel"));
  ASSERT_EQ(::chmod(dir.path().c_str(), 0555), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    int status = 0;
    if (::geteuid() == 0 && ::setuid(65534) != 0) ::_exit(9);
    if (::access(dir.path().c_str(), R_OK | X_OK) != 0) ::_exit(9);  // below a folder of the superuser's own
    try {
      int lines = 0;
      KernelCache cache(dir.path(), KernelCache::kDefaultBytes, [&](std::string_view) { ++lines; });
      if (cache.get("kept", never()) != "kernel" || lines != 0) status = 1;
      for (int i = 0; i < 2; ++i)
        if (cache.get("new", gives("built")) != "built" || lines != 1) status = 2;
    } catch (...) {
      status = 3;
    }
    ::_exit(status);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(::chmod(dir.path().c_str(), 0755), 0);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 9) GTEST_SKIP() << "cannot become an ordinary user who may read the folder";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(KernelCache, TheKeyHoldsEverythingThatDecides) {
  using cuda::kernel_key;
  const std::string base = kernel_key("13.0", "text", 90, KernelFormat::Ptx);
  EXPECT_EQ(base, kernel_key("13.0", "text", 90, KernelFormat::Ptx));
  EXPECT_NE(base, kernel_key("13.1", "text", 90, KernelFormat::Ptx));
  EXPECT_NE(base, kernel_key("13.0", "text ", 90, KernelFormat::Ptx));
  EXPECT_NE(base, kernel_key("13.0", "text", 80, KernelFormat::Ptx));
  EXPECT_NE(base, kernel_key("13.0", "text", 90, KernelFormat::Cubin));
  for (const std::string& o : cuda::Nvrtc::options(90, KernelFormat::Ptx)) EXPECT_TRUE(says(base, o));
  EXPECT_TRUE(says(base, "headers "));
}

TEST(KernelCache, CompilesOnce) {
  INGOT_NEEDS_NVRTC();
  const TempDir dir;
  ScalarExpr e({DType::F32});
  e.add_output(e.emit(ScalarOp::Silu, {0}));
  const cuda::KernelSource k = KernelRun{e, {Tensor::zeros({DType::F32, {8}})}, {DType::F32, {8}}}.source();
  KernelCache first(dir.path()), second(dir.path());
  const std::string ptx = compile_cached(cuda::Nvrtc::instance(), first, k, 90, KernelFormat::Ptx);
  EXPECT_EQ(compile_cached(cuda::Nvrtc::instance(), second, k, 90, KernelFormat::Ptx), ptx);
  EXPECT_EQ(second.stats().hits, 1);
  EXPECT_NE(compile_cached(cuda::Nvrtc::instance(), second, k, 80, KernelFormat::Ptx), ptx);
  EXPECT_EQ(second.stats().misses, 1);
}

}  // namespace
}  // namespace ingot
