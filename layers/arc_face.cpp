#include "layers/arc_face.h"

#include "layers/detail/checks.h"

namespace ingot {

ArcFace::ArcFace(std::string name, std::int64_t in_features, std::int64_t num_classes, ArcFaceOptions options)
    : name_(std::move(name)), in_(in_features), classes_(num_classes), options_(options) {
  const std::string title = detail::titled("ArcFace", name_);
  detail::require_positive(title, "in_features", in_);
  detail::require_positive(title, "num_classes", classes_);
}

Value ArcFace::operator()(Value features, Value labels, SourceLoc loc) const {
  const Scope scope(features.graph(), name_, loc);
  const Value weight =
      parameter(features.graph(), "weight", {DType::F32, {classes_, in_}}, Init::normal(0.0, 0.01));
  return arc_face(features, weight, labels, options_);
}

}  // namespace ingot
