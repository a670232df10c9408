#include "data/vocabulary.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/file.h"

namespace ingot {

namespace {

const char* const kPaddingName = "<pad>";
const char* const kUnknownName = "<unk>";

}  // namespace

Vocabulary::Vocabulary(const Tokenisation& how, const std::vector<std::string>& tokens)
    : how_(how), tokens_{kPaddingName, kUnknownName} {
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  for (std::size_t i = 2; i < tokens_.size(); ++i) {
    if (tokens_[i].empty()) throw UsageError(cat("a vocabulary's token ", i, " is empty"));
    if (!ids_.emplace(tokens_[i], static_cast<std::int32_t>(i)).second)
      throw UsageError(cat("a vocabulary's token '", tokens_[i], "' occurs twice"));
  }
}

std::int32_t Vocabulary::id(std::string_view token) const {
  const auto it = ids_.find(std::string(token));
  return it == ids_.end() ? kUnknown : it->second;
}

void Vocabulary::encode(std::string_view text, std::vector<std::int32_t>& ids) const {
  tokenise(text, how_, [&](std::string_view token) { ids.push_back(id(token)); });
}

std::string Vocabulary::text() const {
  nlohmann::json j;
  j["tokens_are"] = name(how_.kind);
  j["lower_case"] = how_.lower_case;
  j["tokens"] = tokens_;
  return j.dump();
}

Vocabulary Vocabulary::parse(std::string_view json, const std::string& source) {
  try {
    const auto j = nlohmann::json::parse(json);
    const std::string kind = j.at("tokens_are");
    if (kind != name(TokenKind::Words) && kind != name(TokenKind::Characters))
      throw FormatError(
          cat(source, ": the tokens of a vocabulary are words or characters, not '", kind, "'"));
    const auto tokens = j.at("tokens").get<std::vector<std::string>>();
    if (tokens.size() < 2 || tokens[0] != kPaddingName || tokens[1] != kUnknownName)
      throw FormatError(
          cat(source, ": a vocabulary's first tokens are ", kPaddingName, " and ", kUnknownName));
    const Tokenisation how{kind == name(TokenKind::Words) ? TokenKind::Words : TokenKind::Characters,
                           j.at("lower_case").get<bool>()};
    return Vocabulary(how, {tokens.begin() + 2, tokens.end()});
  } catch (const nlohmann::json::exception& e) {
    throw FormatError(cat(source, " holds no vocabulary: ", e.what()));
  } catch (const UsageError& e) {
    throw FormatError(cat(source, ": ", e.message()));
  }
}

void Vocabulary::save(const std::string& path) const {
  write_file(path, text() + "\n");
}

Vocabulary Vocabulary::load(const std::string& path) {
  return parse(read_file(path), cat("'", path, "'"));
}

void VocabularyBuilder::add(std::string_view text, std::vector<std::int32_t>& ids, bool counted) {
  tokenise(text, how_, [&](std::string_view token) {
    const auto [it, is_new] = numbers_.emplace(std::string(token), static_cast<std::int32_t>(counts_.size()));
    if (is_new) counts_.push_back(0);
    counts_[static_cast<std::size_t>(it->second)] += counted ? 1 : 0;
    ids.push_back(it->second);
  });
}

VocabularyBuilder::Result VocabularyBuilder::finish(const VocabularyOptions& options) const {
  struct Entry {
    const std::string* token;
    std::int32_t number;
    std::int64_t count;
  };
  std::vector<Entry> kept;
  for (const auto& [token, number] : numbers_)
    if (const std::int64_t count = counts_[static_cast<std::size_t>(number)];
        count >= std::max<std::int64_t>(options.min_count, 1))
      kept.push_back({&token, number, count});
  std::sort(kept.begin(), kept.end(), [](const Entry& a, const Entry& b) {
    return a.count != b.count ? a.count > b.count : *a.token < *b.token;
  });
  if (options.max_size > 0)
    kept.resize(
        std::min(kept.size(), static_cast<std::size_t>(std::max<std::int64_t>(options.max_size - 2, 0))));
  if (kept.empty())
    throw UsageError(cat("of ", counts_.size(), " different ", name(how_.kind),
                         " none is left in a vocabulary of those that ", "occur ", options.min_count,
                         " times", options.max_size > 0 ? cat(", ", options.max_size, " in all") : "",
                         "; ask for less often, or for more"));
  Result result{Vocabulary(), std::vector<std::int32_t>(counts_.size(), Vocabulary::kUnknown)};
  std::vector<std::string> tokens;
  for (const Entry& e : kept) {
    result.number_of[static_cast<std::size_t>(e.number)] = static_cast<std::int32_t>(tokens.size()) + 2;
    tokens.push_back(*e.token);
  }
  result.vocabulary = Vocabulary(how_, tokens);
  return result;
}

}  // namespace ingot
