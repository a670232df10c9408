// ArcFace: Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", arXiv 1801.07698.
//
//   Value logits = arc_face(features, weight, labels);
//   Value loss = cross_entropy(logits, labels);
#pragma once

#include <cstdint>

#include "core/op/builder.h"

namespace ingot {

struct ArcFaceOptions {
  double scale = 64.0;  // s of the paper
  double margin = 0.5;  // m, an angle in [0, pi / 2]
};

// scale cos(theta), theta being the angle between features[n] and weight[c]; where c is the row's label scale
// cos(theta + margin), and scale (cos(theta) - margin sin(margin)) from theta = pi - margin on, so that it
// goes on falling as theta grows. features [N, D] and weight [C, D] floating, labels [N] i32 or i64 in [0, C)
// -> [N, C]; another label is none of the columns. The gradient is held finite at theta = 0 and pi.
Value arc_face(Value features, Value weight, Value labels, const ArcFaceOptions& options = {},
               SourceLoc loc = SourceLoc::current());

}  // namespace ingot
