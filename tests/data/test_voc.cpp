// Pascal VOC's annotations: what is read, what is refused and with which words, and the published set where
// it lies.
#include "data/voc.h"

#include <filesystem>

#include "core/base/error.h"
#include "data/draws.h"
#include "data/image.h"
#include "gtest/gtest.h"
#include "tests/support/messages.h"
#include "tests/support/temp_dir.h"

namespace ingot {
namespace {

std::string object(const std::string& name, const std::string& box, const std::string& more = "") {
  return "<object><name> " + name + " </name><bndbox>" + box + "</bndbox>" + more + "</object>\n";
}
std::string corners(const char* left, const char* top, const char* right, const char* bottom) {
  return std::string("<xmin>") + left + "</xmin><ymin>" + top + "</ymin><xmax>" + right + "</xmax><ymax>" +
         bottom + "</ymax>";
}
std::string annotation(const std::string& objects) {
  return "<?xml version=\"1.0\"?>\n<annotation>\n<filename>a&amp;b.jpg</filename><size><width>64</width>"
         "<height>48</height><depth>3</depth></size>\n" +
         objects + "</annotation>\n";
}

TEST(Voc, ReadsObjects) {
  // A part has a name and a box of its own, which are not the object's.
  const std::string part =
      "<part><name>head</name><bndbox>" + corners("0", "0", "1", "1") + "</bndbox></part>";
  const VocAnnotation a = parse_voc(
      annotation(object("person", corners("1", "2.5", "30", "40"), "<difficult>1</difficult>" + part) +
                 object("dog", corners("5", "5", "5", "9"), "<truncated>1</truncated>")),
      "text");
  EXPECT_EQ(a.filename, "a&b.jpg");
  EXPECT_EQ(a.width, 64);
  EXPECT_EQ(a.height, 48);
  ASSERT_EQ(a.objects.size(), 2u);
  EXPECT_EQ(a.objects[0].name, "person");
  EXPECT_EQ(a.objects[0].box, (BoundingBox{1, 2.5f, 30, 40}));
  EXPECT_TRUE(a.objects[0].difficult);
  EXPECT_FALSE(a.objects[0].truncated);
  EXPECT_EQ(a.objects[1].name, "dog");
  EXPECT_EQ(a.objects[1].box.width(), 0.0f);
  EXPECT_TRUE(a.objects[1].truncated);
}

void expect_refused(const std::string& xml, const std::string& words) {
  EXPECT_TRUE(says(message_of<FormatError>([&] { parse_voc(xml, "some.xml"); }), "'some.xml'", words));
}

TEST(Voc, RefusesWhatIsWrong) {
  expect_refused("", "line 1: it is no XML: no element found");
  expect_refused(annotation("<object><name>a</object>"), "line 4: it is no XML: mismatched tag");
  expect_refused("<html></html>", "expected Pascal VOC's <annotation>, found <html>");
  expect_refused(annotation(object("a", corners("1", "2", "x", "4"))),
                 "line 4: expected a number in <xmax>, found 'x'");
  expect_refused(annotation(object("a", corners("1", "2", "nan", "4"))), "expected a number in <xmax>");
  expect_refused(annotation(object("a", corners("9", "2", "3", "4"))), "needs xmin <= xmax");
  expect_refused(annotation(object("a", "<xmin>1</xmin>")), "nan: not given");
  expect_refused(annotation("<object></object>"), "an <object> has no <name>");
  // A text that would grow to gigabytes.
  std::string bomb = "<!DOCTYPE a [<!ENTITY a0 \"0123456789\">";
  for (int i = 1; i < 10; ++i) {
    bomb += "<!ENTITY a" + std::to_string(i) + " \"";
    for (int k = 0; k < 10; ++k) bomb += "&a" + std::to_string(i - 1) + ";";
    bomb += "\">";
  }
  expect_refused(bomb + "]><annotation><filename>&a9;</filename></annotation>",
                 "it is no XML: limit on input amplification");
}

// Bytes changed, left out and doubled: an annotation or a FormatError, nothing else.
TEST(Voc, DamagedTextIsReadOrRefused) {
  const std::string whole =
      annotation(object("person", corners("1", "2.5", "30", "40"), "<difficult>1</difficult>") +
                 object("dog", corners("5", "5", "5", "9")));
  int read = 0, refused = 0;
  for (std::int64_t i = 0; i < 3000; ++i) {
    Draws draws(1, "damage", 0, i);
    std::string text = whole;
    const auto at = static_cast<std::size_t>(draws.below(static_cast<std::int64_t>(text.size())));
    const auto count = static_cast<std::size_t>(draws.below(20));
    switch (draws.below(8)) {
      case 0:
        text.erase(at, count);
        break;
      case 1:
        text.insert(at, text.substr(at, count));
        break;
      case 2:
        text.resize(at);
        break;
      case 3:
        text[at] = static_cast<char>(draws.below(256));
        break;
      default:  // often still a number or a name
        text[at] = static_cast<char>('0' + draws.below(10));
    }
    try {
      const VocAnnotation a = parse_voc(text, "damaged.xml");
      for (const VocObject& o : a.objects) EXPECT_LE(o.box.left, o.box.right);
      ++read;
    } catch (const FormatError& e) {
      EXPECT_TRUE(says(e.what(), "'damaged.xml'"));
      ++refused;
    }
  }
  EXPECT_GT(read, 200);
  EXPECT_GT(refused, 1000);
}

class VocFolder : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* folder : {"ImageSets/Main", "Annotations", "JPEGImages"})
      std::filesystem::create_directories(dir / folder);
    write_raw(dir / "ImageSets/Main/train.txt", "two\n\none 1\n");
    write_raw(dir / "ImageSets/Main/test.txt", "three\n");
    write_raw(dir / "Annotations/one.xml", annotation(object("dog", corners("1", "2", "3", "4"))));
    write_raw(dir / "Annotations/two.xml", annotation(""));
    write_raw(dir / "Annotations/three.xml", annotation(object("cat", corners("1", "2", "3", "4"))));
    for (const char* image : {"one.png", "two.png", "three.png"})
      write_png(dir / (std::string("JPEGImages/") + image), Tensor::zeros({DType::U8, {3, 48, 64}}));
  }
  TempDir dir;
};

TEST_F(VocFolder, OpensASplit) {
  const VocSet train = open_voc(dir.path(), "train");
  EXPECT_EQ(train.class_names, (std::vector<std::string>{"cat", "dog"}));
  ASSERT_EQ(train.images.size(), 2u);
  EXPECT_EQ(train.images[0].path, dir / "JPEGImages/two.png");
  EXPECT_TRUE(train.images[0].boxes.empty());
  ASSERT_EQ(train.images[1].boxes.size(), 1u);
  EXPECT_EQ(train.images[1].boxes[0].label, 1);
  EXPECT_EQ(open_voc(dir.path(), "test", {"dog", "bird", "cat"}).images[0].boxes[0].label, 2);
}

TEST_F(VocFolder, NamesWhatIsMissing) {
  const auto expect = [](const auto& call, const std::string& words) {
    EXPECT_TRUE(says(message_of<FormatError>(call), words));
  };
  expect([&] { open_voc(dir.path(), "val"); }, "has no split 'val'; ImageSets/Main holds test, train");
  expect([&] { open_voc(dir.path(), "test", {"dog"}); }, "marks a 'cat', which is none of the classes dog");
  std::filesystem::remove(dir / "JPEGImages/one.png");
  expect([&] { open_voc(dir.path(), "train"); }, "has no image one");
  std::filesystem::remove(dir / "Annotations/two.xml");
  expect([&] { open_voc(dir.path(), "train"); }, "two.xml");
}

TEST(Voc, ReadsThePublishedBloodCells) {
  const std::string dir = INGOT_SOURCE_DIR "/../shared/data/bccd";
  if (!std::filesystem::exists(dir)) GTEST_SKIP() << "there is no " << dir;
  std::vector<std::size_t> images, cells(3);
  for (const char* split : {"train", "val", "test"}) {
    const VocSet set = open_voc(dir, split);
    EXPECT_EQ(set.class_names, (std::vector<std::string>{"Platelets", "RBC", "WBC"}));
    images.push_back(set.images.size());
    for (const VocImage& image : set.images) {
      EXPECT_EQ(image.width, 640);
      for (const LabelledBox& b : image.boxes) ++cells[static_cast<std::size_t>(b.label)];
    }
  }
  EXPECT_EQ(images, (std::vector<std::size_t>{205, 87, 72}));
  EXPECT_EQ(cells, (std::vector<std::size_t>{361, 4155, 372}));
}

}  // namespace
}  // namespace ingot
