#include "data/dataset.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/base/error.h"

namespace ingot {

namespace {

void check_index(std::int64_t index, std::int64_t size) {
  if (index < 0 || index >= size) throw UsageError(cat("sample ", index, " is outside a data set of ", size));
}

class TakeDataset : public Dataset {
 public:
  TakeDataset(std::shared_ptr<const Dataset> source, std::int64_t count)
      : source_(std::move(source)), size_(std::clamp<std::int64_t>(count, 0, source_->size())) {}

  std::int64_t size() const override { return size_; }
  TensorType input_type() const override { return source_->input_type(); }
  TensorType target_type() const override { return source_->target_type(); }
  std::int64_t num_classes() const override { return source_->num_classes(); }
  const std::vector<std::string>& class_names() const override { return source_->class_names(); }
  void read(std::int64_t index, std::span<std::byte> input, std::span<std::byte> target) const override {
    check_index(index, size_);
    source_->read(index, input, target);
  }
  bool has_crops() const override { return source_->has_crops(); }
  void read_cropped(std::int64_t index, const RandomResizedCrop& crop, Draws& draws,
                    std::span<std::byte> input, std::span<std::byte> target) const override {
    check_index(index, size_);
    source_->read_cropped(index, crop, draws, input, target);
  }
  std::int64_t label(std::int64_t index) const override { return source_->label(index); }
  std::string preparation() const override { return source_->preparation(); }

 private:
  std::shared_ptr<const Dataset> source_;
  std::int64_t size_;
};

}  // namespace

void Dataset::read_cropped(std::int64_t, const RandomResizedCrop&, Draws&, std::span<std::byte>,
                           std::span<std::byte>) const {
  throw UsageError(
      "random_resized_crop cuts parts out of image files, and this data set holds samples of one size; leave "
      "it out, or "
      "use crop_padding");
}

std::string_view name(Split split) {
  return split == Split::Train ? "train" : "test";
}

InMemoryDataset::InMemoryDataset(const Tensor& inputs, const Tensor& labels, std::int64_t num_classes,
                                 std::vector<std::string> class_names, const std::string& source)
    : inputs_(inputs.contiguous()), num_classes_(num_classes), class_names_(std::move(class_names)) {
  if (inputs_.shape().rank() < 1 || labels.shape().rank() != 1 || labels.shape()[0] != inputs_.shape()[0])
    throw FormatError(cat("'", source, "' does not fit its inputs: expected one label for each of ",
                          to_string(inputs_.type()), ", found ", to_string(labels.type())));
  if (!is_integer(labels.dtype()))
    throw FormatError(
        cat("'", source, "' holds ", name(labels.dtype()), "; expected labels of type u8, i32 or i64"));
  Shape sample = inputs_.shape();
  sample.erase(0);
  input_type_ = {inputs_.dtype(), sample};

  const Tensor wide = labels.to(DType::I64).contiguous();
  labels_.assign(wide.values<std::int64_t>().begin(), wide.values<std::int64_t>().end());
  if (num_classes_ == 0) num_classes_ = std::ssize(class_names_);
  if (num_classes_ == 0)
    for (const std::int64_t label : labels_)  // the largest number of all has none above it, and is refused
      num_classes_ =
          std::max(num_classes_, std::min(label, std::numeric_limits<std::int64_t>::max() - 1) + 1);
  for (std::size_t i = 0; i < labels_.size(); ++i)
    if (labels_[i] < 0 || labels_[i] >= num_classes_)
      throw FormatError(cat("'", source, "': label ", labels_[i], " at index ", i,
                            " is out of range; expected 0 to ", num_classes_ - 1));
  if (!class_names_.empty() && std::ssize(class_names_) != num_classes_)
    throw FormatError(
        cat("'", source, "': ", class_names_.size(), " class names for ", num_classes_, " classes"));
}

void InMemoryDataset::read(std::int64_t index, std::span<std::byte> input,
                           std::span<std::byte> target) const {
  check_index(index, size());
  const std::size_t bytes = input_type_.bytes();
  if (input.size() != bytes || target.size() != sizeof(std::int64_t))
    throw UsageError(
        cat("read() needs room for ", bytes, " and 8 bytes, got ", input.size(), " and ", target.size()));
  const auto i = static_cast<std::size_t>(index);
  if (bytes != 0) std::memcpy(input.data(), static_cast<const std::byte*>(inputs_.raw()) + i * bytes, bytes);
  std::memcpy(target.data(), &labels_[i], sizeof(std::int64_t));
}

std::unique_ptr<Dataset> take(std::shared_ptr<const Dataset> source, std::int64_t count) {
  if (source == nullptr) throw UsageError("take: the data set is null");
  return std::make_unique<TakeDataset>(std::move(source), count);
}

ChannelStats channel_stats(const Dataset& dataset) {
  const TensorType type = dataset.input_type();
  if (type.dtype != DType::U8 && !is_floating(type.dtype))
    throw UsageError(cat("channel_stats needs floating or u8 inputs, got ", to_string(type)));
  const auto channels = static_cast<std::size_t>(type.shape.rank() == 3 ? type.shape[0] : 1);
  const std::size_t each = static_cast<std::size_t>(type.numel()) / std::max<std::size_t>(channels, 1);
  // Of files that are decoded for it a few thousand tell as much as all.
  constexpr std::int64_t kEnough = 2000;
  const std::int64_t step = dataset.has_crops() ? std::max<std::int64_t>(1, dataset.size() / kEnough) : 1;

  const Tensor sample(type);
  std::vector<std::byte> target(dataset.target_type().bytes());
  std::vector<double> sum(channels), squares(channels);
  std::vector<std::int64_t> finite(channels);
  const auto visit = [&](auto&& per_sample) {
    for (std::int64_t i = 0; i < dataset.size(); i += step) {
      try {
        dataset.read(i, sample.as_bytes(), target);
      } catch (const BadSample&) {  // whoever loads it decides what follows
        continue;
      }
      per_sample();
    }
  };
  if (type.dtype == DType::U8) {  // exact, and one increment a pixel
    std::vector<std::array<std::int64_t, 256>> histogram(channels);
    visit([&] {
      const std::uint8_t* p = static_cast<const std::uint8_t*>(sample.raw());
      if (type.layout.is_row_major())
        for (auto& h : histogram)
          for (std::size_t k = 0; k < each; ++k) ++h[*p++];
      else
        for (std::size_t k = 0; k < each; ++k)
          for (auto& h : histogram) ++h[*p++];
    });
    for (std::size_t c = 0; c < channels; ++c)
      for (std::size_t v = 0; v < 256; ++v) {
        const double x = static_cast<double>(v) / 255.0, n = static_cast<double>(histogram[c][v]);
        finite[c] += histogram[c][v];
        sum[c] += n * x;
        squares[c] += n * x * x;
      }
  } else {
    visit([&] {
      for (std::size_t k = 0; k < channels * each; ++k) {
        const double x = sample.get(static_cast<std::int64_t>(k));
        if (!std::isfinite(x)) continue;
        ++finite[k / each];
        sum[k / each] += x;
        squares[k / each] += x * x;
      }
    });
  }
  ChannelStats out;
  for (std::size_t c = 0; c < channels; ++c) {
    const double n = std::max(1.0, static_cast<double>(finite[c]));
    const double mean = sum[c] / n;
    const double deviation = std::sqrt(std::max(0.0, squares[c] / n - mean * mean));
    out.mean.push_back(static_cast<float>(mean));
    out.stddev.push_back(deviation > 0.0 ? static_cast<float>(deviation) : 1.0f);
  }
  return out;
}

}  // namespace ingot
