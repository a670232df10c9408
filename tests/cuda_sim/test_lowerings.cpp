// Every OpCase (tests/support/op_case.h) whose op has a CUDA lowering, on the simulated device, against the
// op's reference: the operands as they are, and images channels-last, together and one at a time.
#include <cmath>
#include <memory>

#include "core/op/builder.h"
#include "core/op/reference.h"
#include "cuda/ops/table.h"
#include "tests/cuda_sim/sim_test.h"
#include "tests/support/op_case.h"

namespace ingot {

namespace test {
void PrintTo(const OpCase& c, std::ostream* out) {
  *out << c.op << "." << c.name;
}
}  // namespace test

namespace {

using test::OpCase;

class Lowerings : public SimTest, public testing::WithParamInterface<OpCase> {
 protected:
  // At least a byte, so that empty operands have an address.
  static cuda::DeviceBuffer upload(const void* from, std::size_t bytes, const cuda::Stream& stream) {
    cuda::DeviceBuffer buffer(std::max<std::size_t>(bytes, 1));
    if (from != nullptr) cuda::copy_to_device(buffer.data(), from, bytes, stream);
    return buffer;
  }
  static Tensor download(const cuda::DeviceBuffer& buffer, const TensorType& type,
                         const cuda::Stream& stream) {
    Tensor t(type);
    cuda::copy_to_host(t.raw(), buffer.data(), t.bytes(), stream);
    stream.synchronize();
    return t;
  }

  // |a - b| <= tolerance * (1 + |b|); NaN equals NaN.
  static bool close(double a, double b, double tolerance) {
    if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
    if (std::isinf(a) || std::isinf(b)) return a == b;
    return std::abs(a - b) <= tolerance * (1.0 + std::abs(b));
  }
  static void expect_close(const OpCase& c, int output, const Tensor& got, const Tensor& want,
                           double tolerance, const std::string& what) {
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

  // Operands lie as `g` says; the table may ask for other layouts. A problem that every candidate declines
  // (an integer type, say) is skipped by name.
  static void check(const OpCase& c, Graph g, const std::vector<Tensor>& inputs,
                    const std::vector<Tensor>& want) {
    Target target;
    target.backend = "cuda";
    const NodeId id{0};
    const auto layouts = first_layouts(cuda::lowerings(), {g, g.node(id), target},
                                       std::vector<bool>(g.node(id).inputs.size(), false));
    const std::vector<ValueId> in = g.node(id).inputs, out = g.node(id).outputs;
    ASSERT_EQ(layouts.inputs.size(), in.size());
    ASSERT_EQ(layouts.outputs.size(), out.size());
    std::string what = "cuda";
    for (std::size_t i = 0; i < in.size(); ++i) {
      g.value(in[i]).type.layout = layouts.inputs[i];
      what += cat(" ", to_string(g.type(in[i])));
    }
    for (std::size_t k = 0; k < out.size(); ++k) g.value(out[k]).type.layout = layouts.outputs[k];
    const auto step = first_step(cuda::lowerings(), {g, g.node(id), target});
    if (step == nullptr) GTEST_SKIP() << "declined: " << what;
    what += cat(" by ", step->kernel);

    const cuda::Stream stream;
    std::vector<cuda::DeviceBuffer> operands, results;
    std::vector<void*> read, written;
    for (std::size_t i = 0; i < in.size(); ++i) {
      const Tensor host = inputs[i].to(layouts.inputs[i]);
      operands.push_back(upload(host.raw(), host.bytes(), stream));
      read.push_back(operands.back().data());
    }
    for (const ValueId v : out) {
      results.push_back(upload(nullptr, g.type(v).bytes(), stream));
      written.push_back(results.back().data());
    }
    if (step->is_view) written[0] = read[0];
    const cuda::DeviceBuffer workspace = upload(nullptr, step->workspace_bytes, stream);
    const auto bound = step->bind({read, written, workspace.data(), const_cast<cuda::Stream*>(&stream)});
    bound->run();
    for (std::size_t k = 0; k < out.size(); ++k)
      expect_close(c, static_cast<int>(k),
                   download(step->is_view && k == 0 ? operands[0] : results[k], g.type(out[k]), stream),
                   want[k], c.tolerance, what);
    for (std::size_t i = 0; i < in.size(); ++i)
      expect_close({}, static_cast<int>(i), download(operands[i], g.type(in[i]), stream), inputs[i], 0.0,
                   what + " changed its operand");
  }
};

Graph one_node(const OpCase& c) {
  Graph g;
  std::vector<Value> in;
  for (std::size_t i = 0; i < c.inputs.size(); ++i) in.push_back(input(g, cat("x", i), c.inputs[i].type));
  if (in.empty())
    apply0(g, c.op, c.attrs);
  else
    apply(c.op, in, c.attrs);
  return g;
}

TEST_P(Lowerings, EqualTheReference) {
  const OpCase& c = GetParam();
  const OpDef& def = op(c.op);
  ASSERT_NE(def.reference, nullptr);
  const std::vector<Tensor> inputs = test::make_inputs(c);
  const std::vector<Tensor> want = run_reference(def, c.attrs.empty() ? def.attrs : c.attrs, inputs);
  const Graph plain = one_node(c);
  check(c, plain, inputs, want);
  for (std::size_t only = 0; only <= c.inputs.size(); ++only) {
    Graph g = plain;
    bool any = false;
    for (std::size_t i = 0; i < c.inputs.size(); ++i) {
      TensorType& t = g.value(g.node(NodeId{0}).inputs[i]).type;
      if (t.shape.rank() != 4 || (only < c.inputs.size() && only != i)) continue;
      t.layout = Layout::channels_last(4);
      any = true;
    }
    if (any) check(c, std::move(g), inputs, want);
  }
}

std::vector<OpCase> served_cases() {
  std::vector<OpCase> cases;
  for (const OpCase& c : test::op_cases())
    if (cuda::lowerings().find(c.op) != nullptr && op(c.op).reference != nullptr) cases.push_back(c);
  return cases;
}

std::string case_name(const testing::TestParamInfo<OpCase>& info) {
  return info.param.op + "_" + info.param.name;
}
INSTANTIATE_TEST_SUITE_P(All, Lowerings, testing::ValuesIn(served_cases()), case_name);

}  // namespace
}  // namespace ingot
