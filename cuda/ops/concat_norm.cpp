// Batch norm of a concatenation, by concatenating (core/ops/concat_norm.h): the pass fuse-concat leaves the
// plain ops on this backend, whose kernels read whole images. This is for graphs that have the op all the
// same.
//
// The concatenation lies in the workspace, and its gradient over it; where other gradients are added, a piece
// is copied out and normalised by nothing, with the other gradient as the residual.
#include "core/ops/concat_norm.h"

#include <vector>

#include "cuda/kernels/batch_norm.h"
#include "cuda/kernels/copy.h"
#include "cuda/kernels/fill.h"
#include "cuda/kernels/place.h"
#include "cuda/ops/clip.h"
#include "cuda/ops/launch_step.h"
#include "cuda/ops/operands.h"

namespace ingot::cuda {

namespace {

// The pieces as one image, and where things lie in the workspace.
struct Concatenation {
  BatchNormShape shape;
  std::vector<std::int64_t> channels;  // of each piece
  DType dtype = DType::F32, params = DType::F32;
  std::size_t element = 4;
  // Bytes of the image, of the widest piece, of one table of parameters.
  std::size_t image = 0, piece = 0, tables = 0;

  static std::size_t lines(std::size_t bytes) { return (bytes + 255) / 256 * 256; }
  static Concatenation of(const Problem& p, int first, int count, DType params) {
    Concatenation c;
    const Shape& x = p.in(first).shape;
    c.shape = {x[0], 1, 0};
    for (int d = 2; d < x.rank(); ++d) c.shape.pixels *= x[d];
    std::int64_t widest = 0;
    for (int i = 0; i < count; ++i) {
      c.channels.push_back(p.in(first + i).shape[1]);
      c.shape.channels += c.channels.back();
      widest = std::max(widest, c.channels.back());
    }
    c.dtype = p.in(first).dtype, c.params = params, c.element = size_of(c.dtype);
    const auto bytes = [&](std::int64_t n) {
      return lines(static_cast<std::size_t>(c.shape.rows * c.shape.pixels * n) * c.element);
    };
    c.image = bytes(c.shape.channels), c.piece = bytes(widest);
    c.tables = lines(static_cast<std::size_t>(widest) * size_of(params));
    return c;
  }
  std::int64_t pixels() const { return shape.rows * shape.pixels; }
  void join(void* const* pieces, void* to, const Stream& stream) const {
    concat(pieces, channels, pixels(), element, to, stream);
  }
};

bool lies_well(const Problem& p, int first) {
  return is_float(p.in(first).dtype) && all_channels_innermost(p);
}
void* at(void* base, std::size_t bytes) {
  return static_cast<std::byte*>(base) + bytes;
}
const std::int32_t* rows_at(void* const* in, bool present) {
  return present ? static_cast<const std::int32_t*>(in[4]) : nullptr;
}

std::unique_ptr<Step> lower_forward(const Problem& p) {
  const auto& a = p.attrs<ConcatBatchNormAttrs>();
  const int first = a.first_piece();
  if (!lies_well(p, first)) return nullptr;
  const auto c = Concatenation::of(p, first, p.num_inputs() - first, p.in(0).dtype);
  const BatchNormConfig config{c.dtype, c.params, a.eps, a.momentum, clip_named(p, a.activation)};
  return launch_step(
      "concat+batch_norm",
      [=, valid = a.has_valid](void* const* in, void* const* out, void* workspace, const Stream& stream) {
        c.join(in + first, workspace, stream);
        batch_norm(config, c.shape,
                   {workspace, in[0], in[1], in[2], in[3], rows_at(in, valid), nullptr, out[0], out[1],
                    out[2], out[3], out[4]},
                   at(workspace, c.image), stream);
      },
      c.image + batch_norm_workspace(c.dtype, c.shape), {{2, 3}, {3, 4}});
}

std::unique_ptr<Step> lower_apply(const Problem& p) {
  const auto& a = p.attrs<ConcatBatchNormApplyAttrs>();
  const int first = a.first_piece();
  if (!lies_well(p, first)) return nullptr;
  const auto c = Concatenation::of(p, first, p.num_inputs() - first, p.in(0).dtype);
  const BatchNormConfig config{.dtype = c.dtype, .params = c.params, .clip = clip_named(p, a.activation)};
  return launch_step(
      "concat+batch_norm",
      [=, valid = a.has_valid](void* const* in, void* const* out, void* workspace, const Stream& stream) {
        c.join(in + first, workspace, stream);
        batch_norm_infer(config, c.shape,
                         {.x = workspace,
                          .gamma = in[0],
                          .beta = in[1],
                          .mean = in[2],
                          .rstd = in[3],
                          .valid_rows = rows_at(in, valid),
                          .y = out[0]},
                         stream);
      },
      c.image);
}

std::unique_ptr<Step> lower_grad(const Problem& p) {
  const auto& a = p.attrs<ConcatBatchNormGradAttrs>();
  const int first = a.first_piece(), pieces = a.pieces(p.num_inputs());
  if (!lies_well(p, first)) return nullptr;
  const auto c = Concatenation::of(p, first, pieces, p.in(1).dtype);
  const BatchNormConfig config{c.dtype, c.params, a.eps, 0.0, clip_named(p, a.activation)};
  std::vector<StridedCopy> cuts;
  std::int64_t before = 0;
  for (const std::int64_t n : c.channels) {
    cuts.push_back(plan_copy({{c.pixels(), c.shape.channels, n}, {n, 1, 1}}, c.element, before));
    before += n;
  }
  // A piece, and parameters of 0 and 1, where something is added to it.
  const std::size_t adding = a.has_added ? c.piece + 2 * c.tables : 0;
  return launch_step(
      "concat+batch_norm",
      [=, valid = a.has_valid, added = a.has_added](void* const* in, void* const* out, void* workspace,
                                                    const Stream& stream) {
        void *const piece = at(workspace, c.image), *const zeros = at(piece, c.piece),
                    *const ones = at(zeros, c.tables);
        c.join(in + first, workspace, stream);
        batch_norm_grad(config, c.shape,
                        {.dy = in[0],
                         .x = workspace,
                         .gamma = in[1],
                         .save_mean = in[2],
                         .save_rstd = in[3],
                         .valid_rows = rows_at(in, valid),
                         .beta = config.clip.masks() ? in[4 + valid] : nullptr,
                         .dx = workspace,
                         .dgamma = out[pieces],
                         .dbeta = out[pieces + 1]},
                        at(piece, adding), stream);
        if (added) {
          const auto n = static_cast<std::int64_t>(c.tables / size_of(c.params));
          fill(element_bits(c.params, 0.0), size_of(c.params), zeros, n, stream);
          fill(element_bits(c.params, 1.0), size_of(c.params), ones, n, stream);
        }
        for (int i = 0; i < pieces; ++i) {
          const auto k = static_cast<std::size_t>(i);
          strided_copy(cuts[k], workspace, added ? piece : out[i], stream);
          if (!added) continue;
          batch_norm_infer({.dtype = c.dtype, .params = c.params},
                           {c.shape.rows, c.shape.pixels, c.channels[k]},
                           {.x = piece,
                            .gamma = ones,
                            .beta = zeros,
                            .mean = zeros,
                            .rstd = ones,
                            .residual = in[first + pieces + i],
                            .y = out[i]},
                           stream);
        }
      },
      c.image + adding + batch_norm_workspace(c.dtype, c.shape),
      op("concat_batch_norm_grad").in_place(p.node.attrs, p.num_inputs()));
}

}  // namespace

void add_concat_norm(LoweringTable& table) {
  table.add("concat_batch_norm", {.lower = lower_forward, .layouts = channels_innermost_layouts});
  table.add("concat_batch_norm_apply", {.lower = lower_apply, .layouts = channels_innermost_layouts});
  table.add("concat_batch_norm_grad", {.lower = lower_grad, .layouts = channels_innermost_layouts});
}

}  // namespace ingot::cuda
