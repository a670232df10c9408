#include "layers/layers.h"

#include <cmath>

#include "core/ops/conv.h"
#include "core/ops/creation.h"
#include "core/ops/elementwise.h"
#include "core/ops/gather.h"
#include "core/ops/matmul.h"
#include "core/ops/norm.h"
#include "core/ops/pool.h"
#include "core/ops/random.h"
#include "core/ops/softmax.h"
#include "core/ops/view.h"
#include "layers/detail/checks.h"

namespace ingot {

using detail::require_positive;
using detail::titled;
using detail::uniform_bound;

namespace {

void require_probability(const std::string& layer, double p) {
  if (!(p >= 0.0 && p <= 1.0)) throw UsageError(cat(layer, ": p must be in [0, 1], got ", p));
}

// With a stream of random numbers of its own: another for every call in a graph.
Value dropped(Value x, double p) {
  const Value rng = generator(x.graph());
  DropoutAttrs attrs;
  attrs.p = p;
  attrs.stream = static_cast<std::int64_t>(x.graph().nodes().size());
  return apply1("dropout", {x, rng}, attrs);
}

}  // namespace

Conv2d::Conv2d(std::string name, std::int64_t in_channels, std::int64_t out_channels, Pair kernel_size,
               Conv2dOptions options)
    : Layer(std::move(name)),
      in_(in_channels),
      out_(out_channels),
      kernel_(kernel_size),
      options_(std::move(options)) {
  detail::check_convolution(titled("Conv2d", this->name()), in_, out_, kernel_.h, kernel_.w, options_.groups);
}

Value Conv2d::forward(Value x) {
  const std::int64_t fan_in = in_ / options_.groups * kernel_.h * kernel_.w;
  const TensorType weight_type{DType::F32, {out_, in_ / options_.groups, kernel_.h, kernel_.w}};
  const Value w =
      parameter(x.graph(), "weight", weight_type, options_.weight_init.value_or(uniform_bound(fan_in)));
  Conv2dAttrs attrs;
  attrs.stride = options_.stride.array();
  attrs.padding = options_.padding.array();
  attrs.dilation = options_.dilation.array();
  attrs.groups = options_.groups;
  if (!options_.bias) return conv2d(x, w, attrs);
  const Init bias_init = options_.bias_init.value_or(uniform_bound(fan_in));
  return conv2d(x, w, parameter(x.graph(), "bias", {DType::F32, {out_}}, bias_init), attrs);
}

Linear::Linear(std::string name, std::int64_t in_features, std::int64_t out_features, LinearOptions options)
    : Layer(std::move(name)), in_(in_features), out_(out_features), options_(std::move(options)) {
  require_positive(titled("Linear", this->name()), "in_features", in_);
  require_positive(titled("Linear", this->name()), "out_features", out_);
}

Value Linear::forward(Value x) {
  const Value w = parameter(x.graph(), "weight", {DType::F32, {out_, in_}},
                            options_.weight_init.value_or(uniform_bound(in_)));
  if (!options_.bias) return matmul(x, w, false, true);
  const Value b =
      parameter(x.graph(), "bias", {DType::F32, {out_}}, options_.bias_init.value_or(uniform_bound(in_)));
  MatmulAttrs attrs;
  attrs.transpose_b = true;
  attrs.has_bias = true;
  return apply1("matmul", {x, w, b}, attrs);
}

BatchNorm2d::BatchNorm2d(std::string name, std::int64_t num_features, BatchNormOptions options)
    : Layer(std::move(name)), features_(num_features), options_(options) {
  require_positive(titled("BatchNorm", this->name()), "num_features", features_);
}

Value BatchNorm2d::forward(Value x) {
  Graph& g = x.graph();
  const TensorType per_channel{DType::F32, {features_}};
  const Value gamma = parameter(g, "weight", per_channel, Init::constant(options_.weight_init));
  const Value beta = parameter(g, "bias", per_channel, Init::constant(0.0));
  const Value mean = buffer(g, "running_mean", per_channel, Init::constant(0.0));
  const Value var = buffer(g, "running_var", per_channel, Init::constant(1.0));
  const Value count = buffer(g, "num_batches_tracked", {DType::I64, {}}, Init::constant(0.0));
  if (!g.build.training) {
    BatchNormInferAttrs attrs;
    attrs.eps = options_.eps;
    return apply1("batch_norm_infer", {x, gamma, beta, mean, var}, attrs);
  }
  // A second call in one step goes on from what the first leaves behind.
  const auto latest = [&](const Value& state) { return Value(g, g.next_content(state.id())); };
  BatchNormAttrs attrs;
  attrs.eps = options_.eps;
  attrs.momentum = options_.momentum;
  std::vector<Value> operands{x, gamma, beta, latest(mean), latest(var)};
  if (g.build.valid_rows.valid()) {
    attrs.has_valid = true;
    operands.emplace_back(g, g.build.valid_rows);
  }
  const auto out = apply("batch_norm", operands, attrs);
  g.set_update(mean.id(), out[3].id());
  g.set_update(var.id(), out[4].id());
  g.set_update(count.id(), add(latest(count), 1.0).id());
  return out[0];
}

LayerNorm::LayerNorm(std::string name, Shape normalized_shape, double eps)
    : Layer(std::move(name)), shape_(normalized_shape), eps_(eps) {}

Value LayerNorm::forward(Value x) {
  const int axis = x.rank() - shape_.rank();
  bool fits = axis >= 0;
  for (int i = 0; fits && i < shape_.rank(); ++i) fits = x.dim(axis + i) == shape_[i];
  if (!fits)
    throw ShapeError(
        cat("LayerNorm: the last axes must be ", to_string(shape_), ", the input is ", to_string(x.shape())));
  const Value w = parameter(x.graph(), "weight", {DType::F32, shape_}, Init::constant(1.0));
  const Value b = parameter(x.graph(), "bias", {DType::F32, shape_}, Init::constant(0.0));
  LayerNormAttrs attrs;
  attrs.axis = axis;
  attrs.eps = eps_;
  return apply1("layer_norm", {x, w, b}, attrs);
}

Dropout::Dropout(std::string name, double p) : Layer(std::move(name)), p_(p) {
  require_probability(titled("Dropout", this->name()), p);
}

Value Dropout::forward(Value x) {
  if (!x.graph().build.training || p_ == 0.0) return x;
  return dropped(x, p_);
}

StochasticDepth::StochasticDepth(double p) : p_(p) {
  require_probability("StochasticDepth", p);
}

Value StochasticDepth::forward(Value x) {
  if (!x.graph().build.training || p_ == 0.0) return x;
  Shape rows = x.shape();
  for (int i = 1; i < rows.rank(); ++i) rows[i] = 1;
  return mul(x, dropped(full(x.graph(), 1.0, {x.dtype(), rows}), p_));
}

Embedding::Embedding(std::string name, std::int64_t num_embeddings, std::int64_t embedding_dim)
    : Layer(std::move(name)), num_(num_embeddings), dim_(embedding_dim) {
  require_positive(titled("Embedding", this->name()), "num_embeddings", num_);
  require_positive(titled("Embedding", this->name()), "embedding_dim", dim_);
}

Value Embedding::forward(Value indices) {
  const Value w = parameter(indices.graph(), "weight", {DType::F32, {num_, dim_}}, Init::normal(0.0, 1.0));
  return embedding(w, indices);
}

MaxPool2d::MaxPool2d(Pair kernel_size, PoolOptions options)
    : kernel_(kernel_size), options_(std::move(options)) {}

Value MaxPool2d::forward(Value x) {
  MaxPool2dAttrs a;
  a.kernel = kernel_.array();
  a.stride = options_.stride.value_or(kernel_).array();
  a.padding = options_.padding.array();
  a.dilation = options_.dilation.array();
  a.ceil_mode = options_.ceil_mode;
  return apply1("max_pool2d", {x}, a);
}

AvgPool2d::AvgPool2d(Pair kernel_size, PoolOptions options)
    : kernel_(kernel_size), options_(std::move(options)) {}

Value AvgPool2d::forward(Value x) {
  AvgPool2dAttrs a;
  a.kernel = kernel_.array();
  a.stride = options_.stride.value_or(kernel_).array();
  a.padding = options_.padding.array();
  a.ceil_mode = options_.ceil_mode;
  a.count_include_pad = options_.count_include_pad;
  return apply1("avg_pool2d", {x}, a);
}

AdaptiveAvgPool2d::AdaptiveAvgPool2d(Pair output_size) : size_(output_size) {}

Value AdaptiveAvgPool2d::forward(Value x) {
  AdaptiveAvgPool2dAttrs a;
  a.output_size = size_.array();
  return apply1("adaptive_avg_pool2d", {x}, a);
}

Flatten::Flatten(std::int64_t start_dim) : start_(start_dim) {}
Value Flatten::forward(Value x) {
  return flatten(x, start_);
}

Activation::Activation(std::string function) : function_(std::move(function)) {
  const ScalarOp op = find_scalar_op(function_);
  if (op == ScalarOp::None || info(op).arity != 1)
    throw UsageError(
        cat("Activation: '", function_, "' is not a function of one argument; see core/expr/scalar_ops.def"));
}

Value Activation::forward(Value x) {
  return apply1(function_, {x});
}

Value ReLU6::forward(Value x) {
  // Not minimum(): where both are 6 it would pass half of the gradient.
  return where(ge(x, 6.0), 6.0, relu(x));
}

Softmax::Softmax(std::int64_t axis) : axis_(axis) {}
Value Softmax::forward(Value x) {
  return softmax(x, axis_);
}

Value generator(Graph& graph) {
  if (const State* s = graph.find_state("generator")) return {graph, s->value};
  const Value rng =
      state(graph, StateRole::Counter, "generator", {DType::I64, {2}}, Init::constant(0.0), false);
  const std::int64_t one[2] = {0, 1};
  graph.add_update(rng.id(), add(rng, constant(graph, Tensor::from<std::int64_t>({2}, one))).id());
  return rng;
}

Init kaiming_normal_fan_out(std::int64_t out_channels, Pair kernel) {
  return Init::normal(0.0, std::sqrt(2.0 / static_cast<double>(out_channels * kernel.h * kernel.w)));
}

}  // namespace ingot
