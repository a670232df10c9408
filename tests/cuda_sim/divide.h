// cuda/kernels/divide.h in a kernel: q[i] = n[i] / divisor.
#pragma once

#include <cstdint>

#include "cuda/base/stream.h"

namespace ingot::samples {

void quotients(std::int64_t divisor, const std::int64_t* n, std::int64_t* q, int count,
               const cuda::Stream& stream);

}  // namespace ingot::samples
