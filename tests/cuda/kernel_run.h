// Runs one generated elementwise kernel in the PTX interpreter, and the same tape on the CPU.
//
//   INGOT_NEEDS_PTX();                                            // skips, saying what is missing
//   KernelRun run{expr, {a, b}, {DType::F32, {3, 5}}};
//   expect_same(run.ptx(), run.cpu(), "what");                    // bit for bit, NaN equals NaN
#pragma once

#include <string>
#include <vector>

#include "core/expr/scalar_expr.h"
#include "core/ir/tensor.h"
#include "cuda/jit/elementwise_source.h"
#include "cuda/jit/nvrtc.h"
#include "gtest/gtest.h"
#include "tests/support/ptx_device.h"

#define INGOT_NEEDS_NVRTC() \
  if (const auto why = ::ingot::cuda::Nvrtc::missing()) GTEST_SKIP() << *why
#define INGOT_NEEDS_PTX() \
  INGOT_NEEDS_NVRTC();    \
  if (!::ingot::PtxDevice::available()) GTEST_SKIP() << ::ingot::PtxDevice::kMissing

namespace ingot {

constexpr DType kAllDTypes[] = {DType::F32, DType::F64, DType::F16, DType::BF16,
                                DType::I32, DType::I64, DType::U8,  DType::Bool};
constexpr int kArchitectures[] = {80, 90, 120};

struct KernelRun {
  ScalarExpr expr;
  std::vector<Tensor> inputs;
  TensorType out;  // shape and layout of all results; the tape gives the dtypes
  cuda::ElementwiseOptions options = {};
  int arch = 90;
  // Bytes by which operands and results start beyond an address that is aligned to 16; options must agree.
  std::vector<int> input_shift = {}, output_shift = {};
  // Result -> operand whose memory it takes, -1: its own.
  std::vector<int> shares = {};

  std::vector<TensorType> input_types() const;
  std::vector<TensorType> output_types() const;
  cuda::KernelSource source() const;
  std::string compiled() const;
  std::vector<Tensor> ptx() const;
  std::vector<Tensor> cpu() const;
};

// The function of the table on operands of `d` (`where`: and a bool), as a tape; empty where it is not
// defined.
std::vector<ScalarExpr> lone(const ScalarOpInfo& row, DType d);

// Special values, then random ones that keep integers from overflowing.
Tensor sample(const TensorType& type, unsigned seed);

// Equal bits, except that any NaN equals any NaN.
void expect_same(const std::vector<Tensor>& got, const std::vector<Tensor>& want, const std::string& what);
// Within `ulps` units in the last place of the larger of |want| and `scale`.
void expect_close(const Tensor& got, const Tensor& want, double ulps, double scale, const std::string& what);

}  // namespace ingot
