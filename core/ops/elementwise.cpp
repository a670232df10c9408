#include "core/ops/elementwise.h"

#include "core/expr/scalar_ops.h"
#include "core/ops/creation.h"
#include "core/ops/elementwise_grad.h"
#include "core/ops/reduce.h"
#include "core/ops/reference.h"
#include "core/ops/view.h"

namespace ingot {

namespace {

template <class T>
constexpr bool is_floating_type =
    std::is_floating_point_v<T> || std::is_same_v<T, f16> || std::is_same_v<T, bf16>;

// Functions of every floating type are computed in double: one instance serves them all.
template <class T>
constexpr bool computed_in_double = is_floating_type<T> && !std::is_same_v<T, double>;

// Does T belong to the operands of a function of this kind?
template <class T>
constexpr bool applies(ScalarKind kind) {
  switch (kind) {
    case ScalarKind::Numeric:
      return !std::is_same_v<T, bool>;
    case ScalarKind::Float:
    case ScalarKind::Predicate:
      return is_floating_type<T>;
    case ScalarKind::Logic:
      return std::is_same_v<T, bool>;
    case ScalarKind::Compare:
    case ScalarKind::Select:
      return true;
    case ScalarKind::Special:
      break;
  }
  return false;
}

template <class T, class R, class F>
void map1(F f, const Tensor& x, const Tensor& y) {
  const T* in = x.data<T>();
  R* out = y.data<R>();
  for (std::int64_t i = 0; i < y.numel(); ++i) out[i] = static_cast<R>(f(in[i]));
}

template <class T, class R, class F>
void map2(F f, const Tensor& a, const Tensor& b, const Tensor& y) {
  const T *pa = a.data<T>(), *pb = b.data<T>();
  R* out = y.data<R>();
  ops::for_each_offset<2>(
      y.shape(), {ops::broadcast_strides(a.shape(), y.shape()), ops::broadcast_strides(b.shape(), y.shape())},
      [&](std::int64_t i, const auto& at) { out[i] = static_cast<R>(f(pa[at[0]], pb[at[1]])); });
}

template <class T, class F>
void map3(F f, const Tensor& c, const Tensor& a, const Tensor& b, const Tensor& y) {
  const bool* pc = c.data<bool>();
  const T *pa = a.data<T>(), *pb = b.data<T>();
  T* out = y.data<T>();
  ops::for_each_offset<3>(
      y.shape(),
      {ops::broadcast_strides(c.shape(), y.shape()), ops::broadcast_strides(a.shape(), y.shape()),
       ops::broadcast_strides(b.shape(), y.shape())},
      [&](std::int64_t i, const auto& at) { out[i] = static_cast<T>(f(pc[at[0]], pa[at[1]], pb[at[2]])); });
}

// A function of bool operands and others share one path: the result type follows from the kind.
template <int arity, ScalarKind kind, class T, class F>
void map(F f, std::span<const Tensor> in, const Tensor& y) {
  using R = std::conditional_t<kind == ScalarKind::Compare || kind == ScalarKind::Predicate, bool, T>;
  if constexpr (!applies<T>(kind))
    throw UsageError(cat("a function was called on ", name(dtype_of<T>()), " operands, which it refuses"));
  else if constexpr (arity == 1)
    map1<T, R>(f, in[0], y);
  else if constexpr (arity == 2)
    map2<T, R>(f, in[0], in[1], y);
  else
    map3<T>(f, in[0], in[1], in[2], y);
}

template <class From, class To>
To convert(From v) {
  if constexpr (is_floating_type<To>) {
    return from_double<To>(to_double(v));
  } else if constexpr (std::is_same_v<To, bool>) {
    return to_double(v) != 0.0;
  } else if constexpr (std::is_integral_v<From>) {
    return static_cast<To>(v);
  } else {
    // Saturates and maps NaN to 0, so that no value is undefined behaviour.
    const double d = to_double(v);
    if (!(d == d)) return To(0);
    if (d >= static_cast<double>(std::numeric_limits<To>::max())) return std::numeric_limits<To>::max();
    if (d <= static_cast<double>(std::numeric_limits<To>::min())) return std::numeric_limits<To>::min();
    return static_cast<To>(d);
  }
}

std::vector<DType> dtypes(std::span<const TensorType> types) {
  std::vector<DType> out;
  for (const auto& t : types) out.push_back(t.dtype);
  return out;
}

std::vector<TensorType> infer_scalar(const InferArgs& a) {
  return {ops::broadcast_type(a.inputs, scalar_result(op(a.op).scalar, dtypes(a.inputs)))};
}

// Any operand of the result's type may give its memory: element i is read before it is written.
std::vector<std::array<int, 2>> elementwise_in_place(const Attrs&, int num_inputs) {
  std::vector<std::array<int, 2>> pairs;
  for (int i = 0; i < num_inputs; ++i) pairs.push_back({i, 0});
  return pairs;
}

constexpr RefFn reference_of[] = {
#define INGOT_SCALAR(Enum, name, arity, kind) \
  [](const RefArgs& a) { ops::scalar_reference(ScalarOp::Enum, a.inputs, a.outputs[0]); },
#include "core/expr/scalar_ops.def"
#undef INGOT_SCALAR
};

std::vector<TensorType> infer_cast(const InferArgs& a) {
  TensorType t = a.inputs[0];
  t.dtype = a.attrs.as<CastAttrs>().dtype;
  return {t};
}

std::vector<Value> gradient_cast(GradContext& c) {
  const DType from = c.input(0).dtype();
  if (!is_floating(from) || !is_floating(c.grad().dtype())) return {Value()};
  return {cast(c.grad(), from)};
}

void reference_cast(const RefArgs& a) {
  ops::cast_reference(a.inputs[0], a.outputs[0]);
}

std::vector<TensorType> infer_fused(const InferArgs& a) {
  const ScalarExpr& e = a.attrs.as<FusedAttrs>().expr;
  if (static_cast<int>(a.inputs.size()) != e.num_inputs())
    throw ShapeError(cat(a.op, ": the tape reads ", e.num_inputs(), " operands, got ", a.inputs.size()));
  for (int i = 0; i < e.num_inputs(); ++i)
    if (a.dtype(i) != e.inputs()[static_cast<std::size_t>(i)])
      throw ShapeError(cat(a.op, ": operand ", i, " must be ", name(e.inputs()[static_cast<std::size_t>(i)]),
                           " as the tape declares, got ", name(a.dtype(i))));
  if (e.outputs().empty()) throw UsageError(cat(a.op, ": the tape has no output"));
  std::vector<TensorType> out;
  for (const ScalarExpr::Reg r : e.outputs()) out.push_back(ops::broadcast_type(a.inputs, e.dtype(r)));
  return out;
}

// Instruction by instruction over whole tensors: every register holds values of its own dtype, so integers
// stay exact and each result is rounded as the tape says.
void reference_fused(const RefArgs& a) {
  const ScalarExpr& e = a.attrs.as<FusedAttrs>().expr;
  std::vector<Tensor> regs(a.inputs.begin(), a.inputs.end());
  const Shape& shape = a.outputs[0].shape();
  for (const auto& i : e.instrs()) {
    std::vector<Tensor> args;
    for (int k = 0; k < e.arity(i); ++k) args.push_back(regs[i.args[static_cast<std::size_t>(k)]]);
    if (i.op == ScalarOp::Const) {
      regs.push_back(Tensor::full({i.dtype, {}}, i.imm));
      continue;
    }
    // Only as large as its operands: a function of scalars stays a scalar.
    Shape s;
    for (const Tensor& t : args) s = broadcast(s, t.shape());
    regs.emplace_back(TensorType{i.dtype, s});
    if (i.op == ScalarOp::Cast)
      ops::cast_reference(args[0], regs.back());
    else
      ops::scalar_reference(i.op, args, regs.back());
  }
  for (std::size_t o = 0; o < e.outputs().size(); ++o) {
    const Tensor &r = regs[e.outputs()[o]], &y = a.outputs[o];
    visit_dtype(y.dtype(), [&]<class T>() {
      const T* in = r.data<T>();
      T* out = y.data<T>();
      ops::for_each_offset<1>(shape, {ops::broadcast_strides(r.shape(), shape)},
                              [&](std::int64_t i, const auto& at) { out[i] = in[at[0]]; });
    });
  }
}

Cost cost_fused(const Attrs& attrs, std::span<const TensorType> inputs, std::span<const TensorType> outputs) {
  Cost c;
  for (const auto& t : inputs) c.bytes += static_cast<double>(t.bytes());
  for (const auto& t : outputs) c.bytes += static_cast<double>(t.bytes());
  for (const auto& i : attrs.as<FusedAttrs>().expr.instrs())
    if (i.op != ScalarOp::Const) c.flops += static_cast<double>(outputs[0].numel());
  return c;
}

std::string scalar_doc(const ScalarOpInfo& row) {
  switch (row.kind) {
    case ScalarKind::Compare:
      return cat("Compares elementwise (", row.name, ") with broadcasting; the result is bool.");
    case ScalarKind::Predicate:
      return cat("Elementwise test ", row.name, "; the result is bool.");
    case ScalarKind::Select:
      return "Elementwise choice: the second operand where the first is true, else the third.";
    default:
      return cat("Elementwise ", row.name, row.arity > 1 ? " with broadcasting." : ".");
  }
}

}  // namespace

namespace ops {

void scalar_reference(ScalarOp op, std::span<const Tensor> inputs, const Tensor& out) {
  const DType dtype = inputs.back().dtype();  // of `where`, the first operand is the condition
  if (is_floating(dtype) && dtype != DType::F64) {
    const auto in_double = [](const Tensor& t) {
      Tensor wide(TensorType{DType::F64, t.shape()});
      cast_reference(t, wide);
      return wide;
    };
    std::vector<Tensor> wide;
    for (const Tensor& t : inputs) wide.push_back(t.dtype() == dtype ? in_double(t) : t);
    if (out.dtype() != dtype) return scalar_reference(op, wide, out);  // a truth value
    const Tensor result(TensorType{DType::F64, out.shape()});
    scalar_reference(op, wide, result);
    return cast_reference(result, out);
  }
  switch (op) {
#define INGOT_SCALAR(Enum, name, arity, kind)                                                       \
  case ScalarOp::Enum:                                                                              \
    return visit_dtype(dtype, [&]<class T>() {                                                      \
      if constexpr (!computed_in_double<T>)                                                         \
        map<arity, ScalarKind::kind, T>([](auto... x) { return scalar::name(x...); }, inputs, out); \
    });
#include "core/expr/scalar_ops.def"
#undef INGOT_SCALAR
    case ScalarOp::Cast:
    case ScalarOp::Const:
    case ScalarOp::None:
      break;
  }
  throw UsageError(cat("'", info(op).name, "' is not a function"));
}

void cast_reference(const Tensor& from, const Tensor& to) {
  visit_dtype(from.dtype(), [&]<class From>() {
    visit_dtype(to.dtype(), [&]<class To>() {
      const From* x = from.data<From>();
      To* y = to.data<To>();
      for (std::int64_t i = 0; i < to.numel(); ++i) y[i] = convert<From, To>(x[i]);
    });
  });
}

TensorType broadcast_type(std::span<const TensorType> operands, DType dtype) {
  TensorType t{dtype, {}};
  for (const auto& o : operands) t.shape = broadcast(t.shape, o.shape);
  for (const auto& o : operands)
    if (t.layout.is_row_major() && o.shape == t.shape) t.layout = o.layout;
  return t;
}

// Results whose relative error three digits would carry on: PyTorch's autocast keeps the same ones in f32.
Precision precision_of(ScalarOp op) {
  switch (op) {
    case ScalarOp::Exp:
    case ScalarOp::Expm1:
    case ScalarOp::Log:
    case ScalarOp::Log1p:
    case ScalarOp::Pow:
    case ScalarOp::Reciprocal:
    case ScalarOp::Rsqrt:
    case ScalarOp::Softplus:
      return Precision::Full;
    default:
      return Precision::Follow;
  }
}

void register_scalar_ops(Registry& registry) {
  for (const ScalarOpInfo& row : scalar_op_table()) {
    OpDef d;
    d.name = row.name;
    d.doc = scalar_doc(row);
    d.min_inputs = d.max_inputs = row.arity;
    d.infer = infer_scalar;
    d.scalar = row.op;
    d.precision = precision_of(row.op);
    d.reference = reference_of[static_cast<std::size_t>(row.op)];
    d.in_place = elementwise_in_place;
    if (has_scalar_gradient(row.op))
      d.gradient = scalar_gradient;
    else
      d.not_differentiable = "its result is a truth value";
    registry.add(std::move(d));
  }
}

OpDef def_cast() {
  OpDef d;
  d.name = "cast";
  d.doc = "The same elements in another dtype.";
  d.attrs = CastAttrs{};
  d.infer = infer_cast;
  d.gradient = gradient_cast;
  d.reference = reference_cast;
  return d;
}

OpDef def_fused() {
  OpDef d;
  d.name = "fused";
  d.doc = "A tape of scalar functions over broadcast operands.";
  d.max_inputs = -1;
  d.attrs = FusedAttrs{};
  d.infer = infer_fused;
  d.not_differentiable = "fusion runs after differentiation; build the gradient from the single functions";
  d.reference = reference_fused;
  d.cost = cost_fused;
  d.in_place = [](const Attrs& attrs, int num_inputs) {
    std::vector<std::array<int, 2>> pairs;
    const int outputs = static_cast<int>(attrs.as<FusedAttrs>().expr.outputs().size());
    for (int i = 0; i < num_inputs; ++i)
      for (int o = 0; o < outputs; ++o) pairs.push_back({i, o});
    return pairs;
  };
  return d;
}

}  // namespace ops

#define INGOT_DEFINE_1(name)            \
  Value name(Value x, SourceLoc loc) {  \
    return apply1(#name, {x}, {}, loc); \
  }
#define INGOT_DEFINE_2(name)                                    \
  Value name(Value a, Value b, SourceLoc loc) {                 \
    return apply1(#name, {a, b}, {}, loc);                      \
  }                                                             \
  Value name(Value a, double b, SourceLoc loc) {                \
    return apply1(#name, {a, scalar_like(a, b, loc)}, {}, loc); \
  }                                                             \
  Value name(double a, Value b, SourceLoc loc) {                \
    return apply1(#name, {scalar_like(b, a, loc), b}, {}, loc); \
  }
#define INGOT_DEFINE_3(name)                                       \
  Value name(Value c, Value a, Value b, SourceLoc loc) {           \
    return apply1(#name, {c, a, b}, {}, loc);                      \
  }                                                                \
  Value name(Value c, Value a, double b, SourceLoc loc) {          \
    return apply1(#name, {c, a, scalar_like(a, b, loc)}, {}, loc); \
  }                                                                \
  Value name(Value c, double a, Value b, SourceLoc loc) {          \
    return apply1(#name, {c, scalar_like(b, a, loc), b}, {}, loc); \
  }
#define INGOT_SCALAR(Enum, name, arity, kind) INGOT_DEFINE_##arity(name)
#include "core/expr/scalar_ops.def"
#undef INGOT_SCALAR

Value operator+(ValueAt a, ValueAt b) {
  return add(a.value, b.value, a.loc);
}
Value operator-(ValueAt a, ValueAt b) {
  return sub(a.value, b.value, a.loc);
}
Value operator*(ValueAt a, ValueAt b) {
  return mul(a.value, b.value, a.loc);
}
Value operator/(ValueAt a, ValueAt b) {
  return div(a.value, b.value, a.loc);
}
Value operator+(ValueAt a, double b) {
  return add(a.value, b, a.loc);
}
Value operator-(ValueAt a, double b) {
  return sub(a.value, b, a.loc);
}
Value operator*(ValueAt a, double b) {
  return mul(a.value, b, a.loc);
}
Value operator/(ValueAt a, double b) {
  return div(a.value, b, a.loc);
}
Value operator+(double a, ValueAt b) {
  return add(a, b.value, b.loc);
}
Value operator-(double a, ValueAt b) {
  return sub(a, b.value, b.loc);
}
Value operator*(double a, ValueAt b) {
  return mul(a, b.value, b.loc);
}
Value operator/(double a, ValueAt b) {
  return div(a, b.value, b.loc);
}
Value operator-(ValueAt x) {
  return neg(x.value, x.loc);
}

Value cast(Value x, DType dtype, SourceLoc loc) {
  if (x.dtype() == dtype) return x;
  return apply1("cast", {x}, CastAttrs{dtype}, std::move(loc));
}

std::vector<Value> fused(std::span<const Value> inputs, const ScalarExpr& expr, SourceLoc loc) {
  return apply("fused", inputs, FusedAttrs{expr}, std::move(loc));
}

Value sum_to_shape(Value x, const Shape& shape, SourceLoc loc) {
  if (x.shape() == shape) return x;
  if (!broadcastable_to(shape, x.shape()))
    throw ShapeError(
        cat("sum_to_shape: ", to_string(shape), " does not broadcast to ", to_string(x.shape())));
  std::vector<std::int64_t> axes;
  const int shift = x.rank() - shape.rank();
  for (int i = 0; i < x.rank(); ++i)
    if (i < shift || shape[i - shift] != x.dim(i)) axes.push_back(i);
  return reshape(axes.empty() ? x : sum(x, axes, true, loc), shape, loc);
}

}  // namespace ingot
