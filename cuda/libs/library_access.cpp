// The answer of builds whose device is a GPU; the simulated device links its own.
#include "cuda/libs/libraries.h"

namespace ingot::cuda {

std::optional<std::string> libraries_closed() {
  return std::nullopt;
}

}  // namespace ingot::cuda
