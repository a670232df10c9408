// PyTorch's load_state_dict: weights of a file into a model that they fit wholly or in part.
//
// Keys are those of parameters and buffers. By default the file must hold the model's keys and no other, each
// of the model's shape and type; otherwise a FormatError lists every key that differs, and nothing is loaded.
// `strict = false` passes over keys that only one side has, as in PyTorch, and as in PyTorch a key of another
// shape stays an error: `ignore_mismatched` passes over those. What is passed over keeps its first content,
// and is named in the report. States of optimisers and generators, which checkpoints hold beside the weights,
// are neither loaded nor reported.
//
//   const KeyReport keys = load_state_dict(session, load_weights(path), {.strict = false}, path);
//   for (const std::string& key : keys.missing_keys) ...
#pragma once

#include <string>
#include <vector>

#include "core/runtime/session.h"
#include "io/checkpoint.h"

namespace ingot {

struct LoadOptions {
  bool strict = true;
  bool ignore_mismatched = false;
  // Keys (core/base/glob.h) that may be missing, unexpected or of another shape all the same: the head of a
  // network for other classes.
  std::vector<std::string> except{};
};

// Parameters and buffers of a graph, in its order.
NamedTypes state_dict_types(const Graph& graph);

struct FittingTensors {
  TensorList tensors;
  KeyReport report;
};
// Those of `found` that have a place in `expected`; throws as above. `file` is named in errors.
FittingTensors fitting_tensors(const NamedTypes& expected, const TensorList& found,
                               const LoadOptions& options, const std::string& file);

KeyReport load_state_dict(Session& session, const TensorFile& found, const LoadOptions& options = {},
                          const std::string& file = "the state dict");

}  // namespace ingot
