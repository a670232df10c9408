// What a run does about the answer of check.h without asking the host: launches of the kernels in guard.cu.
//
// `first` is that answer in device memory. Where it is not kAllFinite, the guarded part of a graph is left
// out, and inputs stay as the run that met NaN left them, so that it can be repeated.
//
//   Graph graph = capture_if(stream, [&](Condition go) { ...; set_if_finite(go, first, stream); }, update);
//   copy_if_finite(x, slot, bytes, first, stream);
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/base/graph.h"
#include "cuda/base/stream.h"

namespace ingot::cuda {

// The condition becomes 1, or 0 where something is not finite. Within the capture that the condition is of.
void set_if_finite(Condition condition, const std::uint64_t* first, const Stream& stream);
// to = from, within the device, unless something is not finite. Both aligned to 16.
void copy_if_finite(void* to, const void* from, std::size_t bytes, const std::uint64_t* first,
                    const Stream& stream);

}  // namespace ingot::cuda
