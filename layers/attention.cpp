#include "layers/attention.h"

#include <cmath>

#include "core/ops/attention.h"
#include "core/ops/matmul.h"
#include "core/ops/normalize.h"
#include "core/ops/view.h"
#include "layers/detail/checks.h"

namespace ingot {

using detail::require_positive;
using detail::titled;

MultiheadAttention::MultiheadAttention(std::string name, std::int64_t embed_dim, std::int64_t num_heads,
                                       MultiheadAttentionOptions options)
    : Layer(std::move(name)),
      dim_(embed_dim),
      heads_(num_heads),
      options_(options),
      out_("out_proj", embed_dim, embed_dim, {.bias = options.bias, .bias_init = Init::constant(0.0)}) {
  const std::string title = titled("MultiheadAttention", this->name());
  require_positive(title, "num_heads", heads_);
  if (dim_ % heads_ != 0)
    throw UsageError(cat(title, ": embed_dim ", dim_, " must be a multiple of num_heads ", heads_));
}

Value MultiheadAttention::forward(Value x) {
  return attend(x, x, x, {});
}

Value MultiheadAttention::operator()(Value x, const MultiheadAttentionArgs& args, SourceLoc loc) {
  return (*this)(x, x, x, args, std::move(loc));
}

Value MultiheadAttention::operator()(Value q, Value k, Value v, const MultiheadAttentionArgs& args,
                                     SourceLoc loc) {
  const Scope scope(q.graph(), name(), loc);
  try {
    return attend(q, k, v, args);
  } catch (Error& e) {
    e.add_context(scope_path(q.graph()), user_line(q.graph(), loc));
    throw;
  }
}

Value MultiheadAttention::attend(Value q, Value k, Value v, const MultiheadAttentionArgs& args) {
  for (const Value& x : {q, k, v})
    if (x.rank() != 3 || x.dim(2) != dim_)
      throw ShapeError(cat("MultiheadAttention: queries, keys and values must be ",
                           options_.batch_first ? "[B, T, " : "[T, B, ", dim_, "], got ",
                           to_string(x.shape())));
  Graph& g = q.graph();
  const double bound =
      std::sqrt(6.0 / static_cast<double>(4 * dim_));  // Xavier's, of E inputs and 3 E outputs
  const Value weight =
      parameter(g, "in_proj_weight", {DType::F32, {3 * dim_, dim_}}, Init::uniform(-bound, bound));
  Value bias;
  if (options_.bias) bias = parameter(g, "in_proj_bias", {DType::F32, {3 * dim_}}, Init::constant(0.0));
  // Three products, each with its rows of the weight: one product of all would have to be taken apart again.
  const auto heads_of = [&](Value x, std::int64_t third) {
    const auto own = [&](Value all) { return slice(all, 0, third * dim_, (third + 1) * dim_); };
    std::vector<Value> operands{x, own(weight)};
    if (options_.bias) operands.push_back(own(bias));
    MatmulAttrs attrs;
    attrs.transpose_b = true;
    attrs.has_bias = options_.bias;
    const Value y = apply1("matmul", operands, attrs);
    const Value split = reshape(y, {x.dim(0), x.dim(1), heads_, dim_ / heads_});
    return transpose(split, options_.batch_first ? std::vector<std::int64_t>{0, 2, 1, 3}
                                                 : std::vector<std::int64_t>{1, 2, 0, 3});
  };
  const Value y = scaled_dot_product_attention(heads_of(q, 0), heads_of(k, 1), heads_of(v, 2),
                                               {.is_causal = args.is_causal, .lengths = args.lengths});
  const Value joined = transpose(y, options_.batch_first ? std::vector<std::int64_t>{0, 2, 1, 3}
                                                         : std::vector<std::int64_t>{2, 0, 1, 3});
  return out_(reshape(joined, q.shape()));
}

RMSNorm::RMSNorm(std::string name, Shape normalized_shape, RMSNormOptions options)
    : Layer(std::move(name)), shape_(normalized_shape), options_(options) {}

Value RMSNorm::forward(Value x) {
  if (!options_.elementwise_affine) return rms_norm(x, shape_, {}, options_.eps);
  return rms_norm(x, shape_, parameter(x.graph(), "weight", {DType::F32, shape_}, Init::constant(1.0)),
                  options_.eps);
}

}  // namespace ingot
