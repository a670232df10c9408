// Checkpoints: a safetensors file that holds everything a run needs to go on, and a checksum over all of it.
//
// Tensors hold weights, optimiser state and whatever else has elements; metadata strings hold the rest (model
// name, configuration, loader position, schedule, usually as JSON). The checksum is a CRC-32 over names,
// types, metadata and bytes, kept in the metadata under "ingot.checksum": any flipped bit is found when
// loading. Python reads a checkpoint like any other safetensors file.
//
//   save_checkpoint("run/last.safetensors", {session_tensors, {{"model", "resnet20"}, {"state", json}}});
//   Checkpoint c = load_checkpoint("run/last.safetensors");
//   KeyReport keys = compare_keys(expected, c.tensors);
//   if (!keys.match()) throw FormatError(keys.text("run/last.safetensors"));
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "io/safetensors.h"

namespace ingot {

using Checkpoint = TensorFile;

// Written beside, flushed, renamed: a crash at any moment leaves the old or the new checkpoint, never a
// mixture. Metadata keys that start with "ingot." are reserved (UsageError).
void save_checkpoint(const std::string& path, const Checkpoint& checkpoint);

// Throws FormatError when the file is damaged, cut short, or no checkpoint of Ingot's. The metadata comes
// back as it was given to save_checkpoint.
Checkpoint load_checkpoint(const std::string& path);

// Any safetensors file. One that save_checkpoint wrote is held against its checksum, and its metadata comes
// back as with load_checkpoint.
TensorFile load_weights(const std::string& path);

// How the tensors of a file differ from those that a model has; the first two bear PyTorch's names.
struct KeyReport {
  struct Changed {
    std::string name;
    TensorType expected, found;
  };
  std::vector<std::string> missing_keys;     // the model has it, the file does not
  std::vector<std::string> unexpected_keys;  // the file has it, the model does not
  std::vector<Changed> mismatched_keys;      // both have it, with another shape or dtype

  bool match() const { return missing_keys.empty() && unexpected_keys.empty() && mismatched_keys.empty(); }
  // One paragraph that names every key, for an error message; `file` says what was compared.
  std::string text(const std::string& file) const;
};

using NamedTypes = std::vector<std::pair<std::string, TensorType>>;
// Physical layouts do not matter: files are always row-major.
KeyReport compare_keys(const NamedTypes& expected, const TensorList& found);

}  // namespace ingot
