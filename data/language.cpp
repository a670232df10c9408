#include "data/language.h"

#include <cstring>

#include "core/base/error.h"
#include "core/base/file.h"
#include "data/table.h"

namespace ingot {

LanguageDataset::LanguageDataset(std::shared_ptr<const Vocabulary> vocabulary,
                                 std::vector<std::int32_t> tokens, std::int64_t sequence_length,
                                 std::int64_t lanes)
    : vocabulary_(std::move(vocabulary)),
      tokens_(std::move(tokens)),
      length_(sequence_length),
      lanes_(lanes) {
  if (length_ < 1 || lanes_ < 1)
    throw UsageError(cat("a text is read in one lane or more of windows of one token or more, got ", lanes_,
                         " lanes and windows of ", length_));
  lane_ = (std::ssize(tokens_) - 1) / lanes_;
  windows_ = lane_ / length_;
  if (windows_ < 1)
    throw UsageError(cat("a text of ", tokens_.size(), " tokens is too short for ", lanes_,
                         " lanes of windows of ", length_,
                         "; take fewer lanes or a shorter sequence length"));
}

void LanguageDataset::read(std::int64_t index, std::span<std::byte> input,
                           std::span<std::byte> target) const {
  if (index < 0 || index >= size())
    throw UsageError(cat("sample ", index, " is outside a data set of ", size()));
  if (input.size() != input_type().bytes() || target.size() != target_type().bytes())
    throw UsageError(cat("read() needs room for ", input_type().bytes(), " and ", target_type().bytes(),
                         " bytes, got ", input.size(), " and ", target.size()));
  const std::int32_t* const from = tokens_.data() + index % lanes_ * lane_ + index / lanes_ * length_;
  std::memcpy(input.data(), from, input.size());
  for (std::int64_t i = 0; i < length_; ++i) {
    const std::int64_t next = from[i + 1];
    std::memcpy(target.data() + static_cast<std::size_t>(i) * sizeof next, &next, sizeof next);
  }
}

LanguageSplits open_language(const std::string& path, const LanguageOptions& options) {
  if (!(options.test_share > 0.0 && options.test_share < 1.0))
    throw UsageError(cat("the share of the test part lies between 0 and 1, got ", options.test_share));
  const auto file = MappedFile::open(path);
  const std::string_view text = file->text();
  if (text.empty()) throw FormatError(cat("'", path, "' is empty; expected a text"));
  require_utf8(text, path, 1);
  const auto about = static_cast<std::size_t>((1.0 - options.test_share) * static_cast<double>(text.size()));
  const std::size_t line_end = text.find('\n', about);
  if (line_end == std::string_view::npos || line_end + 1 == text.size())
    throw FormatError(cat("'", path, "': no line begins in the last ", options.test_share,
                          " of the text, which is to be its test part; expected several lines"));
  VocabularyBuilder builder(options.tokenisation);
  std::vector<std::int32_t> train, test;
  builder.add(text.substr(0, line_end + 1), train);
  builder.add(text.substr(line_end + 1), test, false);
  const VocabularyBuilder::Result made = builder.finish(options.vocabulary);
  for (auto* tokens : {&train, &test})
    for (std::int32_t& id : *tokens) id = made.number_of[static_cast<std::size_t>(id)];
  const auto vocabulary = std::make_shared<const Vocabulary>(made.vocabulary);
  const auto part = [&](std::vector<std::int32_t> tokens) {
    try {
      return std::make_shared<const LanguageDataset>(vocabulary, std::move(tokens), options.sequence_length,
                                                     options.lanes);
    } catch (const UsageError& e) {
      throw FormatError(cat("'", path, "': ", e.message()));
    }
  };
  return {part(std::move(train)), part(std::move(test))};
}

}  // namespace ingot
