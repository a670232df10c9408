// The op registry: what each op means, in one place.
//
// An OpDef is a plain struct of data and functions. Everything that asks "which ops ...?" asks here: shape
// inference, gradients, references, costs, printing, parsing, Python, docs. `core/ops/op_list.def` names each
// built-in op in one line; an op defined outside the library is added with `Registry::instance().add(def)`.
//
//   const OpDef& conv = op("conv2d");
//   auto types = conv.infer({conv.name, attrs, input_types});
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/ir/graph.h"

namespace ingot {

class GradContext;

struct InferArgs {
  std::string_view op;
  const Attrs& attrs;
  std::span<const TensorType> inputs;

  const Shape& shape(int i) const { return inputs[static_cast<std::size_t>(i)].shape; }
  DType dtype(int i) const { return inputs[static_cast<std::size_t>(i)].dtype; }
};

// Inputs and outputs are row-major and allocated; floating tensors are all F32 or all F64.
struct RefArgs {
  const Attrs& attrs;
  std::span<const Tensor> inputs;
  std::span<const Tensor> outputs;
};

struct Cost {
  double flops = 0.0;  // a fused multiply-add counts two
  double bytes = 0.0;  // read and written, each operand once unless the op says otherwise
};

using InferFn = std::vector<TensorType> (*)(const InferArgs&);
using RefFn = void (*)(const RefArgs&);
using CostFn = Cost (*)(const Attrs&, std::span<const TensorType> inputs,
                        std::span<const TensorType> outputs);
class Value;
// One Value per input; an undefined Value where no gradient flows.
using GradFn = std::vector<Value> (*)(GradContext&);

// In which floating type an op runs under mixed precision (core/passes/precision.h).
enum class Precision : std::uint8_t {
  Follow,   // that of its largest floating operand
  Compute,  // the compute type
  Full,     // f32
};

struct OpDef {
  std::string name;
  std::string doc;  // one sentence, for --help, docs and Python
  int min_inputs = 1;
  int max_inputs = 1;  // -1: any number
  Attrs attrs;         // default values; its fields are the schema
  InferFn infer = nullptr;
  GradFn gradient = nullptr;
  std::string not_differentiable;  // the reason; set exactly when gradient is null
  RefFn reference = nullptr;
  CostFn cost = nullptr;             // null: no flops, operands' bytes
  ScalarOp scalar = ScalarOp::None;  // elementwise ops: the function
  Precision precision = Precision::Follow;
  std::vector<int> full_inputs{};  // operands that stay f32 where the op runs in less: scales, statistics
  bool pure = true;                // same operands, same result, no effect: may be merged, dropped, folded
  bool view = false;               // output 0 is input 0's row-major memory under another shape
  // Pairs (input, output) of equal type that an implementation may place in the same memory when the input
  // dies here.
  std::function<std::vector<std::array<int, 2>>(const Attrs&, int num_inputs)> in_place;
};

class Registry {
 public:
  static Registry& instance();
  // Throws UsageError when the name is taken or the definition is incomplete.
  void add(OpDef def);
  const OpDef* find(std::string_view name) const;
  // Sorted by name.
  std::vector<const OpDef*> all() const;

 private:
  Registry();
  std::map<std::string, OpDef, std::less<>> ops_;
};

// Throws UsageError that lists near names.
const OpDef& op(std::string_view name);

// Default or own cost of a node.
Cost cost(const OpDef& def, const Attrs& attrs, std::span<const TensorType> inputs,
          std::span<const TensorType> outputs);
Cost cost(const Graph& graph, const Node& node);

// Checks count, infers, and adds the op's name to the error. Used by the builder, the verifier and the
// parser.
std::vector<TensorType> infer(const OpDef& def, const Attrs& attrs, std::span<const TensorType> inputs);

// Defined in core/ops: adds every op of op_list.def.
void register_builtin_ops(Registry& registry);

}  // namespace ingot
