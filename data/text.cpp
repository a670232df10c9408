#include "data/text.h"

#include <algorithm>
#include <array>

namespace ingot {

namespace {

// Bytes of the sequence that begins here and is valid; 0: none.
std::size_t sequence_length(std::string_view s) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(s[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  const std::size_t length = first >= 0xC2 && first < 0xE0   ? 2
                             : (first & 0xF0) == 0xE0        ? 3
                             : first >= 0xF0 && first < 0xF5 ? 4
                                                             : 0;
  if (length == 0 || s.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xC0) != 0x80) return 0;
  // What a shorter sequence says, surrogates, and what lies beyond U+10FFFF.
  const unsigned char second = byte(1);
  if ((first == 0xE0 && second < 0xA0) || (first == 0xED && second >= 0xA0) ||
      (first == 0xF0 && second < 0x90) || (first == 0xF4 && second >= 0x90))
    return 0;
  return length;
}

// Of valid UTF-8; moves `at` behind it.
char32_t next_code_point(std::string_view s, std::size_t& at) {
  const auto byte = [&](std::size_t i) { return static_cast<char32_t>(static_cast<unsigned char>(s[i])); };
  const char32_t first = byte(at++);
  if (first < 0x80) return first;
  const int more = first >= 0xF0 ? 3 : first >= 0xE0 ? 2 : 1;
  char32_t c = first & (0x3Fu >> more);
  for (int i = 0; i < more; ++i) c = (c << 6) | (byte(at++) & 0x3F);
  return c;
}

void append(std::string& out, char32_t c) {
  const auto put = [&](char32_t v) { out.push_back(static_cast<char>(static_cast<unsigned char>(v))); };
  if (c < 0x80) return put(c);
  if (c < 0x800) {
    put(0xC0 | (c >> 6));
  } else {
    if (c < 0x10000) {
      put(0xE0 | (c >> 12));
    } else {
      put(0xF0 | (c >> 18));
      put(0x80 | ((c >> 12) & 0x3F));
    }
    put(0x80 | ((c >> 6) & 0x3F));
  }
  put(0x80 | (c & 0x3F));
}

enum class Class : std::uint8_t { Space, Word, Alone, Ignored };

struct Range {
  char32_t first, last;
  Class kind;
};

// Beyond ASCII, in order; what lies between is a part of words. Whole blocks, from Unicode's Blocks.txt.
constexpr std::array kRanges = {
    Range{0x80, 0xA0, Class::Space},       Range{0xA1, 0xA9, Class::Alone},
    Range{0xAB, 0xAC, Class::Alone},       Range{0xAD, 0xAD, Class::Ignored},
    Range{0xAE, 0xB4, Class::Alone},       Range{0xB6, 0xB9, Class::Alone},
    Range{0xBB, 0xBF, Class::Alone},       Range{0xD7, 0xD7, Class::Alone},
    Range{0xF7, 0xF7, Class::Alone},       Range{0x1680, 0x1680, Class::Space},
    Range{0x2000, 0x200A, Class::Space},   Range{0x200B, 0x200F, Class::Ignored},
    Range{0x2010, 0x2027, Class::Alone},   Range{0x2028, 0x2029, Class::Space},
    Range{0x202A, 0x202E, Class::Ignored}, Range{0x202F, 0x202F, Class::Space},
    Range{0x2030, 0x205E, Class::Alone},   Range{0x205F, 0x205F, Class::Space},
    Range{0x2060, 0x206F, Class::Ignored}, Range{0x20A0, 0x20CF, Class::Alone},
    Range{0x2100, 0x2BFF, Class::Alone},   Range{0x2E00, 0x2E7F, Class::Alone},
    Range{0x3000, 0x3000, Class::Space},   Range{0x3001, 0x30FF, Class::Alone},
    Range{0x3400, 0x4DBF, Class::Alone},   Range{0x4E00, 0x9FFF, Class::Alone},
    Range{0xE000, 0xFAFF, Class::Alone},   Range{0xFE00, 0xFE0F, Class::Ignored},
    Range{0xFEFF, 0xFEFF, Class::Ignored}, Range{0xFF01, 0xFF0F, Class::Alone},
    Range{0xFF1A, 0xFF20, Class::Alone},   Range{0xFF3B, 0xFF40, Class::Alone},
    Range{0xFF5B, 0xFF65, Class::Alone},   Range{0x1F000, 0x1FAFF, Class::Alone},
    Range{0x20000, 0x3FFFF, Class::Alone}, Range{0xE0000, 0xE01EF, Class::Ignored},
};

Class class_of(char32_t c) {
  if (c < 0x80) {
    if (c <= 0x20 || c == 0x7F) return Class::Space;
    const bool word = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
    return word ? Class::Word : Class::Alone;
  }
  const auto* const r = std::lower_bound(kRanges.begin(), kRanges.end(), c,
                                         [](const Range& range, char32_t v) { return range.last < v; });
  return r != kRanges.end() && r->first <= c ? r->kind : Class::Word;
}

bool is_apostrophe(char32_t c) {
  return c == '\'' || c == 0x2019;
}

}  // namespace

std::size_t find_invalid_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = sequence_length(text.substr(at));
    if (length == 0) return at;
    at += length;
  }
  return std::string_view::npos;
}

std::string_view name(TokenKind kind) {
  return kind == TokenKind::Words ? "words" : "characters";
}

char32_t lower_case(char32_t c) {
  const auto within = [c](char32_t first, char32_t last) { return c >= first && c <= last; };
  if (c < 0x80) return within('A', 'Z') ? c + 32 : c;
  if (within(0xC0, 0xDE)) return c == 0xD7 ? c : c + 32;
  if (c == 0x130) return 'i';
  if (c == 0x178) return 0xFF;
  if (c == 0x1E9E) return 0xDF;
  // Pairs of which the even or the odd one is the capital.
  if (within(0x100, 0x137) || within(0x14A, 0x177) || within(0x460, 0x481) || within(0x48A, 0x4BF) ||
      within(0x4D0, 0x52F) || within(0x1E00, 0x1E95) || within(0x1EA0, 0x1EFF))
    return c == 0x131 ? c : c | 1;
  if (within(0x139, 0x148) || within(0x179, 0x17E) || within(0x4C1, 0x4CE)) return c + (c & 1);
  if (c == 0x4C0) return 0x4CF;
  if (within(0x391, 0x3AB)) return c == 0x3A2 ? c : c + 32;
  if (c == 0x386) return 0x3AC;
  if (within(0x388, 0x38A)) return c + 37;
  if (c == 0x38C) return 0x3CC;
  if (within(0x38E, 0x38F)) return c + 63;
  if (within(0x410, 0x42F)) return c + 32;
  if (within(0x400, 0x40F)) return c + 80;
  if (within(0x531, 0x556)) return c + 48;
  return c;
}

void tokenise(std::string_view text, const Tokenisation& how,
              const std::function<void(std::string_view)>& token) {
  std::string word;
  const auto put = [&](char32_t c) { append(word, how.lower_case ? lower_case(c) : c); };
  const auto end_word = [&] {
    if (!word.empty()) token(word);
    word.clear();
  };
  for (std::size_t at = 0; at < text.size();) {
    const char32_t c = next_code_point(text, at);
    if (how.kind == TokenKind::Characters) {
      put(c);
      end_word();
      continue;
    }
    if (is_apostrophe(c) && !word.empty() && at < text.size()) {
      std::size_t behind = at;
      if (class_of(next_code_point(text, behind)) == Class::Word) {
        word.push_back('\'');
        continue;
      }
    }
    switch (class_of(c)) {
      case Class::Word:
        put(c);
        break;
      case Class::Alone:
        end_word();
        put(c);
        end_word();
        break;
      case Class::Space:
        end_word();
        break;
      case Class::Ignored:
        break;
    }
  }
  end_word();
}

}  // namespace ingot
