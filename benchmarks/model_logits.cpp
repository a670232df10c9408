// Ingot's side of zoo_parity.py: the logits of a model in inference, from weights and images of a file.
//
//   model_logits resnet34 given.safetensors logits.safetensors --threads 2
//
// The first file holds the state dict under its keys, and the batch as "x"; the second gets "logits". The
// state dict must be the model's own, key for key and shape for shape.
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>

#include "core/runtime/session.h"
#include "io/checkpoint.h"
#include "models/models.h"
#include "train/step_graph.h"

namespace {

using namespace ingot;

void write_logits(const std::string& model, const std::string& from, const std::string& to, int threads) {
  TensorFile given = read_safetensors(from);
  const Tensor x = given.at("x");
  std::erase_if(given.tensors, [](const auto& t) { return t.first == "x"; });
  ModelOptions options;
  options.image_size = x.shape()[2];
  Session s(compile(inference_graph(*make_model(model, options), x.type()), {.target = Target::cpu(threads)}),
            {});
  NamedTypes expected;
  for (const auto& [name, tensor] : s.states()) expected.emplace_back(name, tensor.type());
  const KeyReport keys = compare_keys(expected, given.tensors);
  if (!keys.match()) throw FormatError(keys.text(from));
  for (const auto& [name, tensor] : given.tensors) s.set_state(name, tensor);
  s.input("x").copy_from(x);
  s.run();
  write_safetensors(to, {{"logits", s.output("logits")}});
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4 && !(argc == 6 && std::string(argv[4]) == "--threads")) {
    std::fprintf(stderr, "usage: model_logits MODEL GIVEN.safetensors LOGITS.safetensors [--threads N]\n");
    return 2;
  }
  try {
    write_logits(argv[1], argv[2], argv[3], argc == 6 ? std::atoi(argv[5]) : 2);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "model_logits: %s\n", e.what());
    return 1;
  }
  return 0;
}
