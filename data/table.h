// The rows of a .tsv or .csv file, one after another.
//
// .tsv: fields divided by tabs, nothing quoted. .csv: RFC 4180, fields divided by commas; a quoted field may
// hold commas, doubled quotes and line ends. Lines end in \n or \r\n; empty ones are passed over, and so is a
// byte-order mark. The text must be UTF-8: what is not is a FormatError that names the file, the line and the
// byte. The file is mapped and read once, row by row.
//
//   TableReader rows("train.tsv");
//   while (rows.next()) use(rows.fields()[0], rows.line());
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/file.h"

namespace ingot {

class TableReader {
 public:
  // Throws FormatError for a file that cannot be read, or of another ending.
  explicit TableReader(const std::string& path);

  // False at the end.
  bool next();
  const std::vector<std::string>& fields() const { return fields_; }
  // On which the row began, counted from 1.
  std::int64_t line() const { return row_line_; }
  // "'train.tsv', line 7", for messages.
  std::string where() const;

 private:
  std::string_view take_line();

  std::string path_;
  std::shared_ptr<const MappedFile> file_;
  std::string_view rest_;
  char divider_ = '\t';
  std::int64_t line_ = 0, row_line_ = 0;
  std::vector<std::string> fields_;
};

// Whether a file's name says that TableReader reads it.
bool is_table(std::string_view path);

// Throws FormatError for what is not UTF-8; `line` is the number of the text's first line.
void require_utf8(std::string_view text, const std::string& path, std::int64_t line);

}  // namespace ingot
