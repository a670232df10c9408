// A libcudnn.so.9 that lacks functions, as one of another age might.
#include <cstddef>

extern "C" std::size_t cudnnGetVersion() {
  return 91900;
}
