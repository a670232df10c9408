// Ingot's side of the check that precedes compare.py's rounds: the losses of training steps from weights and
// data that PyTorch makes too, by the formula of tests/golden/formula.py.
//
//   train_losses resnet20 --batch-size 8 --image-size 32 --classes 10 --lr 0.01 --steps 20 --dtype bf16
//   {"losses": [2.31, ...]}
//
// Step s uses batch s mod 4; the update is SGD with momentum 0.9. peer_pytorch.py --losses is the other side.
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <map>
#include <string>

#include "core/runtime/session.h"
#include "models/models.h"
#include "optim/optimizer.h"
#include "tests/support/formula.h"
#include "train/step_graph.h"

namespace {

using namespace ingot;

constexpr int kBatches = 4;

void print_losses(const std::string& model, const std::map<std::string, std::string>& given) {
  const auto number = [&](const char* name, double value) {
    const auto at = given.find(name);
    return at == given.end() ? value : std::strtod(at->second.c_str(), nullptr);
  };
  const auto whole = [&](const char* name, int value) { return static_cast<int>(number(name, value)); };
  const int batch = whole("--batch-size", 8), classes = whole("--classes", 10);
  PrecisionOptions precision;
  const auto dtype = given.find("--dtype");
  if (dtype != given.end() && dtype->second == "bf16")
    precision.compute = DType::BF16;
  else if (dtype != given.end() && dtype->second != "f32")
    throw UsageError(cat("--dtype ", dtype->second, ": expected f32 or bf16"));
  ModelOptions options;
  options.num_classes = classes;
  options.image_size = whole("--image-size", 32);
  const Shape shape = model_input(model, batch, options);
  const auto net = make_model(model, options);
  const OptimizerPtr update = sgd({.lr = number("--lr", 0.001), .momentum = 0.9});
  Graph graph = training_graph(*net, {DType::F32, shape}, *update, {}, precision);
  for (std::uint32_t i = 0; i < graph.nodes().size(); ++i) {  // PyTorch draws other numbers
    Node& n = graph.node(NodeId{i});
    if (n.op.starts_with("dropout")) n.attrs = n.attrs.with("p", 0.0);
  }
  Session s(compile(graph, {.target = Target::cpu(whole("--threads", 2))}), {});
  for (const State& state : s.program().graph().states())
    if (state.role == StateRole::Parameter ||
        (state.role == StateRole::Buffer && !state.name.ends_with("num_batches_tracked")))
      s.set_state(state.name, formula::parameter(state.name, s.program().graph().type(state.value).shape));
  s.input("valid_rows").set(0, static_cast<double>(batch));
  std::printf("{\"losses\": [");
  for (int i = 0; i < whole("--steps", 20); ++i) {
    s.input("x").copy_from(formula::unit(cat("input/", i % kBatches), shape));
    s.input("labels").copy_from(formula::labels(cat("label/", i % kBatches), batch, classes));
    s.run();
    std::printf("%s%.9g", i == 0 ? "" : ", ", s.output("loss").item());
  }
  std::printf("]}\n");
}

}  // namespace

int main(int argc, char** argv) {
  constexpr std::array kOptions = {"--batch-size", "--image-size", "--classes", "--lr",
                                   "--steps",      "--dtype",      "--threads"};
  std::map<std::string, std::string> given;
  bool known = argc >= 2 && argc % 2 == 0;
  for (int i = 2; known && i < argc; i += 2) {
    known = std::find(kOptions.begin(), kOptions.end(), std::string(argv[i])) != kOptions.end();
    given[argv[i]] = argv[i + 1];
  }
  if (!known) {
    std::fprintf(stderr,
                 "usage: train_losses MODEL [--batch-size N] [--image-size N] [--classes N] [--lr R] "
                 "[--steps N] [--dtype f32|bf16] [--threads N]\n");
    return 2;
  }
  try {
    print_losses(argv[1], given);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "train_losses: %s\n", e.what());
    return 1;
  }
  return 0;
}
