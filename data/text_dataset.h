// Texts with a class each, in tables (data/table.h), as a data set: i32[T] tokens and an i64 class.
//
// A text longer than T tokens is cut, a shorter one filled up with Vocabulary::kPadding. Rows with several
// labels ("4,27") are left out, since a sample has one class; a report counts both. Labels are numbers, or
// names: those of labels.txt or classes.txt beside the table, one a line, in its order; without it numbers
// from 0, or else the names that the training part has, in the order of their bytes. What is wrong with a row
// is a FormatError that names the file and the line.
//
//   const TextSplits data = open_texts("goemotions/train.tsv", {.sequence_length = 40});
//   data.train->class_names();                      // admiration, amusement, ...
//   data.train->text_preparation().vocabulary;      // of the training texts alone
//   data.train->report().several_labels;            // 7102 rows left out
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/dataset.h"
#include "data/vocabulary.h"

namespace ingot {

// Counted from 1.
struct TextColumns {
  std::int64_t text = 1, label = 2;
  bool header = false;  // the first row names the columns
  friend bool operator==(const TextColumns&, const TextColumns&) = default;
};

// From a text to what a network takes. Part of what weights mean, so checkpoints hold it.
struct TextPreparation {
  Vocabulary vocabulary{};
  std::int64_t sequence_length = 64;
  TextColumns columns{};

  // JSON, and back; parse throws FormatError.
  std::string text() const;
  static TextPreparation parse(std::string_view text);
  // Whether a checkpoint's preparation (Dataset::preparation) is one of texts.
  static bool is(std::string_view preparation) { return preparation.starts_with('{'); }
  // `text` as `sequence_length` numbers. `where` names it in the FormatError for a text that is not UTF-8 or
  // has no token.
  std::vector<std::int32_t> encode(std::string_view text, const std::string& where) const;
};

struct TextReport {
  std::int64_t rows = 0, kept = 0;       // of the table, and those that are samples
  std::int64_t several_labels = 0;       // rows left out
  std::int64_t truncated = 0;            // samples longer than the sequence length
  std::int64_t longest = 0;              // in tokens
  std::int64_t tokens = 0, unknown = 0;  // of all samples, before they are cut
};

// Texts of a table, as numbers; what the readers below fill.
struct EncodedTexts {
  std::vector<std::int32_t> ids;   // text after text
  std::vector<std::int64_t> ends;  // of each text in `ids`
  std::vector<std::int64_t> labels;
  TextReport report;
};

class TextDataset final : public Dataset {
 public:
  TextDataset(std::shared_ptr<const TextPreparation> preparation, EncodedTexts texts,
              std::int64_t num_classes, std::vector<std::string> class_names);

  std::int64_t size() const override { return std::ssize(texts_.ends); }
  TensorType input_type() const override { return {DType::I32, {preparation_->sequence_length}}; }
  TensorType target_type() const override { return {DType::I64, Shape{}}; }
  std::int64_t num_classes() const override { return num_classes_; }
  const std::vector<std::string>& class_names() const override { return class_names_; }
  void read(std::int64_t index, std::span<std::byte> input, std::span<std::byte> target) const override;
  std::int64_t label(std::int64_t index) const override {
    return texts_.labels[static_cast<std::size_t>(index)];
  }
  std::string preparation() const override { return preparation_->text(); }

  const TextPreparation& text_preparation() const { return *preparation_; }
  const TextReport& report() const { return texts_.report; }

 private:
  std::shared_ptr<const TextPreparation> preparation_;
  EncodedTexts texts_;
  std::int64_t num_classes_;
  std::vector<std::string> class_names_;
};

struct TextDataOptions {
  Tokenisation tokenisation{};
  std::int64_t sequence_length = 64;
  VocabularyOptions vocabulary{.min_count = 2, .max_size = 30000};
  std::string vocabulary_file{};  // take this one instead of making one; its tokenisation counts
  TextColumns columns{};
  // Where there is no table for the test: this share of the rows, chosen by their texts alone.
  double test_share = 0.2;
};

struct TextSplits {
  std::shared_ptr<const TextDataset> train, validation, test;
};

// Whether open_texts() would find texts there: a table, or a folder with train.tsv or train.csv.
bool is_text_data(const std::string& path);

// `path` is a folder with train.tsv (or .csv), or a table. Beside one named train.tsv, test.tsv is the test
// part and dev.tsv, val.tsv, valid.tsv or validation.tsv the validation part; where one is missing the other
// is both. Of any other table, and where both are missing, a share of the rows is the test part.
TextSplits open_texts(const std::string& path, const TextDataOptions& options = {});

// All rows of one table, or of a folder's test part, for a network that was trained with this preparation and
// these classes (names, or only their number).
std::shared_ptr<const TextDataset> open_texts(const std::string& path, const TextPreparation& preparation,
                                              std::int64_t num_classes, std::vector<std::string> class_names);

}  // namespace ingot
