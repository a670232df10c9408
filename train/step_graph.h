// The graphs that training, evaluation and prediction run, from a model.
//
// Inputs: "x" (the batch), "labels" (i64[N]), "valid_rows" (i32 scalar: how many rows of the batch are real,
// the rest is padding). Outputs: "logits" [N, classes]; "loss" (mean cross-entropy over the real rows) and
// "correct" (how many of them are classified right, f32) where there are labels; "lr" in training. A model
// that gives logits [N, T, classes], such as one of language, has labels [N, T]: loss and "correct" are then
// over all places of the real rows.
//
// With a compute type below f32 (core/passes/precision.h) products and convolutions run in it, on f32 weights
// and with f32 inputs and outputs. Gradients of f16 underflow, so training in it scales the loss
// (optim/loss_scale.h) unless told otherwise; bf16 has the range of f32. "loss" is never scaled; outputs
// "loss_scale" and "skipped_steps" are there where it is.
//
//   Graph g = training_graph(*net, {DType::F32, {64, 1, 28, 28}}, *sgd({.lr = 0.1}));
#pragma once

#include <optional>

#include "core/ir/graph.h"
#include "core/passes/precision.h"
#include "layers/module.h"
#include "optim/optimizer.h"
#include "train/freeze.h"

namespace ingot {

struct LossSettings {
  double label_smoothing = 0.0;
  std::optional<LossScale> scale{};  // default: default_loss_scale() of the compute type
  // The samples are mixtures of two (MixUp, CutMix): inputs "other_labels" and "share", f32, of "labels" in
  // the loss. "correct" counts "labels".
  bool mixed_samples = false;
};

Graph training_graph(Module& model, const TensorType& input, const Optimizer& optimizer,
                     const LossSettings& loss = {}, const PrecisionOptions& precision = {},
                     const FreezeOptions& freeze = {});
Graph evaluation_graph(Module& model, const TensorType& input, const PrecisionOptions& precision = {});
// Only "x" and "logits".
Graph inference_graph(Module& model, const TensorType& input, const PrecisionOptions& precision = {});

}  // namespace ingot
