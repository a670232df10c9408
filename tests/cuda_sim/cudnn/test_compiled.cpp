// Batch norm, its gradient and average pooling through Ingot's lowerings to cuDNN: random problems give the
// op's reference in every result; what cuDNN is not given is declined with the reason; and a program whose
// candidates are cuDNN's trains as on the CPU.
#include <algorithm>
#include <cmath>

#include "core/autodiff/differentiate.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/philox.h"
#include "core/op/text.h"
#include "core/ops/conv.h"
#include "core/ops/elementwise.h"
#include "core/ops/norm.h"
#include "core/ops/pool.h"
#include "core/ops/reduce.h"
#include "cuda/backend/backend.h"
#include "cuda/backend/choice.h"
#include "cuda/libs/cudnn.h"
#include "cuda/ops/table.h"
#include "tests/cuda_sim/cudnn/cudnn_test.h"
#include "tests/cuda_sim/device_node.h"
#include "tests/support/cuda_sim/random.h"
#include "tests/support/temp_dir.h"
#include "tests/support/typed_case.h"

namespace ingot {
namespace {

constexpr DType kTypes[] = {DType::F32, DType::F16, DType::BF16};

struct RandomNode {
  Graph graph;
  std::vector<Tensor> operands;
  bool served = true;
};

TensorType image(DType dtype, const Shape& shape) {
  return {dtype, shape, Layout::channels_last(4)};
}

Graph graph_of(const std::string& op, const Attrs& attrs, const std::vector<TensorType>& in,
               const std::vector<TensorType>& out) {
  Node n;
  n.op = op, n.attrs = attrs;
  return node_alone(n, in, out);
}

// The node with operands of [-1, 1]; operand `positive` of [0.5, 1.5].
RandomNode random_node(const std::string& op, const Attrs& attrs, const std::vector<TensorType>& in,
                       const std::vector<TensorType>& out, std::uint64_t seed, std::size_t positive = 99) {
  RandomNode r{graph_of(op, attrs, in, out), {}};
  for (std::size_t k = 0; k < in.size(); ++k) {
    Tensor t(in[k]);
    const Philox rng(seed * 8 + k, 1);
    for (std::int64_t i = 0; i < t.numel(); ++i) {
      const auto u = static_cast<double>(uniform01(rng.bits(static_cast<std::uint64_t>(i))));
      t.set(i, k == positive ? 0.5 + u : 2.0 * u - 1.0);
    }
    r.operands.push_back(std::move(t));
  }
  return r;
}

class Random {
 public:
  explicit Random(std::uint64_t seed) : random_(seed) {}
  std::int64_t from(std::int64_t least, std::int64_t most) {
    return least + static_cast<std::int64_t>(random_.below(static_cast<std::size_t>(most - least + 1)));
  }
  bool coin() { return from(0, 1) == 1; }
  double one_of(std::initializer_list<double> values) {
    return values.begin()[from(0, static_cast<std::int64_t>(values.size()) - 1)];
  }
  DType dtype() { return kTypes[from(0, 2)]; }
  // Of a batch norm: more than one value in a channel.
  Shape images() { return {from(2, 4), from(1, 9), from(1, 6), from(1, 6)}; }

 private:
  sim::Random random_;
};

RandomNode random_batch_norm(std::uint64_t seed) {
  Random random(seed);
  const Shape x = random.images();
  const TensorType whole = image(random.dtype(), x), each{DType::F32, {x[1]}};
  BatchNormAttrs a;
  a.eps = random.one_of({1e-5, 1e-3, 0.5}), a.momentum = random.one_of({0.1, 0.3, 0.9, 0.0, 1.0});
  a.has_residual = random.coin();
  if (random.coin()) a.activation = "relu";
  std::vector<TensorType> in{whole, each, each, each, each};
  if (a.has_residual) in.push_back(whole);
  RandomNode r = random_node("batch_norm", a, in, {whole, each, each, each, each}, seed, 4);
  r.served = !a.has_residual || !a.activation.empty();  // cuDNN has no plan for a residual alone
  return r;
}

RandomNode random_batch_norm_grad(std::uint64_t seed) {
  Random random(seed);
  const Shape x = random.images();
  const TensorType whole = image(random.dtype(), x), each{DType::F32, {x[1]}};
  return random_node("batch_norm_grad", BatchNormGradAttrs{}, {whole, whole, each, each, each},
                     {whole, each, each}, seed, 4);
}

RandomNode random_avg_pool(std::uint64_t seed) {
  Random random(seed);
  AvgPool2dAttrs a;
  Shape x{random.from(1, 3), random.from(1, 5)}, y = x;
  a.ceil_mode = random.coin(), a.count_include_pad = random.coin();
  bool beyond = false;  // a window reaches behind the padding
  for (const std::size_t i : {0u, 1u}) {
    a.kernel[i] = random.from(1, 5), a.stride[i] = random.from(1, 4);
    a.padding[i] = random.from(0, a.kernel[i] / 2);
    const std::int64_t in = a.kernel[i] + random.from(0, 7);
    const std::int64_t out = pool_output_size(in, a.kernel[i], a.stride[i], a.padding[i], 1, a.ceil_mode);
    x.push_back(in), y.push_back(out);
    beyond |= (out - 1) * a.stride[i] - a.padding[i] + a.kernel[i] > in + a.padding[i];
  }
  const DType dtype = random.dtype();
  RandomNode r = random_node("avg_pool2d", a, {image(dtype, x)}, {image(dtype, y)}, seed);
  r.served = !(beyond && a.count_include_pad);
  return r;
}

void expect_near(const Tensor& got, const Tensor& want, const std::string& what) {
  const double tolerance = 1e-5 + 2 * test::rounding(want.dtype());
  ASSERT_EQ(got.shape(), want.shape()) << what;
  for (std::int64_t i = 0; i < want.numel(); ++i)
    ASSERT_LE(std::abs(got.get(i) - want.get(i)), tolerance * (1.0 + std::abs(want.get(i))))
        << what << ", element " << i << " is " << got.get(i) << ", the reference says " << want.get(i);
}

class CudnnCompiled : public CudnnTest {
 protected:
  // How many of the problems cuDNN served: without a workspace, and with one that its plan spoils.
  template <class Make>
  static int served(int problems, Make make) {
    int count = 0;
    for (int i = 0; i < problems; ++i) {
      const std::int64_t workspace = i % 2 == 0 ? 0 : 1000;
      fake_cudnn::install({.engines = {{.index = 3, .workspace_bytes = workspace}}});
      const RandomNode r = make(static_cast<std::uint64_t>(i + 1));
      const Node& node = r.graph.nodes()[0];
      SCOPED_TRACE(cat("problem ", i, ", workspace ", workspace, ":\n", print_graph(r.graph)));
      const auto run = run_on_device(r.graph, {0}, r.operands, {}, "cudnn");
      EXPECT_EQ(fake_cudnn::take_complaints(), "");
      EXPECT_EQ(run.has_value(), r.served);
      EXPECT_EQ(fake_cudnn::counts().runs > 0, r.served);
      if (HasFailure()) return count;
      if (!r.served) continue;
      ++count;
      EXPECT_EQ(run->kernel, "cudnn:eng3");
      const auto want = test::rounded_reference(r.graph, node, r.operands);
      EXPECT_EQ(run->results.size(), want.size());
      for (std::size_t k = 0; k < want.size(); ++k) expect_near(run->results[k], want[k], cat("result ", k));
      if (HasFailure()) return count;
    }
    return count;
  }
};

TEST_F(CudnnCompiled, BatchNormEqualsTheReference) {
  const int count = served(140, random_batch_norm);
  EXPECT_GE(count, 100);
  EXPECT_LT(count, 140) << "no residual without a ReLU";
}

TEST_F(CudnnCompiled, BatchNormGradEqualsTheReference) {
  EXPECT_EQ(served(50, random_batch_norm_grad), 50);
}

TEST_F(CudnnCompiled, AveragePoolingEqualsTheReference) {
  const int count = served(80, random_avg_pool);
  EXPECT_GE(count, 50);
  EXPECT_LT(count, 80) << "no window reached beyond the padding";
}

// ---- The candidate alone ----------------------------------------------------------------------------------

// The step of the row named "cudnn", or why there is none.
std::unique_ptr<Step> step_of(const Graph& g, std::string* why = nullptr,
                              const Target& target = cuda_target(), int alternative = 0) {
  const Node& n = g.nodes()[0];
  for (const Lowering& row : *cuda::lowerings().find(n.op))
    if (std::string_view(row.name) == "cudnn") return row.lower({g, n, target, why, alternative});
  ADD_FAILURE() << n.op << " has no candidate of cuDNN's";
  return nullptr;
}

std::string reason(const Graph& g, const Target& target = cuda_target()) {
  std::string why = "(it is not declined)";
  EXPECT_EQ(step_of(g, &why, target), nullptr) << print_graph(g);
  return why;
}

const Shape kX{4, 6, 5, 3};

Graph batch_norm_graph(const BatchNormAttrs& a = {}, DType dtype = DType::F32, DType statistics = DType::F32,
                       const Shape& x = kX) {
  const TensorType whole = image(dtype, x), each{statistics, {x[1]}};
  std::vector<TensorType> in{whole, each, each, each, each};
  if (a.has_valid) in.push_back({DType::I32, {}});
  if (a.has_residual) in.push_back(whole);
  return graph_of("batch_norm", a, in, {whole, each, each, each, each});
}

Graph batch_norm_grad_graph(const BatchNormGradAttrs& a = {}, DType dtype = DType::F32,
                            DType statistics = DType::F32, const Shape& x = kX) {
  const TensorType whole = image(dtype, x), each{statistics, {x[1]}};
  std::vector<TensorType> in{whole, whole, each, each, each}, out{whole, each, each};
  if (a.has_valid) in.push_back({DType::I32, {}});
  if (!a.activation.empty()) in.push_back(whole);
  if (a.has_residual) out.push_back(whole);
  return graph_of("batch_norm_grad", a, in, out);
}

Graph avg_pool_graph(const AvgPool2dAttrs& a = {}, DType dtype = DType::F32, const Shape& x = kX) {
  Shape y{x[0], x[1]};
  for (const std::size_t i : {0u, 1u})
    y.push_back(
        pool_output_size(x[static_cast<int>(i) + 2], a.kernel[i], a.stride[i], a.padding[i], 1, a.ceil_mode));
  return graph_of("avg_pool2d", a, {image(dtype, x)}, {image(dtype, y)});
}

TEST_F(CudnnCompiled, RunningStatisticsMayStayWhereTheyLie) {
  const auto step = step_of(batch_norm_graph());
  ASSERT_NE(step, nullptr);
  EXPECT_EQ(step->in_place, (std::vector<std::array<int, 2>>{{3, 3}, {4, 4}}));
  EXPECT_EQ(step->library_calls, 1);
  // What has read its operand twice when it writes may not.
  EXPECT_TRUE(step_of(batch_norm_grad_graph())->in_place.empty());
  EXPECT_TRUE(step_of(avg_pool_graph())->in_place.empty());
}

TEST_F(CudnnCompiled, ItsSecondPlanIsAnAlternative) {
  fake_cudnn::install({.engines = {{.index = 4, .workspace_bytes = 5000}, {.index = 2}, {.index = 7}}});
  for (const Graph& g : {batch_norm_graph(), batch_norm_grad_graph(), avg_pool_graph()}) {
    EXPECT_EQ(step_of(g)->kernel, "cudnn:eng4");
    EXPECT_EQ(step_of(g)->workspace_bytes, 5000u);
    EXPECT_EQ(step_of(g, nullptr, cuda_target(), 1)->kernel, "cudnn:eng2");
    std::string why;
    EXPECT_EQ(step_of(g, &why, cuda_target(), 2), nullptr);
    EXPECT_EQ(why, "cuDNN has 2 plans for it");
  }
}

TEST_F(CudnnCompiled, NondeterministicPlansAreForThoseWhoAllowThem) {
  fake_cudnn::install(
      {.engines = {{.index = 4, .notes = {CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC}}, {.index = 2}}});
  Target any = cuda_target();
  any.deterministic = false;
  for (const Graph& g : {batch_norm_graph(), batch_norm_grad_graph(), avg_pool_graph()}) {
    EXPECT_EQ(step_of(g)->kernel, "cudnn:eng2");
    EXPECT_EQ(step_of(g, nullptr, any)->kernel, "cudnn:eng4");
  }
}

TEST_F(CudnnCompiled, DeclinesWithItsReason) {
  const auto says = [](const Graph& g, const char* expected, const Target& target = cuda_target()) {
    const std::string why = reason(g, target);
    EXPECT_NE(why.find(expected), std::string::npos) << why;
  };
  says(batch_norm_graph({.has_residual = true}), "cuDNN has no plan");
  says(batch_norm_graph({.has_valid = true}), "no count of valid rows");
  says(batch_norm_grad_graph({.has_valid = true}), "no count of valid rows");
  says(batch_norm_grad_graph({.activation = "relu"}),
       "no engine for the gradient of batch norm with an epilogue");
  says(batch_norm_grad_graph({.activation = "relu", .has_residual = true}), "with an epilogue");
  for (const DType half : {DType::F16, DType::BF16}) {
    says(batch_norm_graph({}, half, half), "statistics in f32");
    says(batch_norm_grad_graph({}, half, half), "statistics in f32");
  }
  Target described = cuda_target();
  described.described = "{}";
  for (const Graph& g : {batch_norm_graph(), batch_norm_grad_graph(), avg_pool_graph()})
    says(g, "the target is only described", described);
  says(batch_norm_graph({}, DType::F64, DType::F64), "f32, f16 and bf16");
  says(batch_norm_grad_graph({}, DType::F64, DType::F64), "f32, f16 and bf16");
  says(avg_pool_graph({}, DType::F64), "f32, f16 and bf16");
  const Shape none{0, 6, 5, 3};
  says(batch_norm_graph({}, DType::F32, DType::F32, none), "empty");
  says(batch_norm_grad_graph({}, DType::F32, DType::F32, none), "empty");
  says(avg_pool_graph({}, DType::F32, none), "empty");
  const Shape many{2048, 64, 128, 128};
  says(avg_pool_graph({}, DType::F16, many), "32 bits");
  // 5 rows by 2 with steps of 2: the third window ends a row behind the image, which has no padding.
  const AvgPool2dAttrs up{.kernel = {2, 1}, .stride = {2, 1}, .ceil_mode = true};
  says(avg_pool_graph(up), "beyond the padding");
  AvgPool2dAttrs without = up;
  without.count_include_pad = false;
  EXPECT_NE(step_of(avg_pool_graph(without)), nullptr);
}

// One image or result of another layout is enough.
TEST_F(CudnnCompiled, EveryImageLiesChannelsLast) {
  for (const Graph& g : {batch_norm_graph({.has_residual = true, .activation = "relu"}),
                         batch_norm_grad_graph(), avg_pool_graph()}) {
    ASSERT_NE(step_of(g), nullptr);
    std::vector<ValueId> values = g.nodes()[0].inputs;
    values.insert(values.end(), g.nodes()[0].outputs.begin(), g.nodes()[0].outputs.end());
    for (const ValueId v : values) {
      if (g.type(v).shape.rank() != 4) continue;
      Graph other = g;
      other.value(v).type.layout = Layout::row_major();
      EXPECT_EQ(reason(other), "cuDNN is given channels-last images");
    }
  }
  const Shape rows{4, 6};
  const TensorType whole{DType::F32, rows}, each{DType::F32, {6}};
  EXPECT_EQ(reason(graph_of("batch_norm", BatchNormAttrs{}, {whole, each, each, each, each},
                            {whole, each, each, each, each})),
            "cuDNN is given channels-last images");
}

// ---- Among the other candidates
// -----------------------------------------------------------------------------

TEST_F(CudnnCompiled, OurOwnKernelsComeFirst) {
  for (const Graph& g : {batch_norm_graph(), batch_norm_grad_graph(), avg_pool_graph()}) {
    const Target target = cuda_target();
    const auto first = first_step(cuda::lowerings(), {g, g.nodes()[0], target});
    ASSERT_NE(first, nullptr);
    EXPECT_EQ(first->kernel.find("cudnn:"), std::string::npos);
  }
  EXPECT_EQ(fake_cudnn::counts().descriptors, 0) << "cuDNN was asked for a node that our own kernel takes";
}

TEST_F(CudnnCompiled, NoneWithoutLibraries) {
  const auto libraries = [](const std::vector<Offer>& offers) {
    return std::count_if(offers.begin(), offers.end(),
                         [](const Offer& o) { return o.step->kernel.find("cudnn:") == 0; });
  };
  for (const Graph& g : {batch_norm_graph(), batch_norm_grad_graph(), avg_pool_graph()}) {
    Target target = cuda_target();
    EXPECT_EQ(libraries(all_steps(cuda::lowerings(), {g, g.nodes()[0], target})), 1);
    target.autotune = Autotune::Off;
    EXPECT_EQ(libraries(all_steps(cuda::lowerings(), {g, g.nodes()[0], target})), 0);
  }
}

// Both are timed, and the ranking names both.
TEST_F(CudnnCompiled, TheChooserMeasuresThem) {
  for (const Graph& g : {batch_norm_graph(), batch_norm_grad_graph(), avg_pool_graph()}) {
    const TempDir dir;
    std::vector<std::string> log;
    cuda::Chooser chooser(dir.path(), [&](std::string_view line) { log.emplace_back(line); });
    Target target = cuda_target();
    target.autotune = Autotune::Measure;
    const int before = fake_cudnn::counts().runs;
    const auto step = chooser.choose(cuda::lowerings(), {g, g.nodes()[0], target});
    ASSERT_NE(step, nullptr);
    EXPECT_GT(step->milliseconds, 0.0);
    EXPECT_GT(fake_cudnn::counts().runs, before);
    EXPECT_TRUE(log.empty()) << log[0];
    const auto entries = cuda::KernelCache(dir.path()).entries();
    ASSERT_EQ(entries.size(), 1u);
    const std::string ranking = read_file(entries[0].file);
    EXPECT_NE(ranking.find(" cudnn:eng1\n"), std::string::npos) << ranking;
    EXPECT_NE(ranking.find(cat(" ", first_step(cuda::lowerings(), {g, g.nodes()[0], target})->kernel, "\n")),
              std::string::npos)
        << ranking;
    EXPECT_EQ(fake_cudnn::counts().handles, 0);
  }
}

// ---- Programs ---------------------------------------------------------------------------------------------

// cuDNN's candidates of batch norm and pooling as if they were the only ones, as where measuring likes them.
class CudnnBackend final : public cuda::CudaBackend {
 public:
  std::string_view name() const override { return "cuda_cudnn"; }
  std::unique_ptr<Step> lower(const Graph& graph, const Node& node, const Target& target) const override {
    if (node.op.find("batch_norm") == 0 || node.op == "avg_pool2d")
      for (const Lowering& row : *cuda::lowerings().find(node.op))
        if (std::string_view(row.name) == "cudnn")
          if (auto step = row.lower({graph, node, target})) return step;
    return CudaBackend::lower(graph, node, target);
  }
};

Target cudnn_target() {
  static const bool once = (register_backend(std::make_unique<CudnnBackend>()), true);
  static_cast<void>(once);
  Target t = Target::cuda(0);
  t.backend = "cuda_cudnn";
  return t;
}

Value normalised(Graph& g, Value x, const std::string& name, std::vector<Value>& parameters) {
  const TensorType each{DType::F32, {x.shape()[1]}};
  const Value gamma = state(g, StateRole::Parameter, name + ".weight", each, Init::normal(1.0, 0.2)),
              beta = state(g, StateRole::Parameter, name + ".bias", each, Init::normal(0.0, 0.2)),
              mean = state(g, StateRole::Buffer, name + ".running_mean", each, Init::constant(0.0)),
              var = state(g, StateRole::Buffer, name + ".running_var", each, Init::constant(1.0));
  const BatchNormResult r = batch_norm(x, gamma, beta, mean, var);
  g.add_update(mean.id(), r.running_mean.id());
  g.add_update(var.id(), r.running_var.id());
  parameters.push_back(gamma), parameters.push_back(beta);
  return r.y;
}

// conv, batch norm, ReLU, average pooling, conv, batch norm, average pooling, trained towards small squares.
// The first batch norm takes the ReLU into its epilogue, so its gradient is not for cuDNN; the second's is.
Graph small_net() {
  Graph g;
  std::vector<Value> parameters;
  const auto weight = [&](const char* name, const Shape& shape) {
    parameters.push_back(state(g, StateRole::Parameter, name, {DType::F32, shape}, Init::normal(0.0, 0.3)));
    return parameters.back();
  };
  Value x = input(g, "x", {DType::F32, {3, 4, 9, 8}});
  x = conv2d(x, weight("a", {8, 4, 3, 3}), {.padding = {1, 1}});
  x = relu(normalised(g, x, "norm_a", parameters));
  x = avg_pool2d(x, {.kernel = {3, 3}, .stride = {2, 2}, .padding = {1, 1}});
  x = conv2d(x, weight("b", {5, 8, 3, 3}), {.padding = {1, 1}});
  x = normalised(g, x, "norm_b", parameters);
  x = avg_pool2d(x, {.kernel = {2, 2}, .stride = {2, 2}, .ceil_mode = true, .count_include_pad = false});
  output("y", x);
  const Value loss = mean(x * x, {0, 1, 2, 3});
  output("loss", loss);
  const std::vector<Value> gradients = differentiate(g, loss, parameters);
  for (std::size_t i = 0; i < parameters.size(); ++i)
    g.add_update(parameters[i].id(), (parameters[i] - 0.1 * gradients[i]).id());
  return g;
}

TEST_F(CudnnCompiled, ASmallNetTrainsAsOnTheCpu) {
  const Graph g = small_net();
  const Runs runs{.runs = 4, .look_every = 2};
  const auto want = run(g, Target::cpu(1), runs);
  fake_cudnn::install({.engines = {{.index = 5, .workspace_bytes = 3000}}});
  const ProgramPtr p = compile(g, {.target = cudnn_target()});
  std::map<std::string, int> by_cudnn, by_us;
  for (const NodeId n : p->schedule())
    (p->step(n).kernel.find("cudnn:") == 0 ? by_cudnn : by_us)[p->graph().node(n).op]++;
  EXPECT_EQ(by_cudnn, (std::map<std::string, int>{{"avg_pool2d", 2},
                                                  {"batch_norm", 2},
                                                  {"batch_norm_grad", 1},
                                                  {"conv2d", 2},
                                                  {"conv2d_grad_input", 1},
                                                  {"conv2d_grad_weight", 2}}));
  EXPECT_EQ(by_us["batch_norm_grad"], 1);
  each_order([&] { expect_close(run(p, runs), want, 1e-5); }, 2);
  sim::reset();
  Session s(p);
  for (int i = 0; i < 2; ++i) s.run();
  expect_one_launch_a_run(s, 3);
}

// With whatever the chooser found the fastest.
TEST_F(CudnnCompiled, ASmallNetOfMeasuredKernelsTrainsAsOnTheCpu) {
  static const TempDir dir;
  ::setenv("INGOT_CACHE_DIR", dir.path().c_str(), 1);  // read once, when the backend first measures
  const Graph g = small_net();
  const Runs runs{.runs = 4, .look_every = 2};
  const auto want = run(g, Target::cpu(1), runs);
  Target measured = Target::cuda(0);
  measured.autotune = Autotune::Measure;
  const ProgramPtr p = compile(g, {.target = measured});
  EXPECT_GT(fake_cudnn::counts().runs, 0);
  expect_close(run(p, runs), want, 1e-5);
}

}  // namespace
}  // namespace ingot
