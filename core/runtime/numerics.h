// Looking for NaN and infinity among a program's values, and saying where the first ones came from.
//
// `peek` gives a value's content in the host's memory. A message has the value, its range and, for a node,
// its operands; the error names the node and the user's source line.
//
//   const Numerics numerics(program, [&](ValueId v) { return copy_of(v); });
//   numerics.check_inputs();                  // throws NumericError
//   numerics.check_results(node);             // right after the node's step ran
#pragma once

#include <functional>
#include <string>

#include "core/ir/tensor.h"
#include "core/runtime/program.h"

namespace ingot {

// Fast enough for every step: for f32 one look at the exponents, without a branch per element. Tensors of
// integers are finite.
bool all_finite(const Tensor& t);

class Numerics {
 public:
  using Peek = std::function<Tensor(ValueId)>;
  // The program outlives it.
  Numerics(const Program& program, Peek peek) : program_(program), peek_(std::move(peek)) {}

  bool finite(ValueId v) const;
  void check_inputs() const;
  void check_states() const;
  // A device's kernel cannot complain about an operand, such as a label that is no class: it makes NaN of it.
  // Where the host's memory is not the device's, the node's reference is asked, and what it throws is thrown.
  void check_results(NodeId n) const;

 private:
  const Graph& graph() const { return program_.graph(); }
  std::string title(ValueId v) const;
  std::string describe(ValueId v) const;
  bool overwritten(ValueId operand, const Node& by) const;
  void ask_reference(const Node& node) const;

  const Program& program_;
  Peek peek_;
};

}  // namespace ingot
