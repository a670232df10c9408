#include <zlib.h>

#include <array>
#include <limits>

#include "core/base/error.h"
#include "data/idx.h"
#include "data/npy.h"
#include "gtest/gtest.h"
#include "tests/data/idx_writer.h"
#include "tests/support/messages.h"
#include "tests/support/temp_dir.h"

namespace ingot {
namespace {

std::string idx_error(const std::string& path) {
  return message_of<FormatError>([&] { read_idx(path); });
}
std::string npy_error(const std::string& path) {
  return message_of<FormatError>([&] { read_npy(path); });
}

TEST(Idx, ReadsPlainAndGzip) {
  const TempDir dir;
  const std::string bytes = idx_bytes(0x08, {2, 1, 3}, "\x01\x02\x03\xfd\xfe\xff");
  write_raw(dir / "plain", bytes);
  write_raw(dir / "packed", gzip(bytes));
  // Two members one after the other are one file (RFC 1952, 2.2).
  write_raw(dir / "members", gzip(bytes.substr(0, 7)) + gzip(bytes.substr(7)));
  for (const char* name : {"plain", "packed", "members"}) {
    const Tensor t = read_idx(dir / name);
    EXPECT_EQ(to_string(t.type()), "u8[2, 1, 3]") << name;
    EXPECT_EQ(t.get(0), 1) << name;
    EXPECT_EQ(t.get(5), 255) << name;
  }
}

TEST(Idx, SwapsWideElements) {
  const TempDir dir;
  write_raw(dir / "i32", idx_bytes(0x0c, {2}, {"\x00\x00\x01\x02\xff\xff\xff\xfe", 8}));
  EXPECT_EQ(read_idx(dir / "i32").get(0), 258);
  EXPECT_EQ(read_idx(dir / "i32").get(1), -2);
  write_raw(dir / "f32", idx_bytes(0x0d, {1}, {"\x3f\xc0\x00\x00", 4}));
  EXPECT_EQ(read_idx(dir / "f32").item(), 1.5);
  write_raw(dir / "f64", idx_bytes(0x0e, {1}, {"\xbf\xf8\x00\x00\x00\x00\x00\x00", 8}));
  EXPECT_EQ(read_idx(dir / "f64").item(), -1.5);
}

TEST(Idx, NamesWhatIsWrong) {
  const TempDir dir;
  const std::string good = idx_bytes(0x08, {2, 2}, "abcd"), path = dir / "bad";
  const auto error = [&](const std::string& bytes) {
    write_raw(path, bytes);
    return idx_error(path);
  };
  EXPECT_TRUE(says(idx_error(dir / "none"), "none", "No such file"));
  EXPECT_TRUE(says(error(""), path, "cut short"));
  EXPECT_TRUE(says(error("PK\x03\x04 zip"), path, "expected a magic number", "504b0304"));
  EXPECT_TRUE(says(error(idx_bytes(0x0b, {1}, "ab")), "0x0b", "expected 08"));
  EXPECT_TRUE(says(error(idx_bytes(0x08, {}, "a")), "0 dimensions"));
  EXPECT_TRUE(
      says(error(good.substr(0, 9)), "cut short: expected 4 bytes of an IDX dimension from byte 8, found 1"));
  EXPECT_TRUE(says(error(good.substr(0, good.size() - 1)),
                   "expected 4 bytes of elements for u8[2, 2] from byte 12, found 3"));
  EXPECT_TRUE(says(error(good + "xy"), "goes on for 2 bytes after its announced end at byte 16"));
  EXPECT_TRUE(says(error(idx_bytes(0x08, {0xffffffff, 0xffffffff, 0xffffffff}, "a")), "expected at most"));
}

TEST(Idx, NamesDamagedGzip) {
  const TempDir dir;
  std::string content(5000, '\0');
  for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * i % 251);
  const std::string good = gzip(idx_bytes(0x08, {5000}, content)), path = dir / "bad.gz";
  write_raw(path, good);
  EXPECT_EQ(read_idx(path).numel(), 5000);
  // Cut anywhere, the trailer's last byte included.
  for (std::size_t n = 2; n < good.size(); n += (n < 40 || n + 20 > good.size()) ? 1 : 97) {
    write_raw(path, good.substr(0, n));
    EXPECT_TRUE(says(idx_error(path), path, "cut short")) << n;
  }
  std::string flipped = good;
  flipped[flipped.size() - 6] = static_cast<char>(flipped[flipped.size() - 6] ^ 1);  // in the CRC
  write_raw(path, flipped);
  EXPECT_TRUE(says(idx_error(path), "incorrect data check"));
  write_raw(path, good + "junk");
  EXPECT_TRUE(says(idx_error(path), "4 bytes of garbage after its gzip data"));
  write_raw(path, gzip(idx_bytes(0x08, {5000}, content + "x")));
  EXPECT_TRUE(says(idx_error(path), "goes on for 1 bytes"));
}

// What numpy.save wrote, and numpy.lib.format.write_array with version (3, 0).
std::string npy_bytes(int major, std::string dictionary, std::string_view payload) {
  const std::size_t prefix = major == 1 ? 10 : 12;
  dictionary.append(63 - (prefix + dictionary.size()) % 64, ' ');
  dictionary += '\n';
  std::string out = "\x93NUMPY";
  out += static_cast<char>(major);
  out += '\0';
  for (std::size_t i = 0; i < prefix - 8; ++i)
    out += static_cast<char>((dictionary.size() >> (8 * i)) & 255u);
  return out + dictionary + std::string(payload);
}
constexpr std::string_view kFour("\x00\x00\xc0\x3f\x00\x00\x00\xc0\x00\x00\x80\x3e\x00\x00\x40\x40", 16);

TEST(Npy, ReadsNumpysFiles) {
  const TempDir dir;
  write_raw(dir / "a.npy",
            npy_bytes(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }", kFour));
  const Tensor a = read_npy(dir / "a.npy");
  EXPECT_EQ(to_string(a.type()), "f32[2, 2]");
  EXPECT_EQ(a.get(0), 1.5);
  EXPECT_EQ(a.get(3), 3.0);
  write_raw(dir / "s.npy", npy_bytes(3, "{'descr': '<i8', 'fortran_order': False, 'shape': (), }",
                                     {"\x07\0\0\0\0\0\0\0", 8}));
  EXPECT_EQ(to_string(read_npy(dir / "s.npy").type()), "i64[]");
  EXPECT_EQ(read_npy(dir / "s.npy").item(), 7);
  write_raw(dir / "b.npy",
            npy_bytes(2, "{\"shape\": (2,), 'fortran_order':False,'descr':'|b1'}", {"\1\0", 2}));
  EXPECT_EQ(to_string(read_npy(dir / "b.npy").type()), "bool[2]");
}

TEST(Npy, WritesWhatNumpyWrites) {
  const TempDir dir;
  const std::array<float, 4> values = {1.5f, -2.0f, 0.25f, 3.0f};
  write_npy(dir / "a.npy", Tensor::from<float>({2, 2}, values));
  EXPECT_EQ(read_raw(dir / "a.npy"),
            npy_bytes(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }", kFour));
}

TEST(Npy, RoundTripsEveryType) {
  const TempDir dir;
  for (const DType d : {DType::F32, DType::F64, DType::F16, DType::I32, DType::I64, DType::U8, DType::Bool})
    for (const Shape& s : {Shape{}, Shape{3}, Shape{0, 4}, Shape{2, 1, 3}}) {
      const Tensor t = Tensor::zeros({d, s});
      for (std::int64_t i = 0; i < t.numel(); ++i) t.set(i, static_cast<double>(i));
      write_npy(dir / "t.npy", t);
      EXPECT_TRUE(bitwise_equal(read_npy(dir / "t.npy"), t)) << to_string(t.type());
    }
  const Tensor last = Tensor::full({DType::F32, {1, 2, 2, 2}}, 0).to(Layout::channels_last(4));
  last.set(1, 5);
  write_npy(dir / "t.npy", last);
  EXPECT_EQ(read_npy(dir / "t.npy").get(1), 5) << "physical layouts are undone";
  EXPECT_THROW(write_npy(dir / "t.npy", Tensor::zeros({DType::BF16, {1}})), UsageError);
}

TEST(Npy, NamesWhatIsWrong) {
  const TempDir dir;
  const std::string path = dir / "bad.npy";
  const auto error = [&](const std::string& bytes) {
    write_raw(path, bytes);
    return npy_error(path);
  };
  const auto header = [&](const std::string& dictionary) { return error(npy_bytes(1, dictionary, kFour)); };
  const std::string good = npy_bytes(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }", kFour);
  EXPECT_TRUE(says(error("hello"), path, "no .npy file"));
  EXPECT_TRUE(says(error(good.substr(0, 7)), "cut short"));
  EXPECT_TRUE(says(error(good.substr(0, 40)), "cut short: expected a header of 118 bytes, found 30"));
  EXPECT_TRUE(says(error(good.substr(0, good.size() - 1)), "expected 16 bytes after the header, found 15"));
  EXPECT_TRUE(says(error(good + "x"), "expected 16 bytes after the header, found 17"));
  EXPECT_TRUE(says(error(npy_bytes(4, "{}", "")), "version 4.0"));
  EXPECT_TRUE(says(header("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 2), }"), "Fortran order"));
  EXPECT_TRUE(says(header("{'descr': '>f4', 'fortran_order': False, 'shape': (2, 2), }"), "big-endian"));
  EXPECT_TRUE(says(header("{'descr': '<u2', 'fortran_order': False, 'shape': (8,), }"), "'<u2'"));
  EXPECT_TRUE(says(header("{'descr': [('x', '<f4')], 'fortran_order': False, 'shape': (4,), }"), "records"));
  EXPECT_TRUE(says(header("{'descr': '<f4', 'fortran_order': False}"), "expected the keys"));
  EXPECT_TRUE(says(header("{'descr': '<f4', 'fortran_order': False, 'shape': (-2, 2), }"), "bad dimension"));
  EXPECT_TRUE(says(header("{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807, 9), }"),
                   "far too many"));
  EXPECT_TRUE(says(header("{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,4), }"),
                   "more than 8"));
  EXPECT_TRUE(says(header("{'descr: 4}"), "without end"));
  EXPECT_TRUE(says(error(npy_bytes(1, "{'descr': '|b1', 'fortran_order': False, 'shape': (1,), }", "\x07")),
                   "neither 0 nor 1"));
}

}  // namespace
}  // namespace ingot
