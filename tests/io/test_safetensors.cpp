#include <signal.h>
#include <sys/resource.h>

#include <array>
#include <cstring>

#include "core/base/error.h"
#include "gtest/gtest.h"
#include "io/safetensors.h"
#include "tests/support/messages.h"
#include "tests/support/temp_dir.h"

namespace ingot {
namespace {

// A file from its header and data, well-formed or not.
std::string file_of(std::string_view header, std::string_view data) {
  std::string out;
  for (int i = 0; i < 8; ++i)
    out += static_cast<char>((static_cast<std::uint64_t>(header.size()) >> (8 * i)) & 255u);
  return out + std::string(header) + std::string(data);
}

// What the Python package wrote (safetensors.numpy.save), with its header.
std::string python_file() {
  return file_of(
      R"({"__metadata__":{"format":"pt","note":")"
      "\xc3\xa9"
      R"(\n"},"b.bias":{"dtype":"I64","shape":[3],"data_offsets":[0,24]},)"
      R"("s":{"dtype":"F64","shape":[],"data_offsets":[24,32]},"a.weight":{"dtype":"F32","shape":[2,2],"data_offsets":[32,48]},)"
      R"("empty":{"dtype":"F32","shape":[0,4],"data_offsets":[48,48]},"flag":{"dtype":"BOOL","shape":[2],"data_offsets":[48,50]}} )",
      std::string(
          "\x01\x00\x00\x00\x00\x00\x00\x00\xfe\xff\xff\xff\xff\xff\xff\xff\x03\x00\x00\x00\x00\x00\x00\x00"
          "\x00\x00\x00\x00\x00\x00\x04\x40\x00\x00\xc0\x3f\x00\x00\x00\xc0\x00\x00\x80\x3e\x00\x00\x40\x40"
          "\x01\x00",
          50));
}

TEST(Safetensors, ReadsPythonsFile) {
  const TempDir dir;
  write_raw(dir / "p", python_file());
  const TensorFile f = read_safetensors(dir / "p");
  EXPECT_EQ(f.metadata, (Metadata{{"format", "pt"}, {"note", "\xc3\xa9\n"}}));
  ASSERT_EQ(f.tensors.size(), 5u);
  EXPECT_EQ(to_string(f.at("a.weight").type()), "f32[2, 2]");
  EXPECT_EQ(f.at("a.weight").get(2), 0.25);
  EXPECT_EQ(to_string(f.at("b.bias").type()), "i64[3]");
  EXPECT_EQ(f.at("b.bias").get(1), -2);
  EXPECT_EQ(f.at("flag").get(0), 1);
  EXPECT_EQ(to_string(f.at("empty").type()), "f32[0, 4]");
  EXPECT_EQ(f.at("s").item(), 2.5);
  EXPECT_EQ(f.find("none"), nullptr);
  EXPECT_TRUE(says(message_of<FormatError>([&] { f.at("none"); }), "'none'"));
}

TEST(Safetensors, RoundTripsEveryTypeAndShape) {
  const TempDir dir;
  TensorList tensors;
  int n = 0;
  for (const DType d :
       {DType::Bool, DType::U8, DType::F16, DType::BF16, DType::F32, DType::I32, DType::F64, DType::I64})
    for (const Shape& s : {Shape{}, Shape{3}, Shape{0, 4}, Shape{2, 1, 3}}) {
      const Tensor t = Tensor::zeros({d, s});
      for (std::int64_t i = 0; i < t.numel(); ++i) t.set(i, static_cast<double>(i + n));
      tensors.emplace_back(cat("t\"\xc3\xa9 ", n++), t);
    }
  const Metadata metadata = {{"a", "1"}, {"", "line\nbreak"}};
  write_safetensors(dir / "f", tensors, metadata);
  const TensorFile f = read_safetensors(dir / "f");
  EXPECT_EQ(f.metadata, metadata);
  ASSERT_EQ(f.tensors.size(), tensors.size());
  for (const auto& [key, tensor] : tensors) EXPECT_TRUE(bitwise_equal(f.at(key), tensor)) << key;
  write_safetensors(dir / "none", {});
  EXPECT_TRUE(read_safetensors(dir / "none").tensors.empty());
}

TEST(Safetensors, TensorsAreViewsThatKeepTheMapAndNeverChangeTheFile) {
  const TempDir dir;
  write_safetensors(dir / "f", {{"x", Tensor::of({1, 2, 3})}, {"y", Tensor::of({4})}});
  Tensor x;
  {
    const TensorFile f = read_safetensors(dir / "f");
    x = f.at("x");
    EXPECT_EQ(f.at("y").data<float>() - x.data<float>(), 3) << "both point into the same map";
  }
  EXPECT_EQ(x.get(2), 3.0);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(x.raw()) % 64, 0u);
  x.set(2, 9);
  EXPECT_EQ(read_safetensors(dir / "f").at("x").get(2), 3.0);
  write_safetensors(dir / "f", {{"x", Tensor::of({7, 7, 7})}});
  EXPECT_EQ(x.get(0), 1.0) << "replacing the file leaves what was read";
}

TEST(Safetensors, CopiesWhatLiesMisaligned) {
  const TempDir dir;
  const std::string data("\x05\x00\x00\xc0\x3f", 5);
  write_raw(dir / "f", file_of(R"({"u":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                               R"("f":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}})",
                               data));
  EXPECT_EQ(read_safetensors(dir / "f").at("f").item(), 1.5);
}

TEST(Safetensors, UndoesPhysicalLayouts) {
  const TempDir dir;
  const Tensor plain = Tensor::zeros({DType::F32, {2, 3, 2, 2}});
  for (std::int64_t i = 0; i < plain.numel(); ++i) plain.set(i, static_cast<double>(i));
  write_safetensors(dir / "f", {{"x", plain.to(Layout::channels_last(4))}});
  EXPECT_TRUE(bitwise_equal(read_safetensors(dir / "f").at("x"), plain));
}

std::string error_of(const TempDir& dir, const std::string& bytes) {
  write_raw(dir / "bad", bytes);
  return message_of<FormatError>([&] { read_safetensors(dir / "bad"); });
}

TEST(Safetensors, NamesWhatIsWrongWithTheFrame) {
  const TempDir dir;
  const auto error = [&](const std::string& bytes) { return error_of(dir, bytes); };
  EXPECT_TRUE(says(message_of<FormatError>([&] { read_safetensors(dir / "none"); }), "none", "No such file"));
  EXPECT_TRUE(says(error(""), dir / "bad", "cut short", "found 0"));
  EXPECT_TRUE(says(error("abc"), "cut short", "found 3"));
  EXPECT_TRUE(says(error(std::string("\xff\xff\xff\xff\xff\xff\xff\xff", 8) + "{}"), "at most 100000000"));
  EXPECT_TRUE(says(error(file_of("{}", "").substr(0, 9)), "expected a header of 2 bytes, found 1"));
  EXPECT_TRUE(says(error(file_of("", "")), "start with '{'"));
  EXPECT_TRUE(says(error(file_of(" {}", "")), "start with '{'"));
  EXPECT_TRUE(says(error(file_of("{", "")), "no valid JSON"));
  EXPECT_TRUE(says(error(file_of("{} x", "")), "no valid JSON"));
  EXPECT_TRUE(says(error(file_of("{\"\xff\":1}", "")), "no valid JSON"));
  std::string deep = "{\"a\":";
  deep.append(200000, '[');
  EXPECT_TRUE(says(error(file_of(deep, "")), "nests deeper"));
  EXPECT_TRUE(says(error(file_of("{}", "x")), "expected 0 bytes of data, found 1"));
  const std::string good = python_file();
  for (std::size_t n = 0; n < good.size(); ++n)
    EXPECT_NE(error(good.substr(0, n)), "(nothing was thrown)") << n;
}

TEST(Safetensors, NamesWhatIsWrongWithAnEntry) {
  const TempDir dir;
  const auto error = [&](const std::string& entries, const std::string& data = "abcd") {
    return error_of(dir, file_of("{" + entries + "}", data));
  };
  const auto u8 = [](const std::string& key, const std::string& shape, const std::string& offsets) {
    return cat('"', key, R"(":{"dtype":"U8","shape":)", shape, R"(,"data_offsets":)", offsets, "}");
  };
  EXPECT_TRUE(says(error(u8("a", "[4]", "[0,4]") + "," + u8("a", "[4]", "[0,4]")), "key 'a' twice"));
  EXPECT_TRUE(says(error(R"("a":{"dtype":"U8","dtype":"U8","shape":[4],"data_offsets":[0,4]})"),
                   "key 'dtype' twice"));
  EXPECT_TRUE(
      says(error(R"("a":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]})"), "'a'", "'F8_E4M3'", "BF16"));
  EXPECT_TRUE(
      says(error(R"("a":{"dtype":"U8","shape":[4]})"), "'a'", "expected dtype, shape and two data_offsets"));
  EXPECT_TRUE(says(error(R"("a":3)"), "expected dtype"));
  EXPECT_TRUE(says(error(R"("a":{"dtype":"U8","shape":[4],"data_offsets":[0,4],"x":1})"), "expected dtype"));
  EXPECT_TRUE(says(error(R"("a":{"dtype":8,"shape":[4],"data_offsets":[0,4]})"), "expected dtype"));
  EXPECT_TRUE(says(error(u8("a", "[4]", "[0]")), "two data_offsets"));
  EXPECT_TRUE(says(error(u8("a", "[-4]", "[0,4]")), "'a'", "-4"));
  EXPECT_TRUE(says(error(u8("a", "[4.0]", "[0,4]")), "4.0"));
  EXPECT_TRUE(says(error(u8("a", "[18446744073709551615]", "[0,4]")), "2^63"));
  EXPECT_TRUE(says(error(u8("a", "[4294967296,4294967296]", "[0,4]")), "more than 2^64 bytes"));
  EXPECT_TRUE(says(error(u8("a", "[1,1,1,1,1,1,1,1,4]", "[0,4]")), "9 dimensions"));
  EXPECT_TRUE(says(error(u8("a", "[3]", "[0,4]")), "'a' is u8[3] of 3 bytes", "[0, 4]"));
  EXPECT_TRUE(says(error(u8("a", "[3]", "[4,1]")), "[4, 1]"));
  EXPECT_TRUE(
      says(error(u8("a", "[3]", "[0,3]") + "," + u8("b", "[2]", "[2,4]")), "'a' and 'b' overlap at byte 2"));
  EXPECT_TRUE(
      says(error(u8("a", "[1]", "[0,1]") + "," + u8("b", "[2]", "[2,4]")), "bytes 1 to 2", "no tensor"));
  EXPECT_TRUE(says(error(u8("a", "[3]", "[1,4]")), "bytes 0 to 1"));
  EXPECT_TRUE(says(error(u8("a", "[5]", "[0,5]")), "'a' ends at byte 5", "has 4"));
  EXPECT_TRUE(says(error(u8("a", "[3]", "[0,3]")), "expected 3 bytes of data, found 4"));
  EXPECT_TRUE(
      says(error(R"("a":{"dtype":"BOOL","shape":[4],"data_offsets":[0,4]})"), "'a'", "neither 0 nor 1"));
  EXPECT_TRUE(says(error(R"("__metadata__":{"x":1})", ""), "'x' is number"));
  EXPECT_TRUE(says(error(R"("__metadata__":[])", ""), "no JSON object"));
}

TEST(Safetensors, RefusesWhatItCannotWrite) {
  const TempDir dir;
  const std::string path = dir / "f";
  const Tensor x = Tensor::of({1});
  const auto error = [&](const TensorList& t, const Metadata& m = {}) {
    return message_of<UsageError>([&] { write_safetensors(path, t, m); });
  };
  EXPECT_TRUE(says(error({{"x", x}, {"x", x}}), "'x' is used twice"));
  EXPECT_TRUE(says(error({{"__metadata__", x}}), "reserved"));
  EXPECT_TRUE(says(error({{"x", Tensor()}}), "'x' is undefined"));
  EXPECT_TRUE(says(error({{"\xff", x}}), "UTF-8"));
  EXPECT_TRUE(says(error({{"x", x}}, {{"k", "\xff"}}), "UTF-8"));
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(Safetensors, AFullDiskLeavesTheOldFile) {
  const TempDir dir;
  const std::string path = dir / "f";
  write_safetensors(path, {{"x", Tensor::of({1, 2})}});
  rlimit old{};
  ::getrlimit(RLIMIT_FSIZE, &old);
  const auto handler = ::signal(SIGXFSZ, SIG_IGN);
  const rlimit tight{8192, old.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &tight);
  const std::string message = message_of<Error>([&] {
    write_safetensors(path, {{"x", Tensor::zeros({DType::F32, {10000}})}});
  });
  ::setrlimit(RLIMIT_FSIZE, &old);
  ::signal(SIGXFSZ, handler);
  EXPECT_TRUE(says(message, path, "File too large"));
  EXPECT_EQ(read_safetensors(path).at("x").get(1), 2.0);
  EXPECT_TRUE(says(message_of<Error>([&] {
                     write_safetensors("/dev/full", {{"x", Tensor::of({1})}});
                   }),
                   "No space left on device"));
  EXPECT_TRUE(says(message_of<Error>([&] {
                     write_safetensors("/proc/x", {{"x", Tensor::of({1})}});
                   }),
                   "/proc/x"));
}

}  // namespace
}  // namespace ingot
