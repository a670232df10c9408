// The data sets that live in folders: Fashion-MNIST and folders laid out like MNIST's.

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <sstream>

#include "core/base/error.h"
#include "core/base/file.h"
#include "data/dataset.h"
#include "data/idx.h"
#include "data/npy.h"

namespace ingot {

namespace {

struct Pair {
  std::string images, labels;
};

std::vector<std::string> image_names(Split split) {
  const std::string idx = split == Split::Train ? "train" : "t10k", word(name(split));
  return {idx + "-images-idx3-ubyte",    idx + "-images-idx3-ubyte.gz", idx + "-images.idx3-ubyte",
          idx + "-images.idx3-ubyte.gz", "x_" + word + ".npy",          word + "_images.npy"};
}
std::vector<std::string> label_names(Split split) {
  const std::string idx = split == Split::Train ? "train" : "t10k", word(name(split));
  return {idx + "-labels-idx1-ubyte",    idx + "-labels-idx1-ubyte.gz", idx + "-labels.idx1-ubyte",
          idx + "-labels.idx1-ubyte.gz", "y_" + word + ".npy",          word + "_labels.npy"};
}

// The first of `names` that exists in `dir`, or "".
std::string find_in(const std::string& dir, const std::vector<std::string>& names) {
  for (const std::string& n : names) {
    const std::string path = (std::filesystem::path(dir) / n).string();
    if (file_exists(path)) return path;
  }
  return "";
}

Pair find_pair(const std::string& dir, Split split) {
  return {find_in(dir, image_names(split)), find_in(dir, label_names(split))};
}

Pair require_pair(const std::string& dir, Split split) {
  if (!std::filesystem::is_directory(dir))
    throw FormatError(cat("'", dir,
                          "' is no folder; expected 'fashion-mnist', a folder with IDX or .npy files, ",
                          "or one with a folder of images per class"));
  const Pair pair = find_pair(dir, split);
  if (pair.images.empty())
    throw FormatError(cat("'", dir, "' has no ", name(split), " images; expected one of ",
                          join(image_names(split)),
                          ", or a folder per class with .jpg, .jpeg or .png files"));
  if (pair.labels.empty())
    throw FormatError(
        cat("'", dir, "' has no ", name(split), " labels; expected one of ", join(label_names(split))));
  return pair;
}

Tensor read_any(const std::string& path) {
  return path.ends_with(".npy") ? read_npy(path) : read_idx(path);
}

Tensor read_images(const std::string& path) {
  Tensor images = read_any(path);
  const Shape& s = images.shape();
  if (images.dtype() != DType::U8 && images.dtype() != DType::F32)
    throw FormatError(
        cat("'", path, "' holds ", name(images.dtype()), "; expected images of type u8 or f32"));
  if (s.rank() == 3) return images.reshaped({s[0], 1, s[1], s[2]});
  if (s.rank() == 4 && s[1] > 4 && s[3] <= 4)
    throw FormatError(cat("'", path, "' is ", to_string(s),
                          ", which looks like [N, H, W, C]; expected [N, C, H, W], ",
                          "save it with transpose(0, 3, 1, 2).copy()"));
  if (s.rank() != 2 && s.rank() != 4)
    throw FormatError(
        cat("'", path, "' is ", to_string(s), "; expected [N, H, W], [N, C, H, W] or [N, features]"));
  return images;
}

// The lines of classes.txt; empty when there is no such file.
std::vector<std::string> read_class_names(const std::string& dir) {
  const std::string path = (std::filesystem::path(dir) / "classes.txt").string();
  std::vector<std::string> names;
  if (!file_exists(path)) return names;
  std::istringstream lines(read_file(path));
  for (std::string line; std::getline(lines, line);) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (!line.empty()) names.push_back(line);
  }
  return names;
}

std::unique_ptr<InMemoryDataset> load_pair(const Pair& pair, std::int64_t classes,
                                           std::vector<std::string> class_names) {
  return std::make_unique<InMemoryDataset>(read_images(pair.images), read_any(pair.labels), classes,
                                           std::move(class_names), pair.labels);
}

// Where the labels themselves tell how many classes there are, one damaged label would make a model with as
// many outputs: most of the classes must occur.
void require_dense_labels(const InMemoryDataset& data, const std::string& path) {
  // A set of the labels and no table of the classes: a damaged label can make 2^62 of those.
  std::vector<std::int64_t> distinct(data.labels().begin(), data.labels().end());
  const auto largest = std::max_element(distinct.begin(), distinct.end()) - distinct.begin();
  std::sort(distinct.begin(), distinct.end());
  const auto present = std::unique(distinct.begin(), distinct.end()) - distinct.begin();
  if (present >= data.num_classes() - present) return;
  throw FormatError(cat("'", path, "': label ", distinct[static_cast<std::size_t>(present - 1)], " at index ",
                        largest, " seems out of range: only ", present, " of the classes 0 to ",
                        data.num_classes() - 1,
                        " occur; if the data is meant so, name all classes in classes.txt, one a line"));
}

std::vector<std::string> fashion_mnist_places() {
  std::vector<std::string> places;
  const char* const xdg = std::getenv("XDG_DATA_HOME");
  const char* const home = std::getenv("HOME");
  if (xdg != nullptr && *xdg != '\0') places.push_back(cat(xdg, "/ingot/fashion-mnist"));
  if (home != nullptr && *home != '\0') places.push_back(cat(home, "/.local/share/ingot/fashion-mnist"));
  places.push_back("/usr/local/share/datasets/fashion-mnist");
  places.push_back("/usr/share/datasets/fashion-mnist");
  return places;
}

}  // namespace

std::unique_ptr<Dataset> load_folder(const std::string& dir, Split split) {
  const Pair pair = require_pair(dir, split);
  std::vector<std::string> names = read_class_names(dir);
  std::int64_t classes = std::ssize(names);
  // A model is built for the training classes, so test labels are held against those.
  const Pair train = find_pair(dir, Split::Train);
  if (classes == 0 && split == Split::Test && !train.labels.empty()) {
    const Tensor labels = read_any(train.labels).to(DType::I64).contiguous();
    for (const std::int64_t label : labels.values<std::int64_t>())
      classes = std::max(classes, std::min(label, std::numeric_limits<std::int64_t>::max() - 1) + 1);
  }
  auto data = load_pair(pair, classes, std::move(names));
  if (classes == 0) require_dense_labels(*data, pair.labels);
  return data;
}

std::unique_ptr<Dataset> fashion_mnist(Split split, const std::string& dir) {
  const std::vector<std::string> places =
      dir.empty() ? fashion_mnist_places() : std::vector<std::string>{dir};
  for (const std::string& place : places) {
    const Pair pair = find_pair(place, split);
    if (pair.images.empty() || pair.labels.empty()) continue;
    return load_pair(pair, 10,
                     {"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker",
                      "Bag", "Ankle boot"});
  }
  throw FormatError(
      cat("Fashion-MNIST's ", name(split), " files were not found in ", join(places),
          "; on Debian and Ubuntu run 'apt-get install dataset-fashion-mnist', elsewhere put the four ",
          "*-ubyte.gz files of github.com/zalandoresearch/fashion-mnist into the first of these folders"));
}

std::unique_ptr<Dataset> open_dataset(const std::string& name_or_dir, Split split) {
  if (name_or_dir == "fashion-mnist") return fashion_mnist(split);
  return load_folder(name_or_dir, split);
}

}  // namespace ingot
