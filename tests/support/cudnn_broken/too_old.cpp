// A libcudnn.so.9 of version 9.1, which has every function by name and device properties without a handle not
// yet: none of its functions may be called but the one that says so.
#include <cstddef>
#include <cstdlib>

extern "C" {

std::size_t cudnnGetVersion() {
  return 90100;
}

#define INGOT_NEVER(name) \
  void name() {           \
    std::abort();         \
  }
INGOT_NEVER(cudnnGetErrorString)
INGOT_NEVER(cudnnGetLastErrorString)
INGOT_NEVER(cudnnCreate)
INGOT_NEVER(cudnnDestroy)
INGOT_NEVER(cudnnSetStream)
INGOT_NEVER(cudnnGetStream)
INGOT_NEVER(cudnnBackendCreateDescriptor)
INGOT_NEVER(cudnnBackendDestroyDescriptor)
INGOT_NEVER(cudnnBackendSetAttribute)
INGOT_NEVER(cudnnBackendGetAttribute)
INGOT_NEVER(cudnnBackendFinalize)
INGOT_NEVER(cudnnBackendExecute)

}  // extern "C"
