// The kernels that launches may name: those of the program, which launch() tells of, and those of libraries
// that were loaded while it runs. The table belongs to the process, as kernels compiled ahead do: a fresh
// machine (sim::reset) keeps what is loaded.
//
// An image is a shared object that g++ made of the texts of generated kernels after jit/prelude.h. As a GPU's
// driver copies an image, so does the simulator: into a file that is gone once it is mapped. Equal images are
// mapped once and stay, because launches and findings refer to them longer than the program does; libraries
// and their kernels have handles of their own.
//
//   std::shared_ptr<KernelLibrary> library = load_library(code, &status);
//   const void* kernel = library->kernel("ew_add");      // null: there is none
//   unload(*library);                                    // its kernels are unknown from here on
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "tests/support/cuda_sim/kernel_abi.h"

namespace ingot::sim {

// Behind the end of an image with several kernels: this, and the prefix that the names of the one that is
// meant have in the image.
inline constexpr std::string_view kImageNote = "ingot kernel prefix ";
// The prefix of the k-th kernel of an image.
inline std::string kernel_prefix(std::size_t k) {
  return "k" + std::to_string(k) + "_";
}

struct KernelImage;

struct KernelLibrary : std::enable_shared_from_this<KernelLibrary> {
  // A handle for launches, the same at each call.
  const void* kernel(const std::string& name);

  const KernelImage* image = nullptr;
  std::string prefix;
  std::map<std::string, std::unique_ptr<char>, std::less<>> handles;  // their addresses count
  bool unloaded = false;
};

// `code` is an image as g++ writes it, without a length, as the runtime's functions take it. Null with the
// error that a GPU's driver would give for what is none.
std::shared_ptr<KernelLibrary> load_library(const void* code, cudaError_t* status);
void unload(KernelLibrary& library);
// Libraries that are loaded now.
std::size_t loaded_libraries();

struct KnownKernel {
  Kernel kernel{};
  const void* function = nullptr;
  std::string name;
  std::shared_ptr<const KernelLibrary> library;  // null: a kernel of the program
};
// By what a launch names: a function of the program, or a library's handle.
std::optional<KnownKernel> find_kernel(const void* kernel);

// A path under which other programs can read a mapped file, also one of an image whose own file is gone.
class ReadableImage {
 public:
  explicit ReadableImage(const char* path);
  ~ReadableImage();
  ReadableImage(const ReadableImage&) = delete;
  ReadableImage& operator=(const ReadableImage&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  bool copied_ = false;
};

}  // namespace ingot::sim
