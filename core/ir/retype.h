// Attributes and tapes for other element types: a graph in f64 from one in f32, a case in bf16. A dtype
// stands in attributes as itself, as the type of a tensor and in every instruction of a tape; graphs among
// them keep theirs.
//
//   node.attrs = retyped(node.attrs, [](DType d) { return d == DType::F32 ? DType::F64 : d; });
#pragma once

#include <functional>

#include "core/ir/attrs.h"

namespace ingot {

using TypeMap = std::function<DType(DType)>;

ScalarExpr retyped(const ScalarExpr& e, const TypeMap& map);
Attrs retyped(Attrs attrs, const TypeMap& map);

}  // namespace ingot
