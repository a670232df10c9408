// The options by which `train` reads tables of texts, and what `eval` and `predict` do with networks of
// texts.
//
//   TextArguments texts;
//   texts.add_to(app);
//   const TextSplits data = texts.open("goemotions/train.tsv", 64, 30000, 0.2);
#pragma once

#include <CLI/CLI.hpp>
#include <map>
#include <string>

#include "data/text_dataset.h"

namespace ingot::tools {

struct TextArguments {
  std::string tokens = "words", vocabulary;
  bool keep_case = false, header = false;
  std::int64_t min_count = 2, text_column = 1, label_column = 2;

  void add_to(CLI::App& app);
  // Says on the standard error what was left out and cut.
  TextSplits open(const std::string& data, std::int64_t sequence_length, std::int64_t vocabulary_size,
                  double test_share) const;
};

// What a resumed run must share, by name.
std::map<std::string, std::string> describe_texts(const TextPreparation& preparation);

// On the standard error, one line for what there is to say of a part.
void report_texts(const TextReport& report, const std::string& part, std::int64_t sequence_length);

}  // namespace ingot::tools
