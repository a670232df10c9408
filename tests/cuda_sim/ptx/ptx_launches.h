// Launch functions of cuda/kernels executed as PTX: while a PtxLaunches lives, every launch() of this program
// runs what nvcc made of that kernel in the PTX interpreter, with the very arguments, grid and block that the
// launch function chose, instead of on the simulated device; fills act on host memory.
//
// All memory is host memory that was shared, which ends where its vector ends. A complaint of the interpreter
// (a race, an access out of bounds, ...) or a missing kernel makes the test fail.
//
//   PtxLaunches ptx({"copy.cu"}, 90);
//   cuda::strided_copy(copy, ptx.share(x), ptx.share(y), stream);       // any stream; it is not used
//   EXPECT_EQ(ptx.launches(), 1);
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

namespace ingot {

class PtxLaunches {
 public:
  // The files of cuda/kernels or tests/cuda_sim whose kernels may be launched.
  PtxLaunches(const std::vector<std::string>& files, int sm);
  ~PtxLaunches();
  PtxLaunches(const PtxLaunches&) = delete;
  PtxLaunches& operator=(const PtxLaunches&) = delete;

  template <class T>
  T* share(std::vector<T>& values) {
    share(values.data(), values.size() * sizeof(T));
    return values.data();
  }
  void share(void* data, std::size_t bytes);
  int launches() const;

  struct Machine;

 private:
  std::unique_ptr<Machine> machine_;
};

}  // namespace ingot
