#include "core/ops/rearrange.h"

#include "core/ops/compose.h"
#include "core/ops/view.h"

namespace ingot {

namespace {

void check(const ops::Composed& call, Value x, std::string_view factor, std::int64_t r) {
  if (x.rank() != 4) call.refuse(cat("x [N, C, H, W] must have rank 4, got ", to_string(x.type())));
  if (r < 1) call.refuse_use(cat(factor, " must be 1 or more, got ", r));
}

}  // namespace

Value pixel_shuffle(Value x, std::int64_t r, SourceLoc loc) {
  const ops::Composed call(x, "pixel_shuffle", loc);
  check(call, x, "upscale_factor", r);
  const std::int64_t n = x.dim(0), c = x.dim(1) / (r * r), h = x.dim(2), w = x.dim(3);
  if (x.dim(1) % (r * r) != 0)
    call.refuse(cat("the ", x.dim(1), " channels of ", to_string(x.type()), " must be a multiple of ", r * r,
                    ", the square of upscale_factor"));
  return reshape(transpose(reshape(x, {n, c, r, r, h, w}), {0, 1, 4, 2, 5, 3}), {n, c, h * r, w * r});
}

Value pixel_unshuffle(Value x, std::int64_t r, SourceLoc loc) {
  const ops::Composed call(x, "pixel_unshuffle", loc);
  check(call, x, "downscale_factor", r);
  const std::int64_t n = x.dim(0), c = x.dim(1), h = x.dim(2) / r, w = x.dim(3) / r;
  if (x.dim(2) % r != 0 || x.dim(3) % r != 0)
    call.refuse(
        cat("height and width of ", to_string(x.type()), " must be multiples of downscale_factor ", r));
  return reshape(transpose(reshape(x, {n, c, h, r, w, r}), {0, 1, 3, 5, 2, 4}), {n, c * r * r, h, w});
}

}  // namespace ingot
