// What every replaced runtime function does first: take the lock, count the call, fail if a test asked for
// it, fail if the device is lost, and remember an error for cudaGetLastError.
//
//   cudaError_t cudaFree(void* p) {
//     return runtime_call("cudaFree", [&](Machine& m) { ...; return cudaSuccess; });
//   }
#pragma once

#include <mutex>

#include "tests/support/cuda_sim/machine.h"

namespace ingot::sim {

// Errors after which nothing on the device works.
bool loses_device(cudaError_t error);

struct Begun {
  cudaError_t status = cudaSuccess;
  bool skip = false;  // a test wants the call to be forgotten
};
// Counts the call, and says what a test injected for it or what the device's state makes of it.
Begun begin_call(Machine& machine, const char* function);

template <class Body>
cudaError_t runtime_call(const char* function, Body&& body) {
  Machine& m = machine();
  const std::lock_guard guard(m.lock());
  const Begun begun = begin_call(m, function);
  if (begun.skip) return cudaSuccess;
  const cudaError_t status = begun.status == cudaSuccess ? body(m) : begun.status;
  if (status != cudaSuccess && status != cudaErrorNotReady) m.last_error = status;
  return status;
}

// The same for calls that give something back: on a lost device they fail too, but what they were asked to
// release counts as released, so that a test sees what the program forgot.
template <class Body>
cudaError_t release_call(const char* function, Body&& body) {
  Machine& m = machine();
  const std::lock_guard guard(m.lock());
  const Begun begun = begin_call(m, function);
  if (begun.skip) return cudaSuccess;
  cudaError_t status = begun.status;
  if (status == cudaSuccess || status == m.sticky) {
    const cudaError_t released = body(m);
    if (status == cudaSuccess) status = released;
  }
  if (status != cudaSuccess) m.last_error = status;
  return status;
}

}  // namespace ingot::sim
