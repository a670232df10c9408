#include "data/npy.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <optional>
#include <string_view>

#include "core/base/error.h"
#include "core/base/file.h"

namespace ingot {

namespace {

constexpr std::string_view kMagic = "\x93NUMPY";

struct Descr {
  DType dtype;
  std::string_view text;
};
constexpr Descr kDescr[] = {{DType::F32, "<f4"}, {DType::F64, "<f8"}, {DType::F16, "<f2"},
                            {DType::I32, "<i4"}, {DType::I64, "<i8"}, {DType::U8, "|u1"},
                            {DType::Bool, "|b1"}};

// The header is a Python dictionary literal with the keys descr, fortran_order and shape, in any order.
class HeaderParser {
 public:
  HeaderParser(std::string_view text, const std::string& path) : text_(text), path_(path) {}

  TensorType parse() {
    expect('{');
    while (!accept('}')) {
      const std::string_view key = quoted();
      expect(':');
      if (key == "descr")
        parse_descr();
      else if (key == "fortran_order")
        parse_order();
      else if (key == "shape")
        parse_shape();
      else
        fail(cat("unknown key '", key, "'"));
      if (accept('}')) break;
      expect(',');
    }
    skip_space();
    if (at_ != text_.size()) fail("text after the closing brace");
    if (!dtype_ || !have_order_ || !shape_) fail("expected the keys descr, fortran_order and shape");
    return {*dtype_, *shape_};
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw FormatError(cat("'", path_, "' has a bad .npy header: ", what, " in ", text_.substr(0, 120)));
  }
  void skip_space() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_])) != 0) ++at_;
  }
  bool accept(char c) {
    skip_space();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!accept(c)) fail(cat("expected '", c, "' at column ", at_));
  }
  std::string_view quoted() {
    skip_space();
    if (at_ >= text_.size() || (text_[at_] != '\'' && text_[at_] != '"'))
      fail(cat("expected a string at column ", at_));
    const char quote = text_[at_++];
    const auto end = text_.find(quote, at_);
    if (end == std::string_view::npos) fail("a string without end");
    const std::string_view out = text_.substr(at_, end - at_);
    at_ = end + 1;
    return out;
  }
  void parse_descr() {
    skip_space();
    if (at_ < text_.size() && text_[at_] == '[')
      throw FormatError(cat("'", path_, "' holds records; expected plain numbers"));
    const std::string_view descr = quoted();
    for (const Descr& d : kDescr) {
      const bool order_fits = descr.substr(0, 1) == d.text.substr(0, 1) || size_of(d.dtype) == 1;
      if (descr.size() == 3 && descr.substr(1) == d.text.substr(1) && order_fits) dtype_ = d.dtype;
    }
    if (dtype_) return;
    if (!descr.empty() && descr[0] == '>')
      throw FormatError(cat("'", path_, "' holds big-endian elements ('", descr, "'); save it with astype('<",
                            descr.substr(1), "')"));
    throw FormatError(cat("'", path_, "' holds elements of type '", descr,
                          "'; expected one of <f4 <f8 <f2 <i4 <i8 |u1 |b1"));
  }
  void parse_order() {
    skip_space();
    const std::string_view rest = text_.substr(at_);
    if (rest.substr(0, 4) == "True")
      throw FormatError(cat("'", path_, "' is in Fortran order; save it with numpy.ascontiguousarray"));
    if (rest.substr(0, 5) != "False") fail("fortran_order is neither True nor False");
    at_ += 5;
    have_order_ = true;
  }
  void parse_shape() {
    expect('(');
    Shape shape;
    while (!accept(')')) {
      skip_space();
      std::int64_t dim = -1;
      const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), dim);
      if (error != std::errc() || dim < 0) fail(cat("bad dimension at column ", at_));
      at_ = static_cast<std::size_t>(end - text_.data());
      if (shape.rank() == Shape::kMaxRank) fail(cat("more than ", Shape::kMaxRank, " dimensions"));
      shape.push_back(dim);
      if (accept(')')) break;
      expect(',');
    }
    shape_ = shape;
  }

  std::string_view text_;
  const std::string& path_;
  std::size_t at_ = 0;
  std::optional<DType> dtype_;
  std::optional<Shape> shape_;
  bool have_order_ = false;
};

// Bytes that the type takes, or nothing when that overflows.
std::optional<std::size_t> checked_bytes(const TensorType& type) {
  std::size_t bytes = size_of(type.dtype);
  for (const std::int64_t d : type.shape)
    if (__builtin_mul_overflow(bytes, static_cast<std::size_t>(d), &bytes)) return std::nullopt;
  return bytes;
}

}  // namespace

Tensor read_npy(const std::string& path) {
  const auto file = MappedFile::open(path);
  const std::string_view all = file->text();
  if (all.substr(0, kMagic.size()) != kMagic)
    throw FormatError(cat("'", path, "' is no .npy file: expected it to start with \\x93NUMPY"));
  const auto byte = [&](std::size_t i) {
    if (i >= all.size())
      throw FormatError(cat("'", path, "' is cut short: it ends after ", i, " bytes, in the header"));
    return static_cast<std::size_t>(static_cast<unsigned char>(all[i]));
  };
  const std::size_t major = byte(6), minor = byte(7);
  if (major < 1 || major > 3 || minor != 0)
    throw FormatError(cat("'", path, "' is .npy version ", major, ".", minor, "; expected 1.0, 2.0 or 3.0"));
  std::size_t length = byte(8) | byte(9) << 8;
  if (major > 1) length |= byte(10) << 16 | byte(11) << 24;
  const std::size_t start = major == 1 ? 10 : 12;
  if (length > all.size() - start)
    throw FormatError(cat("'", path, "' is cut short: expected a header of ", length, " bytes, found ",
                          all.size() - start));

  const TensorType type = HeaderParser(all.substr(start, length), path).parse();
  const auto payload = file->bytes().subspan(start + length);
  const std::optional<std::size_t> expected = checked_bytes(type);
  if (expected != payload.size())
    throw FormatError(cat("'", path, "' announces ", to_string(type), ": expected ",
                          expected ? cat(*expected) : "far too many", " bytes after the header, found ",
                          payload.size()));
  const auto no_bool = [](std::byte b) { return b > std::byte{1}; };
  if (type.dtype == DType::Bool && std::any_of(payload.begin(), payload.end(), no_bool))
    throw FormatError(cat("'", path, "' holds booleans that are neither 0 nor 1"));
  return Tensor::from_bytes(type, payload);
}

void write_npy(const std::string& path, const Tensor& tensor) {
  std::string_view descr;
  for (const Descr& d : kDescr)
    if (d.dtype == tensor.dtype()) descr = d.text;
  if (descr.empty())
    throw UsageError(cat("cannot write '", path, "': NumPy has no type for ", name(tensor.dtype()),
                         "; convert the tensor with to(DType::F32)"));
  std::string shape = join(tensor.shape());
  if (tensor.shape().rank() == 1) shape += ',';
  std::string header = cat("{'descr': '", descr, "', 'fortran_order': False, 'shape': (", shape, "), }");
  // Spaces and a newline bring the elements to a multiple of 64 bytes. Eight dimensions of 20 digits stay far
  // below the 65535 bytes that version 1.0 can hold.
  constexpr std::size_t kPrefix = 10;
  header.append(63 - (kPrefix + header.size()) % 64, ' ');
  header += '\n';
  const char version_and_length[] = {1, 0, static_cast<char>(header.size() & 255u),
                                     static_cast<char>(header.size() >> 8)};

  const Tensor plain = tensor.contiguous();
  AtomicFile out(path);
  out.write(kMagic);
  out.write(version_and_length, sizeof(version_and_length));
  out.write(header);
  out.write(plain.raw(), plain.bytes());
  out.commit();
}

}  // namespace ingot
