#include "tools/text_options.h"

#include <cstdio>

#include "core/base/hash.h"
#include "tools/commands.h"

namespace ingot::tools {

void TextArguments::add_to(CLI::App& app) {
  app.add_option("--tokens", tokens, "Of texts: words or characters")
      ->capture_default_str()
      ->check(CLI::IsMember({"words", "characters"}));
  app.add_flag("--keep-case", keep_case, "Capitals are other tokens than small letters");
  app.add_option("--min-count", min_count, "Tokens of texts that occur less often are unknown")
      ->capture_default_str()
      ->check(at_least(1));
  app.add_option(
      "--vocabulary", vocabulary,
      "Take this vocabulary (a vocabulary.json that an earlier run left in its --out) instead of making "
      "one of the training texts");
  app.add_option("--text-column", text_column, "Column of a table that holds the texts, counted from 1")
      ->capture_default_str()
      ->check(at_least(1));
  app.add_option("--label-column", label_column, "Column of a table that holds the labels")
      ->capture_default_str()
      ->check(at_least(1));
  app.add_flag("--header", header, "The first row of a table names its columns");
}

TextSplits TextArguments::open(const std::string& data, std::int64_t sequence_length,
                               std::int64_t vocabulary_size, double test_share) const {
  TextDataOptions o;
  o.tokenisation = {tokens == "words" ? TokenKind::Words : TokenKind::Characters, !keep_case};
  o.sequence_length = sequence_length;
  o.vocabulary = {min_count, vocabulary_size};
  o.vocabulary_file = vocabulary;
  o.columns = {text_column, label_column, header};
  o.test_share = test_share;
  TextSplits splits = open_texts(data, o);
  report_texts(splits.train->report(), "training", sequence_length);
  report_texts(splits.test->report(), "test", sequence_length);
  const Vocabulary& v = splits.train->text_preparation().vocabulary;
  std::fprintf(stderr, "ingot: vocabulary of %lld %s, %.1f %% of the test part's are unknown\n",
               static_cast<long long>(v.size()), std::string(name(v.tokenisation().kind)).c_str(),
               100.0 * static_cast<double>(splits.test->report().unknown) /
                   static_cast<double>(splits.test->report().tokens));
  return splits;
}

std::map<std::string, std::string> describe_texts(const TextPreparation& preparation) {
  Hasher h;
  h.add(preparation.text());
  return {{"sequence_length", cat(preparation.sequence_length)},
          {"vocabulary", cat(preparation.vocabulary.size(), " ",
                             name(preparation.vocabulary.tokenisation().kind), ", ", h.value())}};
}

void report_texts(const TextReport& report, const std::string& part, std::int64_t sequence_length) {
  std::string line = cat("ingot: ", part, " part: ", report.kept, " texts");
  if (report.several_labels > 0)
    line +=
        cat("; ", report.several_labels, " of ", report.rows, " rows have several labels and are left out");
  if (report.truncated > 0)
    line += cat("; ", report.truncated, " are longer than ", sequence_length,
                " tokens and are cut (the longest has ", report.longest, ", --sequence-length keeps more)");
  std::fprintf(stderr, "%s\n", line.c_str());
}

}  // namespace ingot::tools
