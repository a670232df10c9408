#include "tests/support/golden.h"

#include <fstream>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "tests/support/formula.h"

namespace ingot::golden {
namespace {

using Json = nlohmann::json;

// Reads a file of tests/golden and turns what `read` throws about missing or wrong fields into one message.
template <class Read>
auto from_file(const std::string& name, Read&& read) {
  const std::string path = std::string(INGOT_SOURCE_DIR) + "/tests/golden/" + name;
  std::ifstream file(path);
  if (!file)
    throw FormatError(
        cat("golden file '", path, "' cannot be opened; tests/golden/README.md says how to make it"));
  try {
    return read(Json::parse(file));
  } catch (const Json::exception& e) {
    throw FormatError(cat("golden file '", path, "' is damaged: ", e.what()));
  }
}

Shape shape_of(const Json& json) {
  const auto dims = json.get<std::vector<std::int64_t>>();
  return Shape(std::span<const std::int64_t>(dims));
}

Tensor values_of(const Json& json, DType dtype) {
  const Json& values = json.at("values");
  Tensor t(TensorType{dtype, shape_of(json.at("shape"))});
  if (static_cast<std::int64_t>(values.size()) != t.numel())
    throw FormatError(
        cat("golden tensor of shape ", to_string(t.shape()), " has ", values.size(), " values"));
  for (std::int64_t i = 0; i < t.numel(); ++i) t.set(i, values[static_cast<std::size_t>(i)].get<double>());
  return t;
}

Tensor input_of(const Json& json) {
  if (json.contains("values")) return values_of(json, parse_dtype(json.at("dtype").get<std::string>()));
  Tensor t = formula::unit(json.at("key").get<std::string>(), shape_of(json.at("shape")), DType::F64);
  const double scale = json.at("scale").get<double>(), offset = json.at("offset").get<double>();
  for (double& v : t.values<double>()) v = offset + scale * v;
  return t;
}

// Results are F64 unless every value was written as an integer (argmax, one-hot).
Tensor result_of(const Json& json) {
  const Json& values = json.at("values");
  bool integers = !values.empty();
  for (const Json& v : values) integers = integers && v.is_number_integer();
  return values_of(json, integers ? DType::I64 : DType::F64);
}

Attributes attributes_of(const Json& json) {
  Attributes attrs;
  for (const auto& [name, value] : json.items()) {
    if (value.is_boolean())
      attrs.set(name, value.get<bool>());
    else if (value.is_number_integer())
      attrs.set(name, value.get<std::int64_t>());
    else if (value.is_number())
      attrs.set(name, value.get<double>());
    else if (value.is_string())
      attrs.set(name, value.get<std::string>());
    else
      attrs.set(name, value.get<std::vector<std::int64_t>>());
  }
  return attrs;
}

OpCase op_case_of(const Json& json) {
  OpCase c;
  c.op = json.at("op").get<std::string>();
  c.name = json.at("name").get<std::string>();
  c.attrs = attributes_of(json.at("attrs"));
  for (const Json& input : json.at("inputs")) c.inputs.push_back(input_of(input));
  for (const Json& output : json.at("outputs")) {
    const std::string key = cat(c.op, "/", c.name, "/cotangent/", c.outputs.size());
    c.outputs.push_back(result_of(output));
    c.cotangents.push_back(formula::unit(key, c.outputs.back().shape(), DType::F64));
  }
  for (const Json& grad : json.at("grads"))
    c.grads.push_back(grad.is_null() ? Tensor() : values_of(grad, DType::F64));
  return c;
}

TrainingCase training_case_of(const Json& json) {
  TrainingCase c;
  c.options = attributes_of(json.at("optimizer"));
  c.optimizer = c.options.text("type");
  c.losses = json.at("losses_f64").get<std::vector<double>>();
  c.eval_loss = json.at("eval_loss_f64").get<double>();
  c.loss_deviation = json.at("float32_deviation").at("loss").get<double>();
  for (const auto& [key, sums] : json.at("state").items())
    c.state[key] = {sums.at(0).get<std::int64_t>(), sums.at(1).get<double>(), sums.at(2).get<double>()};
  return c;
}

template <class T>
const T& expect_kind(const Attributes::Value& value, const std::string& name, const char* kind) {
  const T* found = std::get_if<T>(&value);
  if (!found) throw FormatError(cat("golden attribute '", name, "' is not ", kind));
  return *found;
}

}  // namespace

const Attributes::Value& Attributes::find(const std::string& name) const {
  const auto at = values_.find(name);
  if (at == values_.end()) {
    std::vector<std::string> names;
    for (const auto& entry : values_) names.push_back(entry.first);
    throw FormatError(cat("golden case has no attribute '", name, "', only ", join(names)));
  }
  return at->second;
}

bool Attributes::flag(const std::string& name) const {
  return expect_kind<bool>(find(name), name, "true or false");
}
std::int64_t Attributes::integer(const std::string& name) const {
  return expect_kind<std::int64_t>(find(name), name, "an integer");
}
double Attributes::number(const std::string& name) const {
  const Value& value = find(name);
  if (const auto* whole = std::get_if<std::int64_t>(&value)) return static_cast<double>(*whole);
  return expect_kind<double>(value, name, "a number");
}
const std::string& Attributes::text(const std::string& name) const {
  return expect_kind<std::string>(find(name), name, "a text");
}
const std::vector<std::int64_t>& Attributes::list(const std::string& name) const {
  return expect_kind<std::vector<std::int64_t>>(find(name), name, "a list of integers");
}
std::array<std::int64_t, 2> Attributes::pair(const std::string& name) const {
  const std::vector<std::int64_t>& values = list(name);
  if (values.size() != 2)
    throw FormatError(cat("golden attribute '", name, "' has ", values.size(), " elements, not 2"));
  return {values[0], values[1]};
}

std::vector<OpCase> op_cases(const std::string& family) {
  return from_file("op_" + family + ".json", [](const Json& json) {
    std::vector<OpCase> cases;
    for (const Json& c : json.at("cases")) cases.push_back(op_case_of(c));
    return cases;
  });
}

std::vector<OpCase> op_cases(const std::string& family, const std::string& op) {
  std::vector<OpCase> chosen;
  for (OpCase& c : op_cases(family))
    if (c.op == op) chosen.push_back(std::move(c));
  if (chosen.empty()) throw FormatError(cat("golden family '", family, "' has no case of op '", op, "'"));
  return chosen;
}

std::string TrainingCase::title() const {
  return optimizer == "sgd" && options.flag("nesterov") ? "sgd_nesterov" : optimizer;
}

Tensor Training::inputs(std::int64_t s) const {
  Shape shape = sample_shape;
  shape.insert(0, batch_size);
  return formula::unit(cat("input/", s % batches), shape);
}

Tensor Training::labels(std::int64_t s, DType dtype) const {
  return formula::labels(cat("label/", s % batches), batch_size, classes, dtype);
}

Training training(const std::string& model) {
  return from_file("train_" + model + ".json", [](const Json& json) {
    Training t;
    t.model = json.at("model").get<std::string>();
    t.batch_size = json.at("batch_size").get<std::int64_t>();
    t.classes = json.at("classes").get<std::int64_t>();
    t.steps = json.at("steps").get<std::int64_t>();
    t.batches = json.at("batches").get<std::int64_t>();
    t.sample_shape = shape_of(json.at("sample_shape"));
    for (const Json& c : json.at("cases")) t.cases.push_back(training_case_of(c));
    return t;
  });
}

}  // namespace ingot::golden
