// Reads a file's bytes in order and inflates gzip on the way; gzip is recognised by its first two bytes, not
// by the file's name.
//
// Every way in which a gzip file can be damaged (cut short, checksum or length wrong, bytes after the last
// member) is a FormatError that names the file and the offset. Format: RFC 1952.
//
//   ByteReader in("train-images-idx3-ubyte.gz");
//   std::array<std::byte, 4> magic;
//   in.read_exactly(magic, "the magic number");
//   in.expect_end();
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace ingot {

class ByteReader {
 public:
  explicit ByteReader(const std::string& path);
  ~ByteReader();
  ByteReader(const ByteReader&) = delete;
  ByteReader& operator=(const ByteReader&) = delete;

  // Fills `out`; throws FormatError naming `what` when the content ends before.
  void read_exactly(std::span<std::byte> out, std::string_view what);
  // Throws FormatError unless everything was read, the gzip checksum included.
  void expect_end();
  // No content can be longer than this: the file's size, times the most that gzip can shrink.
  std::uint64_t content_limit() const;

 private:
  struct Source;
  std::size_t read(std::span<std::byte> out);

  std::string path_;
  std::unique_ptr<Source> source_;
  std::uint64_t position_ = 0;  // bytes of content read so far
};

}  // namespace ingot
