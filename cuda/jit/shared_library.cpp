#include "cuda/jit/shared_library.h"

#include <dlfcn.h>
#include <glob.h>
#include <link.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "core/base/error.h"

namespace ingot::cuda {

namespace {

namespace fs = std::filesystem;

void split(const char* list, std::vector<std::string>& into) {
  if (list == nullptr) return;
  std::istringstream in(list);
  for (std::string folder; std::getline(in, folder, ':');)
    if (!folder.empty()) into.push_back(folder);
}

// Source: ld.so.conf(5): a folder a line, `include PATTERN`, comments from '#'.
void read_loader_configuration(const std::string& file, std::vector<std::string>& into, int depth = 0) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line.substr(0, line.find('#')));
    std::string word;
    if (!(words >> word)) continue;
    if (word != "include") {
      into.push_back(word);
      continue;
    }
    for (std::string pattern; depth < 4 && words >> pattern;) {
      glob_t found{};
      if (::glob(pattern.c_str(), 0, nullptr, &found) == 0)
        for (std::size_t i = 0; i < found.gl_pathc; ++i)
          read_loader_configuration(found.gl_pathv[i], into, depth + 1);
      ::globfree(&found);
    }
  }
}

std::vector<std::string> loader_folders() {
  std::vector<std::string> folders;
  split(std::getenv("LD_LIBRARY_PATH"), folders);
  read_loader_configuration("/etc/ld.so.conf", folders);
  for (const char* system :
       {"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"})
    folders.emplace_back(system);
  return folders;
}

// "13.0.88" of libnvrtc.so.13.0.88.
std::string version_of(const std::string& path) {
  std::error_code failed;
  const fs::path real = fs::canonical(path, failed);
  const std::string name = (failed ? fs::path(path) : real).filename().string();
  const auto at = name.find(".so.");
  return at == std::string::npos ? "" : name.substr(at + 4);
}

std::string path_of(void* handle) {
  link_map* map = nullptr;
  return ::dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0 && map != nullptr ? map->l_name : "";
}

}  // namespace

std::vector<std::string> cuda_library_folders() {
  std::vector<std::string> roots;
  for (const char* variable : {"CUDA_HOME", "CUDA_PATH"})
    if (const char* root = std::getenv(variable); root != nullptr && *root != '\0') roots.emplace_back(root);
  if (roots.empty()) roots.emplace_back("/usr/local/cuda");
  std::vector<std::string> folders;
  for (const std::string& root : roots)
    for (const char* name : {"/lib64", "/lib"}) folders.push_back(root + name);
  return folders;
}

std::optional<LibraryFile> find_library(const LibraryNames& names) {
  for (const std::string& file : names.files)
    if (void* loaded = ::dlopen(file.c_str(), RTLD_LAZY | RTLD_NOLOAD)) {
      const std::string path = path_of(loaded);
      ::dlclose(loaded);
      return LibraryFile{path, version_of(path)};
    }
  std::vector<std::string> folders = loader_folders();
  folders.insert(folders.end(), names.folders.begin(), names.folders.end());
  for (const std::string& file : names.files) {
    std::error_code ignored;
    if (file.find('/') != std::string::npos) {
      if (fs::exists(file, ignored)) return LibraryFile{file, version_of(file)};
      continue;
    }
    for (const std::string& folder : folders) {
      const std::string path = cat(folder, "/", file);
      if (fs::exists(path, ignored)) return LibraryFile{path, version_of(path)};
    }
  }
  return std::nullopt;
}

SharedLibrary::SharedLibrary(const LibraryNames& names, const std::vector<const char*>& required) {
  std::vector<std::string> tried = names.files;
  for (const std::string& file : names.files)
    if (file.find('/') == std::string::npos)
      for (const std::string& folder : names.folders) tried.push_back(cat(folder, "/", file));
  std::vector<std::string> reasons;
  for (const std::string& file : tried) {
    handle_ = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle_ == nullptr) {
      reasons.emplace_back(::dlerror());
      continue;
    }
    path_ = path_of(handle_);
    const auto absent =
        std::find_if(required.begin(), required.end(), [&](const char* name) { return !symbol(name); });
    if (absent == required.end()) return;
    reasons.push_back(cat(path_, ": it has no function ", *absent));
    ::dlclose(handle_);
    handle_ = nullptr;
  }
  throw DeviceError(cat("Tried: ", join(reasons, "; ")));
}

void* SharedLibrary::symbol(const char* name) const {
  return ::dlsym(handle_, name);
}

}  // namespace ingot::cuda
