#include "tests/support/composed_case.h"

#include "core/autodiff/differentiate.h"
#include "core/base/philox.h"
#include "core/ops/arc_face.h"
#include "core/ops/box_loss.h"
#include "core/ops/conv_transpose.h"
#include "core/ops/creation.h"
#include "core/ops/einsum.h"
#include "core/ops/elementwise.h"
#include "core/ops/loss.h"
#include "core/ops/max_unpool.h"
#include "core/ops/normalize.h"
#include "core/ops/rearrange.h"
#include "core/ops/recurrent.h"
#include "core/ops/reduce.h"
#include "core/ops/resize.h"
#include "core/ops/view.h"
#include "core/passes/precision.h"

namespace ingot::test {

namespace {

using Values = std::vector<Value>;

InputSpec made(DType dtype, const Shape& shape, InputSpec::Domain domain, double lo, double hi) {
  InputSpec s;
  s.type = {dtype, shape};
  s.domain = domain;
  s.lo = lo;
  s.hi = hi;
  return s;
}
InputSpec uniform(const Shape& shape, double lo = -2.0, double hi = 2.0) {
  return made(DType::F32, shape, InputSpec::Domain::Uniform, lo, hi);
}
InputSpec distinct(const Shape& shape) {
  return made(DType::F32, shape, InputSpec::Domain::Distinct, -2.0, 2.0);
}
InputSpec labels(const Shape& shape, double classes) {
  return made(DType::I64, shape, InputSpec::Domain::Integers, 0.0, classes).no_gradient();
}

std::vector<ComposedCase> make_cases() {
  std::vector<ComposedCase> all;
  const auto add = [&](std::string name, std::vector<InputSpec> inputs,
                       std::function<Value(const Values&)> f) {
    all.push_back({std::move(name), std::move(inputs), std::move(f)});
  };
  const InputSpec image = uniform({2, 8, 5, 6});
  add("conv_transpose2d", {image, uniform({8, 4, 3, 3}, -0.5, 0.5), uniform({4})}, [](auto& in) {
    return conv_transpose2d(in[0], in[1], in[2],
                            {.stride = {2, 2}, .padding = {1, 1}, .output_padding = {1, 1}});
  });
  add("conv_transpose2d_grouped", {uniform({1, 4, 4, 3}), uniform({4, 3, 2, 2}, -0.5, 0.5)}, [](auto& in) {
    return conv_transpose2d(in[0], in[1],
                            {.stride = {2, 1}, .output_padding = {1, 1}, .dilation = {1, 2}, .groups = 2});
  });
  add("group_norm", {image, uniform({8}, 0.5, 1.5), uniform({8})},
      [](auto& in) { return group_norm(in[0], 2, in[1], in[2]); });
  add("group_norm_of_one", {image, uniform({8}, 0.5, 1.5), uniform({8})},
      [](auto& in) { return group_norm(in[0], 1, in[1], in[2]); });
  add("instance_norm", {image}, [](auto& in) { return instance_norm(in[0]); });
  add("local_response_norm", {image},
      [](auto& in) { return local_response_norm(in[0], 5, {.alpha = 1.0, .k = 2.0}); });
  add("normalize", {uniform({3, 7})}, [](auto& in) { return normalize(in[0]); });
  add("normalize_image", {image}, [](auto& in) { return normalize(in[0], 1.0, 1); });
  add("pixel_shuffle", {image}, [](auto& in) { return pixel_unshuffle(square(pixel_shuffle(in[0], 2)), 2); });
  add("interpolate", {image}, [](auto& in) {
    return interpolate(square(interpolate(in[0], {.scale_factor = {{2.0, 2.0}}, .mode = "bilinear"})),
                       {.size = {{4, 9}}});
  });
  // x, w_ih, w_hh, b_ih, b_hh; sequences of 2, 3 and 4 steps.
  const auto recurrent = [](std::int64_t gates) {
    return std::vector<InputSpec>{uniform({4, 3, 6}), uniform({gates * 8, 6}, -0.4, 0.4),
                                  uniform({gates * 8, 8}, -0.4, 0.4), uniform({gates * 8}),
                                  uniform({gates * 8})};
  };
  const auto lengths = [](Value x) { return iota(x.graph(), 3, DType::I32) + 2.0; };
  add("lstm", recurrent(4), [lengths](auto& in) {
    const Lstm r =
        lstm(in[0], {in[1], in[2], in[3], in[4]}, {}, {}, {.reverse = true, .lengths = lengths(in[0])});
    return r.y + r.h_n + r.c_n;
  });
  add("gru", recurrent(3), [lengths](auto& in) {
    const Recurrent r =
        gru(in[0], {in[1], in[2], in[3], in[4]}, {}, {.reverse = true, .lengths = lengths(in[0])});
    return r.y + r.h_n;
  });
  add("rnn", recurrent(1), [](auto& in) {
    const Recurrent r = rnn(in[0], {in[1], in[2], in[3], in[4]});
    return r.y + r.h_n;
  });
  add("max_unpool2d", {distinct({2, 4, 6, 5})}, [](auto& in) {
    const PooledWithIndices p = max_pool2d_with_indices(in[0], {});
    return max_unpool2d(square(p.values), p.indices, {.output_size = {{6, 5}}});
  });
  add("einsum", {uniform({2, 3, 4}), uniform({2, 5, 4}), uniform({5, 2})},
      [](auto& in) { return einsum("bqd,bkd,kb->qb", in); });
  add("einsum_diagonal", {uniform({3, 2, 3}), uniform({2, 3})},
      [](auto& in) { return einsum("iai,ai->a", in); });
  add("cross_entropy", {uniform({6, 5}), labels({6}, 5), uniform({5}, 0.5, 2.0).no_gradient()}, [](auto& in) {
    return cross_entropy(in[0], in[1], {.label_smoothing = 0.1, .ignore_index = 2, .weight = in[2]});
  });
  add("nll_loss", {uniform({2, 3, 4}, -4.0, -0.1), labels({2, 4}, 3), uniform({3}, 0.5, 2.0).no_gradient()},
      [](auto& in) { return nll_loss(in[0], in[1], {.ignore_index = 0, .weight = in[2]}); });
  const InputSpec truth = uniform({4, 6}, 0.0, 1.0).no_gradient();
  add("smooth_l1_loss", {uniform({4, 6}), uniform({4, 6})},
      [](auto& in) { return smooth_l1_loss(in[0], in[1], {.beta = 0.7}) + huber_loss(in[0], in[1]); });
  add("kl_div", {uniform({4, 6}, -4.0, -0.1), truth},
      [](auto& in) { return kl_div(in[0], in[1], {.batchmean = true}); });
  add("sigmoid_focal_loss", {uniform({4, 6}), truth},
      [](auto& in) { return sigmoid_focal_loss(in[0], in[1], {.reduction = Reduction::Mean}); });
  add("dice_loss", {uniform({4, 6}, 0.1, 0.9), truth}, [](auto& in) { return dice_loss(in[0], in[1]); });
  add("triplet_margin_loss", {uniform({4, 6}), uniform({4, 6}), uniform({4, 6})},
      [](auto& in) { return triplet_margin_loss(in[0], in[1], in[2], {.margin = 3.0, .swap = true}); });
  const auto ordered = [](Value v) {  // corners from any four numbers
    return concat({slice(v, 1, 0, 2), slice(v, 1, 0, 2) + exp(slice(v, 1, 2, 4))}, 1);
  };
  add("generalized_box_iou_loss", {uniform({4, 4, 3}), uniform({4, 4, 3})},
      [=](auto& in) { return generalized_box_iou_loss(ordered(in[0]), ordered(in[1]), {.axis = 1}); });
  add("arc_face", {uniform({6, 5}), uniform({4, 5}), labels({6}, 4)},
      [](auto& in) { return arc_face(in[0], in[1], in[2], {.scale = 4.0}); });
  return all;
}

}  // namespace

const std::vector<ComposedCase>& composed_cases() {
  static const std::vector<ComposedCase> cases = make_cases();
  return cases;
}

TypedCase composed_program(const ComposedCase& c, DType compute) {
  TypedCase t;
  OpCase operands;
  operands.op = "composed";
  operands.name = c.name;
  operands.inputs = c.inputs;
  t.inputs = make_inputs(operands);
  std::vector<Value> in;
  for (std::size_t i = 0; i < c.inputs.size(); ++i)
    in.push_back(input(t.graph, cat("x", i), c.inputs[i].type));
  std::vector<ValueId> tracked{c.build(in).id()};
  for (const Value& v : in) tracked.push_back(v.id());
  t.graph = mixed_precision(t.graph, {.compute = compute, .overrides = {}}, tracked);
  const Value y(t.graph, tracked[0]);
  output("y", y);
  const Tensor weights(y.type());
  const Philox rng(99, 0);
  for (std::int64_t i = 0; i < weights.numel(); ++i)
    weights.set(i, 0.25 + static_cast<double>(uniform01(rng.bits(static_cast<std::uint64_t>(i)))));
  const Value w = input(t.graph, "w", y.type());
  t.inputs.push_back(weights);
  std::vector<Value> wrt;
  for (std::size_t i = 0; i < in.size(); ++i)
    if (is_floating(c.inputs[i].type.dtype) && c.inputs[i].differentiate)
      wrt.emplace_back(t.graph, tracked[i + 1]);
  const std::vector<Value> grads = differentiate(t.graph, sum(mul(y, w)), wrt);
  for (std::size_t i = 0; i < grads.size(); ++i) output(cat("g", i), grads[i]);
  return t;
}

std::vector<ComposedIn> all_composed() {
  std::vector<ComposedIn> all;
  for (const ComposedCase& c : composed_cases())
    for (const DType d : {DType::F32, DType::F16, DType::BF16}) all.push_back({c, d});
  return all;
}
void PrintTo(const ComposedIn& p, std::ostream* out) {
  *out << p.c.name << " in " << name(p.compute);
}
std::string composed_name(const testing::TestParamInfo<ComposedIn>& info) {
  return cat(info.param.c.name, "_", name(info.param.compute));
}

}  // namespace ingot::test
