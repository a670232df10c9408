#include "data/byte_reader.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>

#include "core/base/error.h"
#include "core/base/file.h"

namespace ingot {

struct ByteReader::Source {
  std::shared_ptr<MappedFile> file;
  std::size_t consumed = 0;  // bytes of the file handed to zlib, or copied when the file is plain
  bool gzip = false;
  bool member_done = false;
  z_stream stream{};

  ~Source() {
    if (gzip) inflateEnd(&stream);
  }
  std::span<std::byte> rest() const { return file->bytes().subspan(consumed); }
};

namespace {

bool starts_with_gzip_magic(std::span<const std::byte> bytes) {
  return bytes.size() >= 2 && bytes[0] == std::byte{0x1f} && bytes[1] == std::byte{0x8b};
}

}  // namespace

ByteReader::ByteReader(const std::string& path) : path_(path), source_(std::make_unique<Source>()) {
  Source& s = *source_;
  s.file = MappedFile::open(path);
  if (!starts_with_gzip_magic(s.file->bytes())) return;
  if (inflateInit2(&s.stream, 15 + 16) != Z_OK)  // 16: a gzip wrapper, whose CRC-32 and length zlib checks
    throw Error(cat("cannot start zlib for '", path, "': out of memory"));
  s.gzip = true;
}

ByteReader::~ByteReader() = default;

std::uint64_t ByteReader::content_limit() const {
  constexpr std::uint64_t kDeflateRatio = 1032;  // https://zlib.net/zlib_tech.html
  return source_->file->bytes().size() * (source_->gzip ? kDeflateRatio : 1);
}

std::size_t ByteReader::read(std::span<std::byte> out) {
  Source& s = *source_;
  std::size_t done = 0;
  if (!s.gzip) {
    done = std::min(out.size(), s.rest().size());
    if (done != 0) std::memcpy(out.data(), s.rest().data(), done);
    s.consumed += done;
    position_ += done;
    return done;
  }
  constexpr std::size_t kStep = std::size_t{1} << 30;  // zlib counts in 32 bits
  while (done < out.size()) {
    if (s.member_done) {
      if (s.rest().empty()) break;
      if (!starts_with_gzip_magic(s.rest()))
        throw FormatError(cat("'", path_, "' has ", s.rest().size(),
                              " bytes of garbage after its gzip data, which ends at byte ", s.consumed));
      inflateReset(&s.stream);  // gzip files may be concatenated
      s.member_done = false;
    }
    const std::size_t in = std::min(s.rest().size(), kStep), room = std::min(out.size() - done, kStep);
    s.stream.next_in = reinterpret_cast<Bytef*>(s.rest().data());
    s.stream.avail_in = static_cast<uInt>(in);
    s.stream.next_out = reinterpret_cast<Bytef*>(out.data() + done);
    s.stream.avail_out = static_cast<uInt>(room);
    const int status = inflate(&s.stream, Z_NO_FLUSH);
    const bool no_progress = s.stream.avail_in == in && s.stream.avail_out == room;
    s.consumed += in - s.stream.avail_in;
    done += room - s.stream.avail_out;
    if (status == Z_STREAM_END) {
      s.member_done = true;
    } else if (status == Z_BUF_ERROR || (status == Z_OK && no_progress)) {
      throw FormatError(cat("'", path_, "' is cut short: its gzip data stops at byte ", s.consumed,
                            " without the closing checksum; fetch the file again"));
    } else if (status != Z_OK) {
      throw FormatError(cat("'", path_, "' holds damaged gzip data near byte ", s.consumed, ": ",
                            s.stream.msg != nullptr ? s.stream.msg : zError(status),
                            "; fetch the file again"));
    }
  }
  position_ += done;
  return done;
}

void ByteReader::read_exactly(std::span<std::byte> out, std::string_view what) {
  const std::uint64_t start = position_;
  const std::size_t n = read(out);
  if (n != out.size())
    throw FormatError(cat("'", path_, "' is cut short: expected ", out.size(), " bytes of ", what,
                          " from byte ", start, ", found ", n));
}

void ByteReader::expect_end() {
  // Asking for a few bytes more makes zlib read up to the checksum, and tells how much too long the file is.
  std::byte extra[4096];
  const std::uint64_t end = position_;
  const std::size_t n = read(extra);
  if (n != 0)
    throw FormatError(cat("'", path_, "' goes on for ", n == sizeof(extra) ? "at least " : "", n,
                          " bytes after its announced end at byte ", end));
}

}  // namespace ingot
