#include "tools/machine_file.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/base/cache_folder.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "io/target_file.h"

namespace ingot::tools {

namespace {

using Json = nlohmann::json;

constexpr std::string_view kExamples = "`ingot machine h200 --json` prints a description to start from";

// Reads one object key by key and collects what is wrong.
class Reader {
 public:
  Reader(const Json& object, std::string where, std::vector<std::string>& faults)
      : object_(object), where_(std::move(where)), faults_(faults) {}
  // Keys that nobody asked for are wrong.
  ~Reader() {
    for (const auto& [key, value] : object_.items())
      if (std::find(known_.begin(), known_.end(), key) == known_.end())
        fault(key, "is not a key of a machine's description");
  }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  enum class Need { Must, May };
  std::string text(const char* key, Need need = Need::Must) {
    const Json* v = find(key, need);
    if (v == nullptr) return "";
    if (v->is_string() && !v->get_ref<const std::string&>().empty()) return v->get<std::string>();
    fault(key, "expected a text", *v);
    return "";
  }
  double number(const char* key, double least, double most, double otherwise, Need need = Need::Must) {
    const Json* v = find(key, need);
    if (v == nullptr) return otherwise;
    const double d = v->is_number() ? v->get<double>() : -1.0;
    if (v->is_number() && d >= least && d <= most) return d;
    fault(key, cat("expected a number from ", least, " to ", most), *v);
    return otherwise;
  }
  bool flag(const char* key) {
    const Json* v = find(key, Need::May);
    if (v == nullptr) return false;
    if (!v->is_boolean()) fault(key, "expected true or false", *v);
    return v->is_boolean() && v->get<bool>();
  }
  const Json* list(const char* key) {
    const Json* v = find(key, Need::Must);
    if (v == nullptr) return nullptr;
    const bool good =
        v->is_array() && std::all_of(v->begin(), v->end(), [](const Json& e) { return e.is_object(); });
    if (!good) fault(key, "expected a list of objects", *v);
    return good ? v : nullptr;
  }
  const Json* object(const char* key) {
    const Json* v = find(key, Need::Must);
    if (v == nullptr || v->is_object()) return v;
    fault(key, "expected an object", *v);
    return nullptr;
  }
  void fault(const std::string& key, const std::string& why) {
    faults_.push_back(cat("'", where_, key, "' ", why));
  }
  void fault(const std::string& key, const std::string& why, const Json& found) {
    std::string text = found.dump(-1, ' ', false, Json::error_handler_t::replace);
    if (text.size() > 40) text = text.substr(0, 40) + "...";
    faults_.push_back(cat("'", where_, key, "': ", why, ", got ", text));
  }

 private:
  const Json* find(const char* key, Need need) {
    known_.emplace_back(key);
    const auto at = object_.find(key);
    if (at != object_.end()) return &*at;
    if (need == Need::Must) fault(key, "is missing");
    return nullptr;
  }

  const Json& object_;
  std::string where_;
  std::vector<std::string>& faults_;
  std::vector<std::string> known_;
};

constexpr double kLeastRate = 1.0, kMostRate = 1e21;  // a second
constexpr std::array kRateTypes = {DType::F32, DType::F64, DType::F16, DType::BF16};

void read_rates(Reader& r, const char* key, std::vector<std::string>& faults,
                std::array<double, kDTypes>& rates, double* tf32) {
  const Json* object = r.object(key);
  if (object == nullptr) return;
  Reader of(*object, cat(key, "."), faults);
  for (const DType t : kRateTypes)
    rates[static_cast<std::size_t>(t)] = of.number(std::string(name(t)).c_str(), kLeastRate, kMostRate, 0.0,
                                                   t == DType::F32 ? Reader::Need::Must : Reader::Need::May);
  if (tf32 != nullptr) *tf32 = of.number("tf32", kLeastRate, kMostRate, 0.0, Reader::Need::May);
}

Efficiency read_efficiency(const Json& j, const std::string& where, std::vector<std::string>& faults) {
  Reader r(j, where, faults);
  Efficiency e;
  const std::string work = r.text("work");
  if (const auto w = work_by_name(work)) {
    e.work = *w;
  } else if (!work.empty()) {
    std::vector<std::string_view> names;
    for (int i = 0; i < kWorks; ++i) names.push_back(name(static_cast<Work>(i)));
    r.fault("work", cat("expected one of ", join(names)), j["work"]);
  }
  e.kernel = r.text("kernel", Reader::Need::May);
  if (const std::string type = r.text("dtype", Reader::Need::May); !type.empty()) {
    const auto at =
        std::find_if(kRateTypes.begin(), kRateTypes.end(), [&](DType t) { return name(t) == type; });
    if (at != kRateTypes.end())
      e.dtype = *at;
    else
      r.fault("dtype", "expected f32, f64, f16 or bf16", j["dtype"]);
  }
  e.compute = r.number("compute", 1e-6, 1.0, 1.0, Reader::Need::May);
  e.memory = r.number("memory", 1e-6, 1.0, 1.0, Reader::Need::May);
  e.result_cost = r.number("result_cost", 0.0, 1e9, 0.0, Reader::Need::May);
  return e;
}

Machine parse(const std::string& text, const std::string& source) {
  const Json j = Json::parse(text, nullptr, false);
  if (j.is_discarded() || !j.is_object())
    throw FormatError(cat(source, ": expected one JSON object that describes a machine; ", kExamples));
  std::vector<std::string> faults;
  Machine m;
  {
    Reader r(j, "", faults);
    m.name = r.text("name");
    m.source = r.text("source");
    m.threads = static_cast<int>(r.number("threads", 0, 1024, 0));
    m.lanes = static_cast<int>(r.number("lanes", 1, 1024, 1));
    m.launch_seconds = r.number("launch_seconds", 0.0, 1.0, 0.0);
    read_rates(r, "vector_flops", faults, m.vector, nullptr);
    read_rates(r, "matrix_flops", faults, m.matrix, &m.tf32);
    if (const Json* levels = r.list("memory")) {
      for (const Json& level : *levels) {
        Reader l(level, cat("memory[", m.levels.size(), "]."), faults);
        const bool last = m.levels.size() + 1 == levels->size();
        m.levels.push_back({l.text("level"), last ? 0.0 : l.number("bytes", 1.0, 1e18, 1.0),
                            l.number("bytes_per_second", kLeastRate, kMostRate, 1.0), l.flag("per_thread")});
      }
      if (levels->empty()) r.fault("memory", "has no level; expected at least one");
    }
    if (const Json* list = r.list("efficiency"))
      for (const Json& e : *list)
        m.efficiencies.push_back(read_efficiency(e, cat("efficiency[", m.efficiencies.size(), "]."), faults));
  }
  if (faults.empty()) try {
      check_machine(m);
    } catch (const UsageError& e) {
      faults.push_back(e.message());
    }
  if (!faults.empty())
    throw FormatError(cat(source, " describes no machine: ", join(faults, "; "), "; ", kExamples));
  return m;
}

}  // namespace

Machine read_machine(const std::string& name_or_path) {
  std::vector<std::string> names;
  for (const auto& [name, text] : described_machines()) {
    if (name == name_or_path) return parse(text, cat("Ingot's machine ", name));
    names.push_back(name);
  }
  std::error_code ignored;
  if (!std::filesystem::exists(name_or_path, ignored))
    throw UsageError(cat("there is no machine '", name_or_path, "' and no such file; expected ", join(names),
                         " or the path of a JSON file"));
  return parse(read_file(name_or_path), name_or_path);
}

std::string to_json(const Machine& m) {
  const auto rates = [](const std::array<double, kDTypes>& of) {
    Json j = Json::object();
    for (const DType t : kRateTypes)
      if (const double rate = of[static_cast<std::size_t>(t)]; rate > 0.0) j[std::string(name(t))] = rate;
    return j;
  };
  Json j = {{"name", m.name},
            {"source", m.source},
            {"threads", m.threads},
            {"lanes", m.lanes},
            {"launch_seconds", m.launch_seconds}};
  j["vector_flops"] = rates(m.vector);
  j["matrix_flops"] = rates(m.matrix);
  if (m.tf32 > 0.0) j["matrix_flops"]["tf32"] = m.tf32;
  j["memory"] = j["efficiency"] = Json::array();
  for (const MemoryLevel& l : m.levels) {
    Json level = {{"level", l.name}};
    if (l.bytes > 0.0) level["bytes"] = l.bytes;
    level["bytes_per_second"] = l.bytes_per_second;
    if (l.per_thread) level["per_thread"] = true;
    j["memory"].push_back(std::move(level));
  }
  for (const Efficiency& e : m.efficiencies) {
    Json row = {{"work", name(e.work)}};
    if (!e.kernel.empty()) row["kernel"] = e.kernel;
    if (e.dtype) row["dtype"] = name(*e.dtype);
    row["compute"] = e.compute, row["memory"] = e.memory;
    if (e.result_cost > 0.0) row["result_cost"] = e.result_cost;
    j["efficiency"].push_back(std::move(row));
  }
  return j.dump(1);
}

std::string measured_machine_path(const Target& cpu) {
  const std::string folder = cache_folder();
  if (folder.empty()) return "";
  // Processors of one name differ: their family, model and stepping are part of it.
  std::string id = cpu.name, file;
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line) && !line.empty();)
    for (const char* key : {"cpu family\t", "model\t", "stepping\t"})
      if (line.starts_with(key)) id += line.substr(line.find(':') + 1);
  for (const char c : id) file += std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  return cat(folder, "/machine_", file, ".json");
}

Machine machine_of(const Target& target) {
  if (target.backend == "cpu") {
    std::error_code ignored;
    // The same number of threads first; then every core, which is what is measured unless asked otherwise.
    for (const Target& t : {target, Target::cpu()}) {
      const std::string path = measured_machine_path(t);
      if (path.empty() || !std::filesystem::exists(path, ignored)) continue;
      const Machine m = read_machine(path);
      if (m.name == t.name) return with_threads(m, target.threads);
    }
    return with_threads(read_machine("cpu"), target.threads);
  }
  // "NVIDIA H200, sm_90, described by ..." and "NVIDIA H200" of a device are the machine "NVIDIA H200"; the
  // longest name that fits, because "NVIDIA H100" is part of others.
  for (const auto& [name, text] : described_targets()) {
    const std::string device = read_target(name).name;
    const std::string plain = device.substr(0, device.find(','));
    if (target.name.starts_with(plain) &&
        std::any_of(described_machines().begin(), described_machines().end(),
                    [&n = name](const auto& m) { return m.first == n; }))
      return read_machine(name);
  }
  throw UsageError(cat("no machine is described that would say how fast ", target.name, " is; write one (",
                       kExamples, ") and pass it to --machine"));
}

SecondsOracle seconds_on(const Target& target) {
  try {
    return [m = machine_of(target)](const Graph& g, const Node& n) { return predict(m, g, n).seconds; };
  } catch (const UsageError&) {
    return {};
  }
}

}  // namespace ingot::tools
