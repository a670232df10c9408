#include "core/ops/random.h"

#include "core/base/philox.h"
#include "core/ops/check.h"
#include "core/ops/reference.h"

namespace ingot {

namespace {

void check_draw(const InferArgs& a, int rng, std::int64_t stream) {
  ops::check_dtype(a, rng, "the generator state", DType::I64);
  ops::check_shape(a, rng, "the generator state {seed, offset}", {2});
  if (stream < 0 || stream >= (std::int64_t{1} << kRandomStreamBits))
    throw UsageError(cat(a.op, ": stream must lie in [0, 2^", kRandomStreamBits, "), got ", stream));
}

void check_result(const InferArgs& a, DType dtype) {
  if (!is_floating(dtype))
    throw ShapeError(cat(a.op, ": gives floating numbers, not ", name(dtype), "; convert with cast()"));
}

void check_probability(const InferArgs& a, double p) {
  if (!(p >= 0.0 && p <= 1.0)) throw UsageError(cat(a.op, ": p must lie in [0, 1], got ", p));
}

Philox generator(const Tensor& rng, std::int64_t stream) {
  const std::int64_t* s = rng.data<std::int64_t>();
  return {static_cast<std::uint64_t>(s[0]), random_stream(s[1], stream)};
}

// The type in which a draw of T is computed.
template <class T>
using Compute = std::conditional_t<std::is_same_v<T, double>, double, float>;

// --- uniform

std::vector<TensorType> infer_uniform(const InferArgs& a) {
  const auto& u = a.attrs.as<UniformAttrs>();
  check_draw(a, 0, u.stream);
  check_result(a, u.dtype);
  if (!(u.lo <= u.hi)) throw UsageError(cat(a.op, ": lo must not exceed hi, got [", u.lo, ", ", u.hi, ")"));
  return {{u.dtype, u.shape}};
}

void reference_uniform(const RefArgs& a) {
  const auto& u = a.attrs.as<UniformAttrs>();
  const Philox rng = generator(a.inputs[0], u.stream);
  const Tensor& y = a.outputs[0];
  visit_dtype(y.dtype(), [&]<class T>() {
    using C = Compute<T>;
    T* out = y.data<T>();
    for (std::int64_t i = 0; i < y.numel(); ++i)
      out[i] = from_double<T>(static_cast<double>(uniform_in<C>(rng.bits(static_cast<std::uint64_t>(i)),
                                                                static_cast<C>(u.lo), static_cast<C>(u.hi))));
  });
}

// --- normal

std::vector<TensorType> infer_normal(const InferArgs& a) {
  const auto& n = a.attrs.as<NormalAttrs>();
  check_draw(a, 0, n.stream);
  check_result(a, n.dtype);
  if (!(n.stddev >= 0.0)) throw UsageError(cat(a.op, ": stddev must not be negative, got ", n.stddev));
  return {{n.dtype, n.shape}};
}

void reference_normal(const RefArgs& a) {
  const auto& n = a.attrs.as<NormalAttrs>();
  const Philox rng = generator(a.inputs[0], n.stream);
  const Tensor& y = a.outputs[0];
  visit_dtype(y.dtype(), [&]<class T>() {
    T* out = y.data<T>();
    for (std::int64_t i = 0; i < y.numel(); i += 2) {
      const auto k = static_cast<std::uint64_t>(i);
      double z[2];
      box_muller<double>(rng.bits(k), rng.bits(k + 1), z[0], z[1]);
      for (std::int64_t j = 0; j < 2 && i + j < y.numel(); ++j)
        out[i + j] = from_double<T>(n.mean + n.stddev * z[j]);
    }
  });
}

// --- dropout

std::vector<TensorType> infer_dropout(const InferArgs& a) {
  const auto& d = a.attrs.as<DropoutAttrs>();
  ops::check_floating(a, 0, "the operand");
  check_draw(a, 1, d.stream);
  check_probability(a, d.p);
  return {a.inputs[0], {DType::Bool, a.shape(0), a.inputs[0].layout}};
}

double kept_scale(double p) {
  return p < 1.0 ? 1.0 / (1.0 - p) : 0.0;
}

std::vector<Value> gradient_dropout(GradContext& c) {
  if (!c.has_grad(0)) return {Value(), Value()};
  return {apply1("dropout_grad", {c.grad(0), c.output(1)}, DropoutGradAttrs{c.attrs<DropoutAttrs>().p}),
          Value()};
}

void reference_dropout(const RefArgs& a) {
  const auto& d = a.attrs.as<DropoutAttrs>();
  const Philox rng = generator(a.inputs[1], d.stream);
  const double scale = kept_scale(d.p);
  const float p = static_cast<float>(d.p);
  const Tensor &x = a.inputs[0], &y = a.outputs[0];
  bool* mask = a.outputs[1].data<bool>();
  visit_dtype(x.dtype(), [&]<class T>() {
    const T* in = x.data<T>();
    T* out = y.data<T>();
    for (std::int64_t i = 0; i < x.numel(); ++i) {
      mask[i] = uniform01(rng.bits(static_cast<std::uint64_t>(i))) >= p;
      out[i] = from_double<T>(mask[i] ? to_double(in[i]) * scale : 0.0);
    }
  });
}

std::vector<TensorType> infer_dropout_grad(const InferArgs& a) {
  ops::check_floating(a, 0, "the gradient");
  ops::check_dtype(a, 1, "the mask", DType::Bool);
  ops::check_shape(a, 1, "the mask", a.shape(0));
  check_probability(a, a.attrs.as<DropoutGradAttrs>().p);
  return {a.inputs[0]};
}

std::vector<Value> gradient_dropout_grad(GradContext& c) {
  return {apply1("dropout_grad", {c.grad(), c.input(1)}, c.attrs<DropoutGradAttrs>()), Value()};
}

void reference_dropout_grad(const RefArgs& a) {
  const double scale = kept_scale(a.attrs.as<DropoutGradAttrs>().p);
  const Tensor &dy = a.inputs[0], &dx = a.outputs[0];
  const bool* mask = a.inputs[1].data<bool>();
  visit_dtype(dy.dtype(), [&]<class T>() {
    const T* in = dy.data<T>();
    T* out = dx.data<T>();
    for (std::int64_t i = 0; i < dy.numel(); ++i)
      out[i] = from_double<T>(mask[i] ? to_double(in[i]) * scale : 0.0);
  });
}

std::vector<std::array<int, 2>> first_in_place(const Attrs&, int) {
  return {{0, 0}};
}

OpDef drawing(std::string name, std::string doc, Attrs attrs, InferFn infer, RefFn reference) {
  OpDef d;
  d.name = std::move(name);
  d.doc = std::move(doc);
  d.attrs = std::move(attrs);
  d.infer = infer;
  d.reference = reference;
  return d;
}

}  // namespace

namespace ops {

OpDef def_uniform() {
  OpDef d = drawing("uniform", "Uniform random numbers in [lo, hi).", UniformAttrs{}, infer_uniform,
                    reference_uniform);
  d.not_differentiable = "its operand is the state of a random generator";
  return d;
}

OpDef def_normal() {
  OpDef d = drawing("normal", "Normal random numbers.", NormalAttrs{}, infer_normal, reference_normal);
  d.not_differentiable = "its operand is the state of a random generator";
  return d;
}

OpDef def_dropout() {
  OpDef d =
      drawing("dropout", "Sets elements to zero with probability p and scales the others by 1 / (1 - p).",
              DropoutAttrs{}, infer_dropout, reference_dropout);
  d.min_inputs = d.max_inputs = 2;
  d.gradient = gradient_dropout;
  d.in_place = first_in_place;
  return d;
}

OpDef def_dropout_grad() {
  OpDef d = drawing("dropout_grad", "Gradient of dropout.", DropoutGradAttrs{}, infer_dropout_grad,
                    reference_dropout_grad);
  d.min_inputs = d.max_inputs = 2;
  d.gradient = gradient_dropout_grad;
  d.in_place = first_in_place;
  return d;
}

}  // namespace ops

Value uniform(Value rng, const Shape& shape, double lo, double hi, std::int64_t stream, DType dtype,
              SourceLoc loc) {
  return apply1("uniform", {rng}, UniformAttrs{shape, lo, hi, stream, dtype}, std::move(loc));
}

Value normal(Value rng, const Shape& shape, double mean, double stddev, std::int64_t stream, DType dtype,
             SourceLoc loc) {
  return apply1("normal", {rng}, NormalAttrs{shape, mean, stddev, stream, dtype}, std::move(loc));
}

DropoutResult dropout(Value x, Value rng, double p, std::int64_t stream, SourceLoc loc) {
  const Value operands[] = {x, rng};
  const auto out = apply("dropout", operands, DropoutAttrs{p, stream}, std::move(loc));
  return {out[0], out[1]};
}

}  // namespace ingot
