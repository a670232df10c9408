// UTF-8, tokens, vocabularies.
#include "data/text.h"

#include <algorithm>

#include "core/base/error.h"
#include "data/vocabulary.h"
#include "gtest/gtest.h"
#include "tests/support/messages.h"
#include "tests/support/temp_dir.h"

namespace ingot {
namespace {

using Tokens = std::vector<std::string>;
constexpr std::size_t kValid = std::string_view::npos;

Tokens tokens_of(std::string_view text, const Tokenisation& how = {}) {
  Tokens out;
  tokenise(text, how, [&](std::string_view t) { out.emplace_back(t); });
  return out;
}

TEST(Utf8, FindsTheFirstByteThatBeginsNoSequence) {
  EXPECT_EQ(find_invalid_utf8(""), kValid);
  EXPECT_EQ(find_invalid_utf8("plain"), kValid);
  // The first and the last code point of each length, and those around the surrogates.
  for (const char* good : {"\x7F", "\xC2\x80", "\xDF\xBF", "\xE0\xA0\x80", "\xED\x9F\xBF", "\xEE\x80\x80",
                           "\xEF\xBF\xBF", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"})
    EXPECT_EQ(find_invalid_utf8(std::string("a") + good + "b"), kValid) << good;
  // Continuation alone, overlong in each length, a surrogate, beyond U+10FFFF, never used, cut short.
  for (const char* bad :
       {"\x80", "\xC0\xAF", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xF0\x8F\xBF\xBF",
        "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF", "\xC3(", "\xE2\x82(", "\xF0\x9F\x98("})
    EXPECT_EQ(find_invalid_utf8(std::string("\xC3\xA9") + bad), 2u);
  for (const char* cut : {"\xC3", "\xE2\x82", "\xF0\x9F\x98"})
    EXPECT_EQ(find_invalid_utf8(std::string("ab") + cut), 2u);
}

TEST(Tokenise, WordsAndWhatStandsAlone) {
  EXPECT_EQ(tokens_of("Don't panic!  It's 42,\tisn\xE2\x80\x99t it?"),
            (Tokens{"don't", "panic", "!", "it's", "42", ",", "isn't", "it", "?"}));
  EXPECT_EQ(tokens_of("'quoted' dogs' under_score"),
            (Tokens{"'", "quoted", "'", "dogs", "'", "under_score"}));
  EXPECT_EQ(tokens_of("\xC2\xABГОД\xC2\xBB ΩΔ É\xC3\xA9 \xC3\x9F"),
            (Tokens{"\xC2\xAB", "год", "\xC2\xBB", "ωδ", "éé", "ß"}));
  // Emoji with a variation selector and a joiner, ideographs, kana; a no-break space divides.
  EXPECT_EQ(tokens_of("so\xE2\x9D\xA4\xEF\xB8\x8F\xE2\x80\x8D\xF0\x9F\x98\x82 日本カ a\xC2\xA0"
                      "b"),
            (Tokens{"so", "\xE2\x9D\xA4", "\xF0\x9F\x98\x82", "日", "本", "カ", "a", "b"}));
  EXPECT_EQ(tokens_of(" \t\n"), Tokens{});
  EXPECT_EQ(tokens_of("Ab C", {.lower_case = false}), (Tokens{"Ab", "C"}));
}

TEST(Tokenise, CharactersAreCodePoints) {
  EXPECT_EQ(tokens_of("Añ \n", {.kind = TokenKind::Characters, .lower_case = false}),
            (Tokens{"A", "ñ", " ", "\n"}));
}

// Against Unicode's table: letters of each rule, and the exceptions within.
TEST(LowerCase, IsUnicodes) {
  const std::pair<char32_t, char32_t> pairs[] = {
      {'A', 'a'},       {'z', 'z'},     {0xC0, 0xE0},     {0xD7, 0xD7},     {0xDE, 0xFE},      {0x100, 0x101},
      {0x101, 0x101},   {0x130, 'i'},   {0x131, 0x131},   {0x139, 0x13A},   {0x148, 0x148},    {0x14A, 0x14B},
      {0x178, 0xFF},    {0x179, 0x17A}, {0x386, 0x3AC},   {0x388, 0x3AD},   {0x38C, 0x3CC},    {0x38F, 0x3CE},
      {0x391, 0x3B1},   {0x3A2, 0x3A2}, {0x3A9, 0x3C9},   {0x3C2, 0x3C2},   {0x400, 0x450},    {0x410, 0x430},
      {0x42F, 0x44F},   {0x460, 0x461}, {0x4C0, 0x4CF},   {0x4C1, 0x4C2},   {0x4D0, 0x4D1},    {0x531, 0x561},
      {0x1E00, 0x1E01}, {0x1E9E, 0xDF}, {0x1EA0, 0x1EA1}, {0x4E00, 0x4E00}, {0x1F602, 0x1F602}};
  for (const auto& [capital, small] : pairs)
    EXPECT_EQ(lower_case(capital), small) << std::hex << static_cast<std::uint32_t>(capital);
}

VocabularyBuilder::Result built(const VocabularyOptions& options, std::vector<std::int32_t>& ids) {
  VocabularyBuilder builder({});
  builder.add("b a b c", ids);
  builder.add("c d B", ids);
  builder.add("d d d e", ids, false);
  return builder.finish(options);
}

TEST(Vocabulary, IsInOrderOfFrequencyAndLimited) {
  std::vector<std::int32_t> ids;
  const auto all = built({}, ids);
  Tokens tokens;
  for (std::int32_t i = 0; i < all.vocabulary.size(); ++i) tokens.push_back(all.vocabulary.token(i));
  EXPECT_EQ(tokens, (Tokens{"<pad>", "<unk>", "b", "c", "a", "d"}));  // e was in no counted text
  std::vector<std::int32_t> again, numbered;
  all.vocabulary.encode("b a b c c d b d d d e", again);
  for (const std::int32_t id : ids) numbered.push_back(all.number_of[static_cast<std::size_t>(id)]);
  EXPECT_EQ(numbered, again);
  EXPECT_EQ(again.back(), Vocabulary::kUnknown);
  EXPECT_EQ(built({.min_count = 2}, ids).vocabulary.size(), 4);
  EXPECT_EQ(built({.max_size = 3}, ids).vocabulary.size(), 3);
  EXPECT_TRUE(
      says(message_of<UsageError>([&] { built({.min_count = 9}, ids); }), "5 different words", "9 times"));
}

TEST(Vocabulary, ComesBackFromItsFile) {
  const TempDir dir;
  const Vocabulary v({.kind = TokenKind::Words, .lower_case = false}, {"one", "\"quoted\"\n", "naïve"});
  v.save(dir / "v.json");
  EXPECT_EQ(Vocabulary::load(dir / "v.json"), v);
  EXPECT_EQ(Vocabulary::load(dir / "v.json").id("naïve"), 4);
  const auto refused = [&](const std::string& text) {
    write_raw(dir / "bad.json", text);
    return message_of<FormatError>([&] { Vocabulary::load(dir / "bad.json"); });
  };
  EXPECT_TRUE(says(refused("{}"), "bad.json", "no vocabulary"));
  EXPECT_TRUE(says(refused("[1"), "bad.json", "no vocabulary"));
  EXPECT_TRUE(
      says(refused(R"({"tokens_are": "bits", "lower_case": true, "tokens": []})"), "bad.json", "bits"));
  EXPECT_TRUE(
      says(refused(R"({"tokens_are": "words", "lower_case": true, "tokens": ["a"]})"), "<pad>", "<unk>"));
  EXPECT_TRUE(
      says(refused(R"({"tokens_are": "words", "lower_case": true, "tokens": ["<pad>", "<unk>", "a", "a"]})"),
           "bad.json", "'a' occurs twice"));
}

}  // namespace
}  // namespace ingot
