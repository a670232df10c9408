// Every generated kernel of these models, training and inference, compiles for every architecture that we
// build for: the tapes of the graphs as the compiler leaves them for a GPU.
#include <algorithm>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/runtime/program.h"
#include "cuda/jit/compiler.h"
#include "cuda/jit/elementwise_source.h"
#include "cuda/jit/node_source.h"
#include "models/models.h"
#include "optim/optimizer.h"
#include "tests/cuda/kernel_run.h"
#include "tests/cuda_sim/sim_test.h"
#include "train/step_graph.h"

namespace ingot {
namespace {

// A GPU that need not be there.
Target some_gpu() {
  Target t;
  t.backend = "cuda";
  t.name = "an H100 for planning";
  t.sm = 90;
  return t;
}

// Kernels of both graphs of a model, by text; and how many nodes they stand for.
struct ModelKernels {
  std::map<std::string, cuda::KernelSource> by_text;
  int nodes = 0;
};

void collect(const Graph& graph, ModelKernels& kernels) {
  const ProgramPtr program = compile(graph, {.target = some_gpu()});
  std::vector<NodeId> nodes = program->prepare();
  nodes.insert(nodes.end(), program->schedule().begin(), program->schedule().end());
  for (const NodeId n : nodes) {
    const auto tape = cuda::node_tape(program->graph(), program->graph().node(n));
    if (!tape) continue;
    ++kernels.nodes;
    cuda::KernelSource k = cuda::elementwise_source(tape->expr, tape->inputs, tape->outputs);
    if (k.blocks > 0) kernels.by_text.try_emplace(k.text, k);
  }
}

class ModelKernelsCompile : public SimTest, public testing::WithParamInterface<std::string> {};

TEST_P(ModelKernelsCompile, ForEveryArchitecture) {
  INGOT_NEEDS_NVRTC();
  if (!kChecksAccesses) GTEST_SKIP() << "the program with access checks does it";
  const std::string& model = GetParam();
  ModelKernels kernels;
  const auto net = make_model(model);
  const TensorType input{DType::F32, model_input(model, 8)};
  try {
    collect(inference_graph(*net, input), kernels);
    collect(training_graph(*net, input, *sgd({.lr = 0.1, .momentum = 0.9})), kernels);
    collect(training_graph(*net, input, *adam({})), kernels);
  } catch (const UsageError& e) {
    GTEST_SKIP() << "the CUDA backend does not run this model: " << e.what();
  }
  ASSERT_FALSE(kernels.by_text.empty());

  struct Job {
    const cuda::KernelSource* kernel;
    int arch;
  };
  std::vector<Job> jobs;
  for (const auto& [text, k] : kernels.by_text)
    for (const int arch : kArchitectures) jobs.push_back({&k, arch});
  std::mutex mutex;
  std::vector<std::string> refused;
  const cuda::Nvrtc& nvrtc = cuda::Nvrtc::instance();
  cuda::on_all_cores(jobs.size(), [&](std::size_t i) {
    std::string why;
    try {
      const auto& [k, arch] = jobs[i];
      if (nvrtc.compile(k->name, k->text, arch, cuda::KernelFormat::Cubin).empty())
        why = cat(k->name, " for sm_", arch, ": nothing came out");
    } catch (const std::exception& e) {
      why = e.what();
    }
    if (why.empty()) return;
    const std::lock_guard lock(mutex);
    refused.push_back(why);
  });
  for (const std::string& why : refused) ADD_FAILURE() << why;
  RecordProperty("nodes", kernels.nodes);
  RecordProperty("kernels", static_cast<int>(kernels.by_text.size()));
}

// Not all models(): each is compiled three times for each architecture.
INSTANTIATE_TEST_SUITE_P(All, ModelKernelsCompile,
                         testing::Values("mlp", "lenet5", "simple_cnn", "resnet20", "resnet18", "resnet50"),
                         [](const testing::TestParamInfo<std::string>& p) { return p.param; });

}  // namespace
}  // namespace ingot
