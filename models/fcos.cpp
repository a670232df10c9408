#include "models/fcos.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "core/ops/box_loss.h"
#include "core/ops/elementwise.h"
#include "core/ops/loss.h"
#include "core/ops/reduce.h"
#include "core/ops/resize.h"
#include "core/ops/view.h"
#include "models/detail/blocks.h"

namespace ingot {

using namespace detail;

namespace {

constexpr double kPrior = 0.01;     // probability of a class at the start (arXiv 1708.02002, section 4.1)
constexpr double kFirstSide = 3.0;  // distances at the start, in strides
constexpr float kMostLog = 8.0f;    // of a distance when decoding: no box is wider than that

// Two 3x3 convolutions around a shortcut (arXiv 1512.03385).
class Residual final : public Module {
 public:
  Residual(std::string name, std::int64_t in, std::int64_t out, std::int64_t stride)
      : Module(std::move(name)),
        conv1_("conv1", in, out, {.stride = stride}),
        conv2_("conv2", out, out, {.activation = Act::None}) {
    if (in != out || stride != 1)
      shortcut_ = std::make_shared<ConvNorm>(
          "shortcut", in, out, ConvNormOptions{.kernel = 1, .stride = stride, .activation = Act::None});
  }

 protected:
  Value forward(Value x) override { return relu(conv2_(conv1_(x)) + (shortcut_ ? (*shortcut_)(x) : x)); }

 private:
  ConvNorm conv1_, conv2_;
  std::shared_ptr<ConvNorm> shortcut_;
};

Conv2d last_convolution(std::string name, std::int64_t in, std::int64_t out, double bias) {
  return {std::move(name),
          in,
          out,
          3,
          {.padding = 1, .weight_init = Init::normal(0.0, 0.01), .bias_init = Init::constant(bias)}};
}

class Fcos final : public Module {
 public:
  Fcos(const FcosConfig& c, std::int64_t in)
      : stem_("stem", in, c.channels[0], {.stride = 2}),
        stage4_("stage4", c.channels[0], c.channels[1], 2),
        stage8_("stage8"),
        stage16_("stage16"),
        across_("across", c.channels[2], c.head, {.kernel = 1, .activation = Act::None}),
        down_("down", c.channels[3], c.head, {.kernel = 1, .activation = Act::None}),
        class_tower_("class_tower"),
        side_tower_("side_tower"),
        class_(last_convolution("class", c.head, c.classes, -std::log((1.0 - kPrior) / kPrior))),
        side_(last_convolution("side", c.head, 4, std::log(kFirstSide))),
        centre_(last_convolution("centre", c.head, 1, 0.0)) {
    stage8_.add<Residual>("", c.channels[1], c.channels[2], std::int64_t{2});
    stage8_.add<Residual>("", c.channels[2], c.channels[2], std::int64_t{1});
    stage16_.add<Residual>("", c.channels[2], c.channels[3], std::int64_t{2});
    stage16_.add<Residual>("", c.channels[3], c.channels[3], std::int64_t{1});
    class_tower_.add<ConvNorm>("", c.head, c.head, ConvNormOptions{});
    side_tower_.add<ConvNorm>("", c.head, c.head, ConvNormOptions{});
  }

 protected:
  Value forward(Value x) override {
    if (x.rank() != 4 || x.dim(2) % 16 != 0 || x.dim(3) % 16 != 0)
      throw UsageError(
          cat("fcos: expected images [N, C, H, W] whose height and width are multiples of 16, got ",
              to_string(x.shape())));
    const Value at8 = stage8_(stage4_(stem_(x)));
    const Value wide = interpolate(down_(stage16_(at8)), {.scale_factor = {{2.0, 2.0}}});
    const Value y = relu(across_(at8) + wide);
    const Value of_class = class_tower_(y), of_side = side_tower_(y);
    return concat({class_(of_class), side_(of_side), centre_(of_side)}, 1);
  }

 private:
  ConvNorm stem_;
  Residual stage4_;
  Sequential stage8_, stage16_;
  ConvNorm across_, down_;
  Sequential class_tower_, side_tower_;
  Conv2d class_, side_, centre_;
};

float sigmoid_of(float v) {
  return 1.0f / (1.0f + std::exp(-v));
}

}  // namespace

std::shared_ptr<Module> make_fcos(const FcosConfig& config, std::int64_t in_channels) {
  if (config.classes < 1) throw UsageError(cat("fcos: expected at least one class, got ", config.classes));
  return std::make_shared<Fcos>(config, in_channels);
}

void fcos_targets(const FcosConfig& config, std::span<const LabelledBox> boxes, std::int64_t height,
                  std::int64_t width, const FcosTargets& out) {
  constexpr auto kStride = static_cast<float>(FcosConfig::kStride);
  const std::int64_t h = height / FcosConfig::kStride, w = width / FcosConfig::kStride;
  const auto places = static_cast<std::size_t>(h * w), classes = static_cast<std::size_t>(config.classes);
  if (out.classes.size() != classes * places || out.sides.size() != 4 * places || out.centre.size() != places)
    throw UsageError(cat("fcos_targets: ", h, " x ", w, " places need ", classes * places, ", ", 4 * places,
                         " and ", places, " elements, got ", out.classes.size(), ", ", out.sides.size(),
                         " and ", out.centre.size()));
  std::fill(out.classes.begin(), out.classes.end(), 0.0f);
  std::fill(out.sides.begin(), out.sides.end(), 1.0f);
  std::fill(out.centre.begin(), out.centre.end(), 0.0f);
  std::vector<const LabelledBox*> objects;
  std::vector<float> areas;
  for (const LabelledBox& b : boxes) {
    if (b.label < 0 || b.label >= config.classes)
      throw UsageError(cat("fcos_targets: label ", b.label, " is outside [0, ", config.classes, ")"));
    if (b.difficult || !(b.box.width() > 0.0f && b.box.height() > 0.0f)) continue;
    objects.push_back(&b);
    areas.push_back(b.box.area());
  }
  const float reach = static_cast<float>(config.radius) * kStride;
  for (const std::int64_t next : falling_order(areas)) {  // smaller ones overwrite larger ones
    const LabelledBox* const b = objects[static_cast<std::size_t>(next)];
    const BoundingBox& box = b->box;
    const float cx = (box.left + box.right) / 2.0f, cy = (box.top + box.bottom) / 2.0f;
    for (std::int64_t i = 0; i < h; ++i)
      for (std::int64_t j = 0; j < w; ++j) {
        const float x = (static_cast<float>(j) + 0.5f) * kStride,
                    y = (static_cast<float>(i) + 0.5f) * kStride;
        const std::array<float, 4> d{x - box.left, y - box.top, box.right - x, box.bottom - y};
        if (*std::min_element(d.begin(), d.end()) <= 0.0f || std::abs(x - cx) > reach ||
            std::abs(y - cy) > reach)
          continue;
        const auto at = static_cast<std::size_t>(i * w + j);
        for (std::size_t c = 0; c < classes; ++c)
          out.classes[c * places + at] = c == static_cast<std::size_t>(b->label) ? 1.0f : 0.0f;
        for (std::size_t s = 0; s < 4; ++s) out.sides[s * places + at] = d[s] / kStride;
        out.centre[at] = std::sqrt(std::min(d[0], d[2]) / std::max(d[0], d[2]) * std::min(d[1], d[3]) /
                                   std::max(d[1], d[3]));
      }
  }
}

FcosLoss fcos_loss(const FcosConfig& config, Value out, Value classes, Value sides, Value centre,
                   SourceLoc loc) {
  const Scope scope(out.graph(), "fcos_loss", loc);
  if (out.rank() != 4 || out.dim(1) != config.outputs())
    throw ShapeError(cat("fcos_loss: expected the network's result [N, ", config.outputs(), ", h, w], got ",
                         to_string(out.type())));
  const std::int64_t c = config.classes;
  const Value logits = slice(out, 1, 0, c), far = exp(slice(out, 1, c, c + 4)),
              mid = slice(out, 1, c + 4, c + 5);
  const Value here = cast(gt(centre, 0.0), DType::F32);
  const Value count = maximum(sum(here), 1.0);
  // Boxes around the place itself: left and top are negative.
  const auto corners = [](Value d) { return concat({neg(slice(d, 1, 0, 2)), slice(d, 1, 2, 4)}, 1); };
  FcosLoss loss;
  loss.focal = sum(sigmoid_focal_loss(logits, classes)) / count;
  const Value giou = generalized_box_iou_loss(corners(far), corners(sides), {.axis = 1});
  loss.sides = sum(giou * centre) / maximum(sum(centre), 1e-6);
  loss.centre = sum(bce_with_logits(mid, centre, {.reduction = Reduction::None}) * here) / count;
  loss.total = loss.focal + loss.sides + loss.centre;
  return loss;
}

std::vector<Detection> fcos_detections(const FcosConfig& config, const Tensor& out, std::int64_t row,
                                       const FcosDecode& options) {
  const Shape& shape = out.shape();
  if (out.dtype() != DType::F32 || shape.rank() != 4 || shape[1] != config.outputs() || row < 0 ||
      row >= shape[0])
    throw ShapeError(cat("fcos_detections: expected f32[N, ", config.outputs(), ", h, w] with a row ", row,
                         ", got ", to_string(out.type())));
  const Tensor plain = out.contiguous();
  const std::int64_t w = shape[3], places = shape[2] * w;
  const float* const at = plain.data<float>() + row * config.outputs() * places;
  const auto value = [&](std::int64_t channel, std::int64_t place) { return at[channel * places + place]; };
  constexpr auto kStride = static_cast<float>(FcosConfig::kStride);
  std::vector<BoundingBox> boxes;
  std::vector<float> scores;
  std::vector<std::int64_t> labels;
  for (std::int64_t p = 0; p < places; ++p) {
    const float centre = sigmoid_of(value(config.classes + 4, p));
    const auto side = [&](std::int64_t s) {
      return std::exp(std::min(value(config.classes + s, p), kMostLog)) * kStride;
    };
    for (std::int64_t c = 0; c < config.classes; ++c) {
      const float score = std::sqrt(sigmoid_of(value(c, p)) * centre);
      if (!(score >= options.least_score)) continue;
      const std::int64_t row_of = p / w, column = p % w;
      const float x = (static_cast<float>(column) + 0.5f) * kStride;
      const float y = (static_cast<float>(row_of) + 0.5f) * kStride;
      boxes.push_back({x - side(0), y - side(1), x + side(2), y + side(3)});
      scores.push_back(score);
      labels.push_back(c);
    }
  }
  // The best candidates, in order.
  std::vector<std::int64_t> order = falling_order(scores);
  if (static_cast<std::int64_t>(order.size()) > options.candidates)
    order.resize(static_cast<std::size_t>(std::max<std::int64_t>(options.candidates, 0)));
  const auto chosen = [&](auto& from) {
    auto to = from;
    to.clear();
    for (const std::int64_t i : order) to.push_back(from[static_cast<std::size_t>(i)]);
    from = std::move(to);
  };
  chosen(boxes);
  chosen(scores);
  chosen(labels);
  std::vector<Detection> kept;
  for (const std::int64_t i : batched_nms(boxes, scores, labels, options.iou_threshold)) {
    const auto k = static_cast<std::size_t>(i);
    if (static_cast<std::int64_t>(kept.size()) < options.most)
      kept.push_back({boxes[k], labels[k], scores[k]});
  }
  return kept;
}

}  // namespace ingot
