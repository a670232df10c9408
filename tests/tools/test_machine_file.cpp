// Descriptions of machines: those that come with the program, the way through JSON and back, and what is said
// of each key that is wrong.
#include "tools/machine_file.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/file.h"
#include "io/target_file.h"
#include "tests/support/messages.h"
#include "tests/support/temp_dir.h"

namespace ingot::tools {
namespace {

using Json = nlohmann::json;

std::string refusal(const Json& content) {
  const TempDir dir;
  const std::string path = dir / "machine.json";
  write_raw(path, content.dump());
  const std::string text = message_of<FormatError>([&] { read_machine(path); });
  EXPECT_TRUE(says(text, "machine.json", "ingot machine h200 --json"));
  EXPECT_EQ(text.find('\n'), std::string::npos) << text;
  return text;
}

TEST(MachineFile, ThoseThatComeWithTheProgram) {
  std::size_t gpus = 0;
  for (const auto& [name, text] : described_machines()) {
    const Machine m = read_machine(name);
    EXPECT_GT(m.source.size(), 40u) << name << " says where its figures are from";
    EXPECT_EQ(m.efficiencies.empty(), false);
    if (m.threads == 0) {
      ++gpus;
      EXPECT_NE(m.source.find("data sheet"), std::string::npos) << name;
      EXPECT_NE(m.source.find("assumed"), std::string::npos) << name;
      const Target t = read_target(name);
      EXPECT_EQ(machine_of(t).name, m.name) << "the target of the same name is this machine";
    }
    // Every kind of work is provided for, whatever its kernel.
    for (int w = 0; w < kWorks; ++w)
      EXPECT_TRUE(std::any_of(m.efficiencies.begin(), m.efficiencies.end(),
                              [&](const Efficiency& e) {
                                return e.work == static_cast<Work>(w) && e.kernel.empty() && !e.dtype;
                              }))
          << name << ": " << ingot::name(static_cast<Work>(w));
  }
  EXPECT_EQ(gpus, described_targets().size());
}

TEST(MachineFile, ThroughJsonAndBack) {
  const TempDir dir;
  const std::string path = dir / "mine.json";
  for (const auto& [name, text] : described_machines()) {
    Machine m = read_machine(name);
    m.launch_seconds = 1.0 / 3.0e6;  // no short decimal
    m.efficiencies.front().compute = 1.0 / 3.0;
    write_raw(path, to_json(m));
    const Machine back = read_machine(path);
    EXPECT_EQ(to_json(back), to_json(m));
    EXPECT_EQ(back.launch_seconds, m.launch_seconds);
    EXPECT_EQ(back.matrix, m.matrix);
    EXPECT_EQ(back.tf32, m.tf32);
    EXPECT_EQ(back.efficiencies.front().compute, m.efficiencies.front().compute);
    EXPECT_EQ(back.efficiencies.front().kernel, m.efficiencies.front().kernel);
    EXPECT_EQ(back.levels.size(), m.levels.size());
    EXPECT_EQ(back.levels.front().per_thread, m.levels.front().per_thread);
  }
}

Json description() {
  return Json::parse(described_machines().front().second);
}

TEST(MachineFile, EachKeyIsNeeded) {
  for (const char* key : {"name", "source", "threads", "lanes", "launch_seconds", "vector_flops",
                          "matrix_flops", "memory", "efficiency"}) {
    Json j = description();
    j.erase(key);
    EXPECT_TRUE(says(refusal(j), cat("'", key, "' is missing")));
  }
  Json j = description();
  j["matrix_flops"].erase("f32");
  j["memory"][0].erase("bytes");
  j["efficiency"][2].erase("work");
  EXPECT_TRUE(says(refusal(j), "'matrix_flops.f32' is missing", "'memory[0].bytes' is missing",
                   "'efficiency[2].work' is missing"))
      << "all of them at once";
}

TEST(MachineFile, EachKeyHasItsType) {
  const Json whole = description();
  for (const auto& [key, value] : whole.items())
    for (const Json& bad : {Json(nullptr), Json(true), Json(-1), Json(Json::array({1}))}) {
      Json j = whole;
      j[key] = bad;
      EXPECT_TRUE(says(refusal(j), cat("'", key, "'"), "got ", bad.dump()));
    }
}

TEST(MachineFile, WhatIsWrongWithin) {
  const auto with = [](const char* pointer, const Json& value) {
    Json j = description();
    j[Json::json_pointer(pointer)] = value;
    return refusal(j);
  };
  EXPECT_TRUE(says(with("/speed", 3), "'speed' is not a key"));
  EXPECT_TRUE(says(with("/matrix_flops/f8", 3), "'matrix_flops.f8' is not a key"));
  EXPECT_TRUE(
      says(with("/efficiency/1/work", "magic"), "'efficiency[1].work'", "convolution_grad_input", "magic"));
  EXPECT_TRUE(says(with("/efficiency/1/compute", 1.2), "'efficiency[1].compute'", "1.2"));
  EXPECT_TRUE(says(with("/efficiency/1/dtype", "i32"), "'efficiency[1].dtype'", "bf16", "i32"));
  EXPECT_TRUE(says(with("/memory/0/bytes_per_second", 1e9), "faster than L2"));
  EXPECT_TRUE(says(with("/memory", Json::array()), "'memory'", "at least one"));
  EXPECT_TRUE(says(with("/memory/1/bytes", 5), "'memory[1].bytes' is not a key"));
}

TEST(MachineFile, NoSuchMachine) {
  EXPECT_TRUE(says(message_of<UsageError>([] { read_machine("h300"); }), "h300", "h200", "rtx4090", "JSON"));
  Target t = read_target("h200");
  t.name = "Unknown GPU, sm_90";
  EXPECT_TRUE(says(message_of<UsageError>([&] { machine_of(t); }), "Unknown GPU", "--machine"));
}

// What this CPU was measured at, for as many threads, or scaled.
TEST(MachineFile, OfThisCpu) {
  const TempDir dir;
  ::setenv("INGOT_CACHE_DIR", dir.path().c_str(), 1);
  const Target two = Target::cpu(2);
  const Machine unmeasured = machine_of(two);
  EXPECT_EQ(unmeasured.threads, 2);
  EXPECT_TRUE(says(unmeasured.name, "not measured"));
  EXPECT_DOUBLE_EQ(unmeasured.matrix[0], 2.0 * read_machine("cpu").matrix[0]);
  Machine m = unmeasured;
  m.name = two.name;
  m.matrix[0] = 123e9;
  write_raw(measured_machine_path(two), to_json(m));
  EXPECT_DOUBLE_EQ(machine_of(two).matrix[0], 123e9);
  m.name = "another processor";
  write_raw(measured_machine_path(two), to_json(m));
  EXPECT_TRUE(says(machine_of(two).name, "not measured")) << "a file of another processor is not this one's";
  ::unsetenv("INGOT_CACHE_DIR");
}

}  // namespace
}  // namespace ingot::tools
