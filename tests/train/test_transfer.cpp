// Fine-tuning: what is frozen stays to the bit and costs nothing, every group learns at its rate, another
// head starts anew, and a resumed run ends as an unbroken one.
#include <set>

#include "core/ops/reduce.h"
#include "io/checkpoint.h"
#include "models/resnet.h"
#include "tests/train/small_run.h"

namespace ingot {
namespace {

const TensorType kImages{DType::F32, {4, 3, 16, 16}};

Graph graph_of(const FreezeOptions& freeze, std::vector<ParameterGroup> groups = {},
               const std::string& optimizer = "sgd", double lr = 0.125, double decay = 0.25,
               const PrecisionOptions& precision = {}) {
  return training_graph(
      *make_cifar_resnet(1, 3, 4), kImages,
      *optimizer_by_name(optimizer, {.lr = lr, .weight_decay = decay, .groups = std::move(groups)}), {},
      precision, freeze);
}

void feed(Session& s) {
  s.input("x").copy_from(formula::unit("transfer", kImages.shape));
  s.input("labels").copy_from(formula::labels("transfer", 4, 4));
  s.input("valid_rows").set(0, 4);
}

// The states before and after so many steps.
struct Trained {
  std::map<std::string, Tensor> before, after;
  bool same(const std::string& name) const { return bitwise_equal(before.at(name), after.at(name)); }
};

Trained trained(const Graph& g, int steps = 3) {
  Session s(compile(g, {.target = Target::cpu(2)}), {.seed = 3});
  feed(s);
  const auto copies = [&] {
    std::map<std::string, Tensor> out;
    for (const auto& [name, tensor] : s.states()) out[name] = tensor.clone();
    return out;
  };
  Trained t{copies(), {}};
  for (int i = 0; i < steps; ++i) s.run();
  t.after = copies();
  return t;
}

std::set<std::string> backward_nodes(const Graph& g) {
  std::set<std::string> names;
  for (const Node& n : g.nodes())
    if (n.name.starts_with("grad/")) names.insert(n.name);
  return names;
}

TEST(Freeze, FrozenParametersStayToTheBitAndTheOthersLearn) {
  for (const DType compute : {DType::F32, DType::BF16, DType::F16})
    for (const bool batch_norm : {false, true}) {
      SCOPED_TRACE(cat(name(compute), batch_norm ? ", statistics too" : ""));
      const Trained t =
          trained(graph_of({.patterns = {"conv1.*", "bn1.*", "layer1.*"}, .batch_norm = batch_norm}, {},
                           "sgd", 0.125, 0.25, {.compute = compute}));
      for (const auto& [name, tensor] : t.before) {
        if (name.starts_with("optim/") || name == "generator") continue;
        const bool frozen =
                       name.starts_with("conv1.") || name.starts_with("bn1.") || name.starts_with("layer1."),
                   statistics = name.find("running") != std::string::npos || name.ends_with("tracked");
        EXPECT_EQ(t.same(name), frozen && (batch_norm || !statistics)) << name;
      }
    }
}

TEST(Freeze, NothingIsComputedForFrozenLayersBackwards) {
  const Graph all = compile(graph_of({}), {.target = Target::cpu(1)})->graph();
  const auto program =
      compile(graph_of({.patterns = {"conv1.*", "bn1.*", "layer1.*"}}), {.target = Target::cpu(1)});
  const std::set<std::string> whole = backward_nodes(all), less = backward_nodes(program->graph());
  const auto of_frozen = [](const std::string& name) {
    return name.starts_with("grad/conv1.") || name.starts_with("grad/bn1.") ||
           name.starts_with("grad/layer1.");
  };
  EXPECT_TRUE(std::any_of(whole.begin(), whole.end(), of_frozen));
  for (const std::string& name : less) EXPECT_FALSE(of_frozen(name)) << name;
  EXPECT_LT(less.size(), whole.size());
  EXPECT_LT(program->graph().nodes().size(), all.nodes().size());
  // A frozen last layer still passes gradients on, but has none of its own.
  const Graph tail = graph_of({.patterns = {"fc.*"}});
  EXPECT_TRUE(backward_nodes(tail).contains("grad/conv1.conv2d"));
  for (const Update& u : tail.gradients())
    EXPECT_FALSE(tail.state_of(u.state)->name.starts_with("fc.")) << tail.state_of(u.state)->name;
}

TEST(Freeze, FrozenParametersHaveNoOptimiserState) {
  for (const char* optimizer : {"sgd", "adam", "adamw", "rmsprop", "adagrad", "lion", "lamb", "lars"}) {
    const Graph g = graph_of({.patterns = {"layer*"}}, {}, optimizer);
    bool others = false;
    for (const State& s : g.states()) {
      EXPECT_FALSE(s.name.starts_with("optim/layer")) << optimizer << ' ' << s.name;
      others = others || s.name.starts_with("optim/fc.weight/");
    }
    EXPECT_TRUE(others) << optimizer;
  }
}

TEST(Freeze, BatchNormsInEvaluationModeGiveWhatEvaluationGives) {
  const Graph g = graph_of({.patterns = {"*"}, .except = {"fc.*"}, .batch_norm = true});
  Session train(compile(g, {.target = Target::cpu(2)}), {.seed = 3});
  feed(train);
  // Statistics of some use.
  for (const State& s : g.states())
    if (s.name.ends_with("running_mean") || s.name.ends_with("running_var")) {
      const Tensor t = formula::unit(s.name, g.type(s.value).shape);
      for (float& v : t.values<float>()) v = s.name.ends_with("var") ? 1.5f + v : v;
      train.set_state(s.name, t);
    }
  Session eval(compile(evaluation_graph(*make_cifar_resnet(1, 3, 4), kImages), {.target = Target::cpu(2)}),
               {.seed = 3});
  eval.copy_states_from(train);
  feed(eval);
  train.run();
  eval.run();
  EXPECT_NEAR(train.output("loss").item(), eval.output("loss").item(), 1e-5);
  Session moving(compile(graph_of({.patterns = {"*"}, .except = {"fc.*"}}), {.target = Target::cpu(2)}),
                 {.seed = 3});
  feed(moving);
  moving.run();
  EXPECT_GT(std::abs(moving.output("loss").item() - eval.output("loss").item()), 1e-3)
      << "the batch's statistics";
}

// One batch norm, called twice: the second call goes on from the first one's statistics.
struct TwiceNet : Module {
  BatchNorm2d bn{"bn", 3};
  Linear fc{"fc", 3, 4};

 protected:
  Value forward(Value x) override { return fc(mean(bn(relu(bn(x))), {2, 3})); }
};

TEST(Freeze, ASharedBatchNormStaysInAllItsCalls) {
  TwiceNet net;
  const FreezeOptions freeze{.patterns = {"bn.*"}, .batch_norm = true};
  const Graph g = training_graph(net, kImages, *sgd({.lr = 0.1}), {}, {}, freeze);
  for (const Node& n : g.nodes()) EXPECT_NE(n.op, "batch_norm");
  const Trained t = trained(g);
  EXPECT_TRUE(t.same("bn.running_mean") && t.same("bn.running_var") && t.same("bn.num_batches_tracked"));
  EXPECT_FALSE(t.same("fc.weight"));
}

TEST(Freeze, APatternThatMatchesNothingListsTheParameters) {
  EXPECT_TRUE(says(message_of<UsageError>([] { graph_of({.patterns = {"layer9.*"}}); }),
                   "no parameter matches 'layer9.*'; there are: conv1.weight, "));
  EXPECT_TRUE(
      says(message_of<UsageError>([] { graph_of({.patterns = {"*.running_mean"}}); }), "no parameter"));
  EXPECT_NO_THROW(graph_of({.patterns = {"*.running_mean"}, .batch_norm = true}));
  EXPECT_TRUE(says(message_of<UsageError>([] { graph_of({.patterns = {"*"}}); }), "no trainable parameter"));
}

// The first step of a group is, to the bit, that of a run at the group's rate and decay.
TEST(Groups, LearnAtTheirRateWithTheirDecayUnderEveryOptimiser) {
  for (const char* optimizer : {"sgd", "adam", "adamw", "rmsprop", "adagrad", "lion", "lamb", "lars"}) {
    SCOPED_TRACE(optimizer);
    const Trained base = trained(graph_of({}, {}, optimizer), 1),
                  slow = trained(graph_of({}, {}, optimizer, 0.125 / 8, 0.25), 1),
                  bare = trained(graph_of({}, {}, optimizer, 0.25, 0.0), 1),
                  both = trained(graph_of({}, {{"layer*", 0.125, {}}, {"fc.*", 2.0, 0.0}}, optimizer), 1);
    for (const auto& [name, tensor] : both.after) {
      if (name.starts_with("optim/") || name == "generator") continue;
      const Trained& like = name.starts_with("layer") ? slow : name.starts_with("fc.") ? bare : base;
      EXPECT_TRUE(bitwise_equal(tensor, like.after.at(name))) << name;
    }
    EXPECT_FALSE(bitwise_equal(both.after.at("fc.weight"), base.after.at("fc.weight")));
    EXPECT_FALSE(
        bitwise_equal(both.after.at("layer1.0.conv1.weight"), base.after.at("layer1.0.conv1.weight")));
  }
}

// Rates that differ do not break up what one launch updates.
TEST(Groups, HaveOneUpdateEachOrFewJoinedOnes) {
  const std::vector<ParameterGroup> groups{{"layer*", 0.125, {}}, {"fc.*", 2.0, 0.0}};
  for (const char* optimizer : {"sgd", "adam", "rmsprop"}) {
    const ProgramPtr p = compile(graph_of({}, groups, optimizer), {.target = Target::cpu(1)});
    int updates = 0;
    for (const Node& n : p->graph().nodes()) updates += n.op == optimizer ? 1 : 0;
    EXPECT_EQ(updates, 3) << optimizer;
  }
  const auto launches = [](const std::vector<ParameterGroup>& of, bool join) {
    CompileOptions how{.target = Target::cpu(1)};
    if (!join) how.skip_passes = {"join-elementwise"};
    return compile(graph_of({}, of, "lion"), how)->schedule().size();
  };
  const std::size_t one = launches({}, true), three = launches(groups, true),
                    single = launches(groups, false);
  EXPECT_LE(three, one + 2 * 4);  // two groups more
  EXPECT_LT(three + 10, single);
}

std::shared_ptr<Trainer> trainer(const std::string& weights, KeyReport* report = nullptr,
                                 const LoadOptions& how = {.except = {"fc.*"}}) {
  TrainerOptions o;
  o.optimizer = adamw({.lr = 0.01, .groups = {{"fc.*", 10.0, 0.0}, {"bn.*", 0.5, {}}}});
  o.freeze = {.patterns = {"conv.*"}, .batch_norm = true};
  o.target = Target::cpu(2);
  o.seed = 23;
  auto t = std::make_shared<Trainer>(std::make_shared<DropoutNet>(), o);
  const KeyReport found = t->load(weights, how, {1, 6, 6});
  if (report != nullptr) *report = found;
  return t;
}

// Weights of DropoutNet, but with a head of seven classes.
std::string pretrained(const TempDir& dir) {
  Trainer t(std::make_shared<DropoutNet>(), {.target = Target::cpu(2), .seed = 1});
  t.fit(pictures(24), {.epochs = 1, .batch_size = 8});
  t.save(dir / "three.safetensors");
  TensorFile f = load_weights(dir / "three.safetensors");
  for (auto& [name, tensor] : f.tensors)
    if (name.starts_with("fc.")) {
      Shape s = tensor.shape();
      s[0] = 7;
      tensor = formula::unit(name, s);
    }
  save_checkpoint(dir / "seven.safetensors", f);
  return dir / "seven.safetensors";
}

TEST(FineTuning, AnotherHeadStartsAnewAndIsReported) {
  const TempDir dir;
  const std::string weights = pretrained(dir);
  KeyReport report;
  const auto t = trainer(weights, &report);
  EXPECT_TRUE(report.missing_keys.empty() && report.unexpected_keys.empty());
  ASSERT_EQ(report.mismatched_keys.size(), 2u);
  EXPECT_EQ(report.mismatched_keys[0].found.shape[0], 7);
  EXPECT_TRUE(t->normalisation().has_value());
  const TensorFile from = load_weights(weights);
  t->fit(pictures(24), {.epochs = 2, .batch_size = 8});
  const auto states = t->states();
  EXPECT_TRUE(bitwise_equal(states.at("conv.weight"), from.at("conv.weight")));
  EXPECT_FALSE(bitwise_equal(states.at("bn.weight"), from.at("bn.weight")));
  EXPECT_FALSE(bitwise_equal(states.at("bn.running_mean"), from.at("bn.running_mean"))) << "bn is not frozen";
  EXPECT_EQ(states.at("fc.weight").shape(), Shape({3, 36}));
  EXPECT_FALSE(states.contains("optim/conv.weight/exp_avg"));
  EXPECT_TRUE(says(message_of<FormatError>([&] { trainer(weights, nullptr, {}); }),
                   "2 of another shape or type (fc.", "expected f32[3, 36], found f32[7, 36]"));
  EXPECT_TRUE(
      says(message_of<FormatError>([&] { trainer(weights, nullptr, {.strict = false}); }), "fc.bias"));
}

TEST(FineTuning, PredictsWithTheLoadedPartBeforeItTrains) {
  const TempDir dir;
  const std::string weights = pretrained(dir);
  const auto t = trainer(weights);
  const Tensor x = formula::unit("x", {2, 1, 6, 6});
  t->predict(x);
  EXPECT_TRUE(bitwise_equal(t->states().at("conv.weight"), load_weights(weights).at("conv.weight")));
}

TEST(FineTuning, AResumedRunEndsWithTheSameBits) {
  const TempDir dir;
  const std::string weights = pretrained(dir);
  FitOptions whole{.epochs = 3, .batch_size = 8};
  const auto unbroken = trainer(weights);
  unbroken->fit(pictures(20), whole);
  for (const std::int64_t step : {2, 3, 7}) {
    FitOptions first = whole, second = whole;
    first.callbacks = {at_step(step, [](Trainer& t) { t.stop(); })};
    const auto stopped = trainer(weights);
    stopped->fit(pictures(20), first);
    stopped->save_checkpoint(dir / "stopped.safetensors");
    second.resume = dir / "stopped.safetensors";
    const auto resumed = trainer(weights);
    resumed->fit(pictures(20), second);
    expect_same_states(unbroken->states(), resumed->states());
  }
}

}  // namespace
}  // namespace ingot
