#include "data/idx.h"

#include <algorithm>
#include <array>
#include <optional>

#include "core/base/error.h"
#include "data/byte_reader.h"

namespace ingot {

namespace {

std::optional<DType> dtype_of_code(std::byte code) {
  switch (std::to_integer<int>(code)) {
    case 0x08:
      return DType::U8;
    case 0x0C:
      return DType::I32;
    case 0x0D:
      return DType::F32;
    case 0x0E:
      return DType::F64;
    default:
      return std::nullopt;
  }
}

std::string hex(std::span<const std::byte> bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  for (const std::byte b : bytes) {
    out += kDigits[std::to_integer<std::size_t>(b) >> 4];
    out += kDigits[std::to_integer<std::size_t>(b) & 15u];
  }
  return out;
}

}  // namespace

Tensor read_idx(const std::string& path) {
  ByteReader in(path);
  std::array<std::byte, 4> magic;
  in.read_exactly(magic, "an IDX magic number");
  if (magic[0] != std::byte{0} || magic[1] != std::byte{0})
    throw FormatError(cat(
        "'", path, "' is no IDX file: expected a magic number that starts with 0000, found ", hex(magic)));
  const std::optional<DType> dtype = dtype_of_code(magic[2]);
  if (!dtype)
    throw FormatError(cat("'", path, "' has IDX element type 0x", hex({&magic[2], 1}),
                          "; expected 08 (u8), 0c (i32), 0d (f32) or 0e (f64)"));
  const int rank = std::to_integer<int>(magic[3]);
  if (rank < 1 || rank > Shape::kMaxRank)
    throw FormatError(cat("'", path, "' announces ", rank, " dimensions; expected 1 to ", Shape::kMaxRank));

  Shape shape;
  std::uint64_t bytes = size_of(*dtype);
  for (int axis = 0; axis < rank; ++axis) {
    std::array<std::byte, 4> big;
    in.read_exactly(big, "an IDX dimension");
    std::uint32_t size = 0;
    for (const std::byte b : big) size = (size << 8) | std::to_integer<std::uint32_t>(b);
    shape.push_back(size);
    if (__builtin_mul_overflow(bytes, std::uint64_t{size}, &bytes)) bytes = UINT64_MAX;
  }
  // A damaged size must not become an allocation of terabytes.
  if (bytes > in.content_limit())
    throw FormatError(cat("'", path, "' is cut short or damaged: it announces ", to_string(shape), " of ",
                          name(*dtype), ", expected at most ", in.content_limit(),
                          " bytes from a file of its size"));

  Tensor out({*dtype, shape});
  in.read_exactly(out.as_bytes(), cat("elements for ", to_string(out.type())));
  in.expect_end();
  const auto width = static_cast<std::ptrdiff_t>(size_of(*dtype));
  if (width > 1)
    for (std::byte* p = out.as_bytes().data(); p != out.as_bytes().data() + out.bytes(); p += width)
      std::reverse(p, p + width);
  return out;
}

}  // namespace ingot
