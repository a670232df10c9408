// Text in UTF-8: what is no UTF-8 is found, and what is gets divided into words or characters.
//
// Words are runs of letters, digits and marks of any script, with apostrophes inside them ("don't", also with
// U+2019, which becomes '). Every other visible character (punctuation, symbols, emoji, ideographs and kana)
// is a token of its own; spaces and control characters divide, and what only directs others (joiners,
// variation selectors) is left out. Lower case follows Unicode's simple mapping for Latin, Greek, Cyrillic
// and Armenian letters, whatever the locale.
//
//   if (const auto at = find_invalid_utf8(line); at != std::string_view::npos) ...   // a byte's place
//   tokenise("Don't panic!", {}, [](std::string_view t) { ... });                    // don't panic !
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace ingot {

// The first byte that begins no valid sequence of RFC 3629 (one that is cut short, overlong, a surrogate or
// beyond U+10FFFF); npos when there is none.
std::size_t find_invalid_utf8(std::string_view text);

enum class TokenKind : std::uint8_t { Words, Characters };
std::string_view name(TokenKind kind);  // "words", "characters"

struct Tokenisation {
  TokenKind kind = TokenKind::Words;
  bool lower_case = true;
  friend bool operator==(const Tokenisation&, const Tokenisation&) = default;
};

// Calls `token` for each in turn; the view is valid during the call. The text must be valid UTF-8.
// Characters are the code points, spaces and line ends included.
void tokenise(std::string_view text, const Tokenisation& how,
              const std::function<void(std::string_view)>& token);

// The simple lower case of a code point; itself where it has none.
char32_t lower_case(char32_t c);

}  // namespace ingot
