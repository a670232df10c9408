// Golden cases: what PyTorch computed, read from tests/golden (its README.md describes the files).
//
// An op case holds an op's name, its attributes under Ingot's names, inputs, outputs, and the gradients of
// sum_k sum(outputs[k] * cotangents[k]). Floating tensors are F64, indices I64. A training golden holds the
// losses of twenty steps of one model under several optimisers. Both throw FormatError for a file that is
// missing or damaged.
//
//   for (const golden::OpCase& c : golden::op_cases("conv")) {
//     Conv2dAttrs attrs{.stride = c.attrs.pair("stride"), .groups = c.attrs.integer("groups")};
//     ...  // c.inputs[0], c.outputs[0], c.grads[1]
//   }
//   const golden::Training t = golden::training("lenet5");
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "core/ir/tensor.h"

namespace ingot::golden {

// Named numbers, flags, texts and lists of integers. Each getter throws FormatError when the name is unknown
// or stands for something else; an integer serves as a number.
class Attributes {
 public:
  using Value = std::variant<bool, std::int64_t, double, std::string, std::vector<std::int64_t>>;

  bool has(const std::string& name) const { return values_.count(name) != 0; }
  bool flag(const std::string& name) const;
  std::int64_t integer(const std::string& name) const;
  double number(const std::string& name) const;
  const std::string& text(const std::string& name) const;
  const std::vector<std::int64_t>& list(const std::string& name) const;
  std::array<std::int64_t, 2> pair(const std::string& name) const;

  void set(const std::string& name, Value value) { values_[name] = std::move(value); }

 private:
  const Value& find(const std::string& name) const;
  std::map<std::string, Value> values_;
};

struct OpCase {
  std::string op, name;
  Attributes attrs;
  std::vector<Tensor> inputs, outputs;
  // One per output, of its shape.
  std::vector<Tensor> cotangents;
  // One per input; not defined() where PyTorch took no gradient. Empty for cases without any.
  std::vector<Tensor> grads;

  std::string title() const { return op + "/" + name; }
};

// Families: activation attention conv gather loss margin matmul multihead_attention norm pool recurrent reduce
// resize scan schedule softmax sort update.
std::vector<OpCase> op_cases(const std::string& family);
// Those of one op.
std::vector<OpCase> op_cases(const std::string& family, const std::string& op);

struct StateSum {
  std::int64_t count = 0;
  double sum = 0.0, sum_of_squares = 0.0;
};

struct TrainingCase {
  std::string optimizer;       // "sgd", "adam", "adamw", "rmsprop"
  Attributes options;          // lr, momentum, nesterov, ...: PyTorch's names, betas as beta1 and beta2
  std::vector<double> losses;  // of float64; PyTorch's float32 is within loss_deviation, relative
  double eval_loss = 0.0;
  double loss_deviation = 0.0;
  std::map<std::string, StateSum> state;  // by state-dict key, after the last step

  std::string title() const;  // "sgd", "sgd_nesterov", "adam", ...
};

struct Training {
  std::string model;
  std::int64_t batch_size = 0, classes = 0, steps = 0, batches = 0;
  Shape sample_shape;
  std::vector<TrainingCase> cases;

  // Batch of step `s`, from the formula: F32 inputs [batch_size, sample_shape...] and labels.
  Tensor inputs(std::int64_t s) const;
  Tensor labels(std::int64_t s, DType dtype = DType::I32) const;
};

Training training(const std::string& model);

}  // namespace ingot::golden
