// Recall by attention: a network is shown pairs of a key and a value, a different number in each sample, and
// is asked for the value of one of the keys. It has to learn to look the key up, for the pairs are new in
// every sample.
//
//   build/release/bin/example_recall_pairs [STEPS]
#include <ingot/ingot.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <numeric>

using namespace ingot;

namespace {

constexpr std::int64_t kSamples = 64, kPairs = 16;  // at most so many pairs a sample
constexpr std::int64_t kKeys = 32, kValues = 8, kWidth = 32;

struct Recall {
  Embedding keys{"keys", kKeys, kWidth}, values{"values", kValues, kWidth};
  MultiheadAttention attend{"attend", kWidth, 2, {.batch_first = true}};
  RMSNorm norm{"norm", {kWidth}};
  Linear head{"head", kWidth, kValues};

  // asked[N, 1], key and value [N, kPairs], lengths[N] -> logits[N, kValues].
  Value operator()(Value asked, Value key, Value value, Value lengths) {
    const Value pairs = keys(key) + values(value);
    const Value found = attend(keys(asked), pairs, pairs, {.lengths = lengths});
    return head(squeeze(norm(found), 1));
  }
};

Value network(Graph& g, Recall& net) {
  const auto ids = [&](const char* name, const Shape& shape) { return input(g, name, {DType::I32, shape}); };
  return net(ids("asked", {kSamples, 1}), ids("key", {kSamples, kPairs}), ids("value", {kSamples, kPairs}),
             ids("lengths", {kSamples}));
}

// Fills in the operands of a step; gives the answers.
std::array<std::int64_t, kSamples> ask(Session& s, std::uint64_t stream, std::int64_t step) {
  Draws draws(1, "pairs", stream, step);
  std::array<std::int64_t, kSamples> answers{};
  const auto at = [&](const char* name) { return s.input(name).data<std::int32_t>(); };
  for (std::int64_t n = 0; n < kSamples; ++n) {
    std::array<std::int32_t, kKeys> shuffled{};
    std::iota(shuffled.begin(), shuffled.end(), 0);
    for (std::int64_t i = 0; i < kPairs; ++i) {
      std::swap(shuffled[static_cast<std::size_t>(i)],
                shuffled[static_cast<std::size_t>(i + draws.below(kKeys - i))]);
      at("key")[n * kPairs + i] = shuffled[static_cast<std::size_t>(i)];
      at("value")[n * kPairs + i] = static_cast<std::int32_t>(draws.below(kValues));
    }
    const std::int64_t length = 1 + draws.below(kPairs), which = draws.below(length);
    at("lengths")[n] = static_cast<std::int32_t>(length);
    at("asked")[n] = at("key")[n * kPairs + which];
    answers[static_cast<std::size_t>(n)] = at("value")[n * kPairs + which];
  }
  return answers;
}

}  // namespace

int main(int argc, char** argv) try {
  const std::int64_t steps = argc > 1 ? std::atoll(argv[1]) : 600;
  Recall net;
  Graph g;
  g.build.training = true;
  const Value labels = input(g, "labels", {DType::I64, {kSamples}});
  const Value loss = cross_entropy(network(g, net), labels);
  output("loss", loss);
  adam({.lr = 3e-3, .schedule = cosine(std::max<std::int64_t>(steps, 1))})->minimize(loss);
  Session session(compile(g), {.seed = 1, .guard = "loss"});
  for (std::int64_t step = 0; step < steps; ++step) {
    const auto answers = ask(session, 0, step);
    std::copy(answers.begin(), answers.end(), session.input("labels").data<std::int64_t>());
    session.run();
    if ((step + 1) % 100 == 0 || step == 0)
      std::printf("step %lld  loss %.4f\n", static_cast<long long>(step + 1), session.output("loss").item());
  }

  Graph test;
  output("answer", argmax(network(test, net), 1));
  Session eval(compile(test));
  eval.copy_states_from(session);
  std::int64_t right = 0;
  constexpr std::int64_t kTests = 10;
  for (std::int64_t i = 0; i < kTests; ++i) {
    const auto answers = ask(eval, 1, i);
    eval.run();
    const Tensor given = eval.output("answer");
    for (std::int64_t n = 0; n < kSamples; ++n)
      right += static_cast<std::int64_t>(given.get(n)) == answers[static_cast<std::size_t>(n)];
  }
  std::printf("accuracy %.3f of %lld questions; guessing gives %.3f\n",
              static_cast<double>(right) / static_cast<double>(kTests * kSamples),
              static_cast<long long>(kTests * kSamples), 1.0 / static_cast<double>(kValues));
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return 1;
}
