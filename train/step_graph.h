// The graphs that training, evaluation and prediction run, from a model.
//
// Inputs: "x" (the batch), "labels" (i64[N]), "valid_rows" (i32 scalar: how many rows of the batch are real,
// the rest is padding). Outputs: "logits" [N, classes]; "loss" (mean cross-entropy over the real rows) and
// "correct" (how many of them are classified right, f32) where there are labels; "lr" in training.
//
//   Graph g = training_graph(*net, {DType::F32, {64, 1, 28, 28}}, *sgd({.lr = 0.1}));
#pragma once

#include "core/ir/graph.h"
#include "layers/module.h"
#include "optim/optimizer.h"

namespace ingot {

struct LossSettings {
  double label_smoothing = 0.0;
};

Graph training_graph(Module& model, const TensorType& input, const Optimizer& optimizer,
                     const LossSettings& loss = {});
Graph evaluation_graph(Module& model, const TensorType& input);
// Only "x" and "logits".
Graph inference_graph(Module& model, const TensorType& input);

}  // namespace ingot
