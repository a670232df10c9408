// The head of face recognition networks: classes as directions, with an angular margin (core/ops/arc_face.h).
//
//   ArcFace head{"head", 128, 1000, {.scale = 30.0}};
//   Value loss = cross_entropy(head(embedding, labels), labels);
#pragma once

#include <cstdint>
#include <string>

#include "core/ops/arc_face.h"
#include "layers/module.h"

namespace ingot {

// features[N, in], labels[N] -> logits[N, classes]. Parameter: weight[classes, in], N(0, 0.01). Two operands
// make it no Module; only training calls it, comparison of faces reads the features.
class ArcFace {
 public:
  ArcFace(std::string name, std::int64_t in_features, std::int64_t num_classes, ArcFaceOptions options = {});
  Value operator()(Value features, Value labels, SourceLoc loc = SourceLoc::current()) const;

 private:
  std::string name_;
  std::int64_t in_, classes_;
  ArcFaceOptions options_;
};

}  // namespace ingot
