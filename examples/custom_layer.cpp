// A layer of your own: ordinary ops, parameters by name, gradients for free.
//
//   build/release/bin/example_custom_layer
#include <ingot/ingot.h>

#include <cstdio>

using namespace ingot;

// Squeeze-and-excitation (Hu, Shen, Sun, arXiv 1709.01507): scales each channel by a learned function of all
// channel means.
class SqueezeExcite : public Layer {
 public:
  SqueezeExcite(std::string name, std::int64_t channels, std::int64_t squeezed)
      : Layer(std::move(name)), down_("down", channels, squeezed), up_("up", squeezed, channels) {}

 protected:
  Value forward(Value x) override {
    const Value means = mean(x, {2, 3});
    const Value scale = sigmoid(up_(relu(down_(means))));
    return x * reshape(scale, {x.dim(0), x.dim(1), 1, 1});
  }

 private:
  Linear down_, up_;
};

int main() {
  Graph g;
  const Value x = input(g, "x", {DType::F32, {8, 16, 12, 12}});
  SqueezeExcite se("se", 16, 4);
  const Value loss = mean(square(se(x)));
  output("loss", loss);
  sgd({.lr = 0.5})->minimize(loss);

  Session session(compile(g), {.seed = 3});
  Tensor data = session.input("x");
  for (std::int64_t i = 0; i < data.numel(); ++i) data.set(i, static_cast<double>(i % 7) / 7.0);
  for (int step = 0; step < 5; ++step) {
    session.run();
    std::printf("step %d: loss %.6f\n", step, session.output("loss").item());
  }
}
