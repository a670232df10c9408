#include "data/text_dataset.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/hash.h"
#include "data/table.h"

namespace ingot {

namespace {

namespace fs = std::filesystem;

// The first of `names` with the extension of `table` beside it; empty when there is none.
std::string find_beside(const fs::path& table, std::initializer_list<const char*> names,
                        const fs::path& extension) {
  for (const char* name : names) {
    const std::string path = (table.parent_path() / name).replace_extension(extension).string();
    if (file_exists(path)) return path;
  }
  return "";
}

// The table that a path means: itself, or a folder's train.tsv or train.csv.
std::string table_of(const std::string& path, const char* part) {
  if (!fs::is_directory(path)) return path;
  for (const char* extension : {".tsv", ".csv"}) {
    const std::string table = (fs::path(path) / part).replace_extension(extension).string();
    if (file_exists(table)) return table;
  }
  return "";
}

std::optional<std::int64_t> whole_number(std::string_view text) {
  std::int64_t n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (error != std::errc() || end != text.data() + text.size() || n < 0) return std::nullopt;
  return n;
}

struct Classes {
  std::int64_t count = 0;
  std::vector<std::string> names;  // `count`, or none
  std::string source;              // where they are from, for messages

  // Of a label as a table has it; -1: none.
  std::int64_t find(std::string_view label) const {
    const auto at = std::find(names.begin(), names.end(), label);
    if (at != names.end()) return at - names.begin();
    const std::optional<std::int64_t> number = whole_number(label);
    return number && *number < count ? *number : -1;
  }
};

Classes classes_beside(const std::string& table) {
  Classes classes;
  for (const char* file : {"labels.txt", "classes.txt"}) {
    const std::string path = (fs::path(table).parent_path() / file).string();
    if (!file_exists(path)) continue;
    const std::string text = read_file(path);
    require_utf8(text, path, 1);
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
      if (line.ends_with('\r')) line.pop_back();
      if (!line.empty()) classes.names.push_back(line);
    }
    if (classes.names.empty()) throw FormatError(cat("'", path, "' names no class; expected one a line"));
    classes.count = std::ssize(classes.names);
    classes.source = cat("'", path, "'");
    break;
  }
  return classes;
}

// Labels as they come, by number, and where each was seen first: what they mean may be known only at the end.
struct LabelNumbers {
  std::unordered_map<std::string, std::int64_t> numbers;
  std::vector<std::string> labels, places;

  std::int64_t number(const std::string& label, const TableReader& row) {
    const auto [it, is_new] = numbers.emplace(label, std::ssize(labels));
    if (is_new) {
      labels.push_back(label);
      places.push_back(row.where());
    }
    return it->second;
  }

  // The classes that the labels themselves tell.
  Classes classes() const {
    Classes out;
    out.source = "the labels";
    std::int64_t greatest = -1;
    std::size_t greatest_at = 0;
    bool numeric = true;
    for (std::size_t i = 0; i < labels.size(); ++i) {
      const std::optional<std::int64_t> n = whole_number(labels[i]);
      numeric = numeric && n.has_value();
      if (n && *n > greatest) greatest = *n, greatest_at = i;
    }
    if (!numeric) {
      out.names = labels;
      std::sort(out.names.begin(), out.names.end());
      out.count = std::ssize(out.names);
      return out;
    }
    // One damaged label would make a network of as many outputs: most of the classes must occur.
    if (greatest / 2 >= std::ssize(labels))
      throw FormatError(cat(places[greatest_at], ": label ", greatest, " seems out of range: only ",
                            labels.size(), " of the classes 0 to ", greatest,
                            " occur; if the data is meant so, name all classes in labels.txt, one a line"));
    out.count = greatest + 1;
    return out;
  }

  // The class of each number.
  std::vector<std::int64_t> resolved(const Classes& classes) const {
    std::vector<std::int64_t> out;
    for (std::size_t i = 0; i < labels.size(); ++i) {
      out.push_back(classes.find(labels[i]));
      if (out.back() < 0)
        throw FormatError(cat(places[i], ": the label '", labels[i], "' is out of range; expected 0 to ",
                              classes.count - 1, classes.names.empty() ? "" : " or a name of ",
                              classes.names.empty() ? "" : classes.source));
    }
    return out;
  }
};

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

// Every row with one label, to use(reader, text, label).
template <class Use>
void read_rows(const std::string& path, const TextColumns& columns, TextReport& report, const Use& use) {
  if (columns.text < 1 || columns.label < 1 || columns.text == columns.label)
    throw UsageError(cat("the columns of text and label are two, counted from 1; got ", columns.text, " and ",
                         columns.label));
  const std::int64_t needed = std::max(columns.text, columns.label);
  TableReader rows(path);
  for (bool first = true; rows.next(); first = false) {
    if (first && columns.header) continue;
    ++report.rows;
    if (std::ssize(rows.fields()) < needed)
      throw FormatError(cat(rows.where(), ": expected ", needed, " columns or more, with the text in column ",
                            columns.text, " and its label in column ", columns.label, ", found ",
                            rows.fields().size(), "; ",
                            is_table(path) && path.ends_with(".csv") ? "commas" : "tabs", " divide columns"));
    const std::string label(trimmed(rows.fields()[static_cast<std::size_t>(columns.label - 1)]));
    if (label.empty())
      throw FormatError(cat(rows.where(), ": the label, in column ", columns.label,
                            ", is empty; give one, or leave the row out"));
    if (label.find(',') != std::string::npos) {
      ++report.several_labels;
      continue;
    }
    use(rows, rows.fields()[static_cast<std::size_t>(columns.text - 1)], label);
  }
  if (report.rows == 0)
    throw FormatError(cat("'", path, "' is empty; expected rows of a text and its label"));
  if (report.several_labels == report.rows)
    throw FormatError(
        cat("'", path, "' has no row with exactly one label, all ", report.rows, " have several"));
}

void require_tokens(std::size_t count, std::string_view text, const std::string& where, TokenKind kind) {
  if (count == 0)
    throw FormatError(cat(where, ": the text ", text.empty() ? "is empty" : cat("holds no ", name(kind)),
                          "; expected at least one of ", name(kind)));
}

void add_text(EncodedTexts& out, std::span<const std::int32_t> ids, std::int64_t label) {
  out.ids.insert(out.ids.end(), ids.begin(), ids.end());
  out.ends.push_back(std::ssize(out.ids));
  out.labels.push_back(label);
}

// Cuts what is longer than the sequences, and counts.
void finish(EncodedTexts& texts, std::int64_t length) {
  TextReport& r = texts.report;
  r.kept = std::ssize(texts.ends);
  std::int64_t begin = 0, kept = 0;
  for (std::int64_t& end : texts.ends) {
    const std::int64_t count = end - begin;
    r.longest = std::max(r.longest, count);
    r.tokens += count;
    r.truncated += count > length ? 1 : 0;
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int32_t id = texts.ids[static_cast<std::size_t>(begin + i)];
      r.unknown += id == Vocabulary::kUnknown ? 1 : 0;
      if (i < length) texts.ids[static_cast<std::size_t>(kept++)] = id;
    }
    begin = end;
    end = kept;
  }
  texts.ids.resize(static_cast<std::size_t>(kept));
  texts.ids.shrink_to_fit();
}

EncodedTexts read_encoded(const std::string& path, const TextPreparation& preparation,
                          const Classes& classes) {
  EncodedTexts out;
  LabelNumbers labels;
  std::vector<std::int32_t> ids;
  read_rows(path, preparation.columns, out.report,
            [&](const TableReader& row, const std::string& text, const std::string& label) {
              ids.clear();
              preparation.vocabulary.encode(text, ids);
              require_tokens(ids.size(), text, row.where(), preparation.vocabulary.tokenisation().kind);
              add_text(out, ids, labels.number(label, row));
            });
  const std::vector<std::int64_t> classes_of = labels.resolved(classes);
  for (std::int64_t& label : out.labels) label = classes_of[static_cast<std::size_t>(label)];
  finish(out, preparation.sequence_length);
  return out;
}

// Uniform in [0, 1), by the text alone: the same text never lies on both sides.
double share_of(std::string_view text) {
  Hasher h;
  h.add(text);
  return static_cast<double>(h.value() >> 11) * 0x1.0p-53;
}

VocabularyBuilder::Result finished(const VocabularyBuilder& builder, const VocabularyOptions& options,
                                   const std::string& path) {
  try {
    return builder.finish(options);
  } catch (const UsageError& e) {
    throw FormatError(cat("'", path, "': ", e.message()));
  }
}

void require_length(std::int64_t length) {
  if (length < 1) throw UsageError(cat("the sequence length must be positive, got ", length));
}

}  // namespace

std::string TextPreparation::text() const {
  nlohmann::json j;
  j["sequence_length"] = sequence_length;
  j["text_column"] = columns.text;
  j["label_column"] = columns.label;
  j["header"] = columns.header;
  j["vocabulary"] = nlohmann::json::parse(vocabulary.text());
  return j.dump();
}

TextPreparation TextPreparation::parse(std::string_view text) {
  const std::string source = "the preparation of texts";
  try {
    const auto j = nlohmann::json::parse(text);
    TextPreparation p{Vocabulary::parse(j.at("vocabulary").dump(), source),
                      j.at("sequence_length"),
                      {j.at("text_column"), j.at("label_column"), j.at("header")}};
    if (p.sequence_length < 1) throw FormatError(cat(source, ": its sequence length is ", p.sequence_length));
    return p;
  } catch (const nlohmann::json::exception& e) {
    throw FormatError(cat(source, " is damaged: ", e.what()));
  }
}

std::vector<std::int32_t> TextPreparation::encode(std::string_view text, const std::string& where) const {
  if (const std::size_t at = find_invalid_utf8(text); at != std::string_view::npos)
    throw FormatError(
        cat(where, ", byte ", at + 1, ": it begins no character of UTF-8; expected text in UTF-8"));
  std::vector<std::int32_t> ids;
  vocabulary.encode(text, ids);
  require_tokens(ids.size(), text, where, vocabulary.tokenisation().kind);
  ids.resize(static_cast<std::size_t>(sequence_length), Vocabulary::kPadding);
  return ids;
}

TextDataset::TextDataset(std::shared_ptr<const TextPreparation> preparation, EncodedTexts texts,
                         std::int64_t num_classes, std::vector<std::string> class_names)
    : preparation_(std::move(preparation)),
      texts_(std::move(texts)),
      num_classes_(num_classes),
      class_names_(std::move(class_names)) {}

void TextDataset::read(std::int64_t index, std::span<std::byte> input, std::span<std::byte> target) const {
  if (index < 0 || index >= size())
    throw UsageError(cat("sample ", index, " is outside a data set of ", size()));
  if (input.size() != input_type().bytes() || target.size() != sizeof(std::int64_t))
    throw UsageError(cat("read() needs room for ", input_type().bytes(), " and 8 bytes, got ", input.size(),
                         " and ", target.size()));
  const auto i = static_cast<std::size_t>(index);
  const std::int64_t begin = i == 0 ? 0 : texts_.ends[i - 1];
  const std::size_t bytes = static_cast<std::size_t>(texts_.ends[i] - begin) * sizeof(std::int32_t);
  std::memcpy(input.data(), texts_.ids.data() + begin, bytes);
  static_assert(Vocabulary::kPadding == 0);
  std::memset(input.data() + bytes, 0, input.size() - bytes);
  std::memcpy(target.data(), &texts_.labels[i], sizeof(std::int64_t));
}

bool is_text_data(const std::string& path) {
  return is_table(path) || (fs::is_directory(path) && !table_of(path, "train").empty());
}

TextSplits open_texts(const std::string& path, const TextDataOptions& options) {
  require_length(options.sequence_length);
  const std::string table = table_of(path, "train");
  if (table.empty())
    throw FormatError(
        cat("'", path,
            "' has no train.tsv or train.csv; expected a table of texts and labels, or a folder with one"));
  const fs::path at(table);
  std::string test, validation;
  if (at.stem() == "train") {
    test = find_beside(at, {"test"}, at.extension());
    validation = find_beside(at, {"dev", "val", "valid", "validation"}, at.extension());
  }
  const bool divide = test.empty() && validation.empty();
  if (divide && !(options.test_share > 0.0 && options.test_share < 1.0))
    throw UsageError(cat("the share of the test part lies between 0 and 1, got ", options.test_share));

  auto preparation = std::make_shared<TextPreparation>();
  preparation->sequence_length = options.sequence_length;
  preparation->columns = options.columns;
  const bool given = !options.vocabulary_file.empty();
  if (given) preparation->vocabulary = Vocabulary::load(options.vocabulary_file);
  const Tokenisation how = given ? preparation->vocabulary.tokenisation() : options.tokenisation;
  VocabularyBuilder builder(how);
  LabelNumbers labels;
  EncodedTexts train, held_out;
  std::vector<std::int32_t> ids;
  read_rows(table, options.columns, train.report,
            [&](const TableReader& row, const std::string& text, const std::string& label) {
              const bool held = divide && share_of(text) < options.test_share;
              ids.clear();
              if (given)
                preparation->vocabulary.encode(text, ids);
              else
                builder.add(text, ids, !held);
              require_tokens(ids.size(), text, row.where(), how.kind);
              add_text(held ? held_out : train, ids, labels.number(label, row));
            });
  Classes classes = classes_beside(table);
  if (classes.count == 0) classes = labels.classes();
  if (classes.count < 2)
    throw FormatError(cat("'", table, "' has one class, ", labels.labels[0], "; expected two or more"));
  const std::vector<std::int64_t> classes_of = labels.resolved(classes);
  for (EncodedTexts* texts : {&train, &held_out})
    for (std::int64_t& label : texts->labels) label = classes_of[static_cast<std::size_t>(label)];
  if (divide && (train.ends.empty() || held_out.ends.empty()))
    throw FormatError(cat("'", table, "' has ", train.ends.size() + held_out.ends.size(),
                          " rows with one label, too few for a training and a test part of ",
                          options.test_share, "; give more, or a test.tsv beside a train.tsv"));
  if (!given) {
    VocabularyBuilder::Result made = finished(builder, options.vocabulary, table);
    preparation->vocabulary = std::move(made.vocabulary);
    for (EncodedTexts* texts : {&train, &held_out})
      for (std::int32_t& id : texts->ids) id = made.number_of[static_cast<std::size_t>(id)];
  }
  finish(train, options.sequence_length);
  const auto part = [&](EncodedTexts texts) {
    return std::make_shared<const TextDataset>(preparation, std::move(texts), classes.count, classes.names);
  };
  TextSplits out;
  if (divide) {
    finish(held_out, options.sequence_length);
    held_out.report.rows = held_out.report.kept;
    train.report.rows -= held_out.report.kept;
    out.test = out.validation = part(std::move(held_out));
  } else {
    if (!test.empty()) out.test = part(read_encoded(test, *preparation, classes));
    if (!validation.empty()) out.validation = part(read_encoded(validation, *preparation, classes));
    if (!out.test) out.test = out.validation;
    if (!out.validation) out.validation = out.test;
  }
  out.train = part(std::move(train));
  return out;
}

std::shared_ptr<const TextDataset> open_texts(const std::string& path, const TextPreparation& preparation,
                                              std::int64_t num_classes,
                                              std::vector<std::string> class_names) {
  require_length(preparation.sequence_length);
  const std::string table = table_of(path, "test");
  if (table.empty())
    throw FormatError(
        cat("'", path,
            "' has no test.tsv or test.csv; expected a table of texts and labels, or a folder with one"));
  Classes classes{num_classes, class_names, "the classes that the weights were trained for"};
  EncodedTexts texts = read_encoded(table, preparation, classes);
  return std::make_shared<const TextDataset>(std::make_shared<const TextPreparation>(preparation),
                                             std::move(texts), num_classes, std::move(class_names));
}

}  // namespace ingot
