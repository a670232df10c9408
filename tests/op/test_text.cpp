#include "core/op/text.h"

#include "core/base/philox.h"
#include "core/op/verify.h"
#include "core/ops/creation.h"
#include "core/ops/elementwise.h"
#include "core/ops/reduce.h"
#include "core/ops/view.h"
#include "gtest/gtest.h"
#include "tests/support/messages.h"

namespace ingot {
namespace {

// An op whose attributes take every kind.
struct KindsAttrs {
  bool flag = false;
  std::int64_t count = 1;
  double scale = 1.0;
  std::string mode;
  std::vector<std::int64_t> axes;
  std::array<std::int64_t, 2> pair{1, 1};
  DType dtype = DType::F32;
  Shape shape;
  Layout layout;
  Tensor table;
  ScalarExpr tape;
  GraphPtr body;
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("flag", s.flag);
    v("count", s.count);
    v("scale", s.scale);
    v("mode", s.mode);
    v("axes", s.axes);
    v("pair", s.pair);
    v("dtype", s.dtype);
    v("shape", s.shape);
    v("layout", s.layout);
    v("table", s.table);
    v("tape", s.tape);
    v("body", s.body);
  }
};

void register_kinds() {
  if (Registry::instance().find("test_kinds") != nullptr) return;
  OpDef def;
  def.name = "test_kinds";
  def.attrs = KindsAttrs{};
  def.min_inputs = 1;
  def.infer = [](const InferArgs& a) { return std::vector<TensorType>{a.inputs[0]}; };
  def.not_differentiable = "it only carries attributes";
  Registry::instance().add(std::move(def));
}

Graph small_graph() {
  Graph g;
  const Value x = input(g, "x", {DType::F32, {8, 4}}, {"/home/me/train.cpp", 3});
  const Scope scope(g, "fc1", {"train.cpp", 12});
  const Value w = parameter(g, "weight", {DType::F32, {4}}, Init::uniform(-0.5, 0.5));
  const Value y = relu(x * w);
  y.named("hidden");
  const Value loss = mean(y);
  output("loss", loss);
  g.add_update(w.id(), (w - sum(y, {0})).id());
  g.add_gradient(w.id(), sum(y, {0}).id());
  return g;
}

KindsAttrs all_kinds() {
  KindsAttrs a;
  a.flag = true;
  a.count = -7;
  a.scale = 0.1;
  a.mode = "a \"quoted\" \\ word\n";
  a.axes = {2, -1};
  a.pair = {3, 4};
  a.dtype = DType::I64;
  a.shape = {2, 3};
  a.layout = Layout::channels_last(4);
  a.table = Tensor::of({1.0f, -0.0f, 0.1f});
  a.tape = parse_scalar_expr("f32,f32;%2=add(%0,%1);%3=const.f32(0.25);%4=mul(%2,%3)->%4");
  a.body = std::make_shared<Graph>(small_graph());
  return a;
}

void expect_round_trip(const Graph& g) {
  const std::string text = print_graph(g);
  Graph back;
  ASSERT_NO_THROW(back = parse_graph(text)) << text;
  EXPECT_TRUE(back == g) << text << "\nbecame\n" << print_graph(back);
  EXPECT_EQ(print_graph(back), text);
}

TEST(Text, PrintsReadably) {
  EXPECT_EQ(print_graph(small_graph()),
            R"(%0 = input "x" : f32[8, 4]  # "" train.cpp:3
%1 = state "fc1.weight" : f32[4] parameter uniform(-0.5, 0.5)  # "" train.cpp:12
%2 = mul(%0, %1) : f32[8, 4]  # fc1.mul train.cpp:12
%3 "hidden" = relu(%2) : f32[8, 4]  # fc1.relu train.cpp:12
%4 = reduce_mean(%3) : f32[]  # fc1.reduce_mean train.cpp:12
%5 = reduce_sum(%3) {axes=[0]} : f32[4]  # fc1.reduce_sum train.cpp:12
%6 = sub(%1, %5) : f32[4]  # fc1.sub train.cpp:12
%7 = reduce_sum(%3) {axes=[0]} : f32[4]  # fc1.reduce_sum train.cpp:12
output "loss" = %4
update %1 = %6
gradient %1 = %7
)");
}

TEST(Text, RoundTripsGraphs) {
  expect_round_trip({});
  expect_round_trip(small_graph());
}

TEST(Text, RoundTripsEveryKindOfAttribute) {
  register_kinds();
  Graph g;
  const Value x = input(g, "x", {DType::F32, {2}});
  const Value y = apply1("test_kinds", {x}, all_kinds());
  KindsAttrs nested;
  nested.body = std::make_shared<Graph>(g);
  apply1("test_kinds", {y}, nested);
  apply1("test_kinds", {y}, KindsAttrs{});
  expect_round_trip(g);
}

TEST(Text, RoundTripsTensorsOfEveryDtype) {
  for (const DType d :
       {DType::F32, DType::F64, DType::F16, DType::BF16, DType::I32, DType::I64, DType::U8, DType::Bool}) {
    for (const std::int64_t n : {0, 3, 100}) {  // decimal and hexadecimal
      Tensor t = Tensor::zeros({d, {n}});
      for (std::int64_t i = 0; i < n; ++i)
        t.set(i, d == DType::Bool ? static_cast<double>(i % 2) : 0.1 + 1.7 * static_cast<double>(i));
      Graph g;
      constant(g, t);
      expect_round_trip(g);
    }
  }
  Graph g;
  constant(g, Tensor::of({std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}));
  constant(g, Tensor::full({DType::I64, {}}, -9.0e18));
  full(g, std::numeric_limits<double>::infinity(), {DType::F32, {2}});
  expect_round_trip(g);
}

TEST(Text, RoundTripsStatesNamesAndLayouts) {
  Graph g;
  const auto add = [&](const char* name, StateRole role, bool trainable, const Init& init) {
    state(g, role, name, {DType::F32, {2}}, init, trainable, {});
  };
  add("a", StateRole::Parameter, true, Init::normal(0, 0.01));
  add("b", StateRole::Parameter, false, Init::constant(1));
  add("c", StateRole::Buffer, false, Init::from(Tensor::of({1.f, 2.f})));
  add("d \"x\"", StateRole::Optimizer, true, Init::uniform(-1e-30, 1e30));
  add("e", StateRole::Counter, false, Init::constant(0));
  const Value x = input(g, "an image", {DType::F32, {1, 2, 3, 4}, Layout::channels_last(4)});
  TensorType blocked{DType::F32, {17, 3}};
  blocked.layout.rank = 2;
  blocked.layout.order = {1, 0};
  blocked.layout.num_blocks = 2;
  blocked.layout.blocks = {{{0, 16}, {1, 2}}};
  Node n;
  n.op = "relu";
  n.inputs = {x.id()};
  n.name = "a name # with : blanks";
  n.loc = {"my file.cpp", 5};
  const TensorType types[] = {blocked, {DType::U8, {}}};
  g.add_node(n, types);
  n.name = "train.cpp:12";
  n.loc = {};
  g.add_node(n, types);
  expect_round_trip(g);
}

TEST(Text, ReadsValuesOfAnyName) {
  const Graph g = parse_graph(R"(
    // a comment
    %x = input "x" : f32[2, 3]
    %h.1 = relu(%x) : f32[2, 3]
    output "y" = %h.1)");
  verify(g);
  EXPECT_EQ(print_graph(g), "%0 = input \"x\" : f32[2, 3]\n%1 = relu(%0) : f32[2, 3]\noutput \"y\" = %1\n");
}

TEST(Text, ElidesLargeTensorsOnRequest) {
  Graph g;
  constant(g, Tensor::zeros({DType::F32, {1000}}));
  EXPECT_NE(print_graph(g, {.elide_tensors_above = 16}).find("f32[1000]:..."), std::string::npos);
}

TEST(Text, ErrorsNameTheLine) {
  const auto message = [](const char* text) { return message_of<FormatError>([&] { parse_graph(text); }); };
  EXPECT_TRUE(says(message("%0 = input \"x\" : f32[2]\n%1 = relu(%7) : f32[2]"), "line 2", "%7"));
  EXPECT_TRUE(says(message("\n\n%0 = conv3d() : f32[2]"), "line 3", "conv3d"));
  EXPECT_TRUE(says(message("%0 = input \"x\" : f32[-1]"), "line 1"));
  EXPECT_TRUE(says(message("%0 = input \"x\" : f32[4611686018427387904, 8]"), "line 1", "too large"));
  EXPECT_TRUE(says(message("%0 = full() {colour=3} : f32[]"), "no attribute 'colour'"));
  EXPECT_TRUE(says(message("%0 = full() {value=red} : f32[]"), "not a number"));
  EXPECT_TRUE(says(message("%0 = constant() {value=f32[1000000000](1)} : f32[]"), "elements"));
  EXPECT_TRUE(says(message("%0 = input \"x\" : f32[2]\n%0 = input \"y\" : f32[2]"), "defined twice"));
  EXPECT_TRUE(says(message("%0 = input \"x"), "quoted string"));
  EXPECT_TRUE(says(message("output \"y\" = %0"), "not defined"));
}

// Whatever the bytes, the parser answers with a graph or a FormatError, and what it accepts can be verified.
TEST(Text, SurvivesDamagedText) {
  register_kinds();
  Graph g = small_graph();
  apply1("test_kinds", {Value(g, g.inputs()[0])}, all_kinds());
  constant(g, Tensor::zeros({DType::F32, {20}}));
  const std::string text = print_graph(g);
  const std::string pieces = "0123456789%\"{}[]():,@#=-x \nabef.\\/~\x01\xff";
  int accepted = 0;
  for (std::uint64_t round = 0; round < 20000; ++round) {
    const Philox rng(11, round);
    const auto draw = [&, i = std::uint64_t{0}](std::size_t n) mutable { return rng.bits(i++) % n; };
    auto pick = draw;
    std::string damaged = text;
    for (std::size_t k = 1 + pick(3); k > 0 && !damaged.empty(); --k) {
      const std::size_t at = pick(damaged.size());
      switch (pick(4)) {
        case 0:
          damaged[at] = pieces[pick(pieces.size())];
          break;
        case 1:
          damaged.erase(at, 1 + pick(8));
          break;
        case 2:
          damaged.insert(at, 1 + pick(3), pieces[pick(pieces.size())]);
          break;
        default:
          damaged.resize(at);
          break;
      }
    }
    try {
      const Graph back = parse_graph(damaged);
      ++accepted;
      broken_rules(back);
    } catch (const FormatError&) {
    } catch (const std::exception& e) {
      FAIL() << "round " << round << ": " << e.what() << "\n" << damaged;
    }
  }
  EXPECT_GT(accepted, 100);
  EXPECT_LT(accepted, 19000);
}

}  // namespace
}  // namespace ingot
