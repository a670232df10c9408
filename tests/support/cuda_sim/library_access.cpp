// What cuda/libs/library_access.cpp says where the device is a GPU.
#include "cuda/libs/libraries.h"

namespace ingot::cuda {

std::optional<std::string> libraries_closed() {
  return "the simulated device runs no library's kernels";
}

}  // namespace ingot::cuda
