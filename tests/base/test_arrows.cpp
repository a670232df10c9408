// The arrows of docs/architecture.md, checked against every #include of the tree: a room uses only what
// stands to its left, core and the public headers stand on the standard library alone, and each third-party
// library has its room.

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace ingot {
namespace {

namespace fs = std::filesystem;

// Rooms of one row do not see each other.
const std::vector<std::vector<std::string>> kRows = {
    {"core/base"},
    {"core/expr"},
    {"core/ir"},
    {"core/op"},
    {"core/ops"},
    {"core/autodiff", "core/passes", "core/plan"},
    {"core/runtime"},
    {"cpu", "cuda", "layers", "optim"},
    {"data", "io"},
    {"models", "train"},
    {"tools", "python_stub", "examples"},
};

// Includes that only some rooms may have: a prefix of the included name, and the rooms.
const std::vector<std::pair<std::string, std::set<std::string>>> kLibraries = {
    {"dnnl", {"cpu"}},
    {"oneapi/", {"cpu"}},
    {"omp.h", {"cpu", "core/runtime", "data", "train", "tools"}},
    {"CLI/", {"tools"}},
    {"zlib.h", {"data", "io"}},
    {"jpeglib.h", {"data"}},
    {"jerror.h", {"data"}},
    {"png.h", {"data"}},
    {"cu", {"cuda", "examples"}},  // cuda*.h, cudnn*.h, cub/, curand*.h; examples of embedding
    {"nv", {"cuda"}},              // nvrtc.h, nvtx3/
    {"nccl", {"cuda"}},
    {"thrust/", {"cuda"}},
    {"dlfcn.h", {"cuda"}},  // libraries that are looked for when the program runs
    {"nanobind/", {"python_stub"}},
    {"gtest/", {}},
    {"benchmark/", {}},
};

struct Include {
  std::string file;  // from the root of the tree
  int line = 0;
  std::string name;
  bool quoted = false;
};

std::string room_of(const std::string& path) {
  const std::size_t first = path.find('/');
  if (first == std::string::npos) return "";
  if (path.compare(0, first, "core") != 0) return path.substr(0, first);
  const std::size_t second = path.find('/', first + 1);
  return second == std::string::npos ? "core" : path.substr(0, second);
}

// The row of a room, or -1.
int row_of(const std::string& room) {
  for (std::size_t row = 0; row < kRows.size(); ++row)
    for (const auto& name : kRows[row])
      if (name == room) return static_cast<int>(row);
  return -1;
}

std::vector<Include> includes_of(const fs::path& path, const std::string& shown) {
  static const std::regex pattern(R"re(^\s*#\s*include\s*([<"])([^>"]+)[>"])re");
  std::vector<Include> found;
  std::ifstream in(path);
  std::string text;
  for (int line = 1; std::getline(in, text); ++line) {
    std::smatch match;
    if (std::regex_search(text, match, pattern)) found.push_back({shown, line, match[2], match[1] == "\""});
  }
  return found;
}

std::vector<Include> includes_below(const fs::path& root, const std::vector<std::string>& folders) {
  static const std::set<std::string> kinds = {".h", ".cpp", ".cu", ".cuh", ".def", ".inc"};
  std::vector<Include> all;
  for (const auto& folder : folders) {
    if (!fs::exists(root / folder)) continue;
    for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
      if (!entry.is_regular_file() || !kinds.count(entry.path().extension().string())) continue;
      const auto found = includes_of(entry.path(), fs::relative(entry.path(), root).generic_string());
      all.insert(all.end(), found.begin(), found.end());
    }
  }
  return all;
}

bool is_below(const std::string& path, const std::string& folder) {
  return path.starts_with(folder + "/");
}

// Headers of the CUDA API itself, which cuda/base alone calls; element types (cuda_fp16.h) and libraries are
// not meant.
bool is_cuda_api(const std::string& name) {
  for (const char* prefix : {"cuda_runtime", "cuda.h", "cuda_profiler", "driver_types.h", "vector_types.h"})
    if (name.starts_with(prefix)) return true;
  return false;
}

// What is wrong with an include of the tests, or "". They may use any room, but CUDA's headers need the
// toolkit, and tests that need it live in folders of their own.
std::string complaint_in_tests(const Include& include) {
  for (const char* folder : {"tests/cuda_sim", "tests/support/cuda_sim"})
    if (is_below(include.file, folder)) return "";
  if (is_cuda_api(include.name) || include.name.starts_with("cuda_") || is_below(include.name, "cuda/base"))
    return "CUDA is for tests/cuda_sim and tests/support/cuda_sim, which are left out where its headers are "
           "absent";
  if (include.name.starts_with("tests/cuda_sim/") || include.name.starts_with("tests/support/cuda_sim/"))
    return "the simulated device needs the CUDA headers, which other tests do without";
  return "";
}

// What is wrong with an include, or "".
std::string complaint(const Include& include) {
  const std::string from = room_of(include.file);
  if (from == "tests") return complaint_in_tests(include);
  if (row_of(from) < 0) return "'" + from + "' is no room of docs/architecture.md";
  if (include.name.starts_with("tests/")) return "only tests include tests";
  if (from == "cuda" && is_cuda_api(include.name) && !is_below(include.file, "cuda/base"))
    return "the CUDA API is reached through cuda/base alone";
  if (from == "examples" && include.name.starts_with("ingot/")) return "";
  const std::string to = room_of(include.name);
  if (to == "core" || row_of(to) >= 0) {
    if (!include.quoted) return "headers of the tree are included in quotes, from the root";
    if (from == "examples") return "examples are written as users write: <ingot/...>";
    if (from != to && row_of(to) >= row_of(from))
      return "the arrow from " + from + " to " + to + " runs back";
    if (is_below(include.file, "cuda/base") && to != "core/base" && !is_below(include.name, "cuda/base"))
      return "cuda/base stands on core/base alone";
    return "";
  }
  if (include.name.starts_with("ingot/")) return "inside the tree, headers are included from the root";
  for (const auto& [prefix, rooms] : kLibraries)
    if (include.name.starts_with(prefix) && !rooms.count(from)) return "this library is not for " + from;
  // cuda/jit finds NVRTC when a kernel is wanted, so that it builds without the CUDA toolkit.
  if (include.file.starts_with("cuda/jit/"))
    for (const std::string prefix : {"cu", "nv", "nccl", "thrust/"})
      if (include.name.starts_with(prefix)) return "cuda/jit builds without the CUDA toolkit";
  const bool is_header = include.file.ends_with(".h") || include.file.ends_with(".def");
  if (include.name.starts_with("nlohmann/") && is_header) return "nlohmann-json is for .cpp files only";
  if (include.quoted && to.empty() && !include.name.starts_with("dnnl"))
    return "headers of the tree are included from the root, with their folder";
  return "";
}

std::string describe(const Include& include, const std::string& what) {
  return include.file + ":" + std::to_string(include.line) + ": #include of " + include.name + ": " + what;
}

TEST(Arrows, NoIncludeRunsBack) {
  const auto all =
      includes_below(INGOT_SOURCE_DIR, {"core", "cpu", "cuda", "layers", "optim", "data", "io", "models",
                                        "train", "tools", "python_stub", "examples", "tests"});
  ASSERT_GT(all.size(), 20u) << "the sources were not found below " << INGOT_SOURCE_DIR;
  for (const auto& include : all) {
    const std::string what = complaint(include);
    EXPECT_TRUE(what.empty()) << describe(include, what);
  }
}

// Public headers are those the build stages for installation (cmake/IngotHeaders.cmake). A C++ header of the
// standard library has neither folder nor extension, so anything else is a dependency a user would have to
// have.
TEST(Arrows, PublicHeadersNeedOnlyTheStandardLibrary) {
  const fs::path staged = fs::path(INGOT_BINARY_DIR) / "include";
  const auto all = includes_below(staged, {"ingot"});
  ASSERT_GT(all.size(), 20u) << "no staged headers below " << staged;
  for (const auto& include : all) {
    if (include.quoted) {
      EXPECT_TRUE(include.name.starts_with("ingot/")) << describe(include, "not one of Ingot's own");
      EXPECT_TRUE(fs::exists(staged / include.name)) << describe(include, "a private header in a public one");
    } else {
      EXPECT_EQ(include.name.find_first_of("./"), std::string::npos)
          << describe(include, "a public header includes the C++ standard library and Ingot only");
    }
  }
}

// The check itself: what it must refuse, and what it must let pass.
TEST(Arrows, TheCheckSeesWhatIsWrong) {
  const std::vector<std::pair<Include, bool>> cases = {
      {{"core/ir/graph.h", 1, "core/base/shape.h", true}, true},
      {{"core/base/shape.h", 1, "core/ir/graph.h", true}, false},
      {{"core/plan/plan.cpp", 1, "core/passes/pass.h", true}, false},
      {{"core/runtime/session.cpp", 1, "cuda/base/check.h", true}, false},
      {{"core/runtime/session.cpp", 1, "cuda_runtime.h", false}, false},
      {{"core/ops/conv.cpp", 1, "dnnl.hpp", true}, false},
      {{"cpu/conv.cpp", 1, "dnnl.hpp", true}, true},
      {{"cpu/conv.cpp", 1, "layers/conv.h", true}, false},
      {{"layers/conv.h", 1, "optim/sgd.h", true}, false},
      {{"cuda/jit/elementwise_source.cpp", 1, "core/ir/walk.h", true}, true},
      {{"cuda/jit/elementwise_source.cpp", 1, "cpu/tape.h", true}, false},
      {{"cuda/jit/nvrtc.cpp", 1, "nvrtc.h", false}, false},
      {{"cuda/jit/nvrtc.cpp", 1, "cuda/jit/nvrtc.h", true}, true},
      {{"cuda/jit/nvrtc.cpp", 1, "dlfcn.h", false}, true},
      {{"cuda/base/check.cpp", 1, "cuda_runtime.h", false}, true},
      {{"core/base/base.cpp", 1, "dlfcn.h", false}, false},
      {{"io/safetensors.cpp", 1, "nlohmann/json.hpp", true}, true},
      {{"io/safetensors.h", 1, "nlohmann/json.hpp", true}, false},
      {{"train/trainer.h", 1, "CLI/CLI.hpp", false}, false},
      {{"core/ir/graph.cpp", 1, "graph.h", true}, false},
      {{"core/ir/graph.cpp", 1, "core/base/shape.h", false}, false},
      {{"core/graph.cpp", 1, "vector", false}, false},
      {{"examples/train.cpp", 1, "ingot/ingot.h", false}, true},
      {{"examples/train.cpp", 1, "core/ir/graph.h", true}, false},
      {{"models/lenet.h", 1, "ingot/ingot.h", true}, false},
      {{"cuda/base/stream.h", 1, "cuda_runtime_api.h", false}, true},
      {{"cuda/base/check.h", 1, "core/base/error.h", true}, true},
      {{"cuda/base/check.h", 1, "core/ir/graph.h", true}, false},
      {{"cuda/base/check.h", 1, "cuda/kernels/softmax.h", true}, false},
      {{"cuda/base/kernel.h", 1, "tests/support/cuda_sim/prelude.h", true}, false},
      {{"cuda/kernels/softmax.cu", 1, "cuda/base/kernel.h", true}, true},
      {{"cuda/kernels/softmax.cu", 1, "cuda_fp16.h", false}, true},
      {{"cuda/backend/backend.cpp", 1, "cuda_runtime_api.h", false}, false},
      {{"cuda/backend/backend.cpp", 1, "core/runtime/step.h", true}, true},
      {{"cuda/libs/cublas.cpp", 1, "cublasLt.h", false}, true},
      {{"tests/cuda_sim/test_streams.cpp", 1, "cuda/base/stream.h", true}, true},
      {{"tests/support/cuda_sim/sim.h", 1, "cuda_runtime_api.h", false}, true},
      {{"tests/runtime/test_session.cpp", 1, "cuda_runtime_api.h", false}, false},
      {{"tests/runtime/test_session.cpp", 1, "cuda/base/stream.h", true}, false},
      {{"tests/runtime/test_session.cpp", 1, "tests/support/cuda_sim/sim.h", true}, false},
      {{"tests/runtime/test_session.cpp", 1, "tests/support/op_case.h", true}, true},
  };
  for (const auto& [include, allowed] : cases)
    EXPECT_EQ(complaint(include).empty(), allowed) << describe(include, complaint(include));
}

}  // namespace
}  // namespace ingot
