// cuBLASLt as a candidate of `matmul`, with a recording fake in the library's place: each call, interpreted
// by the fake's plain loops, must give the op's result. Failures are in test_cublaslt_failures.cpp.
#include "core/ops/matmul.h"
#include "cuda/libs/cublaslt.h"
#include "cuda/libs/libraries.h"
#include "cuda/ops/table.h"
#include "tests/cuda_sim/cublaslt_test.h"
#include "tests/support/cuda_sim/random.h"
#include "tests/support/typed_case.h"

#if INGOT_HAS_CUBLASLT

namespace ingot {
namespace {

// The simulated device runs no library: nothing is chosen that a test has not put there, and the next
// candidate is.
TEST_F(CublasLtTest, WithoutTheLibraryOurOwnKernelIsTaken) {
  const MatmulNode node = product({4, 8}, {8, 5}, {});
  const Target target = cuda_target();
  const Node& n = node.graph.node({0});
  const auto all = explain_step(cuda::lowerings(), {node.graph, n, target});
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].name, "cublaslt");
  EXPECT_EQ(all[0].why, "the simulated device runs no library's kernels");
  EXPECT_FALSE(all[0].taken);
  EXPECT_EQ(all[1].name, "own");
  EXPECT_TRUE(all[1].taken);
}

// Row-major x[M, K] and a weight that is stored [N, K], as a linear layer has them, by hand.
TEST_F(CublasLtTest, DescriptorsOfALinearLayer) {
  const sim::CublasLtFake lt;
  const MatmulNode node =
      product({3, 5}, {7, 5}, {.transpose_b = true, .has_bias = true, .activation = "relu"});
  expect_result(node, "cublaslt");
  ASSERT_EQ(lt.calls().size(), 1u);
  const sim::LtCall& c = lt.calls()[0];
  EXPECT_EQ(c.operation.compute, CUBLAS_COMPUTE_32F);
  EXPECT_EQ(c.operation.scale, CUDA_R_32F);
  EXPECT_EQ(c.operation.epilogue, 6u);  // CUBLASLT_EPILOGUE_RELU_BIAS
  EXPECT_NE(c.operation.bias, nullptr);
  EXPECT_EQ(c.operation.transpose_a, CUBLAS_OP_T);
  EXPECT_EQ(c.operation.transpose_b, CUBLAS_OP_N);
  EXPECT_EQ(layout(c.a), "5 x 7, ld 5");  // our b
  EXPECT_EQ(layout(c.b), "5 x 3, ld 5");  // our a
  EXPECT_EQ(layout(c.d), "7 x 3, ld 7");
  EXPECT_EQ(layout(c.c), layout(c.d));
  EXPECT_EQ(c.alpha, 1.0f);
  EXPECT_EQ(c.beta, 0.0f);
  EXPECT_EQ(c.at_c, c.at_d);
  EXPECT_EQ(c.workspace_bytes, std::size_t{32} << 20);
}

TEST_F(CublasLtTest, DescriptorsOfABatchWithAResidual) {
  const sim::CublasLtFake lt;
  const MatmulNode node =
      product({6, 2, 3}, {6, 2, 4}, {.transpose_a = true, .has_residual = true}, DType::BF16);
  expect_result(node, "cublaslt");
  ASSERT_EQ(lt.calls().size(), 2u);  // once more with the result in the residual's memory
  const sim::LtCall& c = lt.calls()[0];
  EXPECT_EQ(c.operation.epilogue, 1u);  // CUBLASLT_EPILOGUE_DEFAULT
  EXPECT_EQ(c.operation.transpose_a, CUBLAS_OP_N);
  EXPECT_EQ(c.operation.transpose_b, CUBLAS_OP_T);
  EXPECT_EQ(c.a.type, CUDA_R_16BF);
  EXPECT_EQ(layout(c.a), "4 x 2, ld 4, 6 at 8");
  EXPECT_EQ(layout(c.b), "3 x 2, ld 3, 6 at 6");
  EXPECT_EQ(layout(c.d), "4 x 3, ld 4, 6 at 12");
  EXPECT_EQ(c.beta, 1.0f);
  EXPECT_NE(c.at_c, c.at_d);
  EXPECT_EQ(lt.calls()[1].at_c, lt.calls()[1].at_d);
}

TEST_F(CublasLtTest, BatchesThatAreOneProduct) {
  const sim::CublasLtFake lt;
  expect_result(product({2, 3, 4, 5}, {5, 6}, {.has_bias = true}), "cublaslt");
  ASSERT_EQ(lt.calls().size(), 1u);
  EXPECT_EQ(layout(lt.calls()[0].d), "6 x 24, ld 6");
}

TEST_F(CublasLtTest, BroadcastOperandsHaveStrideZero) {
  const sim::CublasLtFake lt;
  expect_result(product({1, 4, 5}, {6, 5, 3}, {}), "cublaslt");
  expect_result(product({6, 5, 4}, {5, 3}, {.transpose_a = true}), "cublaslt");
  ASSERT_EQ(lt.calls().size(), 2u);
  EXPECT_EQ(layout(lt.calls()[0].b), "5 x 4, ld 5, 6 at 0");
  EXPECT_EQ(layout(lt.calls()[1].a), "3 x 5, ld 3, 6 at 0");
}

TEST_F(CublasLtTest, DeclinesWithTheReason) {
  const sim::CublasLtFake lt;
  const auto why = [](const MatmulNode& node) {
    std::string text;
    const Target target = cuda_target();
    const Problem p{node.graph, node.graph.node({0}), target, &text};
    for (const Lowering& row : *cuda::lowerings().find("matmul"))
      if (row.name == std::string("cublaslt")) {
        EXPECT_EQ(row.lower(p), nullptr);
      }
    return text;
  };
  EXPECT_EQ(
      why(product({2, 1, 3, 4}, {1, 5, 4, 2}, {})),
      "the batch axes of [2, 1, 3, 4] and [1, 5, 4, 2] are not one stride apart, as cuBLASLt wants them");
  EXPECT_EQ(why(product({3, 4}, {4, 2}, {.activation = "gelu"})),
            "cuBLASLt has no epilogue 'gelu', only relu and gelu_tanh");
  EXPECT_EQ(why(product({3, 0}, {0, 2}, {})), "there is nothing to multiply: a size is 0");
  EXPECT_EQ(why(product({3, 4}, {4, 2}, {}, DType::F64)),
            "cuBLASLt is given row-major operands in f32, f16 or bf16, not f64[3, 4]");
}

// 200 products of random sizes, storage, batches, epilogues and types: the fake's reading of the recorded
// call is the op's result, and our own kernel's, for a node alone and with the result in the residual's
// memory.
TEST_F(CublasLtTest, RandomProducts) {
  sim::Random random(7);
  const auto below = [&](std::uint64_t n) { return static_cast<std::int64_t>(random.below(n)); };
  int taken = 0, declined = 0;
  std::map<std::uint32_t, int> epilogues;
  for (int seed = 1; taken < 200; ++seed) {
    ASSERT_LT(seed, 600) << "only " << taken << " were taken";
    MatmulAttrs at;
    at.transpose_a = below(2) != 0, at.transpose_b = below(2) != 0;
    at.has_bias = below(2) != 0, at.has_residual = below(2) != 0;
    at.activation = std::vector<std::string>{"", "relu", "gelu_tanh"}[static_cast<std::size_t>(below(3))];
    const DType dtype =
        std::vector<DType>{DType::F32, DType::F16, DType::BF16}[static_cast<std::size_t>(below(3))];
    // Sizes around the 8 and 16 that 16-byte accesses want, and without a factor of 2.
    const auto size = [&] { return below(3) == 0 ? 8 * (1 + below(3)) : 1 + below(20); };
    const std::int64_t m = size(), n = size(), k = size();
    Shape a, b;
    const std::int64_t rank = below(4);
    for (std::int64_t i = 0; i < rank; ++i) {
      const std::int64_t entries = 1 + below(3), which = below(5);
      a.push_back(which == 0 ? 1 : entries);
      b.push_back(which == 1 ? 1 : entries);
    }
    if (below(3) == 0) b = {};
    a.push_back(at.transpose_a ? k : m), a.push_back(at.transpose_a ? m : k);
    b.push_back(at.transpose_b ? n : k), b.push_back(at.transpose_b ? k : n);
    sim::reset({.seed = static_cast<std::uint64_t>(seed)});
    const MatmulNode node = product(a, b, at, dtype, seed);
    SCOPED_TRACE(cat("seed ", seed, ": ", to_string(node.operands[0].type()), " ",
                     to_string(node.operands[1].type()), at.transpose_a ? " ta" : "",
                     at.transpose_b ? " tb" : "", at.has_bias ? " bias" : "",
                     at.has_residual ? " residual " : " ", at.activation));
    const auto own = run_on_device(node.graph, {0}, node.operands);
    ASSERT_EQ(own->kernel, "matmul");
    const sim::CublasLtFake lt;
    const auto got = run_on_device(node.graph, {0}, node.operands);
    if (got->kernel != "cublaslt") {
      ++declined;
      EXPECT_GE(rank, 2);
      continue;
    }
    ++taken;
    ASSERT_EQ(lt.calls().size(), at.has_residual ? 2u : 1u);
    ++epilogues[lt.calls()[0].operation.epilogue];
    expect_equal(got->results[0], node, "cublaslt");
    expect_equal(own->results[0], node, "matmul");
    EXPECT_EQ(join(lt.complaints()), "");
    EXPECT_EQ(lt.live(), 0u);
    if (HasFailure()) return;
  }
  EXPECT_EQ(epilogues.size(), 6u) << "an epilogue was not seen";
  EXPECT_GT(declined, 0);
}

// The op's own cases, in every type that they take.
TEST_F(CublasLtTest, OpCases) {
  int taken = 0;
  for (const test::CaseIn& in : test::all_cases()) {
    if (in.c.op != "matmul") continue;
    const auto t = test::typed_case(in.c, in.dtype, false);
    if (!t) continue;
    SCOPED_TRACE(cat(in.c.name, " in ", name(in.dtype)));
    const MatmulNode node{t->graph,
                          {t->inputs.begin(), t->inputs.begin() + static_cast<std::ptrdiff_t>(
                                                                      t->graph.node({0}).inputs.size())}};
    const sim::CublasLtFake lt;
    const auto got = run_on_device(node.graph, {0}, node.operands);
    if (!got || got->kernel != "cublaslt") continue;
    ++taken;
    expect_equal(got->results[0], node, "cublaslt");
  }
  EXPECT_GT(taken, 15);
}

// An operand that begins one element behind a multiple of 16 bytes: another algorithm, the same result.
TEST_F(CublasLtTest, AddressesThatAreAlignedToAnElementOnly) {
  const sim::CublasLtFake lt;
  MatmulNode node = product({8, 16}, {16, 8}, {}, DType::F16);
  const Target target = cuda_target();
  const auto step = first_step(cuda::lowerings(), {node.graph, node.graph.node({0}), target});
  ASSERT_EQ(step->kernel, "cublaslt");
  const cuda::Stream stream;
  const cuda::DeviceBuffer workspace(step->workspace_bytes), y(node.operands[0].bytes());
  for (const std::size_t shift : {std::size_t{0}, std::size_t{2}}) {
    std::vector<cuda::DeviceBuffer> memory;
    std::vector<void*> in;
    for (const Tensor& t : node.operands) {
      memory.emplace_back(t.bytes() + shift);
      in.push_back(static_cast<std::byte*>(memory.back().data()) + shift);
      cuda::copy_to_device(in.back(), t.raw(), t.bytes(), stream);
    }
    std::vector<void*> out = {y.data()};
    const auto bound = step->bind({in, out, workspace.data(), const_cast<cuda::Stream*>(&stream)});
    bound->run();
    Tensor got(TensorType{DType::F16, {8, 8}});
    cuda::copy_to_host(got.raw(), y.data(), got.bytes(), stream);
    stream.synchronize();
    expect_equal(got, node, "cublaslt");
    ASSERT_FALSE(lt.calls().empty());
    EXPECT_EQ(lt.calls().back().used_bytes, shift == 0 ? 512u : 0u);
  }
  EXPECT_EQ(join(lt.complaints()), "");
}

// NVIDIA's own library, where this machine has it, takes every descriptor and attribute as the fake does:
// without a GPU the first call that fails is the one that makes the handle.
TEST_F(CublasLtTest, TheLibraryItselfTakesTheDescriptors) {
  const cuda::LibraryNames& files = cuda::library("cublaslt").files;
  if (!cuda::find_library(files)) GTEST_SKIP() << "cuBLASLt is not installed";
  const auto library = std::make_shared<const cuda::CublasLt>(files);
  EXPECT_GE(library->api().GetVersion(), cuda::CublasLt::kOldest);
  void* const somewhere = reinterpret_cast<void*>(std::uintptr_t{1024});
  for (const DType dtype : {DType::F32, DType::F16, DType::BF16})
    for (const auto activation :
         {cuda::LtActivation::None, cuda::LtActivation::Relu, cuda::LtActivation::GeluTanh}) {
      const cuda::LtProblem p{.dtype = dtype,
                              .m = 16,
                              .n = 8,
                              .k = 32,
                              .transpose_a = true,
                              .batch = 3,
                              .stride_a = 512,
                              .stride_d = 128,
                              .has_bias = true,
                              .has_c = true,
                              .activation = activation,
                              .allow_tf32 = true};
      const cuda::LtOperands at{somewhere, somewhere, somewhere, somewhere, somewhere, somewhere, 1 << 20};
      try {
        const cuda::LtProduct product(library, p, at);
      } catch (const cuda::CublasLtError& e) {
        const std::string text = e.what();
        EXPECT_TRUE(text.starts_with("cublasLtCreate: CUBLAS_STATUS_NOT_INITIALIZED")) << text;
      }
    }
}

// The plan aligns workspaces to 64 bytes, the library wants 256.
TEST_F(CublasLtTest, AWorkspaceThatIsAlignedTo64) {
  const sim::CublasLtFake lt;
  MatmulNode node = product({8, 16}, {16, 8}, {});
  const Target target = cuda_target();
  const auto step = first_step(cuda::lowerings(), {node.graph, node.graph.node({0}), target});
  const cuda::Stream stream;
  const cuda::DeviceBuffer a(512), b(512), y(256), workspace(64 + step->workspace_bytes);
  std::vector<void*> in = {a.data(), b.data()}, out = {y.data()};
  const auto bound = step->bind(
      {in, out, static_cast<std::byte*>(workspace.data()) + 64, const_cast<cuda::Stream*>(&stream)});
  bound->run();
  stream.synchronize();
  ASSERT_EQ(lt.calls().size(), 1u) << join(lt.complaints());
  const sim::LtCall& c = lt.calls()[0];
  const auto first = static_cast<std::byte*>(workspace.data()) + 64;
  EXPECT_GE(static_cast<std::byte*>(c.workspace), first);
  EXPECT_LE(static_cast<std::byte*>(c.workspace) + c.workspace_bytes, first + step->workspace_bytes);
  EXPECT_EQ(c.used_bytes, 512u);
}

// ---- Programs --------------------------------------------------------------------------------------------

TEST_F(CublasLtTest, TenStepsOfTrainingEqualTheCpu) {
  const Graph g = mlp_training(3);
  const Runs runs{.runs = 10, .look_every = 3};
  const auto want = run(g, Target::cpu(1), runs);
  each_order(
      [&] {
        const sim::CublasLtFake lt;
        const ProgramPtr program = compile(g, {.target = Target::cuda(0)});
        expect_close(run(program, runs), want, 1e-5);
        std::size_t products = 0;
        for (const NodeId n : program->schedule()) products += program->step(n).kernel == "cublaslt";
        EXPECT_GE(products, 5u);                     // forward, and both gradients but the first layer's
        EXPECT_EQ(lt.calls().size(), 2 * products);  // issued once, recorded once
        EXPECT_EQ(lt.count("cublasLtCreate"), 1u);   // one handle a device,
        EXPECT_EQ(lt.count("cublasLtMatmulAlgoGetHeuristic"), products);  // one question a session
        EXPECT_EQ(lt.live(), 0u);
        EXPECT_EQ(join(lt.complaints()), "");
      },
      2);
}

TEST_F(CublasLtTest, OneLaunchAStepAndThePlannedWorkspace) {
  const sim::CublasLtFake lt;
  const ProgramPtr program = compile(mlp_training(4), {.target = Target::cuda(0)});
  const std::size_t limit = std::size_t{32} << 20;
  EXPECT_GE(program->report().arena_bytes, limit);
  Session s(program);
  for (int i = 0; i < 2; ++i) s.run();
  const std::size_t calls = lt.calls().size();
  expect_one_launch_a_run(s, 3);
  EXPECT_EQ(lt.calls().size(), calls) << "a replay asks the library again";
  s.output("loss");
  bool used = false;
  for (const sim::LtCall& c : lt.calls()) {
    EXPECT_EQ(c.workspace_bytes, limit);
    used = used || c.used_bytes != 0;
  }
  EXPECT_TRUE(used);
}

TEST_F(CublasLtTest, TwoSessionsShareTheHandle) {
  const sim::CublasLtFake lt;
  const ProgramPtr program = compile(mlp_training(2), {.target = Target::cuda(0)});
  {
    Session one(program), two(program);
    one.run(), two.run();
    EXPECT_EQ(lt.count("cublasLtCreate"), 1u);
  }
  EXPECT_EQ(lt.live(), 0u);
  Session three(program);
  EXPECT_EQ(lt.count("cublasLtCreate"), 2u);
}

TEST_F(CublasLtTest, Tf32WhereTheTargetAllowsIt) {
  for (const bool allow : {false, true}) {
    const sim::CublasLtFake lt;
    Target target = Target::cuda(0);
    target.allow_tf32 = allow;
    Session s(compile(product({4, 8}, {8, 5}, {}).graph, {.target = target}));
    s.run();
    ASSERT_EQ(lt.calls().size(), 1u);
    EXPECT_EQ(lt.calls()[0].operation.compute, allow ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F);
  }
}

}  // namespace
}  // namespace ingot

#endif
