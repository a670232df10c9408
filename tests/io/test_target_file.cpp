// GPUs that were written down: those that come with the library, and what is said of each key that is
// missing, ill-typed or out of range.
#include "io/target_file.h"

#include <map>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/runtime/program.h"
#include "core/runtime/session.h"
#include "models/models.h"
#include "tests/support/messages.h"
#include "tests/support/temp_dir.h"
#include "train/step_graph.h"

namespace ingot {
namespace {

using Json = nlohmann::json;

Json description() {
  return Json::parse(described_targets().front().second);
}

std::string refusal(const std::string& content) {
  const TempDir dir;
  const std::string path = dir / "gpu.json";
  write_raw(path, content);
  const std::string text = message_of<FormatError>([&] { read_target(path); });
  EXPECT_TRUE(says(text, "gpu.json", "ingot info targets --json"));
  EXPECT_EQ(text.find('\n'), std::string::npos) << text;
  return text;
}

TEST(TargetFile, ThoseThatComeWithTheLibrary) {
  const std::map<std::string, std::pair<int, std::size_t>> wanted = {{"h200", {90, 141'000'000'000}},
                                                                     {"h100", {90, 80'000'000'000}},
                                                                     {"a100", {80, 80'000'000'000}},
                                                                     {"rtx4090", {89, 24'000'000'000}}};
  EXPECT_EQ(described_targets().size(), wanted.size());
  for (const auto& [name, text] : described_targets()) {
    const Target t = read_target(name);
    EXPECT_EQ(t.backend, "cuda");
    ASSERT_TRUE(wanted.contains(name)) << name;
    EXPECT_EQ(t.sm, wanted.at(name).first) << name;
    EXPECT_GE(t.memory_bytes, wanted.at(name).second) << name;
    EXPECT_LE(t.memory_bytes, wanted.at(name).second * 107 / 100) << name;
    EXPECT_TRUE(t.deterministic);
    EXPECT_FALSE(t.allow_tf32);
    EXPECT_EQ(Json::parse(t.described), Json::parse(text));
    EXPECT_EQ(Json::parse(text).size(), 23u);
    EXPECT_TRUE(says(t.name, cat("sm_", t.sm), cat("described by Ingot as ", name)));
  }
}

TEST(TargetFile, OfAUser) {
  const TempDir dir;
  const std::string path = dir / "mine.json";
  Json j = description();
  j["deviceName"] = "My GPU", j["deviceVer"] = 1200, j["totalGlobalMem"] = 12'000'000'000;
  write_raw(path, j.dump(2));
  const Target t = read_target(path);
  EXPECT_EQ(t.sm, 120);
  EXPECT_EQ(t.memory_bytes, 12'000'000'000u);
  EXPECT_EQ(t.name, cat("My GPU, sm_120, described by ", path));
}

TEST(TargetFile, EachKeyIsNeeded) {
  const Json whole = description();
  for (const auto& [key, value] : whole.items()) {
    Json j = whole;
    j.erase(key);
    EXPECT_TRUE(says(refusal(j.dump()), cat("'", key, "' is missing")));
  }
}

TEST(TargetFile, EachKeyHasItsType) {
  const Json whole = description();
  for (const auto& [key, value] : whole.items()) {
    std::vector<Json> bad = {nullptr, true, 1.5, -1, Json::object(), Json::array(), ""};
    if (value.is_string()) {
      bad.push_back(7);
    } else if (value.is_array()) {
      bad.insert(bad.end(), {Json{1, 2}, Json{1, 2, 3, 4}, Json{1, 2, 0}, Json{1, 2, -3}, Json{1, 2, "3"}, 3,
                             Json{1, 2, std::int64_t{1} << 31}});
    } else {
      const bool bytes = key == "totalGlobalMem";
      bad.insert(bad.end(),
                 {"7", (std::int64_t{1} << (bytes ? 50 : 31)) + (bytes ? 1 : 0), ~std::uint64_t{0}, 1e300});
      const bool may_be_zero =
          key == "pciDeviceId" || key == "isTccDriver" || key == "supportCoopLaunch" || key == "cudaDeviceId";
      if (!may_be_zero) bad.push_back(0);
    }
    for (const Json& b : bad) {
      Json j = whole;
      j[key] = b;
      EXPECT_TRUE(says(refusal(j.dump()), cat("'", key, "': expected "), cat("got ", b.dump()))) << b;
    }
  }
}

TEST(TargetFile, EverythingWrongIsSaidAtOnce) {
  Json j = description();
  j.erase("warpSize");
  j["deviceVer"] = "900", j["colour"] = "green";
  EXPECT_TRUE(says(refusal(j.dump()), "'warpSize' is missing", "'deviceVer': expected", R"(got "900")",
                   "'colour' is not a key of a description"));
}

TEST(TargetFile, ImpossibleValues) {
  Json j = description();
  for (const int version : {90, 499, 905, 9991, 100000}) {
    j["deviceVer"] = version;
    EXPECT_TRUE(says(refusal(j.dump()), "'deviceVer': expected 100 times", cat("got ", version)));
  }
  j = description();
  for (const int warp : {1, 31, 64}) {
    j["warpSize"] = warp;
    EXPECT_TRUE(says(refusal(j.dump()), "'warpSize': expected 32", cat("got ", warp)));
  }
}

TEST(TargetFile, NoDescriptionAtAll) {
  const std::string text = description().dump();
  for (const std::string& content :
       {std::string(), std::string("GPU"), std::string("[]"), std::string("7"),
        text.substr(0, text.size() - 1), text + "x", std::string("\0\xff\xfe", 3), std::string(100000, '[')})
    EXPECT_TRUE(says(refusal(content), "expected one JSON object"));
  EXPECT_TRUE(says(refusal("{}"), "'deviceName' is missing"));
  // What is long is shortened.
  Json j = description();
  j["warpSize"] = std::string(10000, 'w');
  EXPECT_LT(refusal(j.dump()).size(), 400u);
}

TEST(TargetFile, NoFile) {
  EXPECT_TRUE(says(message_of<UsageError>([] { read_target("h300"); }), "'h300'", "h200", "a100", "rtx4090"));
  EXPECT_TRUE(says(message_of<UsageError>([] { read_target(""); }), "h200"));
  EXPECT_TRUE(says(message_of<UsageError>([] { read_target("no/such.json"); }), "no/such.json"));
  const TempDir dir;
  EXPECT_TRUE(says(message_of<Error>([&] { read_target(dir / "."); }), "directory"));
}

// Programs are compiled for it, and a session says that there is no device.
TEST(TargetFile, NoSessionRunsOnADescription) {
  const Target t = read_target("a100");
  const Graph g = training_graph(*make_model("mlp"), {DType::F32, model_input("mlp", 4)}, *sgd({.lr = 0.1}));
  ProgramPtr p;
  try {
    p = compile(g, {.target = t});
  } catch (const UsageError& e) {
    GTEST_SKIP() << "this build has no CUDA backend to plan with: " << e.what();
  }
  EXPECT_GT(p->launches(), 0);
  EXPECT_TRUE(says(message_of<UsageError>([&] { Session s(p); }), "A100", "description", "Target::cuda()"));
}

}  // namespace
}  // namespace ingot
