// An inference loop over memory that is allocated once: compile once, then write inputs and read outputs in
// place.
//
//   build/release/bin/example_inference_loop [weights.safetensors]
#include <ingot/ingot.h>

#include <chrono>
#include <cstdio>

using namespace ingot;

int main() {
  const auto net = make_model("lenet5");
  const Graph graph = inference_graph(*net, {DType::F32, {1, 1, 28, 28}});
  const ProgramPtr program = compile(graph, {.target = Target::cpu(1)});
  std::printf("this program needs exactly %zu bytes\n", program->report().total_bytes);

  Session session(program, {.seed = 7});
  float* const x = session.input("x").data<float>();                   // staging memory: write here
  const float* const logits = session.output("logits").data<float>();  // result: read here

  constexpr int kRuns = 1000;
  float sum = 0.0f;
  const auto start = std::chrono::steady_clock::now();
  for (int run = 0; run < kRuns; ++run) {
    for (int i = 0; i < 28 * 28; ++i) x[i] = static_cast<float>((i + run) % 28) / 28.0f;
    session.run();
    sum += logits[0];
  }
  const double us =
      std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count();
  std::printf("%.1f us a run, mean first logit %.4f\n", us / kRuns, static_cast<double>(sum) / kRuns);
}
