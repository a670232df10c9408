#include "models/text_cnn.h"

#include <algorithm>

#include "core/ops/creation.h"
#include "core/ops/elementwise.h"
#include "core/ops/reduce.h"
#include "core/ops/view.h"
#include "layers/layers.h"

namespace ingot {

namespace {

class TextCnn final : public Module {
 public:
  explicit TextCnn(const TextCnnConfig& c)
      : widths_(c.widths),
        embedding_("embedding", c.vocabulary, c.embedding),
        dropout_("dropout", c.dropout),
        fc_("fc", c.filters * std::ssize(c.widths), c.classes) {
    for (std::size_t i = 0; i < widths_.size(); ++i)
      convs_.emplace_back(cat("convs.", i), c.embedding, c.filters, Pair(widths_[i], 1));
  }

 protected:
  Value forward(Value x) override {
    const std::int64_t widest = *std::max_element(widths_.begin(), widths_.end());
    if (x.rank() != 2 || !is_integer(x.dtype()) || x.dim(1) < widest)
      throw ShapeError(cat("text_cnn: expected token numbers i32 or i64 [N, T] with T of at least ", widest,
                           ", got ", to_string(x.type())));
    const Value there = cast(ne(x, 0.0), DType::F32);
    // [N, D, T, 1]: a word's features are the channels, so the embeddings lie as channels-last wants them.
    const Value words = unsqueeze(transpose(embedding_(x) * unsqueeze(there, 2), {0, 2, 1}), 3);
    std::vector<Value> strongest;
    for (std::size_t i = 0; i < widths_.size(); ++i) {
      // Answers are 0 or more, so a factor of 0 takes one out of the maximum.
      const Value answers = relu(convs_[i](words));
      strongest.push_back(max(answers * counted(there, widths_[i]), {2, 3}));
    }
    return fc_(dropout_(concat(strongest, 1)));
  }

 private:
  // [N, 1, T - width + 1, 1]: 1 where the last word that a filter reads is there, and at the first place.
  static Value counted(Value there, std::int64_t width) {
    const std::int64_t rows = there.dim(0), places = there.dim(1) - width + 1;
    Value all = full(there.graph(), 1.0, {DType::F32, {rows, 1}});
    if (places > 1) all = concat({all, slice(there, 1, width, kEnd)}, 1);
    return reshape(all, {rows, 1, places, 1});
  }

  std::vector<std::int64_t> widths_;
  Embedding embedding_;
  std::vector<Conv2d> convs_;
  Dropout dropout_;
  Linear fc_;
};

}  // namespace

std::shared_ptr<Module> make_text_cnn(const TextCnnConfig& c) {
  if (c.widths.empty()) throw UsageError("text_cnn: there must be at least one width of filters");
  for (const std::int64_t v : c.widths)
    if (v < 1) throw UsageError(cat("text_cnn: the widths of filters must be positive, got ", v));
  return std::make_shared<TextCnn>(c);
}

}  // namespace ingot
