// check_step: one node on the CPU backend against its reference, in every way it may be asked to run.
//
// For each level of the vector kernels, 1 to 3 threads, row-major and channels-last operands: asks the
// backend for layouts, lowers the node alone, runs it twice (the bits must be equal), and once for every pair
// of operands that the step says may share memory. Operands are given row-major.
//
//   check_step("relu", {}, {x});
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "core/op/registry.h"
#include "core/runtime/backend.h"
#include "cpu/simd/level.h"
#include "tests/cpu/in_f32.h"

namespace ingot::test {

struct StepCheck {
  double tolerance = 2e-6;  // |a - b| <= tolerance * (1 + |b|)
  bool own_kernel = true;   // the reference must not serve it
  std::string kernel{};     // what the kernel's name starts with where vectors have AVX-512
  // Elements the op leaves open: (output, element) -> true when not compared.
  std::function<bool(int, std::int64_t)> unspecified = {};
};

inline Tensor random_tensor(const Shape& shape, unsigned seed, double lo = -2.0, double hi = 2.0,
                            DType dtype = DType::F32) {
  std::mt19937 rng(seed);
  std::uniform_real_distribution<double> draw(lo, hi);
  Tensor t = Tensor::zeros({dtype, shape});
  for (std::int64_t i = 0; i < t.numel(); ++i)
    t.set(i, is_floating(dtype) ? draw(rng) : dtype == DType::Bool ? draw(rng) > 0 : std::floor(draw(rng)));
  return t;
}

class StepChecker {
 public:
  StepChecker(std::string_view op_name, const Attrs& attrs, std::vector<Tensor> inputs, StepCheck options)
      : def_(op(op_name)), attrs_(attrs), inputs_(std::move(inputs)), options_(std::move(options)) {
    std::vector<TensorType> types;
    for (const Tensor& t : inputs_) types.push_back(t.type());
    types_ = infer(def_, attrs_, types);
    for (TensorType& t : types_) t.layout = Layout::row_major();
    // The reference of half precision is that of f32; what rounding its results adds is the tolerance's
    // affair.
    std::vector<Tensor> wide;
    for (const Tensor& t : inputs_) wide.push_back(in_f32(t));
    types.clear();
    for (const Tensor& t : wide) types.push_back(t.type());
    for (const TensorType& t : infer(def_, attrs_, types)) expected_.push_back(Tensor::zeros(t));
    def_.reference({attrs_, wide, expected_});
  }

  void run() {
    for (const cpu::CpuLevel level : cpu::available_cpu_levels())
      for (const int threads : {1, 2, 3})
        for (const bool last : {false, true}) run_one(level, threads, last);
  }

 private:
  void run_one(cpu::CpuLevel level, int threads, bool last) {
    const cpu::CpuLevelScope scope(level);
    const std::string what =
        cat(def_.name, " ", cpu::name(level), " ", threads, " threads", last ? " channels-last" : "");
    const Backend& cpu = backend("cpu");
    Target target = Target::cpu(threads);
    Graph graph;
    const auto lay = [&](const Layout& l, TensorType t) {
      t.layout = l;
      return t;
    };
    const auto node_of = [&](const std::vector<Layout>& in, const std::vector<Layout>& out) {
      graph = Graph();
      Node node;
      node.op = def_.name;
      node.name = what;
      node.attrs = attrs_;
      for (std::size_t i = 0; i < inputs_.size(); ++i)
        node.inputs.push_back(graph.add_input(cat("x", i), lay(in[i], inputs_[i].type())));
      std::vector<TensorType> types;
      for (std::size_t i = 0; i < types_.size(); ++i) types.push_back(lay(out[i], types_[i]));
      return graph.add_node(std::move(node), types);
    };
    std::vector<Layout> start, outs(types_.size());
    for (const Tensor& t : inputs_)
      start.push_back(last && t.shape().rank() >= 3 ? Layout::channels_last(t.shape().rank()) : Layout());
    NodeId id = node_of(start, outs);
    const auto layouts = cpu.layouts(graph, graph.node(id), std::vector<bool>(inputs_.size(), false), target);
    ASSERT_EQ(layouts.inputs.size(), inputs_.size()) << what;
    ASSERT_EQ(layouts.outputs.size(), types_.size()) << what;
    id = node_of(layouts.inputs, layouts.outputs);
    const auto step = cpu.lower(graph, graph.node(id), target);
    if (options_.own_kernel) {
      EXPECT_NE(step->kernel, "reference") << what;
    }
    if (level == cpu::CpuLevel::V4) {
      EXPECT_EQ(step->kernel.substr(0, options_.kernel.size()), options_.kernel) << what;
    }
    const auto workspace = cpu.allocate(step->workspace_bytes + 64);

    const auto execute = [&](int shared_in, int shared_out) {
      std::vector<Tensor> in, out;
      std::vector<void*> in_at, out_at;
      for (std::size_t i = 0; i < inputs_.size(); ++i) {
        in.push_back(inputs_[i].to(layouts.inputs[i]).clone());
        in_at.push_back(in.back().raw());
      }
      for (std::size_t i = 0; i < types_.size(); ++i) {
        const TensorType t = lay(layouts.outputs[i], types_[i]);
        out.push_back(static_cast<int>(i) == shared_out
                          ? Tensor(t, in_at[static_cast<std::size_t>(shared_in)], nullptr)
                          : Tensor::full(t, 1));
        out_at.push_back(out.back().raw());
      }
      if (step->is_view) {
        EXPECT_EQ(in[0].bytes(), out[0].bytes()) << what;
        std::copy_n(static_cast<std::byte*>(in_at[0]), in[0].bytes(), static_cast<std::byte*>(out_at[0]));
      } else {
        step->bind({in_at, out_at, workspace.get(), nullptr})->run();
      }
      std::vector<Tensor> kept;
      for (const Tensor& t : out) kept.push_back(t.clone());
      return kept;
    };
    const std::vector<Tensor> first = execute(-1, -1);
    compare(first, what);
    expect_bits(first, execute(-1, -1), cat(what, ", second run"));
    for (const auto& pair : step->in_place)
      expect_bits(first, execute(pair[0], pair[1]),
                  cat(what, ", operand ", pair[0], " shared with result ", pair[1]));
  }

  bool open(int output, std::int64_t element) const {
    return options_.unspecified && options_.unspecified(output, element);
  }

  void compare(const std::vector<Tensor>& got, const std::string& what) const {
    for (std::size_t o = 0; o < got.size(); ++o) {
      int reported = 0;
      for (std::int64_t i = 0; i < got[o].numel(); ++i) {
        const double a = got[o].get(i), b = expected_[o].get(i);
        const bool same = a == b || (std::isnan(a) && std::isnan(b)) ||
                          std::fabs(a - b) <= options_.tolerance * (1 + std::fabs(b));
        if (!same && !open(static_cast<int>(o), i) && reported++ < 2)
          ADD_FAILURE() << what << ": output " << o << " element " << i << " is " << a << ", want " << b;
      }
    }
  }

  void expect_bits(const std::vector<Tensor>& a, const std::vector<Tensor>& b,
                   const std::string& what) const {
    for (std::size_t o = 0; o < a.size(); ++o)
      EXPECT_TRUE(options_.unspecified || bitwise_equal(a[o], b[o])) << what << ": output " << o;
  }

  const OpDef& def_;
  Attrs attrs_;
  std::vector<Tensor> inputs_, expected_;
  std::vector<TensorType> types_;
  StepCheck options_;
};

inline void check_step(std::string_view op_name, const Attrs& attrs, std::vector<Tensor> inputs,
                       StepCheck options = {}) {
  StepChecker(op_name, attrs, std::move(inputs), std::move(options)).run();
}

}  // namespace ingot::test
