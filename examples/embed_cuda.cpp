// A program that has a GPU of its own in hand runs a model inside it: on its stream, in memory from its
// allocator, from and to its device pointers. Nothing is copied through the host, and nothing waits.
//
//   build/release/bin/example_embed_cuda
#include <cuda_runtime_api.h>
#include <ingot/ingot.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <vector>

using namespace ingot;

namespace {

void check(cudaError_t status) {
  if (status != cudaSuccess) throw DeviceError(cudaGetErrorString(status));
}

std::shared_ptr<void> from_pool(std::size_t bytes, cudaStream_t stream) {
  void* p = nullptr;
  check(cudaMallocAsync(&p, bytes, stream));
  return {p, [stream](void* q) { static_cast<void>(cudaFreeAsync(q, stream)); }};
}

void run() {
  constexpr std::int64_t kBatch = 8;
  const auto net = make_model("mlp");
  const Graph graph = inference_graph(*net, {DType::F32, {kBatch, 1, 28, 28}});
  const ProgramPtr program = compile(graph, {.target = Target::cuda(0)});

  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  {
    SessionOptions options;
    options.seed = 7;
    options.stream = stream;
    options.allocate = [stream](std::size_t bytes) { return from_pool(bytes, stream); };
    options.feed = false;  // the inputs are written on the device
    Session session(program, options);

    // The host program's own tensors.
    std::vector<float> pixels(static_cast<std::size_t>(kBatch * 28 * 28)), logits(kBatch * 10);
    for (std::size_t i = 0; i < pixels.size(); ++i) pixels[i] = std::sin(static_cast<float>(i));
    const std::size_t bytes = pixels.size() * sizeof(float);
    const auto images = from_pool(bytes, stream);
    check(cudaMemcpyAsync(images.get(), pixels.data(), bytes, cudaMemcpyHostToDevice, stream));

    constexpr int kRuns = 10;
    for (int run = 0; run < kRuns; ++run) {
      check(cudaMemcpyAsync(session.device_address("x"), images.get(), bytes, cudaMemcpyDeviceToDevice,
                            stream));
      session.run();  // issues the work; from the third run on one launch
    }
    check(cudaMemcpyAsync(logits.data(), session.device_address("logits"), logits.size() * sizeof(float),
                          cudaMemcpyDeviceToHost, stream));
    check(cudaStreamSynchronize(stream));

    Session cpu(compile(graph, {.target = Target::cpu(1)}), {.seed = 7});
    std::copy(pixels.begin(), pixels.end(), cpu.input("x").data<float>());
    cpu.run();
    float difference = 0.0f;
    for (std::size_t i = 0; i < logits.size(); ++i)
      difference = std::max(difference, std::abs(logits[i] - cpu.output("logits").data<float>()[i]));
    std::printf("%d runs on %s; the largest difference from the CPU is %g\n", kRuns,
                program->target().name.c_str(), static_cast<double>(difference));
    if (!(difference < 1e-4f)) throw Error("the results differ");
  }
  check(cudaStreamDestroy(stream));
}

}  // namespace

int main() {
  try {
    run();
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
