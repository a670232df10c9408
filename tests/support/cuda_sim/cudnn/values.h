// A tensor's elements while a graph is interpreted, and the operations that take several of them.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "tests/support/cuda_sim/cudnn/store.h"

namespace ingot::fake_cudnn {

using Dims = std::array<std::int64_t, 4>;

// Dense and row-major; of a number passed by value, one.
struct Values {
  Dims dims{};
  std::vector<double> at;

  double& operator()(std::int64_t a, std::int64_t b, std::int64_t y, std::int64_t x) {
    return at[static_cast<std::size_t>(((a * dims[1] + b) * dims[2] + y) * dims[3] + x)];
  }
  double operator()(std::int64_t a, std::int64_t b, std::int64_t y, std::int64_t x) const {
    return at[static_cast<std::size_t>(((a * dims[1] + b) * dims[2] + y) * dims[3] + x)];
  }
};

inline Values zeros(const Dims& dims) {
  return {dims, std::vector<double>(static_cast<std::size_t>(dims[0] * dims[1] * dims[2] * dims[3]), 0.0)};
}

// Operands and results in the order of parts_of(operation).
std::vector<Values> norm_forward(const std::vector<Values>& in);
std::vector<Values> norm_backward(const std::vector<Values>& in);
std::vector<Values> channel_sums(const Values& x);
std::vector<Values> norm_backward_sums(const std::vector<Values>& in);
Values average_pool(const Descriptor& settings, const Values& x, const Dims& result);

// Why the operation cannot be, for each kind; operands' and results' sizes as above.
std::string norm_misfit(const Descriptor& operation, const std::vector<Dims>& in,
                        const std::vector<Dims>& out);
std::string pool_misfit(const Descriptor& settings, const Dims& x, const Dims& y);

}  // namespace ingot::fake_cudnn
