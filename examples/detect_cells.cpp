// Trains a detector on images with boxes in Pascal VOC's files, measures it on a split that it has not seen,
// and draws what it finds.
//
//   build/release/bin/example_detect_cells --data BCCD_Dataset/BCCD --epochs 60 --out runs/cells
//
// DIR of --data holds ImageSets/Main, Annotations and JPEGImages (data/voc.h). docs/detection.md has the
// details.
#include <ingot/ingot.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <future>
#include <map>
#include <memory>
#include <string>
#include <vector>

using namespace ingot;

namespace {

struct Settings {
  std::string data, out = "runs/cells", train = "trainval", test = "test";
  std::int64_t epochs = 60, batch = 8, width = 320, height = 240, images = 0, pictures = 8, every = 10;
  double lr = 2e-3;
};

Settings parse(int argc, char** argv) {
  Settings s;
  const std::map<std::string, std::string*> texts{
      {"--data", &s.data}, {"--out", &s.out}, {"--train", &s.train}, {"--test", &s.test}};
  const std::map<std::string, std::int64_t*> numbers{{"--epochs", &s.epochs},   {"--batch-size", &s.batch},
                                                     {"--width", &s.width},     {"--height", &s.height},
                                                     {"--images", &s.images},   {"--pictures", &s.pictures},
                                                     {"--test-every", &s.every}};
  for (int i = 1; i < argc; i += 2) {
    const std::string name = argv[i];
    if (i + 1 == argc) throw UsageError("expected a value behind " + name);
    if (texts.contains(name))
      *texts.at(name) = argv[i + 1];
    else if (numbers.contains(name))
      *numbers.at(name) = std::atoll(argv[i + 1]);
    else if (name == "--lr")
      s.lr = std::atof(argv[i + 1]);
    else
      throw UsageError("unknown option " + name);
  }
  if (s.data.empty())
    throw UsageError(
        "usage: example_detect_cells --data DIR [--epochs 60] [--out DIR] [--train trainval] [--test test]\n"
        "         [--batch-size 8] [--width 320] [--height 240] [--lr 0.002] [--test-every 10]\n"
        "         [--images N: of each split, 0 for all] [--pictures N: how many to draw]");
  if (s.epochs < 1 || s.batch < 1) throw UsageError("--epochs and --batch-size must be positive");
  return s;
}

// A split in memory.
struct Images {
  std::vector<std::string> class_names;
  std::vector<DetectionSample> samples;
  std::vector<std::string> names;
};

Images load(const Settings& s, const std::string& split) {
  const VocSet set = open_voc(s.data, split);
  Images images{set.class_names, {}, {}};
  for (const VocImage& image : set.images) {
    if (s.images > 0 && static_cast<std::int64_t>(images.samples.size()) == s.images) break;
    images.samples.push_back({read_image(image.path), image.boxes});
    images.names.push_back(std::filesystem::path(image.path).stem().string());
  }
  return images;
}

Augment normalisation() {
  Augment a;
  a.mean = {0.5f, 0.5f, 0.5f};
  a.stddev = {0.25f, 0.25f, 0.25f};
  return a;
}

// The four inputs of a training step.
struct Batch4 {
  Tensor x, classes, sides, centre;
};

Batch4 make_batch(const Settings& s, const FcosConfig& config, const Images& data,
                  const std::vector<std::int64_t>& order, std::int64_t epoch, std::int64_t number) {
  const std::int64_t h = s.height / FcosConfig::kStride, w = s.width / FcosConfig::kStride;
  const auto tensor = [&](std::int64_t channels, std::int64_t height, std::int64_t width) {
    return Tensor({DType::F32, {s.batch, channels, height, width}});
  };
  const Batch4 b{tensor(3, s.height, s.width), tensor(config.classes, h, w), tensor(4, h, w),
                 tensor(1, h, w)};
  const auto row = [&](const Tensor& t, std::int64_t i) {
    const std::int64_t n = t.numel() / s.batch;
    return std::span<float>(t.data<float>() + i * n, static_cast<std::size_t>(n));
  };
  const SampleTransform transform({DType::U8, {3, s.height, s.width}, pixel_layout()}, normalisation(),
                                  false);
  const DetectionAugment augment{.least_zoom = 0.8,
                                 .most_zoom = 1.4,
                                 .horizontal_flip = true,
                                 .vertical_flip = true,
                                 .color_jitter = ColorJitter{0.2, 0.2, 0.2, 0.02}};
  for (std::int64_t i = 0; i < s.batch; ++i) {
    const std::int64_t index = order[static_cast<std::size_t>(number * s.batch + i)];
    Draws draws(1, "view", static_cast<std::uint64_t>(epoch), index);
    const DetectionSample v =
        random_view(data.samples[static_cast<std::size_t>(index)], s.height, s.width, augment, draws);
    transform.apply(v.image.as_bytes().data(), std::as_writable_bytes(row(b.x, i)).data(), {});
    fcos_targets(config, v.boxes, s.height, s.width, {row(b.classes, i), row(b.sides, i), row(b.centre, i)});
  }
  return b;
}

// Compiled for one image at a time.
class Detector {
 public:
  Detector(const Settings& s, const FcosConfig& config, Module& net) : settings_(s), config_(config) {
    Graph g;
    output("map", net(input(g, "x", {DType::F32, {1, 3, s.height, s.width}})));
    session_ = std::make_unique<Session>(compile(g));
  }
  void take_weights(const Session& from) { session_->copy_states_from(from); }

  // In pixels of the sample's own image.
  std::vector<Detection> operator()(const DetectionSample& sample) {
    const DetectionSample v = resized_view(sample, settings_.height, settings_.width);
    const SampleTransform transform(v.image.type(), normalisation(), false);
    const Tensor x = session_->input("x");
    transform.apply(v.image.as_bytes().data(), x.as_bytes().data(), {});
    session_->run();
    const float across = static_cast<float>(sample.image.shape()[2]) / static_cast<float>(settings_.width);
    const float down = static_cast<float>(sample.image.shape()[1]) / static_cast<float>(settings_.height);
    std::vector<Detection> found = fcos_detections(config_, session_->output("map"), 0);
    for (Detection& d : found)
      d.box = {d.box.left * across, d.box.top * down, d.box.right * across, d.box.bottom * down};
    return found;
  }

 private:
  Settings settings_;
  FcosConfig config_;
  std::unique_ptr<Session> session_;
};

DetectionScores measure(Detector& detector, const Images& data) {
  DetectionScores scores(static_cast<std::int64_t>(data.class_names.size()));
  for (const DetectionSample& sample : data.samples) scores.add(sample.boxes, detector(sample));
  return scores;
}

void draw(Detector& detector, const Images& data, std::int64_t count, const std::string& folder) {
  constexpr std::array<std::array<std::uint8_t, 3>, 4> kColours{
      {{255, 220, 0}, {200, 0, 0}, {0, 90, 255}, {0, 160, 60}}};
  for (std::size_t i = 0; i < data.samples.size() && static_cast<std::int64_t>(i) < count; ++i) {
    const Tensor picture = data.samples[i].image.clone();
    for (const Detection& d : detector(data.samples[i]))
      if (d.score >= 0.4f)
        draw_box(picture, d.box, kColours[static_cast<std::size_t>(d.label) % kColours.size()], 3);
    write_png(folder + "/" + data.names[i] + ".png", picture);
  }
}

}  // namespace

int main(int argc, char** argv) try {
  const Settings s = parse(argc, argv);
  const Images train = load(s, s.train), test = load(s, s.test);
  const auto count = static_cast<std::int64_t>(train.samples.size());
  const std::int64_t steps = count / s.batch;
  if (steps == 0)
    throw UsageError(cat("a batch of ", s.batch, " is larger than the ", count, " training images"));
  FcosConfig config;
  config.classes = static_cast<std::int64_t>(train.class_names.size());
  const auto net = make_fcos(config, 3);

  Graph g;
  g.build.training = true;
  const std::int64_t h = s.height / FcosConfig::kStride, w = s.width / FcosConfig::kStride;
  const auto feed = [&](const char* name, std::int64_t channels, std::int64_t height, std::int64_t width) {
    return input(g, name, {DType::F32, {s.batch, channels, height, width}});
  };
  const Value map = (*net)(feed("x", 3, s.height, s.width));
  const FcosLoss loss = fcos_loss(config, map, feed("classes", config.classes, h, w), feed("sides", 4, h, w),
                                  feed("centre", 1, h, w));
  output("loss", loss.total);
  adamw({.lr = s.lr,
         .weight_decay = 1e-2,
         .schedule = cosine(s.epochs * steps).warmup(std::min<std::int64_t>(100, s.epochs * steps / 10 + 1)),
         .clip_norm = 10.0})
      ->minimize(loss.total);
  const ProgramPtr program = compile(g);
  Session session(program, {.seed = 1, .guard = "loss"});
  Detector detector(s, config, *net);
  std::printf("%lld images to learn from, %zu to test on, %lld steps an epoch, %.0f MB of memory a step\n",
              static_cast<long long>(count), test.samples.size(), static_cast<long long>(steps),
              static_cast<double>(program->report().total_bytes) / 1e6);

  const auto start = std::chrono::steady_clock::now();
  std::vector<std::int64_t> order;
  const auto prepare = [&](std::int64_t epoch, std::int64_t number) {
    return std::async(std::launch::async,
                      [&, epoch, number] { return make_batch(s, config, train, order, epoch, number); });
  };
  for (std::int64_t epoch = 0; epoch < s.epochs; ++epoch) {
    shuffled_order(1, static_cast<std::uint64_t>(epoch), order, count);
    double sum = 0.0;
    std::future<Batch4> next = prepare(epoch, 0);
    for (std::int64_t step = 0; step < steps; ++step) {
      const Batch4 b = next.get();
      if (step + 1 < steps) next = prepare(epoch, step + 1);
      session.input("x").copy_from(b.x);
      session.input("classes").copy_from(b.classes);
      session.input("sides").copy_from(b.sides);
      session.input("centre").copy_from(b.centre);
      session.run();
      sum += session.output("loss").item();
    }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    std::printf("epoch %3lld/%lld  loss %.4f  %.0f s", static_cast<long long>(epoch + 1),
                static_cast<long long>(s.epochs), sum / static_cast<double>(steps), seconds);
    if (s.every > 0 && (epoch + 1) % s.every == 0 && epoch + 1 < s.epochs) {
      detector.take_weights(session);
      std::printf("  mAP@0.5 %.3f", measure(detector, test).mean_average_precision(0.5));
    }
    std::printf("\n");
    std::fflush(stdout);
  }

  detector.take_weights(session);
  const DetectionScores scores = measure(detector, test);
  for (std::int64_t c = 0; c < config.classes; ++c)
    std::printf("%-12s %5lld objects  AP@0.5 %.3f\n", train.class_names[static_cast<std::size_t>(c)].c_str(),
                static_cast<long long>(scores.objects(c)), scores.average_precision(c, 0.5));
  std::printf("mAP@0.5 %.3f (Pascal VOC, all points)  %.3f (COCO)  mAP@0.5:0.95 %.3f (COCO)\n",
              scores.mean_average_precision(0.5), scores.mean_average_precision(0.5, PrecisionRule::Coco),
              scores.coco_map());

  std::filesystem::create_directories(s.out);
  TensorList weights;
  for (const auto& [name, tensor] : session.states())
    if (!name.starts_with("optim/")) weights.emplace_back(name, tensor);
  save_checkpoint(s.out + "/weights.safetensors", {weights, {{"format", "pt"}}});
  draw(detector, test, s.pictures, s.out);
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return 1;
}
