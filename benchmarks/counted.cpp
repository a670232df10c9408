// What gate.py counts: a few runs of a small problem on one thread, within a function of their own that
// callgrind is told to count (--toggle-collect=counted_region). Programs start, compile and warm up outside
// of it, unless compiling is what is counted.
//
//   counted step lenet5 --batch-size 4 [--mode train] [--dtype f32] [--image-size 28] [--skip-pass NAME]
//   counted op 'softmax f32[256, 1000]'
//   counted compile resnet50 --batch-size 8
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <map>
#include <string>

#include "benchmarks/problems.h"
#include "core/runtime/session.h"
#include "models/models.h"
#include "optim/optimizer.h"
#include "train/step_graph.h"

// Outside of any namespace, so that its name in the symbol table is this one.
extern "C" [[gnu::noinline]] void counted_region(const std::function<void()>& work) {
  work();
}

namespace {

using namespace ingot;

constexpr int kWarmUp = 2, kRuns = 3;  // the first run sets up what later ones find

using Given = std::map<std::string, std::string>;

std::string option(const Given& given, const std::string& name, const std::string& otherwise) {
  const auto at = given.find(name);
  return at == given.end() ? otherwise : at->second;
}

// Of a model as `ingot bench` runs it: SGD with momentum in training, logits in inference.
std::function<ProgramPtr()> compiler_of(const std::string& model, const Given& given) {
  ModelOptions options;
  if (given.contains("--image-size")) options.image_size = std::stoll(given.at("--image-size"));
  const auto net = make_model(model, options);
  const TensorType input{DType::F32,
                         model_input(model, std::stoll(option(given, "--batch-size", "4")), options)};
  PrecisionOptions precision;
  precision.compute = parse_dtype(option(given, "--dtype", "f32"));
  const bool infers = option(given, "--mode", "train") == "infer";
  const OptimizerPtr update = sgd({.lr = 0.001, .momentum = 0.9, .weight_decay = 5e-4});
  const Graph graph =
      infers ? inference_graph(*net, input, precision) : training_graph(*net, input, *update, {}, precision);
  CompileOptions o;
  o.target = Target::cpu(1);
  if (given.contains("--skip-pass")) o.skip_passes = {given.at("--skip-pass")};
  return [graph, o] { return compile(graph, o); };
}

void count_runs(const ProgramPtr& program) {
  Session s(program, {.seed = 1});
  bench::fill(s, 2);
  for (int i = 0; i < kWarmUp; ++i) s.run();
  counted_region([&] {
    for (int i = 0; i < kRuns; ++i) s.run();
  });
  for (const Output& o : program->graph().outputs()) {
    const Tensor t = s.output(o.name);
    if (is_floating(t.dtype()) && t.numel() > 0 && !std::isfinite(t.get(0)))
      throw NumericError(
          cat("output '", o.name, "' is not finite: what was counted is not what it should be"));
  }
}

void count_subject(const std::string& what, const std::string& subject, const Given& given) {
  if (what == "op") {
    count_runs(bench::compile_problem(subject, 1));
  } else if (what == "step") {
    count_runs(compiler_of(subject, given)());
  } else if (what == "compile") {
    const auto compiler = compiler_of(subject, given);
    std::size_t bytes = 0;
    counted_region([&] { bytes = compiler()->report().total_bytes; });
    if (bytes == 0) throw UsageError(cat("the plan of ", subject, " has no bytes"));
  } else {
    throw UsageError(cat("there is no '", what, "' to count; expected step, op or compile"));
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3 || argc % 2 == 0) {
    std::fprintf(stderr, "usage: counted step|op|compile MODEL|PROBLEM [--OPTION VALUE]...\n");
    return 2;
  }
  try {
    Given given;
    for (int i = 3; i < argc; i += 2) given[argv[i]] = argv[i + 1];
    for (const auto& [name, value] : given)
      if (name != "--batch-size" && name != "--image-size" && name != "--mode" && name != "--dtype" &&
          name != "--skip-pass")
        throw UsageError(cat("unknown option '", name, "'"));
    count_subject(argv[1], argv[2], given);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "counted: %s\n", e.what());
    return 1;
  }
  return 0;
}
