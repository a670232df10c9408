#include "tests/support/random_graph.h"

#include "core/autodiff/differentiate.h"
#include "core/base/philox.h"
#include "core/op/builder.h"
#include "core/ops/conv.h"
#include "core/ops/conv_transpose.h"
#include "core/ops/creation.h"
#include "core/ops/elementwise.h"
#include "core/ops/loss.h"
#include "core/ops/matmul.h"
#include "core/ops/norm.h"
#include "core/ops/normalize.h"
#include "core/ops/pool.h"
#include "core/ops/rearrange.h"
#include "core/ops/reduce.h"
#include "core/ops/resize.h"
#include "core/ops/softmax.h"
#include "core/ops/update.h"
#include "core/ops/view.h"
#include "core/passes/precision.h"

namespace ingot::test {

namespace {

class Generator {
 public:
  Generator(std::uint64_t seed, DType compute) : rng_(seed, 0x67726170), compute_(compute) {}

  RandomGraph run() {
    const std::int64_t batch = 1 + pick(4);
    const bool images = pick(4) != 0;
    Value x =
        images ? feed("x", {batch, 1 + pick(9), 4 + pick(6), 4 + pick(6)}) : feed("x", {batch, 2 + pick(12)});
    for (std::int64_t steps = 1 + pick(7); steps > 0; --steps) {
      const Value before = x;
      x = x.rank() == 4 ? image_step(x) : row_step(x);
      // Somewhere later the graph may come back to this value.
      if (pick(3) == 0) kept_.push_back(before);
    }
    if (x.rank() == 4) x = flatten(pick(2) == 0 ? x : adaptive_avg_pool2d(x, {1 + pick(2), 1 + pick(2)}));
    const Value loss = loss_of(x);
    output("loss", loss);
    if (pick(2) == 0) output("features", x);
    const Value mixed = in_mixed_precision(loss);
    if (!parameters_.empty()) train(mixed);
    return std::move(result_);
  }

 private:
  Graph& g() { return result_.graph; }
  std::int64_t pick(std::int64_t n) { return static_cast<std::int64_t>(rng_.bits(next_++)) % n; }
  double unit() { return static_cast<double>(uniform01(rng_.bits(next_++))); }

  Value feed(const std::string& name, const Shape& shape) {
    Tensor t(TensorType{DType::F32, shape});
    for (float& e : t.values<float>()) e = static_cast<float>(2.0 * unit() - 1.0);
    result_.feeds[name] = t;
    return input(g(), name, t.type());
  }
  Value weight(const Shape& shape, double spread) {
    parameters_.push_back(
        parameter(g(), cat("w", parameters_.size()), {DType::F32, shape}, Init::uniform(-spread, spread)));
    return parameters_.back();
  }
  Value positive_weight(std::int64_t n) {
    parameters_.push_back(
        parameter(g(), cat("w", parameters_.size()), {DType::F32, {n}}, Init::uniform(0.5, 1.5)));
    return parameters_.back();
  }

  // Functions that are smooth enough for a comparison of two orders of arithmetic, on any operand of size 1.
  Value activation(Value x) {
    switch (pick(10)) {
      case 0:
        return relu(x);
      case 1:
        return sigmoid(x);
      case 2:
        return tanh(x);
      case 3:
        return gelu(x);
      case 4:
        return silu(x);
      case 5:
        return softplus(x);
      case 6:
        return exp(tanh(x));
      case 7:
        return sqrt(square(x) + 0.5);
      case 8:
        return leaky_relu(x, 0.1);
      default:
        return x * 0.5 + 0.25;
    }
  }

  // Combines with an earlier value of the same shape, when there is one.
  Value join(Value x) {
    for (const Value& k : kept_) {
      if (k.shape() != x.shape()) continue;
      switch (pick(3)) {
        case 0:
          return x + k;
        case 1:
          return x * tanh(k);
        default:
          return pick(2) == 0 && x.dim(1) < 12 ? concat({x, k}, 1) : x - k;
      }
    }
    return activation(x);
  }

  // What convolutions and batch norm take as an epilogue, or nothing. By the shape, without a number drawn.
  Value clipped(Value x) {
    if (pick(2) != 0) return x;
    return x.dim(1) % 3 == 0 ? where(ge(x, 6.0), 6.0, relu(x)) : relu(x);
  }

  Value normalise(Value x) {
    const std::int64_t c = x.dim(1);
    const Value gamma = positive_weight(c), beta = weight({c}, 0.5);
    const std::string n = cat("bn", norms_++);
    const Value mean = buffer(g(), n + ".mean", {DType::F32, {c}}, Init::constant(0)),
                var = buffer(g(), n + ".var", {DType::F32, {c}}, Init::constant(1));
    if (x.dim(0) * (x.rank() == 4 ? x.dim(2) * x.dim(3) : 1) <
        4)  // too few for statistics that mean anything
      return batch_norm_infer(x, gamma, beta, mean, var);
    const BatchNormResult r = batch_norm(x, gamma, beta, mean, var, {.eps = 1e-2});
    g().add_update(mean.id(), r.running_mean.id());
    g().add_update(var.id(), r.running_var.id());
    return r.y;
  }

  // Larger images by a transposed convolution or interpolation, up to a size at which a graph stays small.
  Value enlarged(Value x) {
    const std::int64_t c = x.dim(1), h = x.dim(2), w = x.dim(3);
    if (h * w > 120) return activation(x);
    if (pick(2) == 0) {
      const bool grouped = c % 2 == 0 && pick(2) == 0;
      ConvTranspose2dArgs a;
      a.stride = {1 + pick(2), 1 + pick(2)};
      a.groups = grouped ? 2 : 1;
      const std::int64_t out = 1 + pick(4);
      return conv_transpose2d(x, weight({c, out, 2, 2}, 0.5), weight({out * a.groups}, 0.5), a);
    }
    InterpolateArgs a;
    a.size = {1 + pick(2 * h), 1 + pick(2 * w)};
    a.mode = pick(2) == 0 ? "nearest" : "bilinear";
    a.align_corners = a.mode == "bilinear" && pick(2) == 0;
    return interpolate(x, a);
  }

  Value normalise_sample(Value x) {
    const std::int64_t c = x.dim(1), groups = c % 2 == 0 ? 2 : 1;
    if (pick(3) == 0) return local_response_norm(x, 1 + pick(5), {.alpha = 0.5});
    if (c / groups * x.dim(2) * x.dim(3) < 4) return activation(x);
    return group_norm(x, groups, positive_weight(c), weight({c}, 0.5), 1e-2);
  }

  Value image_step(Value x) {
    const std::int64_t c = x.dim(1), h = x.dim(2), w = x.dim(3);
    switch (pick(17)) {
      case 0:
      case 1:
      case 2: {
        Conv2dAttrs a;
        const std::int64_t k = pick(2) == 0 || h < 3 || w < 3 ? 1 : 3;
        a.padding = {k / 2, k / 2};
        a.stride = h > 2 && w > 2 ? std::array<std::int64_t, 2>{1 + pick(2), 1 + pick(2)}
                                  : std::array<std::int64_t, 2>{1, 1};
        if (pick(4) == 0) a.groups = c;
        const std::int64_t out = a.groups == 1 ? 1 + pick(12) : c * (1 + pick(2));
        const Value kernel = weight({out, c / a.groups, k, k}, 0.5);
        Value y = pick(2) == 0 ? conv2d(x, kernel, a) : conv2d(x, kernel, weight({out}, 0.5), a);
        if (pick(2) == 0) y = normalise(y);
        return clipped(y);
      }
      case 3:
        return normalise(x);
      case 4:
        if (h < 2 || w < 2) return activation(x);
        return max_pool2d(
            x, {.kernel = {2, 2}, .stride = {1 + pick(2), 1 + pick(2)}, .ceil_mode = pick(2) == 0});
      case 5:
        if (h < 2 || w < 2) return activation(x);
        return avg_pool2d(x, {.kernel = {2, 2}, .stride = {2, 2}, .count_include_pad = true});
      case 6:
        return x * weight({c, 1, 1}, 1.0) + weight({c, 1, 1}, 1.0);
      case 7:
        return x - mean(x, {2, 3}, true);
      case 8:
        return pad(x, {0, 0, pick(2), pick(2)}, {0, 0, pick(2), pick(2)}, 0.5);
      case 9:
        return h > 2 ? slice(x, 2, pick(2), h - pick(2), 1 + pick(2)) : transpose(x, {0, 1, 3, 2});
      case 10:
        return enlarged(x);
      case 11:
        return normalise_sample(x);
      case 12:
        if (c % 4 == 0) return pixel_shuffle(x, 2);
        return h % 2 == 0 && w % 2 == 0 && c < 4 ? pixel_unshuffle(x, 2) : activation(x);
      default:
        return join(x);
    }
  }

  Value row_step(Value x) {
    const std::int64_t n = x.dim(-1);
    switch (pick(8)) {
      case 0:
      case 1: {
        const std::int64_t out = 1 + pick(16);
        const bool transposed = pick(2) == 0;
        Value y = matmul(x, weight(transposed ? Shape{out, n} : Shape{n, out}, 0.5), false, transposed);
        if (pick(2) == 0) y = y + weight({out}, 0.5);
        return clipped(y);
      }
      case 2:
        return layer_norm(x, positive_weight(n), weight({n}, 0.5), -1, 1e-2).y;
      case 3:
        return softmax(x);
      case 4:
        return x * broadcast_to(weight({1, n}, 1.0), x.shape());
      case 5:
        return n % 2 == 0 ? reshape(transpose(reshape(x, {x.dim(0), 2, n / 2}), {0, 2, 1}), {x.dim(0), n})
                          : activation(x);
      default:
        return join(x);
    }
  }

  Value loss_of(Value x) {
    const std::int64_t rows = x.dim(0), n = x.dim(1);
    switch (pick(4)) {
      case 0: {
        Tensor labels(TensorType{DType::I64, {rows}});
        for (std::int64_t& l : labels.values<std::int64_t>()) l = pick(n);
        result_.feeds["labels"] = labels;
        return cross_entropy(x, input(g(), "labels", labels.type()),
                             {.label_smoothing = 0.1 * static_cast<double>(pick(2))});
      }
      case 1:
        return mse_loss(x, feed("target", x.shape()));
      case 2:
        return bce_with_logits(x, sigmoid(feed("target", x.shape())));
      default:
        return mean(square(log_softmax(x)));
    }
  }

  // The graph so far in the compute type; the loss, and the parameters, in it.
  Value in_mixed_precision(Value loss) {
    std::vector<ValueId> tracked{loss.id()};
    for (const Value& p : parameters_) tracked.push_back(p.id());
    result_.graph = mixed_precision(g(), {.compute = compute_, .overrides = {}}, tracked);
    for (std::size_t i = 0; i < parameters_.size(); ++i) parameters_[i] = {g(), tracked[i + 1]};
    return {g(), tracked[0]};
  }

  void train(Value loss) {
    const std::vector<Value> grads = differentiate(g(), loss, parameters_);
    const bool update = pick(5) != 0;
    for (std::size_t i = 0; i < grads.size(); ++i) {
      if (!update || pick(4) == 0) output(cat("grad", i), grads[i]);
      if (update) g().add_gradient(parameters_[i].id(), grads[i].id());
    }
    if (!update) return;
    SgdAttrs a;
    a.count = static_cast<std::int64_t>(parameters_.size());
    a.momentum = pick(2) == 0 ? 0.0 : 0.9;
    a.nesterov = a.momentum != 0.0 && pick(2) == 0;
    a.weight_decay = pick(2) == 0 ? 0.0 : 0.01;
    std::vector<Value> operands = {full(g(), 0.05, {DType::F32, {}}), full(g(), 1.0, {DType::F32, {}}),
                                   full(g(), 1.0, {DType::F32, {}})};
    operands.insert(operands.end(), parameters_.begin(), parameters_.end());
    operands.insert(operands.end(), grads.begin(), grads.end());
    std::vector<Value> momenta;
    if (a.momentum != 0.0)
      for (const Value& p : parameters_)
        momenta.push_back(state(g(), StateRole::Optimizer, cat("optim/", momenta.size(), "/momentum"),
                                p.type(), Init::constant(0), false));
    operands.insert(operands.end(), momenta.begin(), momenta.end());
    const std::vector<Value> next = apply("sgd", operands, a);
    for (std::size_t i = 0; i < parameters_.size(); ++i) g().add_update(parameters_[i].id(), next[i].id());
    for (std::size_t i = 0; i < momenta.size(); ++i)
      g().add_update(momenta[i].id(), next[parameters_.size() + i].id());
  }

  Philox rng_;
  DType compute_;
  std::uint64_t next_ = 0;
  RandomGraph result_;
  std::vector<Value> parameters_, kept_;
  int norms_ = 0;
};

}  // namespace

RandomGraph random_graph(std::uint64_t seed, DType compute) {
  return Generator(seed, compute).run();
}

}  // namespace ingot::test
