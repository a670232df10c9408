// NVIDIA's libraries that Ingot uses where a machine has them, opened at run time: which files they are, what
// is lost without them, and how to get them. NVRTC alone is needed, by generated kernels.
//
//   for (const Library& l : libraries()) std::cout << l.name << " " << library_text(l) << "\n";
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cuda/jit/shared_library.h"

namespace ingot::cuda {

struct Library {
  std::string name;  // "cudnn"
  LibraryNames files;
  std::string without;  // "convolutions run on Ingot's own kernels"
  std::string install;  // "pip install nvidia-cudnn-cu13"
};

const std::vector<Library>& libraries();
// One of them by name.
const Library& library(const std::string& name);
// "9.19.0, FILE", or what is lost without it and how to get it. Opens nothing.
std::string library_text(const Library& l);
// Why this program opens no library that runs kernels of its own, or nothing: a simulated device cannot
// execute them, and replaces this function when it is linked.
std::optional<std::string> libraries_closed();

}  // namespace ingot::cuda
