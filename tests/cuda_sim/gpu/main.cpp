// cuda/base and the sample kernels on a real GPU, through the CUDA runtime. Without one it says why and exits
// with 77, which CTest shows as skipped; that it links is worth a test of its own.
#include <cmath>
#include <iostream>
#include <vector>

#include "cuda/base/check.h"
#include "cuda/base/device_info.h"
#include "cuda/base/event.h"
#include "cuda/base/graph.h"
#include "cuda/base/memory.h"
#include "tests/cuda_sim/kernels.h"

namespace {

using namespace ingot::cuda;

bool row_sum_is_right() {
  constexpr int kRows = 7, kColumns = 1000;
  const PinnedBuffer x_host(kRows * kColumns * sizeof(float)), y_host(kRows * sizeof(float));
  for (int i = 0; i < kRows * kColumns; ++i) x_host.as<float>()[i] = static_cast<float>(i % 10);
  const DeviceBuffer x(x_host.bytes()), y(y_host.bytes());
  const Stream stream;
  copy_to_device(x.data(), x_host.data(), x.bytes(), stream);
  const Graph graph = capture(
      stream, [&] { ingot::samples::row_sum(x.as<float>(), y.as<float>(), kRows, kColumns, stream); });
  Event start(Timing::On), stop(Timing::On);
  start.record(stream);
  GraphExec(graph).launch(stream);
  stop.record(stream);
  copy_to_host(y_host.data(), y.data(), y.bytes(), stream);
  stream.synchronize();
  for (int r = 0; r < kRows; ++r)
    if (y_host.as<float>()[r] != 4500.0f) return false;
  return stop.milliseconds_since(start) > 0;
}

bool matmul_is_right() {
  constexpr int kM = 50, kN = 40, kK = 72;  // of ones in bf16: every element is kK
  const std::vector<unsigned short> ones(kK * (kM + kN), 0x3F80);
  const DeviceBuffer ab(ones.size() * 2), c(kM * kN * sizeof(float));
  const Stream stream;
  copy_to_device(ab.data(), ones.data(), ab.bytes(), stream);
  ingot::samples::matmul_bf16(ab.data(), ab.as<unsigned short>() + kM * kK, c.as<float>(), kM, kN, kK,
                              stream);
  std::vector<float> result(kM * kN);
  copy_to_host(result.data(), c.data(), c.bytes(), stream);
  stream.synchronize();
  for (const float v : result)
    if (v != static_cast<float>(kK)) return false;
  return true;
}

}  // namespace

int main() {
  const DeviceList list = devices();
  if (list.count == 0) {
    std::cout << "skipped: no CUDA device: " << list.reason << '\n';
    return 77;
  }
  const DeviceInfo info = device_info(0);
  std::cout << info.name << ", sm_" << info.sm << ", " << info.multiprocessors << " multiprocessors\n";
  const bool sums = row_sum_is_right(), products = matmul_is_right();
  std::cout << "row_sum " << (sums ? "ok" : "WRONG") << ", matmul " << (products ? "ok" : "WRONG") << '\n';
  return sums && products ? 0 : 1;
}
