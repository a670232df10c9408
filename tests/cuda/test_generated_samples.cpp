// A few generated kernels as PTX on the disk, for tools/kernel_report.py, which knows their registers from
// ptxas and their accesses from its machine code: short and long tapes, whole and single accesses,
// broadcasts, many operands. In front of each stands what must bound it, as in the kernels of cuda/kernels.
#include <string>
#include <string_view>
#include <vector>

#include "core/base/error.h"
#include "core/base/file.h"
#include "tests/cuda/kernel_run.h"

namespace ingot {
namespace {

using Reg = ScalarExpr::Reg;

struct Sample {
  std::string name;
  ScalarExpr expr;
  std::vector<TensorType> inputs;
  TensorType out;
  std::string_view bound = "bandwidth (loads, stores)";
};

ScalarExpr lone(DType d, ScalarOp op) {
  ScalarExpr e({d});
  e.add_output(e.emit(op, {0}));
  return e;
}

std::vector<Sample> samples() {
  std::vector<Sample> list;
  for (const DType d : {DType::F32, DType::F16, DType::BF16}) {
    const TensorType flat{d, {64, 1000}};
    list.push_back({cat("relu_", name(d)), lone(d, ScalarOp::Relu), {flat}, flat});
    list.push_back({cat("tanh_", name(d)), lone(d, ScalarOp::Tanh), {flat}, flat});
    ScalarExpr scaled({d, d, d, d});  // x scale + shift + residual, then ReLU: what batch norm leaves
    const Reg sum = scaled.emit(ScalarOp::Add, {scaled.emit(ScalarOp::Mul, {0, 1}), 2});
    scaled.add_output(scaled.emit(ScalarOp::Relu, {scaled.emit(ScalarOp::Add, {sum, 3})}));
    const TensorType image{d, {8, 64, 14, 14}, Layout::channels_last(4)};
    const TensorType channel{d, {64, 1, 1}};
    list.push_back({cat("scale_shift_", name(d)), scaled, {image, channel, channel, image}, image});
    const TensorType odd{d, {63, 7, 11}};
    ScalarExpr across({d, d});
    across.add_output(across.emit(ScalarOp::Mul, {0, 1}));
    list.push_back({cat("broadcast_", name(d)), across, {odd, {d, {7, 1}}}, odd});
  }
  ScalarExpr many(std::vector<DType>(24, DType::F32));
  Reg sum = 0;
  for (Reg i = 1; i < 24; ++i) sum = many.emit(ScalarOp::Add, {sum, i});
  many.add_output(sum);
  const TensorType row{DType::F32, {4096}};
  list.push_back({"many_operands", many, std::vector<TensorType>(24, row), row});
  ScalarExpr longer({DType::F32});
  Reg r = 0;
  for (int i = 0; i < 60; ++i) r = longer.emit(i % 2 == 0 ? ScalarOp::Tanh : ScalarOp::Square, {r});
  longer.add_output(r);
  list.push_back({"long_tape", longer, {row}, row, "arithmetic: sixty functions of each element"});
  return list;
}

void write_sample(std::string_view name, int arch, std::string_view bound, const std::string& ptx) {
  EXPECT_NE(ptx.find(cat(".target sm_", arch)), std::string::npos);
  write_file(cat(INGOT_BINARY_DIR, "/tests/cuda_sim/ptx/generated_", name, ".sm_", arch, ".ptx"),
             cat("// Bound by: ", bound, ".\n", ptx));
}

TEST(GeneratedSamples, AreWritten) {
  INGOT_NEEDS_NVRTC();
  for (const int arch : kArchitectures)
    for (const Sample& s : samples()) {
      KernelRun run{s.expr, {}, s.out};
      run.arch = arch;
      for (const TensorType& t : s.inputs) run.inputs.emplace_back(t);
      write_sample(s.name, arch, s.bound, run.compiled());
    }
}

// One tape on many tensors.
TEST(GeneratedSamples, OfManyAreWritten) {
  INGOT_NEEDS_NVRTC();
  std::vector<std::int64_t> counts;
  for (std::int64_t n = 1; n <= 40; ++n) counts.push_back(n * n * 1000);
  ScalarExpr choice({DType::Bool, DType::F32, DType::F32});
  choice.add_output(choice.emit(ScalarOp::Where, {0, 1, 2}));
  for (const int arch : kArchitectures) {
    const auto compiled = [&](const cuda::KernelSource& k) {
      return cuda::Nvrtc::instance().compile(k.name, k.text, arch, cuda::KernelFormat::Ptx);
    };
    for (const DType half : {DType::F16, DType::BF16}) {
      ScalarExpr narrowed({DType::F32});
      narrowed.add_output(narrowed.emit_cast(0, half));
      write_sample(cat("many_casts_", name(half)), arch, "bandwidth (loads, stores)",
                   compiled(cuda::elementwise_many_source(narrowed, 0, counts)));
    }
    write_sample("many_choices", arch, "bandwidth (loads, stores)",
                 compiled(cuda::elementwise_many_source(choice, 1, counts)));
  }
}

}  // namespace
}  // namespace ingot
