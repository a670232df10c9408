// Operands of kernels under test, on the host in double and on the device in their type, and the comparison
// of results with an op's reference.
//
//   const Operand x = operand_of<f16>(n, 1, 0.0, 1.0, 0, stream);       // x.values, x.data()
//   const auto want = run_reference(op("layer_norm"), attrs, {matrix(x.values, cells), ...});
//   expect_near("y", read(DType::F16, y.data(), n, stream), want[0], DType::F16, 1e-6);
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string_view>
#include <vector>

#include "core/ir/tensor.h"
#include "tests/cuda_sim/element.h"
#include "tests/cuda_sim/sim_test.h"

namespace ingot {

// Channels-last images are row-major matrices of pixels and channels.
inline Tensor matrix(const std::vector<double>& v, std::int64_t channels) {
  return Tensor::from<double>(Shape{static_cast<std::int64_t>(v.size()) / channels, channels}, v);
}
inline Tensor vector_of(const std::vector<double>& v) {
  return Tensor::from<double>(Shape{static_cast<std::int64_t>(v.size())}, v);
}

// Numbers that the type holds, on both sides.
struct Operand {
  std::vector<double> values;
  cuda::DeviceBuffer buffer;
  std::size_t skip = 0;  // bytes in front

  void* data() const { return static_cast<std::byte*>(buffer.data()) + skip; }
};

template <class T>
Operand operand_of(std::size_t n, unsigned seed, double mean, double spread, std::size_t shift,
                   const cuda::Stream& stream) {
  std::vector<T> host(shift, T{});
  Operand o{{}, cuda::DeviceBuffer(std::max<std::size_t>((n + shift) * sizeof(T), 1)), shift * sizeof(T)};
  for (const float f : sequence(n, seed)) {
    host.push_back(rounded<T>(mean + spread * static_cast<double>(f)));
    o.values.push_back(value(host.back()));
  }
  cuda::copy_to_device(o.buffer.data(), host.data(), host.size() * sizeof(T), stream);
  return o;
}
inline Operand param_of(DType dtype, std::size_t n, unsigned seed, double mean, double spread,
                        const cuda::Stream& stream) {
  if (dtype == DType::F16) return operand_of<f16>(n, seed, mean, spread, 0, stream);
  if (dtype == DType::BF16) return operand_of<bf16>(n, seed, mean, spread, 0, stream);
  return operand_of<float>(n, seed, mean, spread, 0, stream);
}

template <class T>
std::vector<double> read(const void* from, std::size_t n, const cuda::Stream& stream) {
  std::vector<T> host(n);
  cuda::copy_to_host(host.data(), from, n * sizeof(T), stream);
  std::vector<double> out;
  for (const T v : host) out.push_back(value(v));
  return out;
}
inline std::vector<double> read(DType dtype, const void* from, std::size_t n, const cuda::Stream& stream) {
  if (dtype == DType::F16) return read<f16>(from, n, stream);
  if (dtype == DType::BF16) return read<bf16>(from, n, stream);
  return read<float>(from, n, stream);
}

// Half a unit in the last place, with room for the second rounding of what was nearly a tie.
inline double rounding(DType dtype) {
  return dtype == DType::F16 ? 5.2e-4 : dtype == DType::BF16 ? 4.1e-3 : 0.0;
}

inline void expect_near(std::string_view what, const std::vector<double>& got, const Tensor& want,
                        DType dtype, double error) {
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double w = want.get(static_cast<std::int64_t>(i));
    ASSERT_NEAR(got[i], w, rounding(dtype) * std::abs(w) + error) << what << " at " << i;
  }
}

}  // namespace ingot
