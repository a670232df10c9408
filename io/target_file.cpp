#include "io/target_file.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/file.h"

namespace ingot {

namespace {

using Json = nlohmann::json;

// What a key must hold. Counts fit 32 bits, as in cudaDeviceProp; three of them are the axes of a grid or a
// block.
enum class Kind { Text, Count, Flag, Three, Bytes };
struct Key {
  const char* name;
  Kind kind;
};
constexpr Key kKeys[] = {{"maxGridSize", Kind::Three},
                         {"maxBlockSize", Kind::Three},
                         {"regsPerBlock", Kind::Count},
                         {"multiProcessorCount", Kind::Count},
                         {"warpSize", Kind::Count},
                         {"maxSharedMemoryPerBlock", Kind::Count},
                         {"maxSharedMemoryPerBlockOptin", Kind::Count},
                         {"reservedSharedMemoryPerBlock", Kind::Count},
                         {"maxRegistersPerSM", Kind::Count},
                         {"maxCtasPerSM", Kind::Count},
                         {"maxThreadsPerBlock", Kind::Count},
                         {"maxThreadsPerSM", Kind::Count},
                         {"pciDeviceId", Kind::Flag},
                         {"isTccDriver", Kind::Flag},
                         {"supportCoopLaunch", Kind::Flag},
                         {"smClockRateKHz", Kind::Count},
                         {"memClockRateKHz", Kind::Count},
                         {"l2CacheSize", Kind::Count},
                         {"deviceName", Kind::Text},
                         {"totalGlobalMem", Kind::Bytes},
                         {"deviceVer", Kind::Count},
                         {"driverVer", Kind::Count},
                         {"cudaDeviceId", Kind::Flag}};

// What is wrong with a value, or "".
std::string fault(const Json& value, Kind kind) {
  const auto count = [](const Json& v, std::uint64_t least, std::uint64_t most = 0x7fffffff) {
    // What is below zero is an integer, but none without a sign.
    return v.is_number_unsigned() && v.get<std::uint64_t>() >= least && v.get<std::uint64_t>() <= most;
  };
  switch (kind) {
    case Kind::Text:
      return value.is_string() && !value.get_ref<const std::string&>().empty() ? "" : "expected a name";
    case Kind::Count:
      return count(value, 1) ? "" : "expected a whole number from 1 to 2147483647";
    case Kind::Bytes:
      return count(value, 1, std::uint64_t{1} << 50) ? "" : "expected bytes, from 1 to 2^50";
    case Kind::Flag:
      return count(value, 0) ? "" : "expected a whole number from 0 to 2147483647";
    case Kind::Three:
      return value.is_array() && value.size() == 3 &&
                     std::all_of(value.begin(), value.end(), [&](const Json& v) { return count(v, 1); })
                 ? ""
                 : "expected a list of three whole numbers from 1 to 2147483647";
  }
  return "";
}

std::string shortened(const Json& value) {
  const std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  return text.size() > 40 ? text.substr(0, 40) + "..." : text;
}

Target parse(const std::string& text, const std::string& source) {
  const Json j = Json::parse(text, nullptr, false);
  if (j.is_discarded() || !j.is_object())
    throw FormatError(cat(source,
                          ": expected one JSON object that describes a GPU; `ingot info targets --json` "
                          "prints examples"));
  std::vector<std::string> faults;
  for (const auto& [name, kind] : kKeys) {
    const auto at = j.find(name);
    if (at == j.end()) {
      faults.push_back(cat("'", name, "' is missing"));
      continue;
    }
    const std::string why = fault(*at, kind);
    if (!why.empty()) faults.push_back(cat("'", name, "': ", why, ", got ", shortened(*at)));
  }
  for (const auto& [name, value] : j.items())
    if (std::none_of(std::begin(kKeys), std::end(kKeys), [&n = name](const Key& k) { return n == k.name; }))
      faults.push_back(cat("'", name, "' is not a key of a description"));
  if (faults.empty()) {
    const auto version = j["deviceVer"].get<std::int64_t>();
    if (version < 500 || version > 9990 || version % 10 != 0)
      faults.push_back(
          cat("'deviceVer': expected 100 times the compute capability (900 for sm_90), got ", version));
    if (j["warpSize"].get<std::int64_t>() != 32)
      faults.push_back(cat("'warpSize': expected 32, got ", j["warpSize"].get<std::int64_t>()));
  }
  if (!faults.empty())
    throw FormatError(cat(source, " describes no GPU: ", join(faults, "; "),
                          "; `ingot info targets --json` prints descriptions to start from"));
  Target t;
  t.backend = "cuda";
  t.sm = static_cast<int>(j["deviceVer"].get<std::int64_t>() / 10);
  t.name = cat(j["deviceName"].get<std::string>(), ", sm_", t.sm, ", described by ", source);
  t.memory_bytes = j["totalGlobalMem"].get<std::size_t>();
  t.described = j.dump();
  return t;
}

}  // namespace

const std::vector<std::pair<std::string, std::string>>& described_targets() {
  static const std::vector<std::pair<std::string, std::string>> all{
      {"h200",
       R"({"maxGridSize": [2147483647, 65535, 65535], "maxBlockSize": [1024, 1024, 64], "regsPerBlock": 65536,
 "multiProcessorCount": 132, "warpSize": 32, "maxSharedMemoryPerBlock": 49152,
 "maxSharedMemoryPerBlockOptin": 232448, "reservedSharedMemoryPerBlock": 1024, "maxRegistersPerSM": 65536,
 "maxCtasPerSM": 32, "maxThreadsPerBlock": 1024, "maxThreadsPerSM": 2048, "pciDeviceId": 0,
 "isTccDriver": 0, "supportCoopLaunch": 1, "smClockRateKHz": 1980000, "memClockRateKHz": 3201000,
 "l2CacheSize": 62914560, "deviceName": "NVIDIA H200", "totalGlobalMem": 150109880320,
 "deviceVer": 900, "driverVer": 13000, "cudaDeviceId": 0})"},
      {"h100",
       R"({"maxGridSize": [2147483647, 65535, 65535], "maxBlockSize": [1024, 1024, 64], "regsPerBlock": 65536,
 "multiProcessorCount": 132, "warpSize": 32, "maxSharedMemoryPerBlock": 49152,
 "maxSharedMemoryPerBlockOptin": 232448, "reservedSharedMemoryPerBlock": 1024, "maxRegistersPerSM": 65536,
 "maxCtasPerSM": 32, "maxThreadsPerBlock": 1024, "maxThreadsPerSM": 2048, "pciDeviceId": 0,
 "isTccDriver": 0, "supportCoopLaunch": 1, "smClockRateKHz": 1980000, "memClockRateKHz": 2619000,
 "l2CacheSize": 52428800, "deviceName": "NVIDIA H100 80GB HBM3", "totalGlobalMem": 80000000000,
 "deviceVer": 900, "driverVer": 13000, "cudaDeviceId": 0})"},
      {"a100",
       R"({"maxGridSize": [2147483647, 65535, 65535], "maxBlockSize": [1024, 1024, 64], "regsPerBlock": 65536,
 "multiProcessorCount": 108, "warpSize": 32, "maxSharedMemoryPerBlock": 49152,
 "maxSharedMemoryPerBlockOptin": 166912, "reservedSharedMemoryPerBlock": 1024, "maxRegistersPerSM": 65536,
 "maxCtasPerSM": 32, "maxThreadsPerBlock": 1024, "maxThreadsPerSM": 2048, "pciDeviceId": 0,
 "isTccDriver": 0, "supportCoopLaunch": 1, "smClockRateKHz": 1410000, "memClockRateKHz": 1593000,
 "l2CacheSize": 41943040, "deviceName": "NVIDIA A100-SXM4-80GB", "totalGlobalMem": 80000000000,
 "deviceVer": 800, "driverVer": 13000, "cudaDeviceId": 0})"},
      {"rtx4090",
       R"({"maxGridSize": [2147483647, 65535, 65535], "maxBlockSize": [1024, 1024, 64], "regsPerBlock": 65536,
 "multiProcessorCount": 128, "warpSize": 32, "maxSharedMemoryPerBlock": 49152,
 "maxSharedMemoryPerBlockOptin": 101376, "reservedSharedMemoryPerBlock": 1024, "maxRegistersPerSM": 65536,
 "maxCtasPerSM": 24, "maxThreadsPerBlock": 1024, "maxThreadsPerSM": 1536, "pciDeviceId": 0,
 "isTccDriver": 0, "supportCoopLaunch": 1, "smClockRateKHz": 2520000, "memClockRateKHz": 10501000,
 "l2CacheSize": 75497472, "deviceName": "NVIDIA GeForce RTX 4090", "totalGlobalMem": 24000000000,
 "deviceVer": 890, "driverVer": 13000, "cudaDeviceId": 0})"}};
  return all;
}

Target read_target(const std::string& name_or_path) {
  std::vector<std::string> names;
  for (const auto& [name, text] : described_targets()) {
    if (name == name_or_path) return parse(text, cat("Ingot as ", name));
    names.push_back(name);
  }
  std::error_code ignored;
  if (!std::filesystem::exists(name_or_path, ignored))
    throw UsageError(cat("there is no target '", name_or_path, "' and no such file; expected ", join(names),
                         " or the path of a JSON file"));
  return parse(read_file(name_or_path), name_or_path);
}

}  // namespace ingot
