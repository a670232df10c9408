// Dataset: samples by index, each an input and a target, with the names of the classes where there are any.
//
// read() is const and safe to call from several threads at once; every sample has the same type, so that a
// batch is one rectangular tensor. The data sets here hold everything in memory.
//
//   auto train = fashion_mnist(Split::Train);            // u8[1, 28, 28] and i64[]
//   auto own = open_dataset("my-digits/", Split::Test);  // four IDX files, or .npy pairs
//   train->size();                                       // 60000
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/error.h"
#include "core/ir/tensor.h"

namespace ingot {

class Draws;

// One sample that cannot be read, such as a damaged file; the others can. The message names it.
class BadSample : public FormatError {
  using FormatError::FormatError;
};

// torchvision's RandomResizedCrop: a part of the image of random size (a share of its area) and form (width
// to height), resampled to the size of the samples.
struct RandomResizedCrop {
  double least = 0.08, most = 1.0;
  double narrowest = 3.0 / 4.0, widest = 4.0 / 3.0;
};

enum class Split : std::uint8_t { Train, Test };
std::string_view name(Split split);  // "train", "test"

class Dataset {
 public:
  virtual ~Dataset() = default;

  virtual std::int64_t size() const = 0;
  // Types of one sample, without a batch axis. Images are [channels, height, width], row-major or
  // channels-last in memory.
  virtual TensorType input_type() const = 0;
  virtual TensorType target_type() const = 0;
  // 0 when the targets are no classes.
  virtual std::int64_t num_classes() const = 0;
  // One per class, or empty.
  virtual const std::vector<std::string>& class_names() const = 0;
  // Writes exactly input_type().bytes() and target_type().bytes() bytes; index is in [0, size()).
  // Throws BadSample when this sample is damaged.
  virtual void read(std::int64_t index, std::span<std::byte> input, std::span<std::byte> target) const = 0;

  // Whether read_cropped() works: what is stored is larger than a sample.
  virtual bool has_crops() const { return false; }
  // As read(), of a random part of what is stored. Throws UsageError unless has_crops().
  virtual void read_cropped(std::int64_t index, const RandomResizedCrop& crop, Draws& draws,
                            std::span<std::byte> input, std::span<std::byte> target) const;
  // The class of a sample without reading it, or -1 where that is not known.
  virtual std::int64_t label(std::int64_t /*index*/) const { return -1; }
  // What was done to a file to make a sample (ImagePreparation::text()), which checkpoints keep; empty:
  // nothing.
  virtual std::string preparation() const { return {}; }
};

// Inputs [N, ...] of any dtype with labels [N] (U8, I32 or I64; samples have them as I64).
class InMemoryDataset : public Dataset {
 public:
  // `source` names the labels in errors, e.g. a file. num_classes 0 means one per class name, or without
  // names the largest label plus one. Throws FormatError when the counts differ or a label lies outside [0,
  // num_classes), naming its index.
  InMemoryDataset(const Tensor& inputs, const Tensor& labels, std::int64_t num_classes = 0,
                  std::vector<std::string> class_names = {}, const std::string& source = "labels");

  std::int64_t size() const override { return inputs_.shape()[0]; }
  TensorType input_type() const override { return input_type_; }
  TensorType target_type() const override { return {DType::I64, Shape{}}; }
  std::int64_t num_classes() const override { return num_classes_; }
  const std::vector<std::string>& class_names() const override { return class_names_; }
  void read(std::int64_t index, std::span<std::byte> input, std::span<std::byte> target) const override;
  std::int64_t label(std::int64_t index) const override { return labels_[static_cast<std::size_t>(index)]; }

  const Tensor& inputs() const { return inputs_; }
  std::span<const std::int64_t> labels() const { return labels_; }

 private:
  Tensor inputs_;
  std::vector<std::int64_t> labels_;
  TensorType input_type_;
  std::int64_t num_classes_ = 0;
  std::vector<std::string> class_names_;
};

// The first `count` samples of another data set (fewer when it has fewer).
std::unique_ptr<Dataset> take(std::shared_ptr<const Dataset> source, std::int64_t count);

// Fashion-MNIST (Xiao, Rasul, Vollgraf 2017) from Debian's package dataset-fashion-mnist. An empty `dir`
// searches $XDG_DATA_HOME/ingot/fashion-mnist, ~/.local/share/ingot/fashion-mnist and the system's share
// folders. Throws FormatError listing where it looked and how to get the files.
std::unique_ptr<Dataset> fashion_mnist(Split split, const std::string& dir = "");

// A folder with, plain or with .gz,
//   {train,t10k}-images-idx3-ubyte and {train,t10k}-labels-idx1-ubyte (also with a dot:
//   train-images.idx3-ubyte),
// or
//   {x,y}_{train,test}.npy or {train,test}_{images,labels}.npy.
// Images may be [N, H, W] (one channel), [N, C, H, W] or [N, features], u8 or f32. An optional classes.txt
// names one class a line; without it the largest training label gives the number of classes, of which at
// least half must occur.
std::unique_ptr<Dataset> load_folder(const std::string& dir, Split split);

// "fashion-mnist" or a folder.
std::unique_ptr<Dataset> open_dataset(const std::string& name_or_dir, Split split);

// Mean and standard deviation per channel (axis 0 of a sample; one figure for flat samples), u8 scaled to [0,
// 1], as DataLoader's normalisation wants them. Floating and u8 inputs only. NaN, infinity and damaged
// samples are left out, so that one does not spoil all others; the step that meets it stops. Of a folder of
// images some 2,000 are read, evenly chosen.
struct ChannelStats {
  std::vector<float> mean, stddev;
};
ChannelStats channel_stats(const Dataset& dataset);

}  // namespace ingot
