// The sizes of one convolution as kernels want them. For .cu files, host and device.
//
// Images x [images, h, w, c] and y [images, oh, ow, o] and weights [o, kh, kw, cg] lie in this order
// (channels-last, innermost last). c = groups cg, o = groups og. All sizes, and every coordinate that
// padding, stride or dilation can reach, are below 2^30; products of sizes need 64 bits. Padding may be
// negative in a phase of a strided convolution (conv_phases.h).
//
//   const ConvGeometry g = conv_geometry(problem);      // throws UsageError when a size does not fit
#pragma once

#include "cuda/kernels/divide.h"

namespace ingot::cuda {

struct ConvGeometry {
  long long images = 0;
  int h = 0, w = 0, c = 0, oh = 0, ow = 0, o = 0, kh = 0, kw = 0;
  int stride_h = 1, stride_w = 1, pad_h = 0, pad_w = 0, dilation_h = 1, dilation_w = 1;
  int groups = 1, cg = 0, og = 0;
  gpu::Divider by_stride_h{}, by_stride_w{};
};

}  // namespace ingot::cuda
