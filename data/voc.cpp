// XML by expat, which loads nothing from outside and limits what entities may grow to.

#include "data/voc.h"

#include <expat.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <limits>
#include <memory>
#include <set>
#include <sstream>

#include "core/base/error.h"
#include "core/base/file.h"

namespace ingot {

namespace {

namespace fs = std::filesystem;

// Expat calls C functions, through which no exception may pass: the first one waits in `failure`.
class Reader {
 public:
  Reader(std::string_view xml, const std::string& name)
      : name_(name), parser_(XML_ParserCreate("UTF-8"), XML_ParserFree) {
    if (parser_ == nullptr) throw std::bad_alloc();
    if (xml.size() > static_cast<std::size_t>(std::numeric_limits<int>::max()))
      throw FormatError(cat("'", name, "' is too large for an annotation: ", xml.size(), " bytes"));
    XML_SetUserData(parser_.get(), this);
    XML_SetElementHandler(parser_.get(), on_start, on_end);
    XML_SetCharacterDataHandler(parser_.get(), on_text);
    const XML_Status status = XML_Parse(parser_.get(), xml.data(), static_cast<int>(xml.size()), 1);
    if (!failure_.empty()) throw FormatError(failure_);
    if (status == XML_STATUS_ERROR)
      throw FormatError(cat("'", name, "', line ", XML_GetCurrentLineNumber(parser_.get()),
                            ": it is no XML: ", XML_ErrorString(XML_GetErrorCode(parser_.get()))));
    if (!seen_root_) throw FormatError(cat("'", name, "' holds no <annotation>"));
  }
  VocAnnotation take() { return std::move(out_); }

 private:
  static Reader& self(void* data) { return *static_cast<Reader*>(data); }
  static void on_start(void* data, const XML_Char* element, const XML_Char**) { self(data).start(element); }
  static void on_end(void* data, const XML_Char*) { self(data).end(); }
  static void on_text(void* data, const XML_Char* text, int length) {
    self(data).text_.append(text, static_cast<std::size_t>(length));
  }

  void fail(const std::string& message) {
    if (failure_.empty())
      failure_ = cat("'", name_, "', line ", XML_GetCurrentLineNumber(parser_.get()), ": ", message);
    XML_StopParser(parser_.get(), XML_FALSE);
  }

  void start(std::string_view element) {
    if (path_.empty()) {
      if (element != "annotation")
        return fail(cat("expected Pascal VOC's <annotation>, found <", element, ">"));
      seen_root_ = true;
    }
    lengths_.push_back(path_.size());
    path_.append("/").append(element);
    text_.clear();
    if (path_ == "/annotation/object") {
      object_ = {};
      const float none = std::numeric_limits<float>::quiet_NaN();
      object_.box = {none, none, none, none};
    }
  }

  void end() {
    const std::string_view at = path_;
    if (at == "/annotation/filename") out_.filename = trimmed();
    if (at == "/annotation/size/width") out_.width = static_cast<std::int64_t>(number());
    if (at == "/annotation/size/height") out_.height = static_cast<std::int64_t>(number());
    if (at == "/annotation/object/name") object_.name = trimmed();
    if (at == "/annotation/object/difficult") object_.difficult = number() != 0.0f;
    if (at == "/annotation/object/truncated") object_.truncated = number() != 0.0f;
    if (at == "/annotation/object/bndbox/xmin") object_.box.left = number();
    if (at == "/annotation/object/bndbox/ymin") object_.box.top = number();
    if (at == "/annotation/object/bndbox/xmax") object_.box.right = number();
    if (at == "/annotation/object/bndbox/ymax") object_.box.bottom = number();
    if (at == "/annotation/object") {
      const BoundingBox& b = object_.box;
      if (object_.name.empty()) return fail("an <object> has no <name>");
      if (!(b.left <= b.right && b.top <= b.bottom))
        return fail(cat("the box of a '", object_.name, "' needs xmin <= xmax and ymin <= ymax, got ", b.left,
                        " ", b.top, " ", b.right, " ", b.bottom, " (nan: not given)"));
      out_.objects.push_back(object_);
    }
    path_.resize(lengths_.back());
    lengths_.pop_back();
    text_.clear();
  }

  std::string trimmed() const {
    const auto first = text_.find_first_not_of(" \t\r\n"), last = text_.find_last_not_of(" \t\r\n");
    return first == std::string::npos ? "" : text_.substr(first, last - first + 1);
  }
  // Some tools write whole numbers, some fractions.
  float number() {
    const std::string text = trimmed();
    float v = 0.0f;
    const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), v);
    if (error != std::errc() || rest != text.data() + text.size() || !(std::abs(v) <= 1e9f))
      fail(cat("expected a number in <", path_.substr(path_.rfind('/') + 1), ">, found '", text, "'"));
    return v;
  }

  std::string name_, path_, text_, failure_;
  std::vector<std::size_t> lengths_;  // of path_ outside each open element
  std::unique_ptr<XML_ParserStruct, void (*)(XML_Parser)> parser_;
  VocAnnotation out_;
  VocObject object_;
  bool seen_root_ = false;
};

std::vector<std::string> names_in(const fs::path& dir, const std::string& extension) {
  std::vector<std::string> names;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(dir, none))
    if (entry.path().extension() == extension) names.push_back(entry.path().stem().string());
  std::sort(names.begin(), names.end());
  return names;
}

std::string image_path(const fs::path& dir, const std::string& name) {
  for (const char* extension : {".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG"}) {
    std::string path = (dir / (name + extension)).string();
    if (file_exists(path)) return path;
  }
  throw FormatError(cat("'", dir.string(), "' has no image ", name, " (.jpg, .jpeg or .png)"));
}

}  // namespace

VocAnnotation parse_voc(std::string_view xml, const std::string& name) {
  return Reader(xml, name).take();
}

VocAnnotation read_voc(const std::string& path) {
  return parse_voc(MappedFile::open(path)->text(), path);
}

VocSet open_voc(const std::string& dir, const std::string& split, std::vector<std::string> class_names) {
  const fs::path root(dir), sets = root / "ImageSets" / "Main", annotations = root / "Annotations";
  const std::string list = (sets / (split + ".txt")).string();
  if (!file_exists(list))
    throw FormatError(cat("'", dir, "' has no split '", split, "'; ImageSets/Main holds ",
                          join(names_in(sets, ".txt")),
                          ". Pascal VOC's folders are ImageSets/Main, Annotations, "
                          "JPEGImages"));
  VocSet set{std::move(class_names), {}};
  if (set.class_names.empty()) {
    std::set<std::string> found;
    for (const std::string& name : names_in(annotations, ".xml"))
      for (const VocObject& o : read_voc((annotations / (name + ".xml")).string()).objects)
        found.insert(o.name);
    set.class_names.assign(found.begin(), found.end());
  }
  std::istringstream lines(read_file(list));
  for (std::string line; std::getline(lines, line);) {
    std::string name;
    if (!(std::istringstream(line) >> name)) continue;
    const std::string path = (annotations / (name + ".xml")).string();
    const VocAnnotation a = read_voc(path);
    VocImage image{image_path(root / "JPEGImages", name), a.width, a.height, {}};
    for (const VocObject& o : a.objects) {
      const auto at = std::find(set.class_names.begin(), set.class_names.end(), o.name);
      if (at == set.class_names.end())
        throw FormatError(
            cat("'", path, "' marks a '", o.name, "', which is none of the classes ", join(set.class_names)));
      image.boxes.push_back({o.box, at - set.class_names.begin(), o.difficult});
    }
    set.images.push_back(std::move(image));
  }
  if (set.images.empty()) throw FormatError(cat("'", list, "' names no image"));
  return set;
}

}  // namespace ingot
