// Vocabulary: the tokens that a model knows, by number, with the rule that makes tokens of a text.
//
// Token 0 stands for padding and 1 for whatever the vocabulary does not know; the others follow, the most
// frequent of the training text first, equal ones in the order of their bytes. A builder reads a text once:
// it numbers tokens as they come, and says at the end which number each of them has in the vocabulary.
//
//   VocabularyBuilder builder({.kind = TokenKind::Words});
//   std::vector<std::int32_t> ids;
//   builder.add("so much fun, so much joy", ids);
//   const auto [vocabulary, number_of] = builder.finish({.min_count = 2});    // <pad> <unk> much so
//   for (std::int32_t& id : ids) id = number_of[id];
//   vocabulary.save("vocabulary.json");                                       // and Vocabulary::load
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "data/text.h"

namespace ingot {

class Vocabulary {
 public:
  static constexpr std::int32_t kPadding = 0, kUnknown = 1;

  // `tokens` without the first two. Throws UsageError for one that is empty or occurs twice.
  explicit Vocabulary(const Tokenisation& how = {}, const std::vector<std::string>& tokens = {});

  const Tokenisation& tokenisation() const { return how_; }
  std::int64_t size() const { return std::ssize(tokens_); }
  const std::string& token(std::int32_t id) const { return tokens_.at(static_cast<std::size_t>(id)); }
  std::int32_t id(std::string_view token) const;  // kUnknown where there is none
  // Appends the text's numbers to `ids`. The text must be valid UTF-8.
  void encode(std::string_view text, std::vector<std::int32_t>& ids) const;

  // JSON, and back; parse throws FormatError whose message begins with `source`.
  std::string text() const;
  static Vocabulary parse(std::string_view json, const std::string& source);
  // The file holds either its old bytes or the whole vocabulary.
  void save(const std::string& path) const;
  static Vocabulary load(const std::string& path);

  friend bool operator==(const Vocabulary& a, const Vocabulary& b) {
    return a.how_ == b.how_ && a.tokens_ == b.tokens_;
  }

 private:
  Tokenisation how_;
  std::vector<std::string> tokens_;
  std::unordered_map<std::string, std::int32_t> ids_;
};

struct VocabularyOptions {
  std::int64_t min_count = 1;  // tokens that occur less often are unknown
  std::int64_t max_size = 0;   // of the vocabulary, its first two included; 0: no limit
};

class VocabularyBuilder {
 public:
  explicit VocabularyBuilder(const Tokenisation& how) : how_(how) {}

  // Appends the text's numbers, those of the builder, to `ids`. Tokens of a text that is not `counted`, such
  // as one of the test part, get numbers and no weight.
  void add(std::string_view text, std::vector<std::int32_t>& ids, bool counted = true);

  struct Result {
    Vocabulary vocabulary;
    std::vector<std::int32_t> number_of;  // by the builder's number
  };
  // Throws UsageError when the options leave no token.
  Result finish(const VocabularyOptions& options) const;

 private:
  Tokenisation how_;
  std::unordered_map<std::string, std::int32_t> numbers_;
  std::vector<std::int64_t> counts_;
};

}  // namespace ingot
