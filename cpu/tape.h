// Tape: a ScalarExpr compiled for one set of operand types.
//
// The output's elements are visited in the order in which they lie in memory, in blocks of about a thousand.
// For each block every instruction runs over the whole block before the next one, on registers that stay in
// the first-level cache. Operands that lie in memory as the output does are read where they are and results
// are written where they belong; broadcast operands are expanded into a register, once per thread when each
// block sees the same elements (constants, scalars, one value per channel), per block otherwise.
//
//   Tape tape(expr, input_types, output_types);            // throws UsageError when accepts() says no
//   tape.run(inputs, outputs, workspace, threads);         // workspace: tape.workspace_bytes(threads)
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/expr/scalar_expr.h"
#include "core/ir/type.h"
#include "cpu/simd/tape_kernels.h"

namespace ingot::cpu {

class Tape {
 public:
  // Outputs share one layout without padding; when it is blocked, operands have the same or one element.
  static bool accepts(std::span<const TensorType> inputs, std::span<const TensorType> outputs);

  Tape(const ScalarExpr& expr, std::span<const TensorType> inputs, std::span<const TensorType> outputs);

  std::size_t workspace_bytes(int threads) const { return static_cast<std::size_t>(threads) * thread_bytes_; }
  void run(void* const* inputs, void* const* outputs, void* workspace, int threads) const;
  // Elements [begin, end) alone, as one thread of a caller's own: number `part` of those that share the
  // workspace.
  void run_part(void* const* inputs, void* const* outputs, void* workspace, int part, std::int64_t begin,
                std::int64_t end) const;
  // Of so many elements, in the unit of useful_threads: a block costs at least one pass over its elements per
  // instruction.
  std::int64_t work(std::int64_t elements) const {
    return elements * static_cast<std::int64_t>(std::max<std::size_t>(instrs_.size(), 1));
  }

  // (input, output) pairs that may be one memory.
  std::vector<std::array<int, 2>> in_place() const;
  std::int64_t numel() const { return numel_; }

 private:
  enum class Access : std::uint8_t {
    Direct,    // where the output is, same element type
    Convert,   // where the output is, f16 or bf16
    Repeated,  // every block sees the same elements
    Strided,   // anything else
  };
  struct Operand {
    Access access = Access::Direct;
    DType dtype = DType::F32;
    int slot = 0;
    std::int64_t offset = 0;  // bytes into a thread's workspace; unused for Direct
    std::vector<std::int64_t> strides;
  };
  struct Constant {
    Storage storage;
    int slot;
    std::int64_t offset;
    double value;
  };
  struct Instr {
    TapeKernel kernel;
    int out;
    std::array<int, 3> args;
    std::int64_t offset;  // of the result's register, -1: straight into an output
  };
  struct Output {
    int slot;
    DType dtype;
    bool direct;       // an instruction writes it
    TapeKernel store;  // otherwise how the register gets there; null: a plain copy
  };

  void choose_block(std::span<const std::vector<std::int64_t>> strides);
  void expand(const Operand& o, const void* memory, std::int64_t begin, std::int64_t n, void* to) const;
  void run_blocks(void* const* inputs, void* const* outputs, std::byte* scratch, std::int64_t first,
                  std::int64_t last) const;

  const TapeKernels& kernels_;
  std::int64_t numel_ = 0, block_ = 0;
  std::vector<std::int64_t> dims_;  // collapsed, outermost first
  std::vector<Operand> operands_;
  std::vector<Constant> constants_;
  std::vector<Instr> instrs_;
  std::vector<Output> outputs_;
  std::vector<int> last_read_, written_;  // instruction that last reads input i; that writes output o
  int slots_ = 0;
  std::size_t thread_bytes_ = 0;
};

}  // namespace ingot::cpu
