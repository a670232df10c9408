#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>

#include "tools/checkpoint_options.h"
#include "tools/text_options.h"

namespace ingot::tools {

namespace {

int print_evaluation(const Evaluation& e, const Dataset& test, const char* samples, bool json) {
  if (json) {
    nlohmann::ordered_json j;
    j["loss"] = e.loss;
    j["accuracy"] = e.accuracy();
    j["top5_accuracy"] = e.top5;
    j["macro_f1"] = e.confusion.macro_f1();
    j[samples] = e.confusion.total();
    std::printf("%s\n", j.dump(2).c_str());
  } else {
    std::printf("%lld %s: loss %.4f, accuracy %.4f, top-5 %.4f, macro F1 %.4f\n\n%s",
                static_cast<long long>(e.confusion.total()), samples, e.loss, e.accuracy(), e.top5,
                e.confusion.macro_f1(), e.confusion.to_string(test.class_names()).c_str());
  }
  return 0;
}

int eval_texts(const CheckpointArguments& a, const TextPreparation& preparation) {
  const auto trainer = open_text_trainer(a);
  const std::vector<std::string>& names = trainer->sample_notes().class_names;
  const ModelIdentity id = read_model_identity(a.checkpoint);
  const auto it = id.config.find("num_classes");
  const std::int64_t classes = names.empty() && it != id.config.end() ? it->second : std::ssize(names);
  const auto test = open_texts(a.data, preparation, classes, names);
  report_texts(test->report(), "test", preparation.sequence_length);
  return print_evaluation(trainer->evaluate(test, {.batch_size = a.batch_size}), *test, "texts", a.json);
}

int run_eval(const CheckpointArguments& a) {
  const std::string preparation = read_model_identity(a.checkpoint).preparation;
  if (TextPreparation::is(preparation)) return eval_texts(a, TextPreparation::parse(preparation));
  const std::shared_ptr<const Dataset> test = open_part(a.data, Split::Test, preparation, a.bad);
  const Shape s = test->input_type().shape;
  if (s.rank() != 3)
    throw UsageError(cat("eval needs images [channels, height, width], the data set has ", to_string(s)));
  auto trainer = open_trainer(a, s, test->num_classes(), cat("the test part of '", a.data, "'"));
  EvaluateOptions o;
  o.batch_size = a.batch_size;
  o.augment.mean = a.mean;
  o.augment.stddev = a.stddev;
  if (a.mean.empty() && trainer->normalisation()) {
    o.augment.mean = trainer->normalisation()->mean;
    o.augment.stddev = trainer->normalisation()->stddev;
  } else if (a.mean.empty()) {
    const ChannelStats stats = channel_stats(*open_part(a.data, Split::Train, preparation, a.bad));
    o.augment.mean = stats.mean;
    o.augment.stddev = stats.stddev;
  }
  o.bad_samples = a.bad.option();
  const Evaluation e = trainer->evaluate(test, o);
  report_skipped(e.skipped, "the test part");
  return print_evaluation(e, *test, "images", a.json);
}

// The likeliest classes of each row of logits. `key` is what JSON calls the rows; empty: they have no names.
int print_classes(const Tensor& logits, const std::vector<std::string>& names, const char* key,
                  const std::vector<std::string>& called, const CheckpointArguments& a) {
  const std::int64_t classes = logits.shape()[1], k = std::min(a.top, classes);
  const bool named = std::ssize(called) == classes;
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (std::int64_t row = 0; row < logits.shape()[0]; ++row) {
    const float* p = logits.data<float>() + row * classes;
    std::vector<std::int64_t> order(static_cast<std::size_t>(classes));
    std::iota(order.begin(), order.end(), std::int64_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::int64_t i, std::int64_t j) { return p[i] > p[j]; });
    double sum = 0.0;
    for (std::int64_t c = 0; c < classes; ++c) sum += std::exp(static_cast<double>(p[c] - p[order[0]]));
    nlohmann::ordered_json entry = nlohmann::ordered_json::array();
    std::string line = cat(names[static_cast<std::size_t>(row)], ":");
    for (std::int64_t i = 0; i < k; ++i) {
      const std::int64_t c = order[static_cast<std::size_t>(i)];
      const double probability = std::exp(static_cast<double>(p[c] - p[order[0]])) / sum;
      nlohmann::ordered_json one{{"class", c}, {"probability", probability}};
      if (named) one["name"] = called[static_cast<std::size_t>(c)];
      entry.push_back(one);
      char text[16];
      std::snprintf(text, sizeof text, " (%.3f)", probability);
      line += cat("  ", named ? called[static_cast<std::size_t>(c)] : std::to_string(c), text);
    }
    if (*key != '\0')
      all.push_back({{key, names[static_cast<std::size_t>(row)]}, {"classes", entry}});
    else
      all.push_back(entry);
    if (!a.json) std::printf("%s\n", line.c_str());
  }
  // A file's name need not be UTF-8; the text must.
  if (a.json) std::printf("%s\n", all.dump(2, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
  return 0;
}

int predict_texts(const CheckpointArguments& a, const TextPreparation& preparation) {
  const Tensor x({DType::I32, {std::ssize(a.images), preparation.sequence_length}});
  std::int32_t* to = x.data<std::int32_t>();
  for (std::size_t i = 0; i < a.images.size(); ++i)
    for (const std::int32_t id : preparation.encode(a.images[i], cat("text ", i + 1))) *to++ = id;
  const auto trainer = open_text_trainer(a);
  return print_classes(trainer->predict(x, a.batch_size), a.images, "text",
                       trainer->sample_notes().class_names, a);
}

int run_predict(const CheckpointArguments& a) {
  const std::string preparation = read_model_identity(a.checkpoint).preparation;
  if (TextPreparation::is(preparation)) return predict_texts(a, TextPreparation::parse(preparation));
  const auto [x, names] = read_images(a);
  Shape sample = x.shape();
  sample.erase(0);
  auto trainer = open_trainer(a, sample, 0, cat("'", a.images[0], "'"));
  const bool told = !a.mean.empty() || !a.stddev.empty();
  normalise(x, told ? Normalisation{a.mean, a.stddev} : trainer->normalisation().value_or(Normalisation{}));
  const Tensor logits = trainer->predict(x, a.batch_size);
  return print_classes(logits, names, a.images[0].ends_with(".npy") ? "" : "file",
                       trainer->sample_notes().class_names, a);
}

}  // namespace

Action add_eval(CLI::App& app) {
  auto a = std::make_shared<CheckpointArguments>();
  a->add_to(app);
  a->bad.add_to(app);
  app.add_option("--data", a->data,
                 "fashion-mnist, a folder with IDX or .npy files, or one with a folder of images per class; "
                 "for models "
                 "of texts a .tsv or .csv file, or a folder with test.tsv")
      ->default_val("fashion-mnist");
  app.footer(
      "Example:\n  ingot eval runs/first/weights.safetensors --data fashion-mnist\n"
      "  ingot eval runs/feelings/weights.safetensors --data goemotions/test.tsv");
  return [a] { return run_eval(*a); };
}

Action add_predict(CLI::App& app) {
  auto a = std::make_shared<CheckpointArguments>();
  a->add_to(app);
  a->bad.add_to(app);
  app.add_option(
         "images", a->images,
         "JPEG or PNG files, or one .npy file of images [N, C, H, W] or [N, H, W], u8 or f32; for models of "
         "texts the texts themselves")
      ->required();
  app.add_option("--top", a->top, "How many classes to print")->capture_default_str()->check(at_least(1));
  app.footer(
      "Example:\n  ingot predict runs/first/weights.safetensors images.npy\n"
      "  ingot predict runs/pets/weights.safetensors cat.jpg dog.png\n"
      "  ingot predict runs/feelings/weights.safetensors 'thank you so much'");
  return [a] { return run_predict(*a); };
}

}  // namespace ingot::tools
