// Freezing: parameters that a training leaves as they are.
//
//   Graph g = training_graph(*net, input, *sgd({.lr = 0.1}), {}, {}, {.patterns = {"layer1.*", "bn1.*"}});
//   TrainerOptions o{.freeze = {.patterns = {"*"}, .except = {"fc.*"}, .batch_norm = true}};
//
// A frozen parameter has no gradient and no optimiser state, and nothing of the backward pass is computed
// that only it would have needed. As requires_grad = False does in PyTorch, that alone freezes no running
// statistics: a batch norm between frozen layers still normalises by the batch and moves its statistics,
// which changes what the frozen layers compute. `batch_norm` keeps those in evaluation mode, as calling
// eval() on the modules does: they normalise by their running statistics, which stay. Dropout is not touched.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/ir/graph.h"

namespace ingot {

struct FreezeOptions {
  std::vector<std::string> patterns{};  // of state-dict keys: core/base/glob.h
  std::vector<std::string> except{};    // keys that train all the same, in the same form
  // Batch norms whose running_mean is a frozen key stay in evaluation mode.
  bool batch_norm = false;

  bool covers(std::string_view key) const;
};

// `graph` is a forward pass, not differentiated yet. `tracked` are values of it; they become the ids of the
// same values in the result. Throws UsageError for a pattern that matches no parameter and no buffer, listing
// the parameters; a pattern of buffers alone needs `batch_norm`.
Graph frozen(const Graph& graph, const FreezeOptions& options, std::span<ValueId> tracked = {});

}  // namespace ingot
