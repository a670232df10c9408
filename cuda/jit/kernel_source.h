// KernelSource: the text of one generated kernel, and how it is launched.
//
// Kernels take plain pointers, operands first, then results, in the order of the tape. `text` includes the
// headers of embedded_headers() by name and nothing else; the same text goes to NVRTC and, in tests on
// machines without a GPU, to g++. Launch with no dynamic shared memory. A kernel of an empty tensor has 0
// blocks: launch nothing.
//
//   KernelSource k = elementwise_source(expr, inputs, outputs);
//   std::string ptx = nvrtc.compile(k.name, k.text, 90, KernelFormat::Ptx);
//   launch(k.name, {k.blocks, 1, 1}, {k.threads, 1, 1}, pointers);
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ingot::cuda {

struct KernelSource {
  std::string name;
  std::string text;
  std::int64_t blocks = 0;
  int threads = 0;              // per block
  int elements_per_thread = 0;  // consecutive ones
  std::vector<int> alignment;   // bytes to which each pointer must be aligned
  // (input, output) pairs that may be one memory.
  std::vector<std::array<int, 2>> in_place;
};

// The headers that generated text may include, as they were when the library was built.
struct EmbeddedHeader {
  const char* name;  // "core/expr/scalar_ops.h"
  const char* text;
};
std::span<const EmbeddedHeader> embedded_headers();

}  // namespace ingot::cuda
