#include "io/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "core/base/error.h"
#include "core/base/file.h"

namespace ingot {

namespace {

using Json = nlohmann::json;
constexpr std::string_view kMetadata = "__metadata__";
constexpr std::size_t kLengthBytes = 8;
constexpr std::uint64_t kMaxHeader = 100'000'000;  // the limit of the reference implementation

struct TypeName {
  DType dtype;
  std::string_view text;
};
constexpr TypeName kTypes[] = {{DType::F32, "F32"},   {DType::F64, "F64"},  {DType::F16, "F16"},
                               {DType::BF16, "BF16"}, {DType::I32, "I32"},  {DType::I64, "I64"},
                               {DType::U8, "U8"},     {DType::Bool, "BOOL"}};

std::string_view text_of(DType dtype) {
  for (const TypeName& t : kTypes)
    if (t.dtype == dtype) return t.text;
  throw UsageError(cat("safetensors has no type for ", name(dtype)));
}

struct Entry {
  std::string name;
  TensorType type;
  std::uint64_t begin = 0, end = 0;
};

class Reader {
 public:
  explicit Reader(const std::string& path) : path_(path), file_(MappedFile::open(path)) {}

  TensorFile read() {
    const std::string_view header = header_text();
    const Json json = parse(header);
    TensorFile out;
    std::vector<Entry> entries;
    for (const auto& [key, value] : json.items()) {
      if (key == kMetadata)
        read_metadata(value, out.metadata);
      else
        entries.push_back(read_entry(key, value));
    }
    std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
      return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
    });
    const auto payload = file_->bytes().subspan(kLengthBytes + header.size());
    check_cover(entries, payload.size());
    for (const Entry& e : entries) out.tensors.emplace_back(e.name, view(e, payload));
    return out;
  }

 private:
  template <class... Parts>
  [[noreturn]] void fail(const Parts&... parts) const {
    throw FormatError(cat("'", path_, "': ", parts...));
  }

  std::string_view header_text() const {
    const std::string_view all = file_->text();
    if (all.size() < kLengthBytes)
      fail("is cut short: expected at least 8 bytes of a safetensors file, found ", all.size());
    std::uint64_t length = 0;
    for (std::size_t i = 0; i < kLengthBytes; ++i)
      length |= static_cast<std::uint64_t>(static_cast<unsigned char>(all[i])) << (8 * i);
    if (length > kMaxHeader)
      fail("is no safetensors file: its header would have ", length, " bytes, expected at most ", kMaxHeader);
    if (length > all.size() - kLengthBytes)
      fail("is cut short: expected a header of ", length, " bytes, found ", all.size() - kLengthBytes);
    const std::string_view header = all.substr(kLengthBytes, length);
    if (header.empty() || header[0] != '{')
      fail("is no safetensors file: expected its header to start with '{'");
    return header;
  }

  Json parse(std::string_view text) const {
    // nlohmann keeps the last of two equal keys; the format forbids them, since readers would disagree.
    // It also takes a NUL for the end of the input.
    if (text.find('\0') != std::string_view::npos) fail("the header is no valid JSON: it holds a NUL byte");
    std::vector<std::set<std::string>> open;
    const auto watch = [&](int depth, Json::parse_event_t event, Json& value) {
      if (depth > 4) fail("the header nests deeper than a safetensors header does");
      if (event == Json::parse_event_t::object_start) open.emplace_back();
      if (event == Json::parse_event_t::object_end) open.pop_back();
      if (event == Json::parse_event_t::key && !open.back().insert(value.get<std::string>()).second)
        fail("the header has the key '", value.get<std::string>(), "' twice");
      return true;
    };
    try {
      Json json = Json::parse(text.begin(), text.end(), watch);
      if (!json.is_object()) fail("the header is no JSON object");
      return json;
    } catch (const Json::exception& e) {
      fail("the header is no valid JSON: ", e.what());
    }
  }

  void read_metadata(const Json& json, Metadata& out) const {
    if (!json.is_object()) fail("__metadata__ is no JSON object");
    for (const auto& [key, value] : json.items()) {
      if (!value.is_string()) fail("__metadata__ '", key, "' is ", value.type_name(), ", expected a string");
      out[key] = value.get<std::string>();
    }
  }

  std::uint64_t number(const std::string& tensor, const char* what, const Json& json) const {
    if (!json.is_number_unsigned() ||
        json.get<std::uint64_t>() > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
      fail("tensor '", tensor, "': ", what, " holds ", json.dump(), ", expected integers from 0 to 2^63 - 1");
    return json.get<std::uint64_t>();
  }

  Entry read_entry(const std::string& tensor, const Json& json) const {
    const bool complete = json.is_object() && json.size() == 3 && json.contains("dtype") &&
                          json.contains("shape") && json.contains("data_offsets");
    if (!complete || !json["dtype"].is_string() || !json["shape"].is_array() ||
        !json["data_offsets"].is_array() || json["data_offsets"].size() != 2)
      fail("tensor '", tensor, "': expected dtype, shape and two data_offsets, found ", json.dump());

    Entry entry;
    entry.name = tensor;
    const auto& dtype = json["dtype"].get_ref<const std::string&>();
    std::optional<DType> known;
    for (const TypeName& t : kTypes)
      if (t.text == dtype) known = t.dtype;
    if (!known)
      fail("tensor '", tensor, "' has dtype '", dtype, "', expected one of F32 F64 F16 BF16 I32 I64 U8 BOOL");
    entry.type.dtype = *known;

    if (json["shape"].size() > Shape::kMaxRank)
      fail("tensor '", tensor, "' has ", json["shape"].size(), " dimensions, expected at most ",
           Shape::kMaxRank);
    std::uint64_t bytes = size_of(*known);
    for (const Json& dim : json["shape"]) {
      const std::uint64_t d = number(tensor, "shape", dim);
      entry.type.shape.push_back(static_cast<std::int64_t>(d));
      if (__builtin_mul_overflow(bytes, d, &bytes)) fail("tensor '", tensor, "' has more than 2^64 bytes");
    }
    entry.begin = number(tensor, "data_offsets", json["data_offsets"][0]);
    entry.end = number(tensor, "data_offsets", json["data_offsets"][1]);
    if (entry.end < entry.begin || entry.end - entry.begin != bytes)
      fail("tensor '", tensor, "' is ", to_string(entry.type), " of ", bytes,
           " bytes, its data_offsets are [", entry.begin, ", ", entry.end, "]");
    return entry;
  }

  // Sorted by offset, each tensor starts where the one before ends, and the last ends with the file.
  void check_cover(const std::vector<Entry>& entries, std::uint64_t payload) const {
    std::uint64_t at = 0;
    const Entry* previous = nullptr;
    for (const Entry& e : entries) {
      if (e.begin < at) fail("tensors '", previous->name, "' and '", e.name, "' overlap at byte ", e.begin);
      if (e.begin > at)
        fail("bytes ", at, " to ", e.begin, " before tensor '", e.name, "' belong to no tensor");
      if (e.end > payload)
        fail("is cut short: tensor '", e.name, "' ends at byte ", e.end, " of the data, which has ", payload);
      at = e.end;
      previous = &e;
    }
    if (at != payload) fail("expected ", at, " bytes of data, found ", payload);
  }

  Tensor view(const Entry& e, std::span<std::byte> payload) const {
    const std::span<std::byte> bytes = payload.subspan(e.begin, e.end - e.begin);
    if (e.type.dtype == DType::Bool &&
        std::any_of(bytes.begin(), bytes.end(), [](std::byte b) { return b > std::byte{1}; }))
      fail("tensor '", e.name, "' holds booleans that are neither 0 nor 1");
    const bool aligned = reinterpret_cast<std::uintptr_t>(bytes.data()) % size_of(e.type.dtype) == 0;
    if (!aligned || bytes.empty()) return Tensor::from_bytes(e.type, bytes);
    return Tensor(e.type, bytes.data(), file_);
  }

  const std::string& path_;
  std::shared_ptr<MappedFile> file_;
};

}  // namespace

const Tensor* TensorFile::find(std::string_view name) const {
  for (const auto& [key, tensor] : tensors)
    if (key == name) return &tensor;
  return nullptr;
}

const Tensor& TensorFile::at(std::string_view name) const {
  const Tensor* const tensor = find(name);
  if (tensor == nullptr)
    throw FormatError(cat("the file holds no tensor '", name, "' among its ", tensors.size()));
  return *tensor;
}

TensorFile read_safetensors(const std::string& path) {
  return Reader(path).read();
}

TensorList in_file_order(const TensorList& tensors) {
  TensorList out;
  for (const auto& [key, tensor] : tensors) {
    if (!tensor.defined()) throw UsageError(cat("tensor '", key, "' is undefined and cannot be saved"));
    out.emplace_back(key, tensor.contiguous());
  }
  std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) {
    const std::size_t wa = size_of(a.second.dtype()), wb = size_of(b.second.dtype());
    return wa != wb ? wa > wb : a.first < b.first;
  });
  return out;
}

void write_safetensors(const std::string& path, const TensorList& tensors, const Metadata& metadata) {
  const TensorList ordered = in_file_order(tensors);
  Json header = Json::object();
  if (!metadata.empty()) header[std::string(kMetadata)] = metadata;
  std::uint64_t at = 0;
  std::set<std::string_view> names;
  for (const auto& [key, tensor] : ordered) {
    if (key == kMetadata || !names.insert(key).second)
      throw UsageError(cat("cannot write '", path, "': the tensor name '", key, "' is ",
                           key == kMetadata ? "reserved" : "used twice"));
    auto shape = Json::array();
    for (const std::int64_t d : tensor.shape()) shape.push_back(d);
    header[key] = {
        {"dtype", text_of(tensor.dtype())}, {"shape", shape}, {"data_offsets", {at, at + tensor.bytes()}}};
    at += tensor.bytes();
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const Json::exception&) {
    throw UsageError(cat("cannot write '", path, "': a tensor name or metadata string is not valid UTF-8"));
  }
  // Spaces bring the data to a multiple of 64 bytes, so that a map of the file gives aligned tensors.
  text.append((64 - (kLengthBytes + text.size()) % 64) % 64, ' ');
  if (text.size() > kMaxHeader)
    throw UsageError(cat("cannot write '", path, "': its header would have ", text.size(), " bytes, at most ",
                         kMaxHeader, " are allowed"));

  std::array<char, kLengthBytes> length{};
  for (std::size_t i = 0; i < kLengthBytes; ++i)
    length[i] = static_cast<char>((static_cast<std::uint64_t>(text.size()) >> (8 * i)) & 255u);
  AtomicFile out(path);
  out.write(length.data(), length.size());
  out.write(text);
  for (const auto& [key, tensor] : ordered) out.write(tensor.raw(), tensor.bytes());
  out.commit();
}

}  // namespace ingot
