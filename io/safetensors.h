// safetensors files: named tensors plus string metadata, exchangeable with Python.
//
// Layout (https://github.com/huggingface/safetensors): the header's length as 8 little-endian bytes, the
// header (JSON: per tensor dtype, shape and data_offsets; `__metadata__` maps strings to strings), then the
// elements, row-major and little-endian, without holes or overlaps. The reader maps the file: its tensors are
// views that keep the map alive, cost no copy and may be written to without changing the file (tensors that
// lie misaligned for their type, which Ingot and Python never write, are copied). Everything the format
// forbids is a FormatError that names the file and the tensor. The writer goes through AtomicFile.
//
//   write_safetensors("w.safetensors", {{"fc.weight", w}, {"fc.bias", b}}, {{"format", "pt"}});
//   TensorFile file = read_safetensors("w.safetensors");
//   Tensor w2 = file.at("fc.weight");
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/ir/tensor.h"

namespace ingot {

using TensorList = std::vector<std::pair<std::string, Tensor>>;
using Metadata = std::map<std::string, std::string>;

struct TensorFile {
  TensorList tensors;  // in the order of the file's bytes
  Metadata metadata;

  // Null when there is none of that name.
  const Tensor* find(std::string_view name) const;
  // Throws FormatError when there is none of that name.
  const Tensor& at(std::string_view name) const;
};

TensorFile read_safetensors(const std::string& path);

// The file holds the tensors by falling element size, then by name, so that each is aligned. Throws
// UsageError for duplicate or illegal names, Error (the old file stays) when the bytes cannot reach the disk.
void write_safetensors(const std::string& path, const TensorList& tensors, const Metadata& metadata = {});

// The tensors in the order and layout (row-major) that write_safetensors gives them.
TensorList in_file_order(const TensorList& tensors);

}  // namespace ingot
