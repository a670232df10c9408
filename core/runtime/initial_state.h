// First content of a state, a pure function of (Init, type, state name, seed).
//
// Element i draws bits i of Philox(key = seed, stream = hash of the name). Normal values come in pairs by the
// Box-Muller transform.
//
//   Tensor w = initial_state(state, {DType::F32, {64, 3, 7, 7}}, /*seed=*/1);
#pragma once

#include <cstdint>

#include "core/ir/graph.h"

namespace ingot {

Tensor initial_state(const State& state, const TensorType& type, std::uint64_t seed);

}  // namespace ingot
