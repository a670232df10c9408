// Libraries that are opened when they are wanted, because a machine may lack them.
//
// A process uses the copy that is already loaded, where a host program brought its own; else the first file
// of one of the names in the loader's folders (LD_LIBRARY_PATH, /etc/ld.so.conf, the system's), else in the
// folders given. Finding reads folders only: a library of hundreds of megabytes costs nothing until it is
// opened. What was opened stays open: such libraries keep threads and caches until the process ends.
//
//   const LibraryNames nvrtc{{"libnvrtc.so.13", "libnvrtc.so.12"}, cuda_library_folders()};
//   if (const auto file = find_library(nvrtc)) ... file->path, file->version
//   SharedLibrary lib(nvrtc);                              // throws DeviceError that says what was tried
//   auto version = lib.function<int(int*, int*)>("nvrtcVersion");
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace ingot::cuda {

// lib64 and lib of $CUDA_HOME and $CUDA_PATH, else of /usr/local/cuda.
std::vector<std::string> cuda_library_folders();

struct LibraryNames {
  std::vector<std::string> files;    // best first; one with a '/' is that very file
  std::vector<std::string> folders;  // beside the loader's
};

struct LibraryFile {
  std::string path;
  std::string version;  // what its real name says: "13.0.88" of libnvrtc.so.13.0.88; at worst "13"
};

// The file that SharedLibrary would open, without opening it.
std::optional<LibraryFile> find_library(const LibraryNames& names);

class SharedLibrary {
 public:
  // Opens the first that loads and has these functions. Throws DeviceError with a reason for each that did
  // not.
  explicit SharedLibrary(const LibraryNames& names, const std::vector<const char*>& required = {});

  const std::string& path() const { return path_; }
  void* handle() const { return handle_; }
  // Null when the library has no such symbol.
  void* symbol(const char* name) const;
  template <class Function>
  Function* function(const char* name) const {
    return reinterpret_cast<Function*>(symbol(name));
  }

 private:
  void* handle_ = nullptr;
  std::string path_;
};

}  // namespace ingot::cuda
