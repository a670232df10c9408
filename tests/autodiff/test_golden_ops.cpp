// Every case of tests/golden/op_*.json in float64: values by the references, gradients by differentiate(),
// against what PyTorch computed. (The compiled program is held against the references by tests/ops.)
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>

#include "core/autodiff/differentiate.h"
#include "core/ops/arc_face.h"
#include "core/ops/attention.h"
#include "core/ops/box_loss.h"
#include "core/ops/conv.h"
#include "core/ops/conv_transpose.h"
#include "core/ops/creation.h"
#include "core/ops/einsum.h"
#include "core/ops/elementwise.h"
#include "core/ops/gather.h"
#include "core/ops/loss.h"
#include "core/ops/matmul.h"
#include "core/ops/max_unpool.h"
#include "core/ops/norm.h"
#include "core/ops/normalize.h"
#include "core/ops/pool.h"
#include "core/ops/rearrange.h"
#include "core/ops/reduce.h"
#include "core/ops/resize.h"
#include "core/ops/scan.h"
#include "core/ops/softmax.h"
#include "core/ops/sort.h"
#include "core/ops/update.h"
#include "core/ops/view.h"
#include "tests/ops/eval.h"
#include "tests/support/golden.h"

namespace ingot {
namespace {

using golden::Attributes;
using Values = std::vector<Value>;
// Builds a case's outputs from its inputs.
using Build = std::function<Values(const Attributes& a, const Values& in)>;

Reduction reduction_of(const Attributes& a) {
  const std::string& name = a.text("reduction");
  return name == "mean" ? Reduction::Mean : name == "sum" ? Reduction::Sum : Reduction::None;
}

MaxPool2dAttrs max_pool_attrs(const Attributes& a) {
  return {a.pair("kernel"), a.pair("stride"), a.pair("padding"), a.pair("dilation"), a.flag("ceil_mode")};
}

AvgPool2dAttrs avg_pool_attrs(const Attributes& a) {
  return {a.pair("kernel"), a.pair("stride"), a.pair("padding"), a.flag("ceil_mode"),
          a.flag("count_include_pad")};
}

Values convolve(const Attributes& a, const Values& in) {
  Conv2dAttrs attrs;
  attrs.stride = a.pair("stride");
  attrs.padding = a.pair("padding");
  attrs.dilation = a.pair("dilation");
  attrs.groups = a.integer("groups");
  if (a.flag("has_bias")) return {conv2d(in[0], in[1], in[2], attrs)};
  return {conv2d(in[0], in[1], attrs)};
}

Values convolve_transposed(const Attributes& a, const Values& in) {
  const ConvTranspose2dArgs args{a.pair("stride"), a.pair("padding"), a.pair("output_padding"),
                                 a.pair("dilation"), a.integer("groups")};
  if (a.flag("has_bias")) return {conv_transpose2d(in[0], in[1], in[2], args)};
  return {conv_transpose2d(in[0], in[1], args)};
}

// The operand, where the case has it.
Value given(const Values& in, std::size_t i) {
  return i < in.size() ? in[i] : Value{};
}

Values unpool(const Attributes& a, const Values& in) {
  MaxUnpool2dArgs args{a.pair("kernel"), a.pair("stride"), a.pair("padding")};
  if (a.has("output_size")) args.output_size = a.pair("output_size");
  return {max_unpool2d(in[0], in[1], args)};
}

Values resize(const Attributes& a, const Values& in) {
  InterpolateArgs args{.mode = a.text("mode"), .align_corners = a.flag("align_corners")};
  if (a.has("size"))
    args.size = a.pair("size");
  else
    args.scale_factor = {a.number("factor_h"), a.number("factor_w")};
  return {interpolate(in[0], args)};
}

Values divergence(const Attributes& a, const Values& in) {
  KlDivOptions options{.log_target = a.flag("log_target")};
  options.batchmean = a.text("reduction") == "batchmean";
  if (!options.batchmean) options.reduction = reduction_of(a);
  return {kl_div(in[0], in[1], options)};
}

Values normalise(const Attributes& a, const Values& in) {
  BatchNormAttrs attrs{.eps = a.number("eps"), .momentum = a.number("momentum")};
  if (a.has("activation")) attrs.activation = a.text("activation");
  const Values r = apply("batch_norm", in, attrs);
  return {r[0], r[3], r[4]};
}

// PyTorch has no lengths, so the cases store them as i64.
Values attend(const Attributes& a, const Values& in) {
  ScaledDotProductAttentionArgs args{a.flag("is_causal"), a.number("scale")};
  if (in.size() > 3) args.lengths = cast(in[3], DType::I32);
  return {scaled_dot_product_attention(in[0], in[1], in[2], args)};
}

Values both(const Selected& s) {
  return {s.values, s.count};
}
Values both(const Sorted& s) {
  return {s.values, s.indices};
}

// Families whose ops are functions of tensors; the scalar functions of one operand go by their registered
// name.
const std::map<std::string, Build>& builders() {
  static const std::map<std::string, Build> table{
      {"conv2d", convolve},
      {"conv_transpose2d", convolve_transposed},
      {"max_pool2d_with_indices",
       [](auto& a, auto& in) {
         const PooledWithIndices p = max_pool2d_with_indices(in[0], max_pool_attrs(a));
         return Values{p.values, p.indices};
       }},
      {"max_unpool2d", unpool},
      {"interpolate", resize},
      {"pixel_shuffle", [](auto& a, auto& in) { return Values{pixel_shuffle(in[0], a.integer("factor"))}; }},
      {"pixel_unshuffle",
       [](auto& a, auto& in) { return Values{pixel_unshuffle(in[0], a.integer("factor"))}; }},
      {"group_norm",
       [](auto& a, auto& in) {
         return Values{
             group_norm(in[0], a.integer("num_groups"), given(in, 1), given(in, 2), a.number("eps"))};
       }},
      {"instance_norm",
       [](auto& a, auto& in) {
         return Values{instance_norm(in[0], given(in, 1), given(in, 2), a.number("eps"))};
       }},
      {"rms_norm",
       [](auto& a, auto& in) {
         std::optional<double> eps;
         if (a.has("eps")) eps = a.number("eps");
         return Values{rms_norm(in[0], Shape(a.list("normalized_shape")), given(in, 1), eps)};
       }},
      {"scaled_dot_product_attention", attend},
      {"local_response_norm",
       [](auto& a, auto& in) {
         return Values{
             local_response_norm(in[0], a.integer("size"),
                                 {.alpha = a.number("alpha"), .beta = a.number("beta"), .k = a.number("k")})};
       }},
      {"normalize",
       [](auto& a, auto& in) {
         return Values{normalize(in[0], a.number("p"), a.integer("axis"), a.number("eps"))};
       }},
      {"einsum", [](auto& a, auto& in) { return Values{einsum(a.text("equation"), in)}; }},
      {"max_pool2d", [](auto& a, auto& in) { return Values{max_pool2d(in[0], max_pool_attrs(a))}; }},
      {"avg_pool2d", [](auto& a, auto& in) { return Values{avg_pool2d(in[0], avg_pool_attrs(a))}; }},
      {"adaptive_avg_pool2d",
       [](auto& a, auto& in) { return Values{adaptive_avg_pool2d(in[0], a.pair("output_size"))}; }},
      {"batch_norm", normalise},
      {"batch_norm_infer",
       [](auto& a, auto& in) {
         return Values{batch_norm_infer(in[0], in[1], in[2], in[3], in[4], a.number("eps"))};
       }},
      {"layer_norm",
       [](auto& a, auto& in) {
         return Values{layer_norm(in[0], in[1], in[2], a.integer("axis"), a.number("eps")).y};
       }},
      {"softmax", [](auto& a, auto& in) { return Values{softmax(in[0], a.integer("axis"))}; }},
      {"log_softmax", [](auto& a, auto& in) { return Values{log_softmax(in[0], a.integer("axis"))}; }},
      {"cross_entropy",
       [](auto& a, auto& in) {
         return Values{cross_entropy(in[0], in[1],
                                     {.label_smoothing = a.number("label_smoothing"),
                                      .ignore_index = a.integer("ignore_index"),
                                      .reduction = reduction_of(a),
                                      .weight = given(in, 2)})};
       }},
      {"nll_loss",
       [](auto& a, auto& in) {
         return Values{nll_loss(in[0], in[1],
                                {.ignore_index = a.integer("ignore_index"),
                                 .reduction = reduction_of(a),
                                 .weight = given(in, 2)})};
       }},
      {"l1_loss",
       [](auto& a, auto& in) { return Values{l1_loss(in[0], in[1], {.reduction = reduction_of(a)})}; }},
      {"smooth_l1_loss",
       [](auto& a, auto& in) {
         return Values{
             smooth_l1_loss(in[0], in[1], {.beta = a.number("beta"), .reduction = reduction_of(a)})};
       }},
      {"huber_loss",
       [](auto& a, auto& in) {
         return Values{huber_loss(in[0], in[1], {.delta = a.number("delta"), .reduction = reduction_of(a)})};
       }},
      {"kl_div", divergence},
      {"sigmoid_focal_loss",
       [](auto& a, auto& in) {
         return Values{
             sigmoid_focal_loss(in[0], in[1], {.alpha = a.number("alpha"), .gamma = a.number("gamma")})};
       }},
      {"dice_loss", [](auto&, auto& in) { return Values{dice_loss(in[0], in[1])}; }},
      {"triplet_margin_loss",
       [](auto& a, auto& in) {
         return Values{triplet_margin_loss(in[0], in[1], in[2],
                                           {.margin = a.number("margin"), .swap = a.flag("swap")})};
       }},
      {"generalized_box_iou_loss",
       [](auto& a, auto& in) {
         return Values{generalized_box_iou_loss(in[0], in[1],
                                                {.axis = a.integer("axis"), .reduction = reduction_of(a)})};
       }},
      {"arc_face",
       [](auto& a, auto& in) {
         const Value logits =
             arc_face(in[0], in[1], in[2], {.scale = a.number("scale"), .margin = a.number("margin")});
         return Values{a.has("loss") ? cross_entropy(logits, in[2]) : logits};
       }},
      {"hinge_loss",
       [](auto& a, auto& in) { return Values{hinge_loss(in[0], in[1], {.margin = a.number("margin")})}; }},
      {"hinge_embedding_loss",
       [](auto& a, auto& in) {
         return Values{hinge_embedding_loss(in[0], in[1], {.margin = a.number("margin")})};
       }},
      {"mse_loss",
       [](auto& a, auto& in) { return Values{mse_loss(in[0], in[1], {.reduction = reduction_of(a)})}; }},
      {"bce_with_logits",
       [](auto& a, auto& in) {
         return Values{bce_with_logits(in[0], in[1], {.reduction = reduction_of(a)})};
       }},
      {"matmul",
       [](auto& a, auto& in) {
         return Values{matmul(in[0], in[1], a.flag("transpose_a"), a.flag("transpose_b"))};
       }},
      {"sum", [](auto& a, auto& in) { return Values{sum(in[0], a.list("axes"), a.flag("keepdim"))}; }},
      {"mean", [](auto& a, auto& in) { return Values{mean(in[0], a.list("axes"), a.flag("keepdim"))}; }},
      {"max", [](auto& a, auto& in) { return Values{max(in[0], a.list("axes"), a.flag("keepdim"))}; }},
      {"min", [](auto& a, auto& in) { return Values{min(in[0], a.list("axes"), a.flag("keepdim"))}; }},
      {"var",
       [](auto& a, auto& in) {
         return Values{var(in[0], a.list("axes"), a.flag("keepdim"), a.number("correction"))};
       }},
      {"argmax", [](auto& a, auto& in) { return Values{argmax(in[0], a.integer("axis"))}; }},
      {"embedding",
       [](auto& a, auto& in) { return Values{embedding(in[0], in[1], a.integer("padding_idx"))}; }},
      {"gather", [](auto& a, auto& in) { return Values{gather(in[0], in[1], a.integer("axis"))}; }},
      {"cumsum", [](auto& a, auto& in) { return Values{cumsum(in[0], a.integer("axis"))}; }},
      {"masked_select", [](auto&, auto& in) { return both(masked_select(in[0], in[1])); }},
      {"nonzero", [](auto&, auto& in) { return both(nonzero(in[0])); }},
      {"compress", [](auto& a, auto& in) { return both(compress(in[0], in[1], a.integer("axis"))); }},
      {"sort", [](auto& a, auto& in) { return both(sort(in[0], a.integer("axis"), a.flag("descending"))); }},
      {"topk",
       [](auto& a, auto& in) {
         return both(topk(in[0], a.integer("k"), a.integer("axis"), a.flag("largest")));
       }},
      {"take_along_axis",
       [](auto& a, auto& in) { return Values{take_along_axis(in[0], in[1], a.integer("axis"))}; }},
      {"put_along_axis",
       [](auto& a, auto& in) {
         return Values{put_along_axis(in[0], in[1], a.integer("axis"), a.integer("size"))};
       }},
      {"one_hot", [](auto& a, auto& in) { return Values{one_hot(in[0], a.integer("depth"), DType::I64)}; }},
      {"pad",
       [](auto& a, auto& in) {
         return Values{pad(in[0], a.list("before"), a.list("after"), a.number("value"))};
       }},
      {"concat", [](auto& a, auto& in) { return Values{concat(in, a.integer("axis"))}; }},
      {"relu6", [](auto&, auto& in) { return Values{minimum(relu(in[0]), 6.0)}; }},
      {"leaky_relu", [](auto& a, auto& in) { return Values{leaky_relu(in[0], a.number("slope"))}; }},
      {"elu", [](auto& a, auto& in) { return Values{elu(in[0], a.number("alpha"))}; }},
  };
  return table;
}

Values build(const golden::OpCase& c, const Values& in) {
  const auto found = builders().find(c.op);
  return found != builders().end() ? found->second(c.attrs, in) : ingot::apply(c.op, in);
}

// Relative to the larger of 1 and the value itself.
void expect_close(const Tensor& got, const Tensor& expected, const std::string& what,
                  double tolerance = 1e-10) {
  ASSERT_EQ(got.shape(), expected.shape()) << what;
  for (std::int64_t i = 0; i < expected.numel(); ++i) {
    const double e = expected.get(i);
    ASSERT_NEAR(got.get(i), e, tolerance * std::max(1.0, std::abs(e))) << what << ", element " << i;
  }
}

class GoldenOps : public ::testing::TestWithParam<const char*> {};

TEST_P(GoldenOps, MatchPyTorch) {
  for (const golden::OpCase& c : golden::op_cases(GetParam())) {
    SCOPED_TRACE(c.title());
    Graph g;
    Values in;
    std::map<ValueId, Tensor> feeds;
    for (const Tensor& t : c.inputs) {
      in.push_back(input(g, cat("in", in.size()), t.type()));
      feeds[in.back().id()] = t;
    }
    const Values out = build(c, in);
    ASSERT_GE(out.size(), c.outputs.size());
    for (std::size_t k = 0; k < c.outputs.size(); ++k)
      expect_close(eval(out[k], feeds), c.outputs[k], cat("output ", k));

    Values wrt;
    std::vector<std::size_t> position;
    for (std::size_t i = 0; i < c.grads.size(); ++i) {
      if (!c.grads[i].defined()) continue;
      wrt.push_back(in[i]);
      position.push_back(i);
    }
    if (wrt.empty()) continue;
    const Value loss = sum(mul(out[0], constant(g, c.cotangents[0])));
    const Values grads = differentiate(g, loss, wrt);
    for (std::size_t k = 0; k < grads.size(); ++k)
      expect_close(eval(grads[k], feeds), c.grads[position[k]], cat("gradient of input ", position[k]));
  }
}

INSTANTIATE_TEST_SUITE_P(Families, GoldenOps,
                         ::testing::Values("activation", "attention", "conv", "gather", "loss", "margin",
                                           "matmul", "norm", "pool", "reduce", "resize", "scan", "softmax",
                                           "sort"),
                         [](const auto& family) { return std::string(family.param); });

struct Rule {
  std::string op;
  Attrs attrs;
  std::size_t states;
};

Rule rule_of(const golden::OpCase& c) {
  const Attributes& a = c.attrs;
  const double decay = a.number("weight_decay");
  if (c.op == "sgd") {
    const double momentum = a.number("momentum");
    return {"sgd", SgdAttrs{1, momentum, a.number("dampening"), decay, a.flag("nesterov")},
            momentum != 0.0 ? 1u : 0u};
  }
  if (c.op == "rmsprop") {
    const double momentum = a.number("momentum");
    return {"rmsprop", RmspropAttrs{1, a.number("alpha"), a.number("eps"), decay, momentum},
            momentum != 0.0 ? 2u : 1u};
  }
  return {"adam", AdamAttrs{1, a.number("beta1"), a.number("beta2"), a.number("eps"), decay, c.op == "adamw"},
          2};
}

TEST(GoldenUpdates, FollowPyTorch) {
  for (const golden::OpCase& c : golden::op_cases("update")) {
    if (c.op == "clip_grad_norm") continue;
    SCOPED_TRACE(c.title());
    const Rule rule = rule_of(c);
    std::vector<Tensor> kept{c.inputs[0]};
    for (std::size_t i = 0; i < rule.states; ++i) kept.push_back(Tensor::zeros(c.inputs[0].type()));
    for (std::size_t step = 0; step < c.outputs.size(); ++step) {
      Graph g;
      const auto scalar = [&](double v) { return full(g, v, {DType::F64, {}}); };
      Values operands{scalar(c.attrs.number("lr")), scalar(static_cast<double>(step + 1)), scalar(1.0),
                      constant(g, kept[0]), constant(g, c.inputs[step + 1])};
      for (std::size_t i = 1; i < kept.size(); ++i) operands.push_back(constant(g, kept[i]));
      const Values next = ingot::apply(rule.op, operands, rule.attrs);
      ASSERT_EQ(next.size(), kept.size());
      for (std::size_t i = 0; i < kept.size(); ++i) kept[i] = eval(next[i]);
      expect_close(kept[0], c.outputs[step], cat("after step ", step + 1), 1e-13);
    }
  }
}

TEST(GoldenUpdates, GlobalNorm) {
  for (const golden::OpCase& c : golden::op_cases("update", "clip_grad_norm")) {
    Graph g;
    const Values grads{constant(g, c.inputs[0]), constant(g, c.inputs[1])};
    expect_close(eval(global_norm(grads)), c.outputs[0], c.title(), 1e-13);
  }
}

}  // namespace
}  // namespace ingot
