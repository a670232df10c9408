// The sizes of one convolution as kernels want them. Plain C++ for host and device.
//
// Images x [images, h, w, c] and y [images, oh, ow, o] and weights [o, kh, kw, cg] lie in this order
// (channels-last, innermost last). c = groups cg, o = groups og. All sizes, and every coordinate that
// padding, stride or dilation can reach, are below 2^30; products of sizes need 64 bits.
//
//   const ConvGeometry g = conv_geometry(problem);      // throws UsageError when a size does not fit
#pragma once

#include <cuda_runtime_api.h>

namespace ingot::cuda {

// x / divisor for 0 <= x < 2^31 and 1 <= divisor < 2^31 by one multiplication: with 2^(l-1) < d <= 2^l and
// multiplier = ceil(2^(31+l) / d), the error of x multiplier / 2^(31+l) is below 1 / d.
struct FastDivisor {
  unsigned multiplier = 0;
  int shift = -1;  // -1: the divisor is 1

  FastDivisor() = default;
  explicit FastDivisor(int divisor) {
    const auto d = static_cast<unsigned long long>(divisor);
    int l = 0;
    while ((1ull << l) < d) ++l;
    if (l == 0) return;
    multiplier = static_cast<unsigned>(((1ull << (31 + l)) + d - 1) / d);
    shift = l - 1;
  }
#if defined(__CUDACC__) || defined(INGOT_CUDA_SIM)
  __device__ int divide(int x) const {
    return shift < 0 ? x : static_cast<int>(__umulhi(static_cast<unsigned>(x), multiplier) >> shift);
  }
#endif
};

struct ConvGeometry {
  long long images = 0;
  int h = 0, w = 0, c = 0, oh = 0, ow = 0, o = 0, kh = 0, kw = 0;
  int stride_h = 1, stride_w = 1, pad_h = 0, pad_w = 0, dilation_h = 1, dilation_w = 1;
  int groups = 1, cg = 0, og = 0;
  FastDivisor by_stride_h{}, by_stride_w{};
};

}  // namespace ingot::cuda
