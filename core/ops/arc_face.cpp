#include "core/ops/arc_face.h"

#include <cmath>
#include <numbers>

#include "core/ops/compose.h"
#include "core/ops/creation.h"
#include "core/ops/elementwise.h"
#include "core/ops/matmul.h"
#include "core/ops/normalize.h"
#include "core/ops/view.h"

namespace ingot {

namespace {
constexpr double kLeastSquaredSine = 1e-6;
}

Value arc_face(Value features, Value weight, Value labels, const ArcFaceOptions& o, SourceLoc loc) {
  const ops::Composed call(features, "arc_face", loc);
  call.require_floating(features, "features");
  if (features.rank() != 2 || weight.rank() != 2 || weight.dim(1) != features.dim(1) ||
      weight.dtype() != features.dtype())
    call.refuse(cat("expected features [N, D] and weight [C, D] of one type, got ",
                    to_string(features.type()), " and ", to_string(weight.type())));
  if (!(labels.shape() == Shape{features.dim(0)}))
    call.refuse(cat("labels must have shape [", features.dim(0), "], got ", to_string(labels.type()),
                    "; labels are class numbers, not one-hot rows"));
  if (!(o.scale > 0.0)) call.refuse_use(cat("scale must be positive, got ", o.scale));
  if (!(o.margin >= 0.0 && o.margin <= std::numbers::pi / 2))
    call.refuse_use(cat("margin must be an angle in [0, pi / 2], got ", o.margin));
  const Value cosine = matmul(normalize(features), normalize(weight), false, true);
  const Value sine = sqrt(maximum(sub(1.0, square(cosine)), kLeastSquaredSine));
  const Value turned = sub(mul(cosine, std::cos(o.margin)), mul(sine, std::sin(o.margin)));
  const Value far = sub(cosine, o.margin * std::sin(o.margin));
  const Value own = where(gt(cosine, -std::cos(o.margin)), turned, far);
  const Value column = reshape(iota(features.graph(), weight.dim(0), labels.dtype()), {1, weight.dim(0)});
  return mul(where(eq(unsqueeze(labels, 1), column), own, cosine), o.scale);
}

}  // namespace ingot
