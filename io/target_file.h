// GPUs that were written down: a program is compiled for one on a machine that has none, and says what it
// will need there. Four come with the library, others are files that the user writes.
//
// A description is one JSON object with the 23 keys that cuDNN's planner reads (DeviceProperties of
// cudnn-frontend; most are members of cudaDeviceProp): `ingot info targets --json` prints those that come
// with the library, to start from. Their values are those of NVIDIA's data sheets; memory is the data
// sheet's, in units of 10^9 bytes, of which a card of that name may offer some more or less.
//
//   Target t = read_target("h200");             // or "my_gpu.json"
//   compile(graph, {.target = t})->report().total_bytes;
//
// A session refuses such a target: it has no device.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "core/runtime/target.h"

namespace ingot {

// A name of described_targets(), or the path of a file. Throws UsageError for an unknown name, and
// FormatError that lists each missing, unknown, ill-typed or impossible key.
Target read_target(const std::string& name_or_path);

// Names and descriptions that come with the library.
const std::vector<std::pair<std::string, std::string>>& described_targets();

}  // namespace ingot
