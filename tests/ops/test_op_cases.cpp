// Runs every OpCase; see tests/support/op_case.h.
#include <cmath>
#include <cstring>
#include <map>
#include <set>

#include "core/autodiff/differentiate.h"
#include "core/base/philox.h"
#include "core/op/builder.h"
#include "core/op/reference.h"
#include "core/op/text.h"
#include "core/op/verify.h"
#include "core/runtime/interpreter.h"
#include "core/runtime/session.h"
#include "gtest/gtest.h"
#include "tests/support/op_case.h"

namespace ingot::test {

// What GoogleTest prints for the parameter.
void PrintTo(const OpCase& c, std::ostream* out) {
  *out << c.op << "." << c.name;
}
void PrintTo(const OpErrorCase& c, std::ostream* out) {
  *out << c.op << "." << c.name;
}

namespace {

constexpr std::int64_t kMaxDifferences = 48;  // elements per operand whose derivative is checked

const Attrs& attrs_of(const OpCase& c) {
  return c.attrs.empty() ? op(c.op).attrs : c.attrs;
}

std::vector<Value> append(Graph& g, const OpCase& c) {
  std::vector<Value> in;
  for (std::size_t i = 0; i < c.inputs.size(); ++i) in.push_back(input(g, cat("x", i), c.inputs[i].type));
  if (in.empty()) return {apply0(g, c.op, c.attrs, {"case.cpp", 1})};
  return apply(c.op, in, c.attrs, {"case.cpp", 1});
}

Graph one_node(const OpCase& c) {
  Graph g;
  const auto out = append(g, c);
  for (std::size_t k = 0; k < out.size(); ++k) output(cat("y", k), out[k]);
  return g;
}

NamedTensors feeds(const std::vector<Tensor>& inputs) {
  NamedTensors f;
  for (std::size_t i = 0; i < inputs.size(); ++i) f[cat("x", i)] = inputs[i];
  return f;
}

std::vector<Tensor> reference(const OpCase& c, const std::vector<Tensor>& inputs) {
  return run_reference(op(c.op), attrs_of(c), inputs);
}

// |a - b| <= tolerance * (1 + |b|); NaN equals NaN.
bool close(double a, double b, double tolerance) {
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
  if (std::isinf(a) || std::isinf(b)) return a == b;
  return std::abs(a - b) <= tolerance * (1.0 + std::abs(b));
}

void expect_close(const OpCase& c, int output, const Tensor& got, const Tensor& want, double tolerance,
                  const std::string& what) {
  ASSERT_EQ(to_string(got.shape()), to_string(want.shape())) << what;
  int shown = 0;
  for (std::int64_t i = 0; i < want.numel() && shown < 4; ++i) {
    if (c.unspecified && c.unspecified(output, i)) continue;
    if (close(got.get(i), want.get(i), tolerance)) continue;
    ++shown;
    ADD_FAILURE() << what << ": output " << output << ", element " << i << " is " << got.get(i)
                  << ", expected " << want.get(i);
  }
}

class OpCases : public testing::TestWithParam<OpCase> {};

// Shapes are as stated, and the reference writes each element of exactly those and leaves its operands alone.
TEST_P(OpCases, Shapes) {
  const OpCase& c = GetParam();
  const Graph g = one_node(c);
  const Node& node = g.nodes().front();
  if (!c.shapes.empty()) {
    ASSERT_EQ(c.shapes.size(), node.outputs.size());
  }
  for (std::size_t k = 0; k < c.shapes.size(); ++k)
    EXPECT_EQ(to_string(g.type(node.outputs[k]).shape), to_string(c.shapes[k])) << "output " << k;
  const OpDef& def = op(c.op);
  if (def.reference == nullptr) GTEST_SKIP() << "no reference";

  constexpr std::size_t kGuard = 64;
  const std::vector<Tensor> inputs = make_inputs(c);
  std::vector<Tensor> before;
  for (const Tensor& t : inputs) before.push_back(t.clone());
  std::vector<std::vector<Tensor>> runs;
  for (const unsigned char fill : {std::uint8_t{0x00}, std::uint8_t{0xff}}) {
    std::vector<Tensor> out;
    std::vector<std::vector<unsigned char>> memory;
    for (const ValueId v : node.outputs) {
      const TensorType t(g.type(v).dtype, g.type(v).shape);
      memory.emplace_back(t.bytes() + 2 * kGuard, fill);
      out.emplace_back(t, memory.back().data() + kGuard, nullptr);
    }
    def.reference({node.attrs, inputs, out});
    for (std::size_t k = 0; k < out.size(); ++k) {
      for (std::size_t b = 0; b < kGuard; ++b) {
        ASSERT_EQ(memory[k][b], fill) << "wrote before output " << k;
        ASSERT_EQ(memory[k][memory[k].size() - 1 - b], fill) << "wrote behind output " << k;
      }
      out[k] = out[k].clone();
    }
    runs.push_back(std::move(out));
  }
  for (std::size_t i = 0; i < inputs.size(); ++i)
    EXPECT_TRUE(bitwise_equal(inputs[i], before[i])) << "operand " << i << " was changed";
  for (std::size_t k = 0; k < node.outputs.size(); ++k)
    EXPECT_TRUE(bitwise_equal(runs[0][k], runs[1][k]))
        << "some elements of output " << k << " are not written";
}

TEST_P(OpCases, Reference) {
  const OpCase& c = GetParam();
  if (op(c.op).reference == nullptr) GTEST_SKIP() << "no reference";
  const std::vector<Tensor> inputs = make_inputs(c);
  const std::vector<Tensor> f32 = reference(c, inputs);
  const Evaluated f64 = evaluate(one_node(c), feeds(inputs), {}, {.as_f64 = true});
  for (std::size_t k = 0; k < f32.size(); ++k)
    expect_close(c, static_cast<int>(k), f32[k], f64.outputs.at(cat("y", k)), c.tolerance, "f32 against f64");
  for (std::size_t k = 0; k < c.expected.size(); ++k) {
    if (c.expected[k].empty()) continue;
    ASSERT_LT(k, f32.size());
    const Tensor want = Tensor::from<double>(f32[k].shape(), c.expected[k]);
    expect_close(c, static_cast<int>(k), f32[k], want, c.tolerance, "against the expected values");
  }
}

// Fixed weights of a loss, no two alike; none where the case leaves the element open.
Tensor loss_weights(const OpCase& c, int output, const Shape& shape) {
  Tensor w(TensorType{DType::F64, shape});
  const Philox rng(99, static_cast<std::uint64_t>(output));
  for (std::int64_t i = 0; i < w.numel(); ++i) {
    const double u = static_cast<double>(uniform01(rng.bits(static_cast<std::uint64_t>(i))));
    w.set(i, c.unspecified && c.unspecified(output, i) ? 0.0 : (u < 0.5 ? -1.0 : 1.0) * (0.25 + u));
  }
  return w;
}

TEST_P(OpCases, Gradient) {
  const OpCase& c = GetParam();
  const OpDef& def = op(c.op);
  if (def.gradient == nullptr) GTEST_SKIP() << "not differentiable: " << def.not_differentiable;
  if (!c.gradient) GTEST_SKIP() << "the case says so";

  // loss = sum over the chosen outputs of sum(y * w).
  Graph g;
  const std::vector<Value> y = append(g, c);
  const std::vector<Tensor> inputs = make_inputs(c);
  NamedTensors given = feeds(inputs);
  std::map<int, Tensor> weights;
  Value loss;
  for (const int k : c.loss_outputs) {
    const Value& v = y.at(static_cast<std::size_t>(k));
    if (!is_floating(v.dtype())) continue;
    weights[k] = loss_weights(c, k, v.shape());
    const Value w = input(g, cat("w", k), v.type());
    given[cat("w", k)] = weights[k];
    const Value term = apply1("reduce_sum", {apply1("mul", {v, w})});
    loss = loss.defined() ? apply1("add", {loss, term}) : term;
  }
  if (!loss.defined()) GTEST_SKIP() << "the outputs that enter the loss are not floating";
  std::vector<Value> wrt;
  std::vector<std::size_t> operand;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (!is_floating(c.inputs[i].type.dtype) || !c.inputs[i].differentiate) continue;
    wrt.emplace_back(g, g.find_input(cat("x", i)));
    operand.push_back(i);
  }
  if (wrt.empty()) GTEST_SKIP() << "no operand to differentiate by";
  const std::vector<Value> grads = differentiate(g, loss, wrt);
  for (std::size_t j = 0; j < grads.size(); ++j) output(cat("g", j), grads[j]);
  ASSERT_NO_THROW(verify(g));
  const Evaluated rule = evaluate(g, given, {}, {.as_f64 = true});

  const Graph forward = to_f64(one_node(c));
  std::vector<Tensor> x;
  for (const Tensor& t : inputs) x.push_back(t.dtype() == DType::F32 ? t.to(DType::F64) : t.clone());
  const auto loss_at_x = [&] {
    const std::vector<Tensor> out = run_reference(def, forward.nodes().front().attrs, x);
    double sum = 0.0;
    for (const auto& [k, w] : weights)
      for (std::int64_t i = 0; i < w.numel(); ++i)
        if (w.get(i) != 0.0) sum += w.get(i) * out[static_cast<std::size_t>(k)].get(i);
    return sum;
  };
  for (std::size_t j = 0; j < operand.size(); ++j) {
    const Tensor& t = x[operand[j]];
    const Tensor& by_rule = rule.outputs.at(cat("g", j));
    ASSERT_EQ(to_string(by_rule.shape()), to_string(t.shape()));
    const std::int64_t stride = (t.numel() + kMaxDifferences - 1) / kMaxDifferences;
    int shown = 0;
    for (std::int64_t i = 0; i < t.numel() && shown < 4; i += std::max<std::int64_t>(stride, 1)) {
      const double at = t.get(i), h = 1e-5 * std::max(1.0, std::abs(at));
      t.set(i, at + h);
      const double above = loss_at_x();
      t.set(i, at - h);
      const double below = loss_at_x();
      t.set(i, at);
      const double measured = (above - below) / (2.0 * h);
      if (close(by_rule.get(i), measured, c.grad_tolerance)) continue;
      ++shown;
      ADD_FAILURE() << "operand " << operand[j] << ", element " << i << ": the rule gives " << by_rule.get(i)
                    << ", differences give " << measured;
    }
  }
}

TEST_P(OpCases, Text) {
  const OpCase& c = GetParam();
  const Graph g = one_node(c);
  ASSERT_NO_THROW(verify(g));
  const std::string text = print_graph(g);
  Graph back;
  ASSERT_NO_THROW(back = parse_graph(text)) << text;
  EXPECT_TRUE(back == g) << text;
  EXPECT_EQ(print_graph(back), text);
  EXPECT_NO_THROW(verify(back));
}

// What the backend answers for operands that lie as `g` says, run on them and compared with the reference.
void check_lowering(const OpCase& c, Graph g, bool states_free, const std::vector<Tensor>& inputs,
                    const std::vector<Tensor>& want) {
  const Target target = Target::cpu(2);
  const Backend& cpu = backend("cpu");
  const NodeId id{0};
  const std::vector<bool> free(inputs.size(), states_free);
  const NodeLayouts layouts = cpu.layouts(g, g.node(id), free, target);
  const std::vector<ValueId> in = g.node(id).inputs, out = g.node(id).outputs;
  ASSERT_EQ(layouts.inputs.size(), in.size());
  ASSERT_EQ(layouts.outputs.size(), out.size());
  std::string what = "cpu";
  for (std::size_t i = 0; i < in.size(); ++i) {
    g.value(in[i]).type.layout = layouts.inputs[i];
    what += cat(" ", to_string(g.type(in[i])));
  }
  for (std::size_t k = 0; k < out.size(); ++k) g.value(out[k]).type.layout = layouts.outputs[k];
  if (const auto why = cpu.refuses(g, g.node(id))) {
    ADD_FAILURE() << what << " is refused: " << *why;
    return;
  }
  const auto step = cpu.lower(g, g.node(id), target);
  what += cat(" by ", step->kernel);
  std::vector<Tensor> operands, results;
  std::vector<void*> read, written;
  for (std::size_t i = 0; i < in.size(); ++i) {
    operands.push_back(inputs[i].to(layouts.inputs[i]).clone());
    read.push_back(operands.back().raw());
  }
  for (std::size_t k = 0; k < out.size(); ++k) {
    results.emplace_back(g.type(out[k]));
    std::memset(results.back().raw(), 0xff, results.back().bytes());
    written.push_back(results.back().raw());
  }
  if (step->is_view) written[0] = read[0];
  const auto workspace = cpu.allocate(step->workspace_bytes);
  if (step->workspace_bytes != 0) std::memset(workspace.get(), 0xff, step->workspace_bytes);
  const auto bound = step->bind({read, written, workspace.get()});
  cpu.make_queue(target)->begin();
  bound->run();
  if (step->is_view && !operands.empty()) results[0] = Tensor(results[0].type(), operands[0].raw(), nullptr);
  for (std::size_t k = 0; k < results.size(); ++k)
    expect_close(c, static_cast<int>(k), results[k], want[k], c.tolerance, what);
  for (std::size_t i = 0; i < operands.size(); ++i)
    expect_close({}, static_cast<int>(i), operands[i], inputs[i], 0.0, what + " changed its operand");
}

TEST_P(OpCases, Lowering) {
  const OpCase& c = GetParam();
  if (op(c.op).reference == nullptr) GTEST_SKIP() << "no reference";
  const std::vector<Tensor> inputs = make_inputs(c), want = reference(c, inputs);
  const Graph plain = one_node(c);
  check_lowering(c, plain, false, inputs, want);
  check_lowering(c, plain, true, inputs, want);
  // The same with images channels-last, together and one at a time.
  const auto channels_last = [&](Graph g, std::size_t only) {
    bool any = false;
    for (std::size_t i = 0; i < c.inputs.size(); ++i) {
      TensorType& t = g.value(g.node(NodeId{0}).inputs[i]).type;
      if (t.shape.rank() != 4 || (only < c.inputs.size() && only != i)) continue;
      t.layout = Layout::channels_last(4);
      any = true;
    }
    if (any) check_lowering(c, std::move(g), false, inputs, want);
  };
  for (std::size_t only = 0; only <= c.inputs.size(); ++only) channels_last(plain, only);
}

// Through passes, plan and session.
TEST_P(OpCases, Program) {
  const OpCase& c = GetParam();
  if (op(c.op).reference == nullptr) GTEST_SKIP() << "no reference";
  const std::vector<Tensor> inputs = make_inputs(c), want = reference(c, inputs);
  for (const bool optimise : {false, true}) {
    CompileOptions options;
    options.target = Target::cpu(2);
    options.optimise = optimise;
    Session s(compile(one_node(c), options));
    for (std::size_t i = 0; i < inputs.size(); ++i) s.input(cat("x", i)).copy_from(inputs[i]);
    s.run();
    for (std::size_t k = 0; k < want.size(); ++k)
      expect_close(c, static_cast<int>(k), s.output(cat("y", k)), want[k], c.tolerance,
                   optimise ? "optimised" : "plain");
  }
}

std::string case_name(const testing::TestParamInfo<OpCase>& info) {
  return info.param.op + "_" + info.param.name;
}
INSTANTIATE_TEST_SUITE_P(All, OpCases, testing::ValuesIn(op_cases()), case_name);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(OpCases);

class OpErrors : public testing::TestWithParam<OpErrorCase> {};

// The error says what is wrong and carries the user's line.
TEST_P(OpErrors, NamesTheMistake) {
  const OpErrorCase& c = GetParam();
  Graph g;
  std::vector<Value> in;
  for (const TensorType& t : c.inputs) in.push_back(input(g, cat("x", in.size()), t));
  try {
    if (in.empty())
      apply0(g, c.op, c.attrs, {"user.cpp", 7});
    else
      apply(c.op, in, c.attrs, {"user.cpp", 7});
    FAIL() << "the call was accepted";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find(c.message), std::string::npos) << e.what();
    EXPECT_NE(std::string(e.what()).find("user.cpp:7"), std::string::npos) << e.what();
  }
}

std::string error_name(const testing::TestParamInfo<OpErrorCase>& info) {
  return info.param.op + "_" + info.param.name;
}
INSTANTIATE_TEST_SUITE_P(All, OpErrors, testing::ValuesIn(op_error_cases()), error_name);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(OpErrors);

TEST(OpRegistry, CasesAreOfRegisteredOpsAndNamedOnce) {
  std::set<std::string> seen;
  for (const OpCase& c : op_cases()) {
    EXPECT_NE(Registry::instance().find(c.op), nullptr) << c.op;
    EXPECT_TRUE(seen.insert(c.op + "." + c.name).second) << c.op << "." << c.name << " is there twice";
  }
}

}  // namespace
}  // namespace ingot::test
