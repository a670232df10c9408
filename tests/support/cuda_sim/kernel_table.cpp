#include "tests/support/cuda_sim/kernel_table.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <mutex>
#include <vector>

#include "core/base/error.h"

namespace ingot::sim {

namespace {

struct Table {
  std::recursive_mutex lock;  // loading an image registers its kernels
  std::map<const void*, KnownKernel> kernels;
  std::vector<std::weak_ptr<KernelImage>> images;
};

// Images may outlive main in static caches, so the table is never destroyed.
Table& table() {
  static auto* const the_table = new Table;
  return *the_table;
}

// How long the ELF file at `code` is: the end of its last part. 0 when it is none that this processor runs.
std::size_t elf_bytes(const unsigned char* code) {
  Elf64_Ehdr header;
  if (std::memcmp(code, ELFMAG, SELFMAG) != 0 || code[EI_CLASS] != ELFCLASS64) return 0;
  std::memcpy(&header, code, sizeof header);
  if (header.e_machine != EM_X86_64 || header.e_type != ET_DYN) return 0;
  std::size_t end = header.e_shoff + std::size_t{header.e_shnum} * header.e_shentsize;
  for (std::size_t i = 0; i < header.e_shnum; ++i) {
    Elf64_Shdr section;
    std::memcpy(&section, code + header.e_shoff + i * header.e_shentsize, sizeof section);
    if (section.sh_type != SHT_NOBITS) end = std::max(end, section.sh_offset + section.sh_size);
  }
  return end;
}

std::string write_temporary(const std::string& bytes) {
  std::string path = (std::filesystem::temp_directory_path() / "ingot_sim_kernel_XXXXXX").string();
  const int file = mkstemp(path.data());
  if (file < 0) throw UsageError(cat("the simulator cannot write ", path, "; set TMPDIR to a folder it may"));
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = write(file, bytes.data() + done, bytes.size() - done);
    if (n <= 0) break;
    done += static_cast<std::size_t>(n);
  }
  close(file);
  if (done < bytes.size()) {
    std::remove(path.c_str());
    throw UsageError(cat("the simulator cannot write ", bytes.size(), " bytes to ", path,
                         "; make room there or set TMPDIR"));
  }
  return path;
}

}  // namespace

KernelImage::~KernelImage() {
  if (mapping != nullptr) dlclose(mapping);
}

const void* KernelImage::find(const char* name) const {
  const void* const symbol = dlsym(mapping, name);
  Dl_info info{};
  // dlsym also looks in what the image needs: the program itself.
  if (symbol == nullptr || dladdr(symbol, &info) == 0 || info.dli_fbase != base) return nullptr;
  return find_kernel(symbol) ? symbol : nullptr;
}

std::shared_ptr<KernelImage> load_image(const void* code, cudaError_t* status) {
  *status = cudaErrorInvalidKernelImage;
  const std::size_t bytes = elf_bytes(static_cast<const unsigned char*>(code));
  if (bytes == 0) return nullptr;
  auto image = std::make_shared<KernelImage>();
  image->bytes.assign(static_cast<const char*>(code), bytes);
  image->path = write_temporary(image->bytes);
  Table& t = table();
  const std::lock_guard guard(t.lock);
  // Its initialisers call know_kernel().
  image->mapping = dlopen(image->path.c_str(), RTLD_NOW | RTLD_LOCAL);
  const char* const error = image->mapping == nullptr ? dlerror() : nullptr;
  std::remove(image->path.c_str());
  if (image->mapping == nullptr) {
    std::fprintf(stderr, "simulated device: an image could not be loaded: %s\n", error);
    return nullptr;
  }
  const link_map* map = nullptr;
  dlinfo(image->mapping, RTLD_DI_LINKMAP, &map);
  image->base = reinterpret_cast<const void*>(map->l_addr);
  for (auto& [function, known] : t.kernels) {
    Dl_info info{};
    if (dladdr(function, &info) != 0 && info.dli_fbase == image->base) known.image = image;
  }
  std::erase_if(t.images, [](const auto& i) { return i.expired(); });
  t.images.push_back(image);
  *status = cudaSuccess;
  return image;
}

void unload(KernelImage& image) {
  Table& t = table();
  const std::lock_guard guard(t.lock);
  image.unloaded = true;
  std::erase_if(t.kernels, [&](const auto& entry) { return entry.second.image.get() == &image; });
}

std::size_t loaded_images() {
  Table& t = table();
  const std::lock_guard guard(t.lock);
  return static_cast<std::size_t>(std::count_if(t.images.begin(), t.images.end(), [](const auto& i) {
    const auto image = i.lock();
    return image != nullptr && !image->unloaded;
  }));
}

void know_kernel(const void* function, const Kernel& kernel) {
  Table& t = table();
  const std::lock_guard guard(t.lock);
  t.kernels[function].kernel = kernel;
}

std::optional<KnownKernel> find_kernel(const void* function) {
  Table& t = table();
  const std::lock_guard guard(t.lock);
  const auto found = t.kernels.find(function);
  if (found == t.kernels.end()) return std::nullopt;
  return found->second;
}

ReadableImage::ReadableImage(const char* path) : path_(path) {
  if (std::filesystem::exists(path_)) return;
  Table& t = table();
  const std::lock_guard guard(t.lock);
  for (const auto& weak : t.images)
    if (const auto image = weak.lock(); image != nullptr && image->path == path_) {
      path_ = write_temporary(image->bytes);
      copied_ = true;
      return;
    }
}

ReadableImage::~ReadableImage() {
  if (copied_) std::remove(path_.c_str());
}

}  // namespace ingot::sim
