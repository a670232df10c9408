// Tables, texts with classes, and one long text as windows.
#include "data/text_dataset.h"

#include <filesystem>

#include "core/base/error.h"
#include "data/language.h"
#include "data/loader.h"
#include "data/table.h"
#include "gtest/gtest.h"
#include "tests/support/messages.h"
#include "tests/support/temp_dir.h"

namespace ingot {
namespace {

using Rows = std::vector<std::vector<std::string>>;

Rows rows_of(const std::string& path) {
  Rows out;
  TableReader reader(path);
  while (reader.next()) out.push_back(reader.fields());
  return out;
}

TEST(Table, ReadsTabs) {
  const TempDir dir;
  write_raw(dir / "a.tsv", "\xEF\xBB\xBFone\t1\r\n\n\"two\"\t\tx\nthree");
  EXPECT_EQ(rows_of(dir / "a.tsv"), (Rows{{"one", "1"}, {"\"two\"", "", "x"}, {"three"}}));
  write_raw(dir / "empty.tsv", "");
  EXPECT_EQ(rows_of(dir / "empty.tsv"), Rows{});
}

TEST(Table, ReadsCommasAndQuotes) {
  const TempDir dir;
  write_raw(dir / "a.csv", "\"one, \"\"quoted\"\"\",1\n\"two\r\nlines\",\"\"\nb\"c,\n");
  EXPECT_EQ(rows_of(dir / "a.csv"), (Rows{{"one, \"quoted\"", "1"}, {"two\nlines", ""}, {"b\"c", ""}}));
  TableReader reader(dir / "a.csv");
  std::vector<std::int64_t> lines;
  while (reader.next()) lines.push_back(reader.line());
  EXPECT_EQ(lines, (std::vector<std::int64_t>{1, 2, 4}));
  write_raw(dir / "open.csv", "a,1\n\"b,2\nc,3\n");
  EXPECT_TRUE(says(message_of<FormatError>([&] { rows_of(dir / "open.csv"); }), "open.csv", "line 2",
                   "does not end"));
  write_raw(dir / "tail.csv", "\"a\"b,1\n");
  EXPECT_TRUE(
      says(message_of<FormatError>([&] { rows_of(dir / "tail.csv"); }), "line 1", "follows a quoted field"));
}

TEST(Table, SaysWhereTextIsNoUtf8) {
  const TempDir dir;
  write_raw(dir / "a.tsv", "fine\t1\nk\xC3\xA9\xFFx\t2\n");
  EXPECT_TRUE(says(message_of<FormatError>([&] { rows_of(dir / "a.tsv"); }), "a.tsv', line 2, byte 4", "0xFF",
                   "UTF-8"));
  EXPECT_TRUE(says(message_of<FormatError>([&] { TableReader(dir / "a.txt"); }), "a.txt", ".tsv or .csv"));
}

const char* const kTrain =
    "good good film\t1\nbad film\t0\ngood one, two, three\t1\nboth\t0,1\nbad bad\t0\ngood\t1\n";

std::vector<std::int32_t> tokens_at(const Dataset& data, std::int64_t i, std::int64_t* label = nullptr) {
  std::vector<std::int32_t> x(static_cast<std::size_t>(data.input_type().numel()));
  std::int64_t y = -1;
  data.read(i, std::as_writable_bytes(std::span(x)), std::as_writable_bytes(std::span(&y, 1)));
  if (label != nullptr) *label = y;
  return x;
}

TEST(TextDataset, TakesRowsWithOneLabelAndFillsOrCutsTexts) {
  const TempDir dir;
  write_raw(dir / "train.tsv", kTrain);
  write_raw(dir / "test.tsv", "good new film\t1\n");
  const TextSplits s = open_texts(dir / "train.tsv", {.sequence_length = 4, .vocabulary = {.min_count = 2}});
  ASSERT_EQ(s.train->size(), 5);
  EXPECT_EQ(s.train->report().rows, 6);
  EXPECT_EQ(s.train->report().several_labels, 1);
  EXPECT_EQ(s.train->report().truncated, 1);
  EXPECT_EQ(s.train->report().longest, 6);
  EXPECT_EQ(s.train->num_classes(), 2);
  // good 4, bad 3, "," and film 2: equal ones by their bytes.
  std::int64_t label = -1;
  EXPECT_EQ(tokens_at(*s.train, 0, &label), (std::vector<std::int32_t>{2, 2, 5, 0}));
  EXPECT_EQ(label, 1);
  EXPECT_EQ(tokens_at(*s.train, 1, &label), (std::vector<std::int32_t>{3, 5, 0, 0}));
  EXPECT_EQ(label, 0);
  EXPECT_EQ(tokens_at(*s.train, 2), (std::vector<std::int32_t>{2, 1, 4, 1}));
  EXPECT_EQ(tokens_at(*s.train, 4), (std::vector<std::int32_t>{2, 0, 0, 0}));
  EXPECT_EQ(tokens_at(*s.test, 0), (std::vector<std::int32_t>{2, 1, 5, 0}));
  EXPECT_EQ(s.validation, s.test);
  EXPECT_EQ(s.test->report().unknown, 1);
  EXPECT_EQ(s.train->label(1), 0);
  EXPECT_THROW(tokens_at(*s.train, 5), UsageError);
  // The same from the folder, and from what a checkpoint keeps.
  EXPECT_EQ(open_texts(dir.path(), {.sequence_length = 4}).train->text_preparation().vocabulary,
            s.train->text_preparation().vocabulary);
  const TextPreparation p = TextPreparation::parse(s.train->preparation());
  EXPECT_TRUE(TextPreparation::is(s.train->preparation()));
  EXPECT_EQ(p.vocabulary, s.train->text_preparation().vocabulary);
  EXPECT_EQ(tokens_at(*open_texts(dir.path(), p, 2, {}), 0), tokens_at(*s.test, 0));
  EXPECT_EQ(p.encode("GOOD unseen", "text 1"), (std::vector<std::int32_t>{2, 1, 0, 0}));
  DataLoader loader(s.train, {.batch_size = 2, .workers = 2});
  EXPECT_EQ(to_string(loader.input_type()), "i32[2, 4]");
  EXPECT_EQ(loader.next()->input.get(4), 3.0);
}

TEST(TextDataset, ClassesAreNamedByAFileOrByTheLabels) {
  const TempDir dir;
  write_raw(dir / "train.csv", "label,text\nsad,oh no\nglad,oh yes\nglad,yes\n");
  write_raw(dir / "dev.csv", "label,text\nsad,no\n");
  TextDataOptions o{.vocabulary = {.min_count = 1}, .columns = {.text = 2, .label = 1, .header = true}};
  const TextSplits named = open_texts(dir.path(), o);
  EXPECT_EQ(named.train->class_names(), (std::vector<std::string>{"glad", "sad"}));
  EXPECT_EQ(named.test->label(0), 1);
  EXPECT_EQ(named.test, named.validation);
  write_raw(dir / "labels.txt", "sad\nglad\r\nangry\n");
  const TextSplits listed = open_texts(dir.path(), o);
  EXPECT_EQ(listed.train->num_classes(), 3);
  EXPECT_EQ(listed.test->label(0), 0);
  EXPECT_EQ(listed.train->label(1), 1);
}

TEST(TextDataset, OneTableIsDividedByItsTexts) {
  const TempDir dir;
  std::string table;
  for (int i = 0; i < 400; ++i) table += cat("text ", i % 200, "\t", i % 2, "\n");
  write_raw(dir / "all.tsv", table);
  const TextSplits s = open_texts(dir / "all.tsv", {.test_share = 0.25});
  EXPECT_EQ(s.train->size() + s.test->size(), 400);
  EXPECT_EQ(s.train->report().rows + s.test->report().rows, 400);
  EXPECT_GT(s.test->size(), 60);
  EXPECT_LT(s.test->size(), 140);
  EXPECT_EQ(s.test->size() % 2, 0) << "equal texts lie on one side";
  // Every text of the training part is known, none of the test part's numbers is.
  EXPECT_EQ(s.train->report().unknown, 0);
  EXPECT_EQ(s.test->report().unknown, s.test->size());
  EXPECT_THROW(open_texts(dir / "all.tsv", {.test_share = 1.0}), UsageError);
}

TEST(TextDataset, SaysWhatIsWrongWithARowAndWhere) {
  const TempDir dir;
  write_raw(dir / "test.tsv", "good\t1\n");
  const auto refused = [&](const std::string& table, const TextDataOptions& o = {}) {
    write_raw(dir / "train.tsv", table);
    return message_of<FormatError>([&] { open_texts(dir.path(), o); });
  };
  EXPECT_TRUE(says(refused(""), "train.tsv' is empty", "expected rows"));
  EXPECT_TRUE(says(refused("x"), "train.tsv', line 1", "expected 2 columns", "found 1", "tabs"));
  EXPECT_TRUE(says(refused("good\t1\n\nbad\t0\nalone\n"), "train.tsv', line 4", "found 1"));
  EXPECT_TRUE(says(refused("good\t1\n \t0\n"), "train.tsv', line 2", "holds no words"));
  EXPECT_TRUE(says(refused("good\t1\n\t0\n"), "train.tsv', line 2", "the text is empty"));
  EXPECT_TRUE(says(refused("good\t1\nbad\t \n"), "train.tsv', line 2", "label", "is empty"));
  EXPECT_TRUE(says(refused("good\t1\nbad\t0\ngood\t900\n"), "train.tsv', line 3", "900", "labels.txt"));
  EXPECT_TRUE(says(refused("good\t1,2\nbad\t0,3\n"), "no row with exactly one label", "2"));
  EXPECT_TRUE(says(refused("good\t0\ngood\t0\n"), "one class"));
  EXPECT_TRUE(says(refused("good\t1\nb\xC3\t0\n"), "train.tsv', line 2, byte 2", "0xC3", "UTF-8"));
  EXPECT_TRUE(says(refused("good\t1\nbad\t0\n"), "train.tsv'", "2 different words", "2 times"));
  write_raw(dir / "test.tsv", "good\t1\nbad\t0\nbad\t2\n");
  EXPECT_TRUE(
      says(refused("good good\t1\nbad bad\t0\n"), "test.tsv', line 3", "'2' is out of range", "0 to 1"));
  write_raw(dir / "labels.txt", "no\nyes\n");
  EXPECT_TRUE(says(refused("good good\t1\nbad bad\tmaybe\n"), "train.tsv', line 2", "'maybe'", "labels.txt"));
  EXPECT_TRUE(says(message_of<FormatError>([&] { open_texts(dir / "nothing.tsv", {}); }), "nothing.tsv"));
  EXPECT_TRUE(says(message_of<UsageError>([&] { open_texts(dir.path(), {.sequence_length = 0}); }), "got 0"));
  EXPECT_TRUE(
      says(message_of<UsageError>([&] { open_texts(dir.path(), {.columns = {.text = 2}}); }), "columns"));
  const TextPreparation p{Vocabulary({}, {"a"}), 4, {}};
  EXPECT_TRUE(says(message_of<FormatError>([&] { p.encode("a\xFF", "text 3"); }), "text 3, byte 2", "UTF-8"));
  EXPECT_TRUE(says(message_of<FormatError>([&] { p.encode("", "text 3"); }), "text 3", "empty"));
  EXPECT_TRUE(says(message_of<FormatError>([] { TextPreparation::parse("{}"); }), "preparation of texts"));
}

TEST(TextDataset, TakesAVocabularyThatIsGiven) {
  const TempDir dir;
  write_raw(dir / "train.tsv", kTrain);
  write_raw(dir / "test.tsv", "good\t1\n");
  Vocabulary({}, {"film", "good"}).save(dir / "v.json");
  const TextSplits s = open_texts(dir.path(), {.sequence_length = 3, .vocabulary_file = dir / "v.json"});
  EXPECT_EQ(tokens_at(*s.train, 0), (std::vector<std::int32_t>{3, 3, 2}));
  EXPECT_EQ(tokens_at(*s.train, 1), (std::vector<std::int32_t>{1, 2, 0}));
}

// --- language

std::vector<std::int64_t> targets_at(const Dataset& data, std::int64_t i, std::vector<std::int32_t>& x) {
  x.resize(static_cast<std::size_t>(data.input_type().numel()));
  std::vector<std::int64_t> y(x.size());
  data.read(i, std::as_writable_bytes(std::span(x)), std::as_writable_bytes(std::span(y)));
  return y;
}

TEST(Language, WindowsGoAlongTheirLanes) {
  std::vector<std::int32_t> tokens;
  for (std::int32_t i = 0; i < 24; ++i) tokens.push_back(i);
  const auto v = std::make_shared<const Vocabulary>();
  const LanguageDataset data(v, tokens, 3, 2);  // lanes of 11 tokens, three windows of 3 each
  EXPECT_EQ(data.size(), 6);
  EXPECT_EQ(data.windows(), 3);
  const std::int32_t starts[] = {0, 11, 3, 14, 6, 17};
  std::vector<std::int32_t> x;
  for (std::int64_t i = 0; i < data.size(); ++i) {
    const std::vector<std::int64_t> y = targets_at(data, i, x);
    for (std::int32_t t = 0; t < 3; ++t) {
      EXPECT_EQ(x[static_cast<std::size_t>(t)], starts[i] + t);
      EXPECT_EQ(y[static_cast<std::size_t>(t)], starts[i] + t + 1);
    }
  }
  // Every token but the last may be a lane's, to the end.
  EXPECT_EQ(LanguageDataset(v, tokens, 23, 1).size(), 1);
  EXPECT_TRUE(
      says(message_of<UsageError>([&] { LanguageDataset(v, tokens, 24, 1); }), "24 tokens", "windows of 24"));
  EXPECT_THROW(LanguageDataset(v, tokens, 3, 0), UsageError);
  EXPECT_THROW(LanguageDataset(v, {}, 3, 1), UsageError);
}

TEST(Language, ATextsEndIsItsTestPart) {
  const TempDir dir;
  std::string text;
  for (int i = 0; i < 100; ++i) text += "ab\n";
  write_raw(dir / "t.txt", text + "abz\n");
  const LanguageSplits s =
      open_language(dir / "t.txt", {.sequence_length = 4, .lanes = 1, .test_share = 0.1});
  EXPECT_EQ(s.train->num_classes(), 5);  // padding, unknown, and in the order of bytes \n, a, b
  std::vector<std::int32_t> x;
  EXPECT_EQ(targets_at(*s.train, 0, x), (std::vector<std::int64_t>{4, 2, 3, 4}));
  EXPECT_EQ(x, (std::vector<std::int32_t>{3, 4, 2, 3}));
  const auto each = open_language(dir / "t.txt", {.sequence_length = 1, .lanes = 1, .test_share = 0.1}).test;
  EXPECT_EQ(targets_at(*each, each->size() - 2, x), (std::vector<std::int64_t>{Vocabulary::kUnknown}));
  EXPECT_EQ(targets_at(*each, each->size() - 1, x), (std::vector<std::int64_t>{2}));
  const auto refused = [&](const std::string& bytes) {
    write_raw(dir / "t.txt", bytes);
    return message_of<FormatError>(
        [&] { open_language(dir / "t.txt", {.sequence_length = 4, .lanes = 2, .test_share = 0.5}); });
  };
  EXPECT_TRUE(says(refused(""), "t.txt' is empty"));
  EXPECT_TRUE(says(refused("no line ends"), "t.txt", "several lines"));
  EXPECT_TRUE(says(refused("a\nb\nc"), "t.txt", "too short for 2 lanes"));
  EXPECT_TRUE(says(refused("ab\nc\xE2\x82\n"), "t.txt', line 2, byte 2", "0xE2"));
}

// The published texts, where they lie beside the tree.
TEST(Language, TinyShakespeare) {
  const std::string path = INGOT_SOURCE_DIR "/../shared/data/tinyshakespeare/input.txt";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not there";
  const LanguageSplits s = open_language(path, {.sequence_length = 100, .lanes = 32});
  EXPECT_EQ(s.train->num_classes(), 67);  // 65 characters
  EXPECT_EQ(s.train->windows(), 313);
  const std::string first = "First Citizen:\nBefore we proceed any further, hear me speak.";
  std::vector<std::int32_t> x;
  targets_at(*s.train, 0, x);
  std::string text;
  for (const std::int32_t id : x) text += s.train->vocabulary().token(id);
  EXPECT_EQ(text.substr(0, first.size()), first);
}

TEST(TextDataset, GoEmotions) {
  const std::string path = INGOT_SOURCE_DIR "/../shared/data/goemotions";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not there";
  const TextSplits s = open_texts(path, {.sequence_length = 40});
  EXPECT_EQ(s.train->report().rows, 43410);
  EXPECT_EQ(s.train->size(), 36308);
  EXPECT_EQ(s.validation->size(), 4548);
  EXPECT_EQ(s.test->size(), 4590);
  EXPECT_EQ(s.train->num_classes(), 28);
  EXPECT_EQ(s.train->class_names()[15], "gratitude");
}

}  // namespace
}  // namespace ingot
