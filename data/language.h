// One long text as windows for models of language: i32[T] tokens, and as i64[T] targets the token that
// follows each of them.
//
// The text is cut into N lanes of equal length, side by side; sample i is window i / N of lane i % N. Batches
// of N samples in order then go along all lanes at once: row r of a batch goes on where row r of the batch
// before it ended, so that a recurrent state can be carried over. What is left behind the last whole window
// of a lane is not used.
//
//   const LanguageSplits text = open_language("input.txt", {.sequence_length = 100, .lanes = 32});
//   DataLoader loader(text.train, {.batch_size = 32});            // not shuffled
//   text.train->num_classes();                                    // the vocabulary's size
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/vocabulary.h"

namespace ingot {

class LanguageDataset final : public Dataset {
 public:
  // Throws UsageError when the text is shorter than `lanes` windows and one token.
  LanguageDataset(std::shared_ptr<const Vocabulary> vocabulary, std::vector<std::int32_t> tokens,
                  std::int64_t sequence_length, std::int64_t lanes);

  std::int64_t size() const override { return windows_ * lanes_; }
  TensorType input_type() const override { return {DType::I32, {length_}}; }
  TensorType target_type() const override { return {DType::I64, {length_}}; }
  std::int64_t num_classes() const override { return vocabulary_->size(); }
  const std::vector<std::string>& class_names() const override { return no_names_; }
  void read(std::int64_t index, std::span<std::byte> input, std::span<std::byte> target) const override;

  const Vocabulary& vocabulary() const { return *vocabulary_; }
  std::int64_t lanes() const { return lanes_; }
  std::int64_t windows() const { return windows_; }  // of each lane

 private:
  std::shared_ptr<const Vocabulary> vocabulary_;
  std::vector<std::int32_t> tokens_;
  std::int64_t length_, lanes_, lane_ = 0, windows_ = 0;
  std::vector<std::string> no_names_;
};

struct LanguageOptions {
  Tokenisation tokenisation{.kind = TokenKind::Characters, .lower_case = false};
  std::int64_t sequence_length = 64, lanes = 32;
  VocabularyOptions vocabulary{};
  double test_share = 0.1;  // the end of the text, from a line's start on
};

struct LanguageSplits {
  std::shared_ptr<const LanguageDataset> train, test;
};

// The vocabulary is that of the training part. Throws FormatError for text that is not UTF-8 (naming line and
// byte) or too short.
LanguageSplits open_language(const std::string& path, const LanguageOptions& options = {});

}  // namespace ingot
