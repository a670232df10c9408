#include "core/ops/creation.h"

#include "core/ops/reference.h"

namespace ingot {

namespace {

constexpr const char* kNoOperands = "it has no operands";

std::vector<TensorType> infer_full(const InferArgs& a) {
  const auto& f = a.attrs.as<FullAttrs>();
  return {{f.dtype, f.shape}};
}

void reference_full(const RefArgs& a) {
  const auto& f = a.attrs.as<FullAttrs>();
  const Tensor& y = a.outputs[0];
  for (std::int64_t i = 0; i < y.numel(); ++i) y.set(i, f.value);
}

std::vector<TensorType> infer_constant(const InferArgs& a) {
  const Tensor& t = a.attrs.as<ConstantAttrs>().value;
  if (!t.defined()) throw UsageError(cat(a.op, ": the attribute 'value' holds no tensor"));
  return {{t.dtype(), t.shape()}};
}

void reference_constant(const RefArgs& a) {
  a.outputs[0].copy_from(a.attrs.as<ConstantAttrs>().value);
}

std::vector<TensorType> infer_iota(const InferArgs& a) {
  const auto& f = a.attrs.as<IotaAttrs>();
  if (f.n < 0) throw ShapeError(cat(a.op, ": n must not be negative, got ", f.n));
  if (f.dtype == DType::Bool) throw ShapeError(cat(a.op, ": expects a numeric dtype, got bool"));
  return {{f.dtype, Shape{f.n}}};
}

void reference_iota(const RefArgs& a) {
  const Tensor& y = a.outputs[0];
  for (std::int64_t i = 0; i < y.numel(); ++i) y.set(i, static_cast<double>(i));
}

OpDef creation(std::string name, std::string doc, Attrs attrs, InferFn infer, RefFn reference) {
  OpDef d;
  d.name = std::move(name);
  d.doc = std::move(doc);
  d.min_inputs = d.max_inputs = 0;
  d.attrs = std::move(attrs);
  d.infer = infer;
  d.not_differentiable = kNoOperands;
  d.reference = reference;
  return d;
}

}  // namespace

namespace ops {

OpDef def_full() {
  return creation("full", "A tensor whose elements all have one value.", FullAttrs{}, infer_full,
                  reference_full);
}

OpDef def_constant() {
  return creation("constant", "A tensor whose elements are known when the graph is built.", ConstantAttrs{},
                  infer_constant, reference_constant);
}

OpDef def_iota() {
  return creation("iota", "The numbers 0, 1, ..., n - 1.", IotaAttrs{}, infer_iota, reference_iota);
}

}  // namespace ops

Value full(Graph& graph, double value, const TensorType& type, SourceLoc loc) {
  return apply0(graph, "full", FullAttrs{value, type.dtype, type.shape}, std::move(loc));
}

Value scalar_like(Value like, double value, SourceLoc loc) {
  return full(like.graph(), value, {like.dtype(), {}}, std::move(loc));
}

Value zeros_like(Value like, SourceLoc loc) {
  return full(like.graph(), 0.0, like.type(), std::move(loc));
}

Value ones_like(Value like, SourceLoc loc) {
  return full(like.graph(), 1.0, like.type(), std::move(loc));
}

Value constant(Graph& graph, const Tensor& value, SourceLoc loc) {
  return apply0(graph, "constant", ConstantAttrs{value.defined() ? value.contiguous() : value},
                std::move(loc));
}

Value iota(Graph& graph, std::int64_t n, DType dtype, SourceLoc loc) {
  return apply0(graph, "iota", IotaAttrs{n, dtype}, std::move(loc));
}

}  // namespace ingot
