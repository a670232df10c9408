#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>

#include "tools/checkpoint_options.h"

namespace ingot::tools {

namespace {

int run_eval(const CheckpointArguments& a) {
  const std::string preparation = read_model_identity(a.checkpoint).preparation;
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
  if (a.json) {
    nlohmann::ordered_json j;
    j["loss"] = e.loss;
    j["accuracy"] = e.accuracy();
    j["top5_accuracy"] = e.top5;
    j["macro_f1"] = e.confusion.macro_f1();
    j["images"] = e.confusion.total();
    std::printf("%s\n", j.dump(2).c_str());
  } else {
    std::printf("%lld images: loss %.4f, accuracy %.4f, top-5 %.4f, macro F1 %.4f\n\n%s",
                static_cast<long long>(e.confusion.total()), e.loss, e.accuracy(), e.top5,
                e.confusion.macro_f1(), e.confusion.to_string(test->class_names()).c_str());
  }
  return 0;
}

int run_predict(const CheckpointArguments& a) {
  const auto [x, names] = read_images(a);
  Shape sample = x.shape();
  sample.erase(0);
  auto trainer = open_trainer(a, sample, 0, cat("'", a.images[0], "'"));
  const bool told = !a.mean.empty() || !a.stddev.empty();
  normalise(x, told ? Normalisation{a.mean, a.stddev} : trainer->normalisation().value_or(Normalisation{}));
  const Tensor logits = trainer->predict(x, a.batch_size);
  const std::int64_t classes = logits.shape()[1], k = std::min(a.top, classes);
  const std::vector<std::string>& called = trainer->sample_notes().class_names;
  const bool named = std::ssize(called) == classes, files = !a.images[0].ends_with(".npy");
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
    if (files)
      all.push_back({{"file", names[static_cast<std::size_t>(row)]}, {"classes", entry}});
    else
      all.push_back(entry);
    if (!a.json) std::printf("%s\n", line.c_str());
  }
  // A file's name need not be UTF-8; the text must.
  if (a.json) std::printf("%s\n", all.dump(2, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
  return 0;
}

}  // namespace

Action add_eval(CLI::App& app) {
  auto a = std::make_shared<CheckpointArguments>();
  a->add_to(app);
  a->bad.add_to(app);
  app.add_option("--data", a->data,
                 "fashion-mnist, a folder with IDX or .npy files, or one with a folder of images per class")
      ->default_val("fashion-mnist");
  app.footer("Example:\n  ingot eval runs/first/weights.safetensors --data fashion-mnist");
  return [a] { return run_eval(*a); };
}

Action add_predict(CLI::App& app) {
  auto a = std::make_shared<CheckpointArguments>();
  a->add_to(app);
  a->bad.add_to(app);
  app.add_option("images", a->images,
                 "JPEG or PNG files, or one .npy file of images [N, C, H, W] or [N, H, W], u8 or f32")
      ->required();
  app.add_option("--top", a->top, "How many classes to print")->capture_default_str()->check(at_least(1));
  app.footer(
      "Example:\n  ingot predict runs/first/weights.safetensors images.npy\n"
      "  ingot predict runs/pets/weights.safetensors cat.jpg dog.png");
  return [a] { return run_predict(*a); };
}

}  // namespace ingot::tools
