#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <filesystem>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/hash.h"
#include "data/detail/image_source.h"
#include "data/draws.h"
#include "data/image.h"

namespace ingot {

namespace {

namespace fs = std::filesystem;

bool has_image_name(const fs::path& path) {
  std::string end = path.extension().string();
  for (char& c : end)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return end == ".jpg" || end == ".jpeg" || end == ".png";
}

// In the order of their names, so that a sample's index is the same on every machine. Hidden folders are no
// classes.
std::vector<fs::path> folders_in(const fs::path& dir) {
  std::vector<fs::path> found;
  std::error_code failed;
  for (const auto& entry : fs::directory_iterator(dir, failed))
    if (entry.is_directory(failed) && !entry.path().filename().string().starts_with("."))
      found.push_back(entry.path());
  std::sort(found.begin(), found.end());
  return found;
}

std::vector<std::string> images_below(const fs::path& dir) {
  std::vector<std::string> found;
  std::error_code failed;
  const auto options =
      fs::directory_options::follow_directory_symlink | fs::directory_options::skip_permission_denied;
  for (auto it = fs::recursive_directory_iterator(dir, options, failed);
       it != fs::recursive_directory_iterator(); it.increment(failed))
    if (has_image_name(it->path()) && !it->is_directory(failed)) found.push_back(it->path().string());
  std::sort(found.begin(), found.end());
  return found;
}

bool holds_images(const fs::path& dir) {
  std::error_code failed;
  for (auto it = fs::recursive_directory_iterator(dir, failed); it != fs::recursive_directory_iterator();
       it.increment(failed))
    if (has_image_name(it->path())) return true;
  return false;
}

// The folder of a split, or an empty path.
fs::path split_folder(const fs::path& dir, Split split) {
  const std::vector<const char*> names = split == Split::Train
                                             ? std::vector<const char*>{"train"}
                                             : std::vector<const char*>{"val", "valid", "test"};
  for (const char* n : names)
    if (fs::is_directory(dir / n)) return dir / n;
  return {};
}

struct Entry {
  std::string path;
  std::int64_t label = 0;
};

// Moves the files of a class that are not for `split` out of `files`. A file's side follows from its name
// alone, as far as shares allow, so that a file that is added moves few others.
void keep_side(std::vector<std::string>& files, Split split, double test_share) {
  const std::size_t count = files.size();
  if (count < 2) {
    if (split == Split::Test) files.clear();
    return;
  }
  const auto wanted = static_cast<std::size_t>(std::llround(test_share * static_cast<double>(count)));
  const std::size_t tests = std::clamp<std::size_t>(wanted, 1, count - 1);
  std::vector<std::pair<std::uint64_t, std::string>> ranked;
  for (const std::string& f : files) {
    Hasher h;
    h.add(std::string_view(fs::path(f).filename().string()));
    ranked.emplace_back(h.value(), f);
  }
  std::sort(ranked.begin(), ranked.end());
  files.clear();
  for (std::size_t i = 0; i < count; ++i)
    if ((i < tests) == (split == Split::Test)) files.push_back(ranked[i].second);
  std::sort(files.begin(), files.end());
}

// Of the whole image a part of random size and form, as torchvision draws it: ten tries, then the middle.
detail::Box random_box(const ImageInfo& info, const RandomResizedCrop& crop, Draws& draws) {
  const auto width = static_cast<double>(info.width), height = static_cast<double>(info.height);
  for (int attempt = 0; attempt < 10; ++attempt) {
    const double area = width * height * draws.uniform(crop.least, crop.most);
    const double ratio = std::exp(draws.uniform(std::log(crop.narrowest), std::log(crop.widest)));
    const double w = std::round(std::sqrt(area * ratio)), h = std::round(std::sqrt(area / ratio));
    if (w < 1.0 || h < 1.0 || w > width || h > height) continue;
    const auto top = static_cast<double>(draws.below(info.height - static_cast<std::int64_t>(h) + 1));
    const auto left = static_cast<double>(draws.below(info.width - static_cast<std::int64_t>(w) + 1));
    return {left, top, w, h};
  }
  double w = width, h = height;
  if (width / height < crop.narrowest)
    h = std::max(1.0, std::round(w / crop.narrowest));
  else if (width / height > crop.widest)
    w = std::max(1.0, std::round(h * crop.widest));
  return {std::floor((width - w) / 2.0), std::floor((height - h) / 2.0), w, h};
}

class ImageFolder final : public Dataset {
 public:
  ImageFolder(std::vector<Entry> entries, std::vector<std::string> names, const ImageFolderOptions& options)
      : entries_(std::move(entries)), names_(std::move(names)), options_(options) {
    const ImagePreparation& p = options_.prepare;
    type_ = {DType::U8, {p.channels, p.size, p.size}};
    if (p.channels > 1) type_.layout = pixel_layout();
  }

  std::int64_t size() const override { return std::ssize(entries_); }
  TensorType input_type() const override { return type_; }
  TensorType target_type() const override { return {DType::I64, Shape{}}; }
  std::int64_t num_classes() const override { return std::ssize(names_); }
  const std::vector<std::string>& class_names() const override { return names_; }
  bool has_crops() const override { return true; }
  std::int64_t label(std::int64_t index) const override { return entry(index).label; }
  std::string preparation() const override { return options_.prepare.text(); }

  void read(std::int64_t index, std::span<std::byte> input, std::span<std::byte> target) const override {
    load(index, target, [&](detail::ImageSource& source, detail::Pixels& scratch) {
      detail::prepare_image(source, options_.prepare, scratch, reinterpret_cast<std::uint8_t*>(input.data()));
    });
  }

  void read_cropped(std::int64_t index, const RandomResizedCrop& crop, Draws& draws,
                    std::span<std::byte> input, std::span<std::byte> target) const override {
    load(index, target, [&](detail::ImageSource& source, detail::Pixels& scratch) {
      const detail::Box box = random_box(source.info, crop, draws);
      const std::int64_t side = options_.prepare.size;
      source.decode(box, side, side, options_.prepare.channels, scratch);
      detail::resample(scratch, box, side, side, reinterpret_cast<std::uint8_t*>(input.data()));
    });
  }

 private:
  const Entry& entry(std::int64_t index) const {
    if (index < 0 || index >= size())
      throw UsageError(cat("sample ", index, " is outside a data set of ", size()));
    return entries_[static_cast<std::size_t>(index)];
  }

  template <class Make>
  void load(std::int64_t index, std::span<std::byte> target, const Make& make) const {
    const Entry& e = entry(index);
    thread_local detail::Pixels scratch;
    std::shared_ptr<MappedFile> file;
    try {
      file = MappedFile::open(e.path);
    } catch (const FormatError& error) {  // gone, or not ours to read
      throw BadSample(error.message());
    }
    make(*detail::open_image(file->bytes(), e.path, options_.most_pixels), scratch);
    std::memcpy(target.data(), &e.label, sizeof e.label);
  }

  std::vector<Entry> entries_;
  std::vector<std::string> names_;
  ImageFolderOptions options_;
  TensorType type_;
};

void check(const ImageFolderOptions& o) {
  const ImagePreparation& p = o.prepare;
  if (p.channels != 1 && p.channels != 3)
    throw UsageError(cat("images are read as 3 channels (RGB) or 1 (grey), got ", p.channels));
  if (p.size < 1 || p.size > 16384)
    throw UsageError(cat("images are made 1 to 16384 pixels wide, got ", p.size));
  if (p.shorter_side() < p.size || p.shorter_side() > 32768)
    throw UsageError(cat("resize: the shorter side is cut to ", p.size, " pixels; expected ", p.size,
                         " to 32768 before, got ", p.shorter_side()));
  if (!(o.test_share > 0.0 && o.test_share < 1.0))
    throw UsageError(cat("test_share: expected a share between 0 and 1, got ", o.test_share));
}

}  // namespace

std::string ImagePreparation::text() const {
  return cat("size ", size, ", channels ", channels, ", resize ", shorter_side());
}

ImagePreparation ImagePreparation::parse(std::string_view text) {
  ImagePreparation p;
  const auto number = [&](std::string_view key, std::int64_t most) {
    const std::size_t at = text.find(key);
    std::int64_t value = 0;
    const char* const end = text.data() + text.size();
    if (at == std::string_view::npos ||
        std::from_chars(text.data() + at + key.size(), end, value).ec != std::errc() || value < 1 ||
        value > most)
      throw FormatError(
          cat("the preparation of images is damaged: expected 'size N, channels N, resize N', found '",
              text.substr(0, 80), "'"));
    return value;
  };
  p.size = number("size ", 16384);
  p.channels = number("channels ", 3);
  p.resize = number("resize ", 32768);
  return p;
}

bool is_image_folder(const std::string& dir) {
  if (!fs::is_directory(dir)) return false;
  const fs::path train = split_folder(dir, Split::Train);
  for (const fs::path& folder : folders_in(train.empty() ? fs::path(dir) : train))
    if (holds_images(folder)) return true;
  return false;
}

std::unique_ptr<Dataset> image_folder(const std::string& dir, Split split,
                                      const ImageFolderOptions& options) {
  check(options);
  if (!fs::is_directory(dir))
    throw FormatError(cat("'", dir, "' is no folder; expected one with a folder per class"));
  const fs::path train = split_folder(dir, Split::Train), test = split_folder(dir, Split::Test);
  // Classes are those of the training part on either side: a model has one output for each.
  const fs::path root = train.empty() ? fs::path(dir) : train;
  const bool divided = train.empty() || test.empty();
  std::vector<std::string> names;
  for (const fs::path& folder : folders_in(root))
    if (holds_images(folder)) names.push_back(folder.filename().string());
  if (names.empty())
    throw FormatError(cat("'", root.string(),
                          "' holds no folder with images; expected a folder per class with .jpg, ",
                          ".jpeg or .png files"));

  std::vector<Entry> entries;
  for (std::size_t label = 0; label < names.size(); ++label) {
    const fs::path place = !divided && split == Split::Test ? test / names[label] : root / names[label];
    if (!fs::is_directory(place)) continue;
    std::vector<std::string> files = images_below(place);
    if (divided) keep_side(files, split, options.test_share);
    for (std::string& f : files) entries.push_back({std::move(f), static_cast<std::int64_t>(label)});
  }
  if (!divided && split == Split::Test)
    for (const fs::path& folder : folders_in(test))
      if (std::find(names.begin(), names.end(), folder.filename().string()) == names.end() &&
          holds_images(folder))
        throw FormatError(cat("'", folder.string(), "' holds images of a class that '", root.string(),
                              "' has no folder for; expected one of ", join(names)));
  if (entries.empty())
    throw FormatError(
        cat("'", dir, "' holds no ", name(split), " images; expected .jpg, .jpeg or .png files"));

  if (options.check_headers) {
    std::vector<std::string> bad;
    std::size_t count = 0;
    for (const Entry& e : entries) {
      try {
        image_info(e.path, options.most_pixels);
      } catch (const FormatError& error) {
        if (++count <= 5) bad.push_back(error.message());
      }
    }
    if (count > 0)
      throw BadSample(cat(count, " of ", entries.size(), " images of '", dir,
                          "' cannot be used; take them out, or skip ",
                          "them (--bad-images skip): ", join(bad, "; "), count > bad.size() ? "; ..." : ""));
  }
  return std::make_unique<ImageFolder>(std::move(entries), std::move(names), options);
}

Tensor read_prepared_image(const std::string& path, const ImagePreparation& prepare,
                           std::int64_t most_pixels) {
  ImageFolderOptions options;
  options.prepare = prepare;
  check(options);
  options.most_pixels = most_pixels;
  const ImageFolder one({{path, 0}}, {""}, options);
  const Tensor out(one.input_type());
  std::int64_t label = 0;
  one.read(0, out.as_bytes(), std::as_writable_bytes(std::span(&label, 1)));
  return out;
}

}  // namespace ingot
