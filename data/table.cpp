#include "data/table.h"

#include <algorithm>
#include <cstdio>

#include "core/base/error.h"
#include "data/text.h"

namespace ingot {

bool is_table(std::string_view path) {
  return path.ends_with(".tsv") || path.ends_with(".csv");
}

void require_utf8(std::string_view text, const std::string& path, std::int64_t line) {
  const std::size_t at = find_invalid_utf8(text);
  if (at == std::string_view::npos) return;
  const std::string_view before = text.substr(0, at);
  const auto line_start = before.rfind('\n');
  char byte[8];
  std::snprintf(byte, sizeof byte, "0x%02X", static_cast<unsigned>(static_cast<unsigned char>(text[at])));
  throw FormatError(cat("'", path, "', line ", line + std::count(before.begin(), before.end(), '\n'),
                        ", byte ", line_start == std::string_view::npos ? at + 1 : at - line_start, ": ",
                        byte, " begins no character of UTF-8; save the file as UTF-8"));
}

TableReader::TableReader(const std::string& path) : path_(path) {
  if (!is_table(path))
    throw FormatError(cat("'", path, "' is no table; expected a file that ends in .tsv or .csv"));
  file_ = MappedFile::open(path);
  rest_ = file_->text();
  divider_ = path.ends_with(".csv") ? ',' : '\t';
  if (rest_.starts_with("\xEF\xBB\xBF")) rest_.remove_prefix(3);
}

std::string TableReader::where() const {
  return cat("'", path_, "', line ", row_line_);
}

// Without its end, which is taken away too.
std::string_view TableReader::take_line() {
  const std::size_t end = rest_.find('\n');
  std::string_view line = rest_.substr(0, end);
  rest_.remove_prefix(end == std::string_view::npos ? rest_.size() : end + 1);
  ++line_;
  require_utf8(line, path_, line_);
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

bool TableReader::next() {
  std::string_view line;
  do {
    if (rest_.empty()) return false;
    line = take_line();
  } while (line.empty());
  row_line_ = line_;
  std::size_t count = 0;
  const auto field = [&]() -> std::string& {
    if (count == fields_.size()) fields_.emplace_back();
    fields_[count].clear();
    return fields_[count++];
  };
  for (;;) {  // a field each
    std::string& out = field();
    if (divider_ == ',' && line.starts_with('"')) {
      line.remove_prefix(1);
      for (;;) {
        const std::size_t quote = line.find('"');
        out += line.substr(0, quote);
        if (quote == std::string_view::npos) {
          if (rest_.empty())
            throw FormatError(cat(where(), ": a quoted field does not end; close it with \""));
          out += '\n';
          line = take_line();
          continue;
        }
        line.remove_prefix(quote + 1);
        if (!line.starts_with('"')) break;
        out += '"';
        line.remove_prefix(1);
      }
      if (!line.empty() && line.front() != divider_)
        throw FormatError(cat(where(), ": something follows a quoted field; double the quotes inside it"));
    } else {
      const std::size_t end = line.find(divider_);
      out = line.substr(0, end);
      line.remove_prefix(end == std::string_view::npos ? line.size() : end);
    }
    if (line.empty()) break;
    line.remove_prefix(1);
  }
  fields_.resize(count);
  return true;
}

}  // namespace ingot
