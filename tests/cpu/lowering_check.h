// Runs one node as the backend lowers it, in the layouts that it chooses, and compares with the op's
// reference.
//
//   const auto r = check_lowering("conv2d", Conv2dAttrs{...}, {{DType::F32, {2, 3, 8, 8}}, ...});
//   EXPECT_EQ(r.kernel.substr(0, 7), "onednn:");
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "core/op/builder.h"
#include "core/runtime/backend.h"
#include "tests/cpu/in_f32.h"

namespace ingot::test {

struct Lowered {
  std::string kernel;
  Backend::Layouts layouts;
  std::vector<Tensor> outputs;  // row-major
};

// Operands drawn from [-1, 1), the same in every run; integer operands must be given in `fixed`.
inline std::vector<Tensor> draw(const std::vector<TensorType>& types, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<double> number(-1.0, 1.0);
  std::vector<Tensor> out;
  for (const TensorType& t : types) {
    out.emplace_back(TensorType{t.dtype, t.shape});
    for (std::int64_t i = 0; i < t.numel(); ++i) out.back().set(i, number(random));
  }
  return out;
}

inline std::vector<Tensor> reference_of(std::string_view name, const Attrs& attrs,
                                        const std::vector<Tensor>& inputs) {
  std::vector<TensorType> types;
  for (const Tensor& t : inputs) types.push_back(t.type());
  std::vector<Tensor> outputs;
  for (const TensorType& t : infer(op(name), attrs, types)) outputs.emplace_back(t);
  op(name).reference({attrs, inputs, outputs});
  return outputs;
}

// The node in a graph of its own: inputs in `layouts` (row-major when empty).
inline Graph one_node(std::string_view name, const Attrs& attrs, const std::vector<Tensor>& inputs,
                      const Backend::Layouts& layouts = {}) {
  Graph g;
  std::vector<TensorType> plain;
  Node node;
  node.op = name;
  node.attrs = attrs;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    TensorType t = inputs[i].type();
    plain.push_back(t);
    if (!layouts.inputs.empty()) t.layout = layouts.inputs[i];
    node.inputs.push_back(g.add_input(cat("i", i), t));
  }
  std::vector<TensorType> out = infer(op(name), attrs, plain);
  for (std::size_t i = 0; i < out.size() && !layouts.outputs.empty(); ++i) out[i].layout = layouts.outputs[i];
  g.add_node(std::move(node), out);
  return g;
}

// Makes the step of the node of a graph, instead of the backend.
using Make = std::function<std::unique_ptr<Step>(const Graph&, const Node&)>;

// Lowers, binds and runs once; `seen` are the operands' current layouts, as the layout pass would have them.
inline Lowered run_lowered(std::string_view name, const Attrs& attrs, const std::vector<Tensor>& inputs,
                           int threads = 2, const Backend::Layouts* forced = nullptr, const Make& make = {}) {
  const Backend& cpu = backend("cpu");
  const Target target = Target::cpu(threads);
  Lowered r;
  const Graph plain = one_node(name, attrs, inputs);
  r.layouts = forced != nullptr
                  ? *forced
                  : cpu.layouts(plain, plain.nodes().at(0), std::vector<bool>(inputs.size(), true), target);
  const Graph g = one_node(name, attrs, inputs, r.layouts);
  const Node& node = g.nodes().at(0);
  const auto step = make ? make(g, node) : cpu.lower(g, node, target);
  r.kernel = step->kernel;
  std::vector<Tensor> in, out;
  std::vector<void*> in_ptr, out_ptr;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    in.push_back(inputs[i].to(r.layouts.inputs[i]));
    in_ptr.push_back(in.back().raw());
  }
  for (const ValueId v : node.outputs) {
    out.emplace_back(g.type(v));
    for (auto& b : out.back().as_bytes()) b = std::byte{0x7f};  // a large value: missing writes show
    out_ptr.push_back(out.back().raw());
  }
  if (step->is_view) out_ptr[0] = in_ptr[0];
  const auto workspace = cpu.allocate(step->workspace_bytes);
  std::fill_n(static_cast<std::byte*>(workspace.get()), step->workspace_bytes, std::byte{0x7f});
  cpu.make_queue(target)->begin();
  step->bind({in_ptr, out_ptr, workspace.get(), nullptr})->run();
  if (step->is_view) return r;
  for (const Tensor& t : out) {
    // Padding holds zeros: a reorder there and back gives the same bytes only then.
    EXPECT_TRUE(bitwise_equal(t, t.to(Layout::row_major()).to(t.type().layout)))
        << name << " left dirty padding";
    r.outputs.push_back(t.to(Layout::row_major()));
  }
  return r;
}

inline void expect_near(const std::vector<Tensor>& got, const std::vector<Tensor>& want, double tolerance,
                        const std::string& what) {
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t k = 0; k < got.size(); ++k) {
    double worst = 0.0;
    for (std::int64_t i = 0; i < got[k].numel(); ++i) {
      const double e = std::abs(got[k].get(i) - want[k].get(i)) / (1.0 + std::abs(want[k].get(i)));
      worst = std::isnan(e) ? INFINITY : std::max(worst, e);
    }
    EXPECT_LE(worst, tolerance) << what << ", output " << k;
  }
}

inline Lowered check_lowering(std::string_view name, const Attrs& attrs, const std::vector<Tensor>& inputs,
                              double tolerance = 2e-5, int threads = 2,
                              const Backend::Layouts* forced = nullptr, const Make& make = {}) {
  const Lowered r = run_lowered(name, attrs, inputs, threads, forced, make);
  std::vector<std::string> types;
  std::vector<Tensor> wide;
  for (const Tensor& t : inputs) {
    types.push_back(to_string(t.type()));
    wide.push_back(in_f32(t));
  }
  expect_near(r.outputs, reference_of(name, attrs, wide), tolerance,
              cat(name, "(", join(types), ") by ", r.kernel));
  return r;
}

}  // namespace ingot::test
