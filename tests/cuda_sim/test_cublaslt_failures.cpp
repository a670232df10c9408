// What cuBLASLt can fail with, injected: our own kernel runs, with one line that says why, or one error names
// the node and the call. Nothing is left alive.
#include "cuda/libs/cublaslt.h"
#include "cuda/libs/libraries.h"
#include "tests/cuda_sim/cublaslt_test.h"

#if INGOT_HAS_CUBLASLT

namespace ingot {
namespace {

std::size_t lines(const std::string& text) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

// One product with a bias and a residual; three runs, as a program: issued, recorded, replayed.
class CublasLtFailures : public CublasLtTest {
 protected:
  static Graph graph() { return product({6, 8}, {8, 5}, {.has_bias = true, .has_residual = true}).graph; }
  static std::map<std::string, Tensor> three_runs() {
    return run(graph(), Target::cuda(0), {.runs = 3, .look_every = 1});
  }
  // Runs with the failure that `inject` asks for; gives what was written to stderr.
  template <class Inject>
  static std::string expect_own_kernel(const Inject& inject) {
    const auto want = run(graph(), Target::cpu(1), {.runs = 3, .look_every = 1});
    sim::CublasLtFake lt;
    inject(lt);
    testing::internal::CaptureStderr();
    std::map<std::string, Tensor> got;
    try {
      got = three_runs();
    } catch (const Error& e) {
      ADD_FAILURE() << e.what();
    }
    const std::string log = testing::internal::GetCapturedStderr();
    if (!got.empty()) expect_close(got, want, 1e-5);
    EXPECT_EQ(lines(log), 1u) << log;
    EXPECT_NE(log.find("runs on Ingot's own kernel: "), std::string::npos) << log;
    EXPECT_NE(log.find("matmul(f32[6, 8], f32[8, 5]"), std::string::npos) << log;
    EXPECT_EQ(lt.live(), 0u);
    return log;
  }
};

TEST_F(CublasLtFailures, EveryCallOfBindingThatRefuses) {
  for (const char* function : {"cublasLtCreate", "cublasLtMatmulDescCreate", "cublasLtMatmulDescSetAttribute",
                               "cublasLtMatrixLayoutCreate", "cublasLtMatmulPreferenceCreate",
                               "cublasLtMatmulPreferenceSetAttribute", "cublasLtMatmulAlgoGetHeuristic"})
    for (const cublasStatus_t status :
         {CUBLAS_STATUS_NOT_INITIALIZED, CUBLAS_STATUS_ALLOC_FAILED, CUBLAS_STATUS_NOT_SUPPORTED,
          CUBLAS_STATUS_ARCH_MISMATCH, CUBLAS_STATUS_INVALID_VALUE, CUBLAS_STATUS_INTERNAL_ERROR}) {
      SCOPED_TRACE(cat(function, ", status ", static_cast<int>(status)));
      sim::reset();
      const std::string log = expect_own_kernel([&](sim::CublasLtFake& lt) { lt.fail(function, 1, status); });
      EXPECT_NE(log.find(cat(function, ": CUBLAS_STATUS_")), std::string::npos) << log;
    }
}

// A model's products all lack it; the reason is said once.
TEST_F(CublasLtFailures, NoHandleForAModel) {
  const Graph g = mlp_training(2);
  const Runs runs{.runs = 3, .look_every = 1};
  const auto want = run(g, Target::cpu(1), runs);
  sim::CublasLtFake lt;
  lt.fail("cublasLtCreate", 1, CUBLAS_STATUS_ALLOC_FAILED, true);
  testing::internal::CaptureStderr();
  expect_close(run(g, Target::cuda(0), runs), want, 1e-5);
  EXPECT_EQ(lines(testing::internal::GetCapturedStderr()), 1u);
  EXPECT_GT(lt.count("cublasLtCreate"), 1u);
  EXPECT_EQ(lt.calls().size(), 0u);
}

TEST_F(CublasLtFailures, NoAlgorithm) {
  const std::string log = expect_own_kernel([](sim::CublasLtFake& lt) { lt.find_no_algorithm(); });
  EXPECT_NE(log.find("cublasLtMatmulAlgoGetHeuristic: none of 0 algorithms"), std::string::npos) << log;
}

// The first call is the one that is issued, the second the one that is recorded.
TEST_F(CublasLtFailures, ProductsThatAreRefused) {
  for (const int nth : {1, 2})
    for (const cublasStatus_t status : {CUBLAS_STATUS_NOT_SUPPORTED, CUBLAS_STATUS_ARCH_MISMATCH,
                                        CUBLAS_STATUS_ALLOC_FAILED, CUBLAS_STATUS_NOT_INITIALIZED}) {
      SCOPED_TRACE(cat("call ", nth, ", status ", static_cast<int>(status)));
      sim::reset();
      const std::string log =
          expect_own_kernel([&](sim::CublasLtFake& lt) { lt.fail("cublasLtMatmul", nth, status); });
      EXPECT_NE(log.find("cublasLtMatmul: CUBLAS_STATUS_"), std::string::npos) << log;
    }
}

// Something may have been issued: the run ends.
TEST_F(CublasLtFailures, ProductsThatFailNameTheNodeAndTheCall) {
  for (const int nth : {1, 2})
    for (const cublasStatus_t status :
         {CUBLAS_STATUS_INTERNAL_ERROR, CUBLAS_STATUS_EXECUTION_FAILED, CUBLAS_STATUS_INVALID_VALUE}) {
      SCOPED_TRACE(cat("call ", nth, ", status ", static_cast<int>(status)));
      sim::reset();
      sim::CublasLtFake lt;
      lt.fail("cublasLtMatmul", nth, status);
      Graph g;
      {
        const Value x = input(g, "x", {DType::F32, {4, 8}}), w = input(g, "w", {DType::F32, {8, 5}});
        const Scope scope(g, "fc1", SourceLoc::current());
        output("y", matmul(x, w));
      }
      try {
        Session s(compile(g, {.target = Target::cuda(0)}));
        for (int i = 0; i < 3; ++i) s.run();
        ADD_FAILURE() << "no error";
      } catch (const DeviceError& e) {
        const std::string text = e.what();
        EXPECT_NE(e.node().find("fc1"), std::string::npos) << text;
        EXPECT_NE(text.find("cublasLtMatmul: CUBLAS_STATUS_"), std::string::npos) << text;
      }
      EXPECT_EQ(lt.live(), 0u);
      expect_clean();
    }
}

TEST_F(CublasLtFailures, TooOldAVersion) {
  try {
    const sim::CublasLtFake lt(111103);
    FAIL() << "11.11 is too old";
  } catch (const DeviceError& e) {
    const std::string text = e.what();
    EXPECT_NE(
        text.find("cuBLASLt 11.11.3 is too old, version 12.0 or later is needed; pip install nvidia-cublas"),
        std::string::npos)
        << text;
  }
  const sim::CublasLtFake oldest(cuda::CublasLt::kOldest);
  EXPECT_EQ(cuda::CublasLt::instance()->version(), "12.0.0");
}

// A file without one of the functions, one that is no library, and none.
TEST_F(CublasLtFailures, LibrariesThatCannotBeUsed) {
  const auto why = [](const std::string& file) -> std::string {
    try {
      const cuda::CublasLt opened(cuda::LibraryNames{{file}, {}});
      return "it was opened";
    } catch (const DeviceError& e) {
      return e.what();
    }
  };
  const std::string incomplete = why(INGOT_INCOMPLETE_CUBLASLT);
  EXPECT_NE(incomplete.find(": it has no function cublasLtMatmul"), std::string::npos) << incomplete;
  EXPECT_NE(why(INGOT_SOURCE_DIR "/README.md").find("README.md"), std::string::npos);
  EXPECT_NE(why("/nowhere/libcublasLt.so.13").find("/nowhere/libcublasLt.so.13"), std::string::npos);
}

// The workspace is part of the plan, so a device that has too little memory is told before anything runs.
TEST_F(CublasLtFailures, TooLittleMemoryForTheWorkspace) {
  sim::reset({.memory = std::size_t{8} << 20});
  const sim::CublasLtFake lt;
  const ProgramPtr program = compile(graph(), {.target = Target::cuda(0)});
  EXPECT_THROW(Session s(program), OutOfMemoryError);
  EXPECT_EQ(lt.live(), 0u);
}

// A session that falls back asks no more, and another one asks again.
TEST_F(CublasLtFailures, OneSessionsRefusalIsNotAnothers) {
  sim::CublasLtFake lt;
  lt.fail("cublasLtMatmulAlgoGetHeuristic", 1, CUBLAS_STATUS_NOT_SUPPORTED);
  testing::internal::CaptureStderr();
  three_runs();
  EXPECT_EQ(lt.calls().size(), 0u);
  three_runs();
  EXPECT_EQ(lt.calls().size(), 2u);
  EXPECT_EQ(lines(testing::internal::GetCapturedStderr()), 1u);
}

}  // namespace
}  // namespace ingot

#endif
