#include "io/checkpoint.h"

#include <zlib.h>

#include <algorithm>

#include "core/base/error.h"

namespace ingot {

namespace {

constexpr std::string_view kReserved = "ingot.";
constexpr const char* kFormatKey = "ingot.format";
constexpr const char* kFormat = "checkpoint 1";
constexpr const char* kChecksumKey = "ingot.checksum";

class Checksum {
 public:
  void add(const void* data, std::size_t bytes) {
    crc_ = crc32_z(crc_, static_cast<const Bytef*>(data), bytes);
  }
  // With its length, so that "ab" + "c" and "a" + "bc" differ.
  void add(std::string_view text) {
    const std::string length = cat(text.size(), ':');
    add(length.data(), length.size());
    add(text.data(), text.size());
  }
  std::string text() const {
    constexpr std::string_view kDigits = "0123456789abcdef";
    std::string out;
    for (int shift = 28; shift >= 0; shift -= 4) out += kDigits[(crc_ >> shift) & 15u];
    return out;
  }

 private:
  uLong crc_ = crc32_z(0, nullptr, 0);
};

// `tensors` as in_file_order gives them, `metadata` without the checksum.
std::string checksum_of(const TensorList& tensors, const Metadata& metadata) {
  Checksum sum;
  for (const auto& [key, value] : metadata) {
    sum.add(key);
    sum.add(value);
  }
  for (const auto& [key, tensor] : tensors) {
    sum.add(key);
    sum.add(to_string(TensorType{tensor.dtype(), tensor.shape()}));
    if (tensor.bytes() != 0) sum.add(tensor.raw(), tensor.bytes());
  }
  return sum.text();
}

Checkpoint verified(Checkpoint out, const std::string& path) {
  const auto format = out.metadata.find(kFormatKey), checksum = out.metadata.find(kChecksumKey);
  if (format == out.metadata.end() || checksum == out.metadata.end())
    throw FormatError(
        cat("'", path, "' is a safetensors file, but no checkpoint of Ingot's: expected the metadata '",
            kFormatKey, "' and '", kChecksumKey, "'; weights alone are read with read_safetensors"));
  if (format->second != kFormat)
    throw FormatError(cat("'", path, "' has the format '", format->second, "', expected '", kFormat,
                          "'; it was written by another version of Ingot"));
  const std::string expected = checksum->second;
  out.metadata.erase(checksum);
  const std::string found = checksum_of(in_file_order(out.tensors), out.metadata);
  if (found != expected)
    throw FormatError(cat("'", path, "' is damaged: expected the checksum ", expected, ", found ", found,
                          "; go back to an older checkpoint"));
  out.metadata.erase(kFormatKey);
  return out;
}

}  // namespace

void save_checkpoint(const std::string& path, const Checkpoint& checkpoint) {
  for (const auto& [key, value] : checkpoint.metadata)
    if (key.starts_with(kReserved))
      throw UsageError(cat("metadata keys that start with 'ingot.' are reserved, got '", key, "'"));
  const TensorList ordered = in_file_order(checkpoint.tensors);
  Metadata metadata = checkpoint.metadata;
  metadata[kFormatKey] = kFormat;
  metadata[kChecksumKey] = checksum_of(ordered, metadata);
  write_safetensors(path, ordered, metadata);
}

Checkpoint load_checkpoint(const std::string& path) {
  return verified(read_safetensors(path), path);
}

TensorFile load_weights(const std::string& path) {
  TensorFile file = read_safetensors(path);
  const bool ours = file.metadata.contains(kFormatKey) || file.metadata.contains(kChecksumKey);
  return ours ? verified(std::move(file), path) : std::move(file);
}

std::string KeyReport::text(const std::string& file) const {
  if (match()) return cat("'", file, "' fits the model");
  std::string out = cat("'", file, "' does not fit the model");
  const char* separator = ": ";
  const auto list = [&](const char* what, const std::vector<std::string>& names) {
    if (names.empty()) return;
    out += cat(separator, names.size(), ' ', what, " (", join(names), ")");
    separator = "; ";
  };
  list("missing", missing_keys);
  list("unexpected", unexpected_keys);
  std::vector<std::string> lines;
  for (const Changed& c : mismatched_keys)
    lines.push_back(cat(c.name, ": expected ", to_string(c.expected), ", found ", to_string(c.found)));
  list("of another shape or type", lines);
  return out;
}

KeyReport compare_keys(const NamedTypes& expected, const TensorList& found) {
  std::map<std::string_view, const Tensor*> rest;
  for (const auto& [key, tensor] : found) rest[key] = &tensor;
  KeyReport report;
  for (const auto& [key, type] : expected) {
    const auto it = rest.find(key);
    if (it == rest.end()) {
      report.missing_keys.push_back(key);
      continue;
    }
    const TensorType actual{it->second->dtype(), it->second->shape()}, wanted{type.dtype, type.shape};
    if (actual != wanted) report.mismatched_keys.push_back({key, wanted, actual});
    rest.erase(it);
  }
  for (const auto& [key, tensor] : found)  // in the file's order
    if (rest.contains(key)) report.unexpected_keys.push_back(key);
  return report;
}

}  // namespace ingot
