#include "train/step_graph.h"

#include "core/ops/elementwise.h"
#include "core/ops/loss.h"
#include "core/ops/reduce.h"
#include "core/ops/view.h"

namespace ingot {

namespace {

void require_samples(const TensorType& input) {
  if (input.shape.rank() == 0 || input.shape[0] < 1)
    throw UsageError(
        cat("a batch holds at least one sample, got an input of shape ", to_string(input.shape)));
}

// Appends model, loss and metrics; returns the loss.
Value append_step(Graph& g, Module& model, const TensorType& type, const LossSettings& settings) {
  require_samples(type);
  const Value x = input(g, "x", type);
  const std::int64_t rows = type.shape[0];
  // An image has one label, and then labels are the second input; what else has is known from the model's
  // result.
  const bool images = type.shape.rank() == 4;
  const TensorType one_a_row{DType::I64, {rows}};
  Value labels = images ? input(g, "labels", one_a_row) : Value();
  g.build.valid_rows = input(g, "valid_rows", {DType::I32, {}}).id();
  const Value whole = model(x);
  if ((whole.rank() != 2 && (images || whole.rank() != 3)) || whole.dim(0) != rows)
    throw ShapeError(cat("a classifier gives logits of shape [", rows, ", classes], or [", rows,
                         ", places, classes] where each place of a sequence has a label; the model gives ",
                         to_string(whole.shape())));
  const bool sequences = whole.rank() == 3;
  const std::int64_t places = sequences ? whole.dim(1) : 1;
  Value weights = valid_row_weights(g, rows, DType::F32), logits = whole;
  const auto labels_named = [&](const char* name) {
    if (!sequences) return input(g, name, one_a_row);
    return reshape(input(g, name, {DType::I64, {rows, places}}), {rows * places});
  };
  if (!images) labels = labels_named("labels");
  if (sequences) {
    logits = reshape(whole, {rows * places, whole.dim(2)});
    weights = reshape(broadcast_to(unsqueeze(weights, 1), {rows, places}), {rows * places});
  }
  CrossEntropyOptions options;
  options.label_smoothing = settings.label_smoothing;
  options.weights = weights;
  Value loss = cross_entropy(logits, labels, options);
  if (settings.mixed_samples) {  // linear in the target, so a mixed one costs as much of each
    const Value others = labels_named("other_labels"), share = input(g, "share", {DType::F32, {}});
    loss = loss * share + cross_entropy(logits, others, options) * (1.0 - share);
  }
  output("loss", loss);
  output("correct", sum(cast(eq(argmax(logits, 1), labels), DType::F32) * weights));
  output("logits", whole);
  return loss;
}

}  // namespace

Graph training_graph(Module& model, const TensorType& input, const Optimizer& optimizer,
                     const LossSettings& settings, const PrecisionOptions& precision,
                     const FreezeOptions& freeze) {
  Graph f32;
  f32.build.training = true;
  ValueId loss = append_step(f32, model, input, settings).id();
  if (!freeze.patterns.empty()) f32 = frozen(f32, freeze, {&loss, 1});
  Graph g = mixed_precision(f32, precision, {&loss, 1});
  optimizer.minimize({g, loss}, settings.scale.value_or(default_loss_scale(precision.compute)));
  return g;
}

Graph evaluation_graph(Module& model, const TensorType& input, const PrecisionOptions& precision) {
  Graph g;
  append_step(g, model, input, {});
  return mixed_precision(g, precision);
}

Graph inference_graph(Module& model, const TensorType& type, const PrecisionOptions& precision) {
  require_samples(type);
  Graph g;
  output("logits", model(input(g, "x", type)));
  return mixed_precision(g, precision);
}

}  // namespace ingot
