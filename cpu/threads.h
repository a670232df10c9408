// ThreadScope: OpenMP's thread count of the calling thread, restored at the end of the scope.
//
// oneDNN reads it when a primitive is described, created and run, so all three must see the same number.
//
//   const ThreadScope threads(target.threads);
#pragma once

#include <omp.h>

namespace ingot::cpu {

class ThreadScope {
 public:
  explicit ThreadScope(int threads) : before_(omp_get_max_threads()) { omp_set_num_threads(threads); }
  ~ThreadScope() { omp_set_num_threads(before_); }
  ThreadScope(const ThreadScope&) = delete;
  ThreadScope& operator=(const ThreadScope&) = delete;

 private:
  int before_;
};

}  // namespace ingot::cpu
