// The kernels that launches may name: those of the program, which launch() tells of, and those of images that
// were loaded while it runs. The table belongs to the process, as kernels compiled ahead do: a fresh machine
// (sim::reset) keeps what is loaded.
//
// An image is a shared object that g++ made of a generated kernel's text after jit/prelude.h. As a GPU's
// driver copies an image, so does the simulator: into a file that is gone once it is mapped.
//
//   std::shared_ptr<KernelImage> image = load_image(code, &status);
//   const void* kernel = image->find("ew_add");      // null: there is none
//   unload(image);                                   // its kernels are unknown from here on
#pragma once

#include <cuda_runtime_api.h>

#include <memory>
#include <optional>
#include <string>

#include "tests/support/cuda_sim/kernel_abi.h"

namespace ingot::sim {

struct KernelImage {
  KernelImage() = default;
  ~KernelImage();  // unmapped when no launch needs it any more
  KernelImage(const KernelImage&) = delete;
  KernelImage& operator=(const KernelImage&) = delete;

  const void* find(const char* name) const;

  void* mapping = nullptr;
  const void* base = nullptr;
  std::string path, bytes;
  bool unloaded = false;
};

// `code` is an image as g++ writes it, without a length, as the runtime's functions take it. Null with the
// error that a GPU's driver would give for what is none.
std::shared_ptr<KernelImage> load_image(const void* code, cudaError_t* status);
void unload(KernelImage& image);
// Images that are loaded now.
std::size_t loaded_images();

struct KnownKernel {
  Kernel kernel{};
  std::shared_ptr<const KernelImage> image;  // null: a kernel of the program
};
std::optional<KnownKernel> find_kernel(const void* function);

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
