// Errors: one hierarchy, each says what was expected, what was found, where, and what to do.
//
// The builder fills in the node's name and the user's source line (`SourceLoc`) with `add_context`, so that
// code deep in shape inference only states the mismatch.
//
//   throw ShapeError(cat("conv2d: weight expects ", 3, " input channels, the input has ", 4));
//   // ... caught in the builder, rethrown as: "conv2d: ... [node 'conv1', train.cpp:12]"
#pragma once

#include <cstdint>
#include <source_location>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>

namespace ingot {

// Where the user wrote a call. File names are stored as given by the compiler; printing shows the last
// component.
struct SourceLoc {
  std::string file;
  std::uint32_t line = 0;

  SourceLoc() = default;
  SourceLoc(std::string f, std::uint32_t l) : file(std::move(f)), line(l) {}
  // Implicit on purpose: functions take `SourceLoc loc = SourceLoc::current()`.
  SourceLoc(const std::source_location& l) : file(l.file_name()), line(l.line()) {}
  static SourceLoc current(const std::source_location& l = std::source_location::current()) {
    return SourceLoc(l);
  }
  bool known() const { return line != 0; }
  friend bool operator==(const SourceLoc&, const SourceLoc&) = default;
};

// "train.cpp:12", or "" when unknown.
std::string to_string(const SourceLoc& loc);

class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message) : std::runtime_error(message), message_(message) {}

  const char* what() const noexcept override { return full_.empty() ? message_.c_str() : full_.c_str(); }
  const std::string& message() const { return message_; }
  const std::string& node() const { return node_; }
  const SourceLoc& where() const { return where_; }
  // Adds the node and line once; later (outer) calls do not overwrite an inner, more precise place.
  void add_context(std::string node, const SourceLoc& where);

 private:
  std::string message_, node_, full_;
  SourceLoc where_;
};

// Shapes or dtypes that do not fit.
class ShapeError : public Error {
  using Error::Error;
};
// A call, option or name that is not legal.
class UsageError : public Error {
  using Error::Error;
};
// A device failed or has too little memory.
class DeviceError : public Error {
  using Error::Error;
};
// The latter.
class OutOfMemoryError : public DeviceError {
  using DeviceError::DeviceError;
};
// A file is missing, damaged, or not what it should be.
class FormatError : public Error {
  using Error::Error;
};
// A computation gave NaN or infinity where that is an error.
class NumericError : public Error {
  using Error::Error;
};

// Streams all arguments into one string.
template <class... Args>
std::string cat(const Args&... args) {
  std::ostringstream out;
  (out << ... << args);
  return std::move(out).str();
}

// "a, b, c" from any range of streamable things.
template <class Range>
std::string join(const Range& range, std::string_view separator = ", ") {
  std::ostringstream out;
  bool first = true;
  for (const auto& item : range) {
    if (!first) out << separator;
    first = false;
    out << item;
  }
  return std::move(out).str();
}

}  // namespace ingot
