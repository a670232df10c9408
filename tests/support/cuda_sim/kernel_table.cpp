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
#include <mutex>
#include <vector>

#include "core/base/error.h"
#include "tests/support/cuda_sim/report.h"

namespace ingot::sim {

struct KernelImage {
  void* mapping = nullptr;
  const void* base = nullptr;
  std::string path, bytes;
};

namespace {

struct Handle {
  const void* function = nullptr;
  std::string name;
  std::weak_ptr<KernelLibrary> library;
};

struct Table {
  std::recursive_mutex lock;  // loading an image registers its kernels
  std::map<const void*, Kernel> functions;
  std::map<const void*, Handle> handles;
  std::map<std::string_view, std::unique_ptr<KernelImage>> images;  // by their bytes
  std::vector<std::weak_ptr<KernelLibrary>> libraries;
};

// Libraries may outlive main in static caches, so the table is never destroyed.
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

// The image of these bytes, mapped now or before; null when the system refuses it.
const KernelImage* mapped(std::string_view bytes) {
  Table& t = table();
  if (const auto found = t.images.find(bytes); found != t.images.end()) return found->second.get();
  auto image = std::make_unique<KernelImage>();
  image->bytes = bytes;
  image->path = write_temporary(image->bytes);
  image->mapping = dlopen(image->path.c_str(), RTLD_NOW | RTLD_LOCAL);  // its initialisers call know_kernel()
  const char* const error = image->mapping == nullptr ? dlerror() : nullptr;
  std::remove(image->path.c_str());
  if (image->mapping == nullptr) {
    std::fprintf(stderr, "simulated device: an image could not be loaded: %s\n", error);
    return nullptr;
  }
  const link_map* map = nullptr;
  dlinfo(image->mapping, RTLD_DI_LINKMAP, &map);
  image->base = reinterpret_cast<const void*>(map->l_addr);
  const std::string_view key = image->bytes;
  return t.images.emplace(key, std::move(image)).first->second.get();
}

}  // namespace

const void* KernelLibrary::kernel(const std::string& name) {
  Table& t = table();
  const std::lock_guard guard(t.lock);
  if (const auto found = handles.find(name); found != handles.end()) return found->second.get();
  const void* const function = dlsym(image->mapping, (prefix + name).c_str());
  Dl_info info{};
  // dlsym also looks in what the image needs: the program itself.
  if (function == nullptr || dladdr(function, &info) == 0 || info.dli_fbase != image->base ||
      !t.functions.contains(function))
    return nullptr;
  const void* const handle = handles.emplace(name, std::make_unique<char>()).first->second.get();
  t.handles[handle] = {function, name, weak_from_this()};
  return handle;
}

std::shared_ptr<KernelLibrary> load_library(const void* code, cudaError_t* status) {
  *status = cudaErrorInvalidKernelImage;
  const auto* const text = static_cast<const char*>(code);
  const std::size_t bytes = elf_bytes(static_cast<const unsigned char*>(code));
  if (bytes == 0) return nullptr;
  Table& t = table();
  const std::lock_guard guard(t.lock);
  auto library = std::make_shared<KernelLibrary>();
  library->image = mapped({text, bytes});
  if (library->image == nullptr) return nullptr;
  if (std::strncmp(text + bytes, kImageNote.data(), kImageNote.size()) == 0)
    library->prefix = text + bytes + kImageNote.size();
  std::erase_if(t.libraries, [](const auto& l) { return l.expired(); });
  t.libraries.push_back(library);
  *status = cudaSuccess;
  return library;
}

void unload(KernelLibrary& library) {
  Table& t = table();
  const std::lock_guard guard(t.lock);
  library.unloaded = true;
  for (const auto& [name, handle] : library.handles) t.handles.erase(handle.get());
}

std::size_t loaded_libraries() {
  Table& t = table();
  const std::lock_guard guard(t.lock);
  return static_cast<std::size_t>(std::count_if(t.libraries.begin(), t.libraries.end(), [](const auto& l) {
    const auto library = l.lock();
    return library != nullptr && !library->unloaded;
  }));
}

void know_kernel(const void* function, const Kernel& kernel) {
  Table& t = table();
  const std::lock_guard guard(t.lock);
  t.functions[function] = kernel;
}

std::optional<KnownKernel> find_kernel(const void* kernel) {
  Table& t = table();
  const std::lock_guard guard(t.lock);
  if (const auto found = t.handles.find(kernel); found != t.handles.end()) {
    const Handle& h = found->second;
    return KnownKernel{t.functions.at(h.function), h.function, h.name, h.library.lock()};
  }
  const auto found = t.functions.find(kernel);
  if (found == t.functions.end()) return std::nullopt;
  return KnownKernel{found->second, kernel, function_name(kernel), nullptr};
}

ReadableImage::ReadableImage(const char* path) : path_(path) {
  if (std::filesystem::exists(path_)) return;
  Table& t = table();
  const std::lock_guard guard(t.lock);
  for (const auto& [bytes, image] : t.images)
    if (image->path == path_) {
      path_ = write_temporary(image->bytes);
      copied_ = true;
      return;
    }
}

ReadableImage::~ReadableImage() {
  if (copied_) std::remove(path_.c_str());
}

}  // namespace ingot::sim
