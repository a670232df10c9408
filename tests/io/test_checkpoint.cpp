#include "core/base/error.h"
#include "gtest/gtest.h"
#include "io/checkpoint.h"
#include "tests/support/messages.h"
#include "tests/support/temp_dir.h"

namespace ingot {
namespace {

Checkpoint example() {
  return {{{"fc.weight", Tensor::of({1, 2, 3})},
           {"step", Tensor::full({DType::I64, Shape{}}, 7)},
           {"none", Tensor::zeros({DType::F32, {0}})},
           {"empty", Tensor::zeros({DType::F32, {0, 2}})},
           {"mask", Tensor::full({DType::Bool, {3}}, 1)}},
          {{"model", "mlp"}, {"state", R"({"epoch": 3, "loader": {"seed": 7}})"}}};
}

TEST(CheckpointFile, RoundTrips) {
  const TempDir dir;
  const Checkpoint saved = example();
  save_checkpoint(dir / "c", saved);
  const Checkpoint loaded = load_checkpoint(dir / "c");
  EXPECT_EQ(loaded.metadata, saved.metadata);
  ASSERT_EQ(loaded.tensors.size(), saved.tensors.size());
  for (const auto& [key, tensor] : saved.tensors) EXPECT_TRUE(bitwise_equal(loaded.at(key), tensor)) << key;
  save_checkpoint(dir / "d", loaded);
  EXPECT_EQ(read_raw(dir / "d"), read_raw(dir / "c")) << "saving what was loaded gives the same bytes";
}

TEST(CheckpointFile, FindsEveryFlippedBit) {
  const TempDir dir;
  save_checkpoint(dir / "c", example());
  const std::string good = read_raw(dir / "c");
  for (std::size_t i = 0; i < good.size(); ++i)
    for (int bit = 0; bit < 8; ++bit) {
      std::string bad = good;
      bad[i] = static_cast<char>(static_cast<unsigned char>(bad[i]) ^ (1u << bit));
      write_raw(dir / "bad", bad);
      EXPECT_TRUE(says(message_of<FormatError>([&] { load_checkpoint(dir / "bad"); }), dir / "bad"))
          << "byte " << i << ", bit " << bit;
    }
}

TEST(CheckpointFile, SaysThatTheFileIsDamagedOrForeign) {
  const TempDir dir;
  save_checkpoint(dir / "c", example());
  std::string bytes = read_raw(dir / "c");
  const std::string good = bytes;
  bytes[bytes.size() - 10] = static_cast<char>(bytes[bytes.size() - 10] ^ 4);
  write_raw(dir / "c", bytes);
  EXPECT_TRUE(says(message_of<FormatError>([&] { load_checkpoint(dir / "c"); }), dir / "c", "is damaged",
                   "checksum"));
  write_raw(dir / "c", good.substr(0, good.size() - 1));
  EXPECT_TRUE(says(message_of<FormatError>([&] { load_checkpoint(dir / "c"); }), "cut short"));
  write_safetensors(dir / "w", {{"x", Tensor::of({1})}});
  EXPECT_TRUE(says(message_of<FormatError>([&] { load_checkpoint(dir / "w"); }), dir / "w",
                   "no checkpoint of Ingot's"));
  write_safetensors(dir / "w", {}, {{"ingot.format", "checkpoint 9"}, {"ingot.checksum", "00000000"}});
  EXPECT_TRUE(
      says(message_of<FormatError>([&] { load_checkpoint(dir / "w"); }), "checkpoint 9", "another version"));
  EXPECT_TRUE(says(message_of<UsageError>([&] {
                     save_checkpoint(dir / "c", {{}, {{"ingot.x", ""}}});
                   }),
                   "reserved"));
}

TEST(CheckpointFile, AFailedSaveLeavesTheOldOne) {
  const TempDir dir;
  save_checkpoint(dir / "c", example());
  const std::string before = read_raw(dir / "c");
  std::filesystem::create_directory(dir / "c.tmp");  // where the temporary file would go
  EXPECT_TRUE(says(message_of<Error>([&] { save_checkpoint(dir / "c", {}); }), dir / "c", "Is a directory"));
  EXPECT_EQ(read_raw(dir / "c"), before);
}

TEST(KeyReport, NamesEveryDifference) {
  const TensorList found = {{"fc.weight", Tensor::zeros({DType::F32, {10, 4}})},
                            {"old.bias", Tensor::of({1})},
                            {"steps", Tensor::zeros({DType::I64, {}})},
                            {"same", Tensor::zeros({DType::F32, {1, 2, 3, 4}})}};
  const TensorType same{DType::F32, {1, 2, 3, 4}, Layout::channels_last(4)};
  const KeyReport report = compare_keys({{"fc.weight", {DType::F32, {10, 8}}},
                                         {"fc.bias", {DType::F32, {10}}},
                                         {"steps", {DType::F32, {}}},
                                         {"same", same}},
                                        found);
  EXPECT_FALSE(report.match());
  EXPECT_EQ(report.text("c.safetensors"),
            "'c.safetensors' does not fit the model: 1 missing (fc.bias); 1 unexpected (old.bias); 2 of "
            "another shape or "
            "type (fc.weight: expected f32[10, 8], found f32[10, 4], steps: expected f32[], found i64[])");
  const KeyReport good = compare_keys({{"same", same}}, {found[3]});
  EXPECT_TRUE(good.match());
  EXPECT_TRUE(says(good.text("c"), "fits"));
}

}  // namespace
}  // namespace ingot
