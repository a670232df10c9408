#include "cuda/jit/kernel_cache.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <utility>
#include <vector>

#include "core/base/cache_folder.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/hash.h"

namespace ingot::cuda {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kSuffix = ".kernel", kUnfinished = ".kernel.tmp";
constexpr std::string_view kMagic = "ingot kernel 1\n";
constexpr auto kAbandoned = std::chrono::hours(1);  // an unfinished file of this age has no writer any more

std::uint64_t hash_of(std::string_view a, std::string_view b = {}) {
  Hasher h;
  h.add(a);
  h.add(b);
  return h.value();
}

std::string hex(std::uint64_t v) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(v));
  return text;
}

// Magic, length of the key, length of the kernel, checksum of both, key, kernel.
struct Header {
  std::uint64_t key_bytes, kernel_bytes, checksum;
};

std::string encode(std::string_view key, std::string_view kernel) {
  const Header h{key.size(), kernel.size(), hash_of(key, kernel)};
  std::string out(kMagic);
  out.append(reinterpret_cast<const char*>(&h), sizeof h);
  out.append(key);
  out.append(kernel);
  return out;
}

std::optional<std::string> decode(std::string_view file, std::string_view key) {
  Header h{};
  if (file.size() < kMagic.size() + sizeof h || !file.starts_with(kMagic)) return std::nullopt;
  file.remove_prefix(kMagic.size());
  std::memcpy(&h, file.data(), sizeof h);
  file.remove_prefix(sizeof h);
  if (h.key_bytes != key.size() || file.size() < h.key_bytes || file.size() - h.key_bytes != h.kernel_bytes)
    return std::nullopt;
  const std::string_view stored = file.substr(0, h.key_bytes), kernel = file.substr(h.key_bytes);
  if (stored != key || hash_of(stored, kernel) != h.checksum) return std::nullopt;
  return std::string(kernel);
}

}  // namespace

std::string KernelCache::default_folder() {
  return cache_folder();
}

KernelCache::KernelCache(std::string folder, std::uint64_t max_bytes, Log log)
    : folder_(std::move(folder)), max_bytes_(max_bytes), log_(std::move(log)) {}

void KernelCache::log_to_stderr(std::string_view line) {
  std::fprintf(stderr, "ingot: %.*s\n", static_cast<int>(line.size()), line.data());
}

std::string KernelCache::path_of(std::string_view key) const {
  return cat(folder_, "/", hex(hash_of(key)), kSuffix);
}

KernelCache::Stats KernelCache::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

std::vector<CacheEntry> KernelCache::entries() const {
  std::vector<std::pair<fs::file_time_type, CacheEntry>> found;
  std::error_code error;
  for (fs::directory_iterator it(folder_, error), end; !error && it != end; it.increment(error)) {
    const std::string path = it->path().string();
    std::error_code gone;
    const auto used = fs::last_write_time(it->path(), gone);
    if (gone || !path.ends_with(kSuffix)) continue;
    try {
      const auto file = MappedFile::open(path);
      const std::string_view text = file->text();
      Header h{};
      if (text.size() < kMagic.size() + sizeof h || !text.starts_with(kMagic)) continue;
      std::memcpy(&h, text.data() + kMagic.size(), sizeof h);
      const std::string_view key = text.substr(kMagic.size() + sizeof h, h.key_bytes);
      if (decode(text, key))
        found.push_back({used, {std::string(key.substr(0, key.find('\n'))), path, text.size()}});
    } catch (const FormatError&) {
      // Removed since we looked, or not ours to read.
    }
  }
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first > b.first : a.second.file < b.second.file;
  });
  std::vector<CacheEntry> all;
  for (auto& [used, entry] : found) all.push_back(std::move(entry));
  return all;
}

std::size_t KernelCache::clear() {
  std::size_t removed = 0;
  std::error_code error;
  std::vector<fs::path> files;
  for (fs::directory_iterator it(folder_, error), end; !error && it != end; it.increment(error))
    if (it->path().string().ends_with(kSuffix)) files.push_back(it->path());
  for (const fs::path& file : files) removed += fs::remove(file, error);
  return removed;
}

std::string KernelCache::get(std::string_view key, const std::function<std::string()>& build) {
  if (folder_.empty()) return build();
  if (auto found = read(key)) return *std::move(found);
  std::string kernel = build();
  write(key, kernel);
  return kernel;
}

std::optional<std::string> KernelCache::read(std::string_view key) {
  const std::string path = path_of(key);
  std::optional<std::string> found;
  bool damaged = false;
  std::error_code error;
  if (fs::exists(path, error)) {
    try {
      found = decode(MappedFile::open(path)->text(), key);
      damaged = !found;
    } catch (const FormatError&) {
      // Evicted by another process since we looked, or not ours to read: a miss. write() says what is wrong.
    }
  }
  // The time of the last use decides what is evicted; a folder we may only read keeps its own.
  if (found) fs::last_write_time(path, fs::file_time_type::clock::now(), error);
  const std::lock_guard lock(mutex_);
  ++(found ? stats_.hits : stats_.misses);
  stats_.damaged += damaged;
  return found;
}

void KernelCache::write(std::string_view key, std::string_view kernel) {
  const std::string path = path_of(key), entry = encode(key, kernel);
  if (entry.size() > max_bytes_) return;
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error) return complain(error.message());
  for (int attempt = 0;; ++attempt) {
    try {
      write_file(path, entry);
      break;
    } catch (const Error& e) {
      // Another process or thread may be writing the same entry at this moment, or just have done so. Should
      // it have been evicted already, the second attempt is alone.
      if (fs::exists(path + ".tmp", error) || fs::exists(path, error)) return;
      if (attempt == 1) return complain(e.what());
    }
  }
  evict(path);
}

void KernelCache::evict(std::string_view keep) {
  struct Candidate {
    fs::file_time_type used;
    std::uint64_t bytes;
    fs::path path;
  };
  std::vector<Candidate> entries;
  std::uint64_t total = 0;
  // Other processes add and remove files meanwhile: what cannot be read any more is no entry.
  std::error_code error;
  for (fs::directory_iterator it(folder_, error), end; !error && it != end; it.increment(error)) {
    const std::string file = it->path().filename().string();
    std::error_code gone;
    const auto used = fs::last_write_time(it->path(), gone);
    if (gone) continue;
    if (file.ends_with(kUnfinished)) {
      if (fs::file_time_type::clock::now() - used > kAbandoned) fs::remove(it->path(), gone);
      continue;
    }
    if (!file.ends_with(kSuffix)) continue;
    const std::uint64_t bytes = fs::file_size(it->path(), gone);
    if (gone) continue;
    total += bytes;
    if (it->path() != fs::path(keep)) entries.push_back({used, bytes, it->path()});
  }
  if (total <= max_bytes_) return;
  std::sort(entries.begin(), entries.end(), [](const Candidate& a, const Candidate& b) {
    return a.used != b.used ? a.used < b.used : a.path < b.path;
  });
  std::int64_t evicted = 0;
  for (const Candidate& e : entries) {
    if (total <= max_bytes_) break;
    std::error_code gone;
    evicted += fs::remove(e.path, gone);
    total -= e.bytes;
  }
  const std::lock_guard lock(mutex_);
  stats_.evicted += evicted;
}

void KernelCache::complain(std::string_view why) {
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(complained_, true)) return;
  }
  log_(cat("compiled kernels are not kept in '", folder_, "' (", why,
           "); set INGOT_CACHE_DIR to a folder that can be written"));
}

std::string kernel_key(std::string_view nvrtc_version, std::string_view text, int arch, KernelFormat format) {
  Hasher headers;
  for (const EmbeddedHeader& h : embedded_headers()) {
    headers.add(std::string_view(h.name));
    headers.add(std::string_view(h.text));
  }
  // The first line is the entry's title.
  const auto close = text.find(')', text.find("__launch_bounds__("));
  const auto open = text.find('(', close);
  std::string name;
  if (open != std::string_view::npos)
    for (const char c : text.substr(close + 1, open - close - 1))
      if (c != '\n' && c != ' ') name += c;
  return cat("kernel: ", name, ", sm_", arch, ", NVRTC ", nvrtc_version, "\noptions ",
             join(Nvrtc::options(arch, format), " "), "\nheaders ", hex(headers.value()), "\n", text);
}

std::string compile_cached(const Nvrtc& nvrtc, KernelCache& cache, const KernelSource& kernel, int arch,
                           KernelFormat format) {
  return cache.get(kernel_key(nvrtc.version(), kernel.text, arch, format),
                   [&] { return nvrtc.compile(kernel.name, kernel.text, arch, format); });
}

}  // namespace ingot::cuda
