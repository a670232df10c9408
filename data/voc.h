// Objects marked in images, in the files of Pascal VOC (Everingham et al. 2010, "The Pascal Visual Object
// Classes Challenge", IJCV 88), as labelImg and most tools write them too:
//
//   DIR/ImageSets/Main/train.txt ...     one image's name a line (what follows it on the line is not read)
//   DIR/Annotations/NAME.xml             size, objects with name and box
//   DIR/JPEGImages/NAME.jpg              or .jpeg, .png
//
// Boxes are the files' xmin, ymin, xmax, ymax as points of the plane (data/boxes.h). A box may be empty, as
// published ones are: it is kept. What is wrong with a file is a FormatError that names it and the line.
//
//   const VocSet cells = open_voc("bccd", "trainval");
//   cells.class_names;                                 // Platelets, RBC, WBC
//   Tensor image = read_image(cells.images[0].path);
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "data/boxes.h"

namespace ingot {

struct VocObject {
  std::string name;
  BoundingBox box;
  bool difficult = false, truncated = false;
};

struct VocAnnotation {
  std::string filename;                // as the file says; its folder is not to be relied on
  std::int64_t width = 0, height = 0;  // 0 where the file does not say
  std::vector<VocObject> objects;
};

// `name` stands for the text in errors. An object's parts (VOC's head, hands) are not objects.
VocAnnotation parse_voc(std::string_view xml, const std::string& name);
VocAnnotation read_voc(const std::string& path);

struct VocImage {
  std::string path;  // of the image's file
  std::int64_t width = 0, height = 0;
  std::vector<LabelledBox> boxes;
};

struct VocSet {
  std::vector<std::string> class_names;
  std::vector<VocImage> images;
};

// The images of one split in the order of its file. Labels are positions in `class_names`; when that is empty
// they are the names that occur in any annotation of DIR, in the order of the alphabet, so that all splits
// agree. Throws FormatError for a missing split, listing those there are, and for an object of another class.
VocSet open_voc(const std::string& dir, const std::string& split, std::vector<std::string> class_names = {});

}  // namespace ingot
