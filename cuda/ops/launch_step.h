// Steps made of a function that issues kernels to a stream.
//
// The function is called once per run when steps are issued one by one, and once in all when the run is
// captured into a graph, so it must do the same each time: launches and copies whose shapes and addresses are
// fixed, nothing that allocates, waits, or reads the device's memory. A step that cannot keep to that clears
// `capturable`. Pointers are those of the node's operands and results; workspace is aligned to 64 bytes and
// its contents are undefined. An exception leaves the run with the node's name.
//
//   return launch_step("softmax", [=](void* const* in, void* const* out, void*, const Stream& stream) {
//     softmax(SoftmaxKind::Plain, dtype, in[0], out[0], shape, stream);
//   }, 0, {{0, 0}});                              // result 0 may lie where operand 0 lies
#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/runtime/lowering.h"
#include "cuda/base/stream.h"

namespace ingot::cuda {

using LaunchFn =
    std::function<void(void* const* inputs, void* const* outputs, void* workspace, const Stream& stream)>;

// `kernel` names the implementation in tables, profiles and error messages. Bindings::stream is the address
// of a cuda::Stream that outlives the bound step.
std::unique_ptr<Step> launch_step(std::string kernel, LaunchFn fn, std::size_t workspace_bytes = 0,
                                  std::vector<std::array<int, 2>> in_place = {});

// What Bindings::stream points to; throws UsageError that names the step when it is null.
const Stream& stream_of(const Step& step, const Bindings& bindings);

// A result that is its operand's memory: nothing runs.
std::unique_ptr<Step> view_step();

}  // namespace ingot::cuda
