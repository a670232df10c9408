// Device tensors of bytes for tests of kernels that move elements without looking at them: any element size,
// any distance from a 16-byte boundary.
//
//   const auto x = numbered(n, 2);                     // n elements of 2 bytes, no two neighbours alike
//   const Placed dx(x, 3 * 2, stream);                 // 3 elements behind a boundary
//   kernel(dx.data()); x = dx.bytes(stream);
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cuda/base/memory.h"

namespace ingot {

using Bytes = std::vector<unsigned char>;

inline Bytes numbered(std::int64_t n, std::size_t element, unsigned seed = 1) {
  Bytes bytes(static_cast<std::size_t>(n) * element);
  unsigned state = seed;
  for (auto& b : bytes) {
    state = state * 1664525u + 1013904223u;
    b = static_cast<unsigned char>(state >> 23);
  }
  return bytes;
}

class Placed {
 public:
  Placed(const Bytes& bytes, std::size_t shift, const cuda::Stream& stream)
      : shift_(shift), size_(bytes.size()), buffer_(bytes.size() + shift + 16) {
    if (!bytes.empty()) cuda::copy_to_device(data(), bytes.data(), size_, stream);
  }
  // Memory that nobody has written.
  Placed(std::size_t bytes, std::size_t shift) : shift_(shift), size_(bytes), buffer_(bytes + shift + 16) {}

  void* data() const { return buffer_.as<unsigned char>() + shift_; }
  Bytes bytes(const cuda::Stream& stream) const {
    Bytes b(size_);
    if (size_ != 0) cuda::copy_to_host(b.data(), data(), size_, stream);
    return b;
  }

 private:
  std::size_t shift_, size_;
  cuda::DeviceBuffer buffer_;
};

}  // namespace ingot
