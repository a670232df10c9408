// Generated kernels on the simulated device: modules, their compiler, the results of elementwise kernels
// against the CPU's tape, and mistakes seeded into a generated text.
#include <array>
#include <cstring>

#include "core/base/error.h"
#include "cuda/base/check.h"
#include "cuda/base/graph.h"
#include "cuda/base/launch.h"
#include "cuda/base/module.h"
#include "tests/cuda/kernel_run.h"
#include "tests/cuda_sim/sim_test.h"
#include "tests/support/cuda_sim/gxx_compiler.h"
#include "tests/support/cuda_sim/kernel_table.h"
#include "tests/support/messages.h"

namespace ingot {
namespace {

using cuda::CudaError;
using cuda::DeviceBuffer;
using cuda::KernelSource;
using cuda::Module;
using cuda::Stream;
using sim::Fault;
using Reg = ScalarExpr::Reg;

sim::GxxCompiler& compiler() {
  static sim::GxxCompiler c(kChecksAccesses);
  return c;
}

class GeneratedKernels : public SimTest {
 protected:
  // What the kernel `k` makes of the operands of `run`, each in memory of its own.
  static std::vector<Tensor> on_device(const KernelRun& run, const KernelSource& k) {
    Module module;
    if (k.blocks > 0) module = Module(k.name, compiler().compile(k, 90));
    return launched(run, k, module);
  }
  static std::vector<Tensor> on_device(const KernelRun& run) { return on_device(run, run.source()); }

  static std::vector<Tensor> launched(const KernelRun& run, const KernelSource& k, const Module& module) {
    const Stream stream;
    std::vector<DeviceBuffer> memory;
    std::vector<void*> pointers;
    const auto place = [&](const TensorType& type, int shift) {
      memory.emplace_back(type.bytes() + static_cast<std::size_t>(shift));
      pointers.push_back(memory.back().as<std::byte>() + shift);
    };
    const auto shift_of = [](const std::vector<int>& shifts, std::size_t i) {
      return i < shifts.size() ? shifts[i] : 0;
    };
    for (std::size_t i = 0; i < run.inputs.size(); ++i) {
      place(run.inputs[i].type(), shift_of(run.input_shift, i));
      cuda::copy_to_device(pointers[i], run.inputs[i].raw(), run.inputs[i].bytes(), stream);
    }
    const auto types = run.output_types();
    for (std::size_t o = 0; o < types.size(); ++o) {
      const int operand = o < run.shares.size() ? run.shares[o] : -1;
      if (operand < 0)
        place(types[o], shift_of(run.output_shift, o));
      else
        pointers.push_back(pointers[static_cast<std::size_t>(operand)]);
    }
    if (k.blocks > 0) {
      std::vector<void*> arguments;
      for (void*& p : pointers) arguments.push_back(&p);
      cuda::launch(module.kernel(k.name), dim3(static_cast<unsigned>(k.blocks)),
                   dim3(static_cast<unsigned>(k.threads)), 0, stream, arguments);
      stream.synchronize();
    }
    std::vector<Tensor> results;
    for (std::size_t o = 0; o < types.size(); ++o) {
      results.emplace_back(types[o]);
      cuda::copy_to_host(results[o].raw(), pointers[run.inputs.size() + o], results[o].bytes(), stream);
    }
    stream.synchronize();
    return results;
  }
};

// (a + b) * c, and which is larger.
ScalarExpr two_results(DType d) {
  ScalarExpr e({d, d, d});
  const Reg sum = e.emit(ScalarOp::Add, {0, 1});
  e.add_output(e.emit(ScalarOp::Maximum, {sum, 2}));
  e.add_output(e.emit(ScalarOp::Lt, {0, 2}));
  return e;
}

// y = x + x over n floats.
KernelRun doubled(std::int64_t n) {
  ScalarExpr e({DType::F32});
  e.add_output(e.emit(ScalarOp::Add, {0, 0}));
  return {e, {sample({DType::F32, {n}}, 3)}, {DType::F32, {n}}};
}

TEST_F(GeneratedKernels, EveryFunctionOfEveryDType) {
  for (const DType d : kAllDTypes)
    for (const ScalarOpInfo& row : scalar_op_table()) {
      // The tests of cuda/jit run each function as PTX; here one of each kind goes through the device.
      if (row.op != ScalarOp::Add && row.op != ScalarOp::Gelu && row.op != ScalarOp::Where &&
          row.op != ScalarOp::Not && row.op != ScalarOp::Lt && row.op != ScalarOp::IsNan)
        continue;
      for (const ScalarExpr& e : lone(row, d)) {
        KernelRun run{e, {}, {DType::F32, {517}}};
        for (const DType t : e.inputs())
          run.inputs.push_back(sample({t, {517}}, static_cast<unsigned>(7 + run.inputs.size())));
        const auto got = on_device(run), want = run.cpu();
        const std::string what = cat(row.name, " of ", name(d));
        if (row.op == ScalarOp::Gelu && d == DType::F64)
          expect_close(got[0], want[0], 4, 1, what);  // two C libraries' erf
        else
          expect_same(got, want, what);
      }
    }
}

TEST_F(GeneratedKernels, BroadcastsLayoutsAndTails) {
  const Shape image{2, 5, 3, 7};
  const Layout nhwc = Layout::channels_last(4);
  for (const DType d : {DType::F32, DType::BF16, DType::U8}) {
    const KernelRun runs[] = {
        {two_results(d),
         {sample({d, {7, 33}}, 1), sample({d, {33}}, 2), sample({d, {7, 1}}, 3)},
         {d, {7, 33}}},
        {two_results(d),
         {sample({d, {6, 32}}, 1), sample({d, {32}}, 2), sample({d, {6, 1}}, 3)},
         {d, {6, 32}}},
        {two_results(d),
         {sample({d, image, nhwc}, 1), sample({d, {5, 1, 1}}, 2), sample({d, image}, 3)},
         {d, image, nhwc}},
        {two_results(d), {sample({d, {}}, 1), sample({d, {1}}, 2), sample({d, {2049}}, 3)}, {d, {2049}}},
        {two_results(d), {sample({d, {0, 4}}, 1), sample({d, {4}}, 2), sample({d, {}}, 3)}, {d, {0, 4}}},
    };
    for (const KernelRun& run : runs)
      expect_same(on_device(run), run.cpu(), cat(name(d), " ", to_string(run.out)));
  }
}

TEST_F(GeneratedKernels, UnalignedAndInPlace) {
  KernelRun run{
      two_results(DType::F16),
      {sample({DType::F16, {3, 37}}, 1), sample({DType::F16, {37}}, 2), sample({DType::F16, {3, 37}}, 3)},
      {DType::F16, {3, 37}}};
  run.options.input_alignment = {2, 4};
  run.options.output_alignment = {2};
  run.input_shift = {2, 4};
  run.output_shift = {2};
  expect_same(on_device(run), run.cpu(), "unaligned");
  run.options = {};
  run.input_shift = run.output_shift = {};
  run.shares = {2, -1};
  expect_same(on_device(run), run.cpu(), "in place");
}

TEST_F(GeneratedKernels, CompiledOnceForOneText) {
  sim::GxxCompiler own(kChecksAccesses);
  const KernelSource k = doubled(64).source();
  const std::string image = own.compile(k, 90);
  EXPECT_EQ(own.compile(k, 120), image);
  EXPECT_EQ(own.stats().compiled, 1);
  EXPECT_EQ(own.stats().found, 1);
  RecordProperty("milliseconds", static_cast<int>(1e3 * own.stats().seconds));
}

TEST_F(GeneratedKernels, SeveralInOneRunOfTheCompiler) {
  std::vector<KernelSource> kernels;
  for (int i = 0; i < 5; ++i) kernels.push_back(doubled(64 + i % 4).source());  // one name, four texts
  std::vector<cuda::KernelJob> jobs;
  for (const KernelSource& k : kernels) jobs.push_back({&k, 90});
  sim::GxxCompiler own(kChecksAccesses);
  const auto made = own.compile_all(jobs);
  EXPECT_EQ(own.stats().runs, 1);
  EXPECT_EQ(own.stats().compiled, 4);
  EXPECT_EQ(made[4].image, made[0].image);
  for (std::size_t i = 0; i < 4; ++i) {
    const Module module("ew_add", made[i].image);
    const KernelRun run = doubled(64 + static_cast<std::int64_t>(i));
    expect_same(launched(run, kernels[i], module), run.cpu(), cat(i));
  }
  // One that is refused leaves the others alone.
  kernels[2].text += "undeclared = 1;\n";
  sim::GxxCompiler other(kChecksAccesses);
  const auto again = other.compile_all(jobs);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(again[i].error != nullptr, i == 2) << i;
  EXPECT_EQ(other.stats().compiled, 3);
  const Module module("ew_add", again[3].image);
  expect_same(launched(doubled(67), kernels[3], module), doubled(67).cpu(), "beside one that is refused");
}

TEST_F(GeneratedKernels, ACompilersRefusalShowsItsLogAndTheText) {
  KernelSource k = doubled(64).source();
  k.text += "undeclared = 1;\n";
  const std::string said = message_of<Error>([&] { compiler().compile(k, 90); });
  EXPECT_TRUE(says(said, "ew_add", "ew_add.cu:", "undeclared", "blockIdx")) << said;
}

TEST_F(GeneratedKernels, AModuleOwnsItsCode) {
  const std::size_t before = sim::loaded_libraries();
  const KernelSource k = doubled(64).source();
  const std::string image = compiler().compile(k, 90);
  {
    Module a(k.name, image), b(k.name, image);
    EXPECT_EQ(sim::loaded_libraries(), before + 2);
    EXPECT_NE(a.kernel(k.name).handle, b.kernel(k.name).handle);
    b = std::move(a);
    EXPECT_EQ(sim::loaded_libraries(), before + 1);
    EXPECT_EQ(b.kernel(k.name).name, k.name);
    // A loaded module is not part of the machine, as kernels compiled ahead are not.
    sim::reset();
    EXPECT_NE(b.kernel(k.name).handle, nullptr);
  }
  EXPECT_EQ(sim::loaded_libraries(), before);
}

TEST_F(GeneratedKernels, WhatIsNoImageIsRefused) {
  const KernelSource k = doubled(64).source();
  const std::string image = compiler().compile(k, 90);
  std::string damaged = image;
  damaged[0] = 'x';
  EXPECT_TRUE(says(message_of<CudaError>([&] { Module("ew_add", damaged); }), "ew_add",
                   "cudaErrorInvalidKernelImage", "INGOT_CACHE_DIR"));
  EXPECT_TRUE(says(message_of<CudaError>([&] { Module("ew_add", "// PTX\n.version 8.0\n"); }),
                   "cudaErrorInvalidKernelImage"));
  const Module module("ew_add", image);
  // What the program itself exports is no kernel of the module.
  for (const char* absent : {"ew_sub", "threadIdx", "malloc"})
    EXPECT_TRUE(says(message_of<CudaError>([&] { module.kernel(absent); }), absent, "module ew_add",
                     "cudaErrorSymbolNotFound", "extern"));
  sim::fail_call("cudaLibraryLoadData", 1, cudaErrorMemoryAllocation);
  EXPECT_THROW(Module("ew_add", image), CudaError);
}

TEST_F(GeneratedKernels, ALaunchErrorNamesTheKernel) {
  const Stream stream;
  const KernelSource k = doubled(64).source();
  const Module module(k.name, compiler().compile(k, 90));
  void* p = nullptr;
  const std::array<void*, 2> arguments{&p, &p};
  const std::string said = message_of<CudaError>(
      [&] { cuda::launch(module.kernel(k.name), dim3(1), dim3(2048), 0, stream, arguments); });
  EXPECT_TRUE(says(said, "launch of ew_add", "2048", "cudaErrorInvalidConfiguration")) << said;
}

TEST_F(GeneratedKernels, AKernelMustNotOutliveItsModule) {
  const Stream stream;
  const KernelRun run = doubled(64);
  const KernelSource k = run.source();
  DeviceBuffer x(256), y(256);
  cuda::fill_bytes(x.data(), 0, 256, stream);
  void *from = x.data(), *to = y.data();
  const std::array<void*, 2> arguments{&from, &to};
  cuda::ModuleKernel kernel;
  {
    const Module module(k.name, compiler().compile(k, 90));
    kernel = module.kernel(k.name);
    cuda::launch(kernel, dim3(1), dim3(256), 0, stream, arguments);
  }
  stream.synchronize();
  EXPECT_TRUE(says(take(Fault::BadHandle), "ew_add", "unloaded"));
  EXPECT_THROW(cuda::launch(kernel, dim3(1), dim3(256), 0, stream, arguments), CudaError);
}

TEST_F(GeneratedKernels, CapturedIntoAGraph) {
  const Stream stream;
  const KernelSource k = doubled(4).source();
  const Module module(k.name, compiler().compile(k, 90));
  DeviceBuffer x(16);
  const std::vector<float> ones(4, 1.0f);
  cuda::copy_to_device(x.data(), ones.data(), 16, stream);
  stream.synchronize();
  void* p = x.data();
  const cuda::GraphExec graph(cuda::capture(stream, [&] {
    cuda::launch(module.kernel(k.name), dim3(1), dim3(256), 0, stream, std::array<void*, 2>{&p, &p});
  }));
  p = nullptr;  // the graph has its own copy of the arguments
  for (int i = 0; i < 3; ++i) graph.launch(stream);
  EXPECT_EQ(to_host<float>(x, stream), std::vector<float>(4, 8.0f));
}

// ---- Mistakes seeded into a text ----

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  const auto at = text.find(from);
  EXPECT_NE(at, std::string::npos) << "no '" << from << "' in:\n" << text;
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

TEST_F(GeneratedKernels, FindsAnAccessBehindTheEnd) {
  const KernelRun run = doubled(1000);
  KernelSource k = run.source();
  k.text = replaced(k.text, "<= 1000u", "<= 1004u");
  if (kChecksAccesses) {
    EXPECT_THROW(on_device(run, k), CudaError);
    EXPECT_TRUE(says(take(Fault::OutOfBounds), "kernel 'ew_add'", "4000 bytes", "ew_add.cu:"));
    sim::reset();
  } else {
    on_device(run, k);
    EXPECT_TRUE(says(take(Fault::OutOfBounds), "wrote at byte 400", "of 4000 bytes"));
  }
  expect_same(on_device(run), run.cpu(), "the text without the mistake");
}

TEST_F(GeneratedKernels, FindsAMisalignedAccess) {
  KernelRun run = doubled(1000);
  run.input_shift = {4};  // the text promises 16
  EXPECT_THROW(on_device(run), CudaError);
  EXPECT_TRUE(says(take(Fault::Misaligned), "kernel 'ew_add'", "16 bytes", "element.h:", "ew_add.cu:"));
  sim::reset();
  run.options.input_alignment = {4};
  expect_same(on_device(run), run.cpu(), "with the true alignment");
}

TEST_F(GeneratedKernels, FindsTwoBlocksThatWriteOneElement) {
  if (!kChecksAccesses) GTEST_SKIP() << "seen with access callbacks only";
  const KernelRun run = doubled(3000);  // three blocks
  KernelSource k = run.source();
  k.text = replaced(k.text, "blockIdx.x", "(blockIdx.x & 1u)");
  on_device(run, k);
  const auto findings = sim::take_findings();
  ASSERT_FALSE(findings.empty());
  for (const auto& f : findings) EXPECT_EQ(f.fault, Fault::Race) << f.text;
  EXPECT_TRUE(says(findings.front().text, "kernel 'ew_add'", "block (", "thread (", "ew_add.cu:"));
}

}  // namespace
}  // namespace ingot
