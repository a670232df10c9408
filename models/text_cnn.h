// Kim 2014, "Convolutional Neural Networks for Sentence Classification" (arXiv 1408.5882): filters over
// three, four and five words in a row, the strongest answer of each, a linear layer.
//
// The input is i32 or i64 [N, T], token numbers with 0 behind the end of a text (data/vocabulary.h). What a
// filter says where it would read beyond the end does not count, except of a text shorter than the filter,
// which it reads as if zeros followed. Embeddings are learnt from the start ("CNN-rand").
//
//   auto net = make_text_cnn({.vocabulary = 20000, .classes = 28});
//   Value logits = (*net)(tokens);                       // [N, 28]
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "layers/module.h"

namespace ingot {

struct TextCnnConfig {
  std::int64_t vocabulary = 30000, classes = 2;
  std::int64_t embedding = 128;  // features of a word
  std::int64_t filters = 100;    // of each width
  std::vector<std::int64_t> widths{3, 4, 5};
  double dropout = 0.5;
};

// State-dict keys: embedding.weight [V, D], convs.0.weight [filters, D, 3, 1], convs.0.bias, ..., fc.weight,
// fc.bias. Throws UsageError for sizes that are not positive.
std::shared_ptr<Module> make_text_cnn(const TextCnnConfig& config);

}  // namespace ingot
