// A recurrent network over sequences of different lengths: does a sequence end with the symbol that it began
// with?
//
//   build/release/bin/example_follow_sequences 800      # training steps, on new sequences each
#include <ingot/ingot.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>

using namespace ingot;

namespace {

constexpr std::int64_t kBatch = 64, kLongest = 12, kShortest = 3, kSymbols = 4, kUnits = 32;

// One-hot symbols, padded behind each sequence's length; half of the sequences return to their first symbol.
void make_batch(std::mt19937& random, Session& session) {
  const auto below = [&](std::int64_t n) {
    return static_cast<std::int64_t>(random() % static_cast<unsigned>(n));
  };
  float* x = session.input("x").data<float>();
  std::fill_n(x, kLongest * kBatch * kSymbols, 0.0f);
  for (std::int64_t n = 0; n < kBatch; ++n) {
    const std::int64_t length = kShortest + below(kLongest - kShortest + 1), label = below(2),
                       first = below(kSymbols);
    session.input("lengths").data<std::int32_t>()[n] = static_cast<std::int32_t>(length);
    session.input("labels").data<std::int64_t>()[n] = label;
    for (std::int64_t t = 0; t < length; ++t) {
      std::int64_t symbol = t == 0 ? first : below(kSymbols);
      if (t == length - 1) symbol = label == 1 ? first : (first + 1 + below(kSymbols - 1)) % kSymbols;
      x[(t * kBatch + n) * kSymbols + symbol] = 1.0f;
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const int steps = argc > 1 ? std::atoi(argv[1]) : 800, counted = 20;
  Graph g;
  g.build.training = true;
  const Value x = input(g, "x", {DType::F32, {kLongest, kBatch, kSymbols}});
  const Value lengths = input(g, "lengths", {DType::I32, {kBatch}}),
              labels = input(g, "labels", {DType::I64, {kBatch}});
  GRU gru("gru", kSymbols, kUnits);
  const Value last = gru.unroll(x, {.lengths = lengths}).h_n;  // after each sequence's own last symbol
  const Value logits = Linear("head", kUnits, 2)(reshape(last, {kBatch, kUnits}));
  const Value loss = cross_entropy(logits, labels);
  output("loss", loss);
  output("accuracy", mean(cast(eq(argmax(logits, 1), labels), DType::F32)));
  adam({.lr = 0.01})->minimize(loss);

  Session session(compile(g), {.seed = 1});
  std::mt19937 random(7);
  double accuracy = 0.0;
  for (int step = 0; step < steps; ++step) {
    make_batch(random, session);
    session.run();
    if (step % 50 == 0) std::printf("step %d: loss %.4f\n", step, session.output("loss").item());
    if (step >= steps - counted) accuracy += session.output("accuracy").item() / counted;
  }
  std::printf("accuracy %.3f\n", accuracy);
}
