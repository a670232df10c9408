#include "core/ops/conv.h"

#include "core/ops/activation.h"
#include "core/ops/check.h"
#include "core/ops/reduce.h"
#include "core/ops/reference.h"
#include "core/ops/support.h"

namespace ingot {

namespace {

// The sizes of one convolution, read off (x, w, y) shapes: all that the loops need.
struct Geometry {
  std::int64_t n, c, h, w, o, oh, ow, kh, kw, cg, og;
  std::array<std::int64_t, 2> stride, padding, dilation;
};

template <class A>
Geometry geometry(const A& at, const Shape& x, const Shape& w, const Shape& y) {
  return {x[0],      x[1],       x[2],       x[3], w[0], y[2], y[3], w[2], w[3], w[1], w[0] / at.groups,
          at.stride, at.padding, at.dilation};
}

template <class A>
void check_geometry(const InferArgs& a, const A& at) {
  const auto refuse = [&](std::string_view field, const auto& v, std::string_view least) {
    throw UsageError(cat(a.op, ": ", field, " must be ", least, " or more, got (", join(v), ")"));
  };
  for (const std::size_t i : {0u, 1u}) {
    if (at.stride[i] < 1) refuse("stride", at.stride, "1");
    if (at.padding[i] < 0) refuse("padding", at.padding, "0");
    if (at.dilation[i] < 1) refuse("dilation", at.dilation, "1");
  }
  if (at.groups < 1) throw UsageError(cat(a.op, ": groups must be 1 or more, got ", at.groups));
}

// Checks channels and window, returns the shape of y.
template <class A>
Shape output_shape(const InferArgs& a, const A& at, const Shape& x, const Shape& w) {
  check_geometry(a, at);
  if (x[1] % at.groups != 0 || w[0] % at.groups != 0)
    throw ShapeError(cat(a.op, ": groups ", at.groups, " must divide the input's ", x[1],
                         " channels and the weight's ", w[0], " output channels"));
  if (w[1] * at.groups != x[1])
    throw ShapeError(cat(a.op, ": weight ", to_string(w), " expects ", w[1] * at.groups, " input channels (",
                         w[1], " x ", at.groups, " groups), the input ", to_string(x), " has ", x[1],
                         "; give a weight of shape ", to_string(Shape{w[0], x[1] / at.groups, w[2], w[3]})));
  Shape y{x[0], w[0], 0, 0};
  for (const int i : {0, 1}) {
    const auto u = static_cast<std::size_t>(i);
    if (w[2 + i] < 1) throw ShapeError(cat(a.op, ": the kernel of weight ", to_string(w), " is empty"));
    y[2 + i] = conv_output_size(x[2 + i], w[2 + i], at.stride[u], at.padding[u], at.dilation[u]);
    if (y[2 + i] < 1)
      throw ShapeError(cat(a.op, ": the kernel spans ", at.dilation[u] * (w[2 + i] - 1) + 1, " pixels of ",
                           i == 0 ? "height" : "width", " but the padded input has ",
                           x[2 + i] + 2 * at.padding[u], "; use more padding or a smaller kernel"));
  }
  return y;
}

void check_image(const InferArgs& a, int i, std::string_view what) {
  ops::check_rank(a, i, what, 4);
  if (i == 0)
    ops::check_floating(a, i, what);
  else
    ops::check_dtype(a, i, what, a.dtype(0));
}

void check_shape_attr(const InferArgs& a, const Shape& s, std::string_view field) {
  if (s.rank() != 4)
    throw UsageError(cat(a.op, ": attribute ", field, " must have rank 4, got ", to_string(s)));
}

void check_dy(const InferArgs& a, int i, const Shape& expected) {
  if (!(a.shape(i) == expected))
    throw ShapeError(cat(a.op, ": dy must have the shape of the convolution's result, ", to_string(expected),
                         ", got ", to_string(a.shape(i))));
}

std::vector<TensorType> infer_conv2d(const InferArgs& a) {
  const auto& at = a.attrs.as<Conv2dAttrs>();
  ops::check_count(a, 2u + at.has_bias + at.has_residual, "(x, weight, [bias], [residual])");
  activation_of(a.op, at.activation);
  check_image(a, 0, "x [N, C, H, W]");
  check_image(a, 1, "weight [O, C/groups, KH, KW]");
  const Shape y = output_shape(a, at, a.shape(0), a.shape(1));
  if (at.has_bias) {
    ops::check_dtype(a, 2, "bias", a.dtype(0));
    ops::check_shape(a, 2, "bias (one number per output channel)", Shape{y[1]});
  }
  if (at.has_residual) {
    ops::check_dtype(a, 2 + at.has_bias, "residual", a.dtype(0));
    ops::check_shape(a, 2 + at.has_bias, "residual (as the result)", y);
  }
  return {{a.dtype(0), y}};
}

std::vector<TensorType> infer_grad_input(const InferArgs& a) {
  const auto& at = a.attrs.as<Conv2dGradInputAttrs>();
  check_image(a, 0, "dy [N, O, OH, OW]");
  check_image(a, 1, "weight [O, C/groups, KH, KW]");
  check_shape_attr(a, at.input_shape, "input_shape");
  check_dy(a, 0, output_shape(a, at, at.input_shape, a.shape(1)));
  return {{a.dtype(0), at.input_shape}};
}

std::vector<TensorType> infer_grad_weight(const InferArgs& a) {
  const auto& at = a.attrs.as<Conv2dGradWeightAttrs>();
  check_image(a, 0, "x [N, C, H, W]");
  check_image(a, 1, "dy [N, O, OH, OW]");
  check_shape_attr(a, at.weight_shape, "weight_shape");
  check_dy(a, 1, output_shape(a, at, a.shape(0), at.weight_shape));
  return {{a.dtype(0), at.weight_shape}};
}

// The same geometry for another of the three ops.
template <class To, class From>
To with_geometry(const From& from) {
  To to;
  to.stride = from.stride;
  to.padding = from.padding;
  to.dilation = from.dilation;
  to.groups = from.groups;
  return to;
}
template <class From>
Value grad_input(const From& at, Value dy, Value w, const Shape& x) {
  auto to = with_geometry<Conv2dGradInputAttrs>(at);
  to.input_shape = x;
  return conv2d_grad_input(dy, w, to);
}
template <class From>
Value grad_weight(const From& at, Value x, Value dy, const Shape& w) {
  auto to = with_geometry<Conv2dGradWeightAttrs>(at);
  to.weight_shape = w;
  return conv2d_grad_weight(x, dy, to);
}

std::vector<Value> grad_conv2d(GradContext& c) {
  const auto at = c.attrs<Conv2dAttrs>();
  if (!at.activation.empty())
    throw UsageError(cat("conv2d: no gradient once the activation '", at.activation,
                         "' is fused in; differentiate before the epilogue pass runs"));
  const Value x = c.input(0), w = c.input(1), dy = c.grad();
  std::vector<Value> out(static_cast<std::size_t>(c.num_inputs()));
  if (c.needs(0)) out[0] = grad_input(at, dy, w, x.shape());
  if (c.needs(1)) out[1] = grad_weight(at, x, dy, w.shape());
  if (at.has_bias && c.needs(2)) out[2] = sum(dy, {0, 2, 3});
  if (at.has_residual) out.back() = dy;
  return out;
}

// dx is linear in dy and w; its adjoints are the convolution itself and the weight's gradient.
std::vector<Value> grad_grad_input(GradContext& c) {
  const auto at = c.attrs<Conv2dGradInputAttrs>();
  const Value dy = c.input(0), w = c.input(1), g = c.grad();
  std::vector<Value> out(2);
  if (c.needs(0)) out[0] = conv2d(g, w, with_geometry<Conv2dAttrs>(at));
  if (c.needs(1)) out[1] = grad_weight(at, g, dy, w.shape());
  return out;
}

std::vector<Value> grad_grad_weight(GradContext& c) {
  const auto at = c.attrs<Conv2dGradWeightAttrs>();
  const Value x = c.input(0), dy = c.input(1), g = c.grad();
  std::vector<Value> out(2);
  if (c.needs(0)) out[0] = grad_input(at, dy, g, x.shape());
  if (c.needs(1)) out[1] = conv2d(x, g, with_geometry<Conv2dAttrs>(at));
  return out;
}

void reference_conv2d(const RefArgs& r) {
  const auto& at = r.attrs.as<Conv2dAttrs>();
  const Geometry g = geometry(at, r.inputs[0].shape(), r.inputs[1].shape(), r.outputs[0].shape());
  const LastFunction act = activation_of("conv2d", at.activation);
  ops::visit_floating("conv2d", r.outputs[0].dtype(), [&]<class T>() {
    const T *x = r.inputs[0].data<T>(), *w = r.inputs[1].data<T>();
    const T* bias = at.has_bias ? r.inputs[2].data<T>() : nullptr;
    const T* residual = at.has_residual ? r.inputs[2u + at.has_bias].data<T>() : nullptr;
    T* y = r.outputs[0].data<T>();
    std::int64_t at_y = 0;
    for (std::int64_t n = 0; n < g.n; ++n)
      for (std::int64_t o = 0; o < g.o; ++o)
        for (std::int64_t i = 0; i < g.oh; ++i)
          for (std::int64_t j = 0; j < g.ow; ++j, ++at_y) {
            double acc = bias != nullptr ? static_cast<double>(bias[o]) : 0.0;
            for (std::int64_t c = 0; c < g.cg; ++c) {
              const T* plane = x + (n * g.c + o / g.og * g.cg + c) * g.h * g.w;
              const T* kernel = w + (o * g.cg + c) * g.kh * g.kw;
              for (std::int64_t k = 0; k < g.kh; ++k) {
                const std::int64_t row = i * g.stride[0] - g.padding[0] + k * g.dilation[0];
                if (row < 0 || row >= g.h) continue;
                for (std::int64_t l = 0; l < g.kw; ++l) {
                  const std::int64_t col = j * g.stride[1] - g.padding[1] + l * g.dilation[1];
                  if (col < 0 || col >= g.w) continue;
                  acc +=
                      static_cast<double>(plane[row * g.w + col]) * static_cast<double>(kernel[k * g.kw + l]);
                }
              }
            }
            if (residual != nullptr) acc += static_cast<double>(residual[at_y]);
            y[at_y] = static_cast<T>(activate(act, acc));
          }
  });
}

void reference_grad_input(const RefArgs& r) {
  const auto& at = r.attrs.as<Conv2dGradInputAttrs>();
  const Geometry g = geometry(at, r.outputs[0].shape(), r.inputs[1].shape(), r.inputs[0].shape());
  // The output position that reads input position `in` through kernel position `k`, or -1.
  const auto source = [&](std::size_t axis, std::int64_t in, std::int64_t k, std::int64_t size) {
    const std::int64_t t = in + g.padding[axis] - k * g.dilation[axis];
    if (t < 0 || t % g.stride[axis] != 0 || t / g.stride[axis] >= size) return std::int64_t{-1};
    return t / g.stride[axis];
  };
  ops::visit_floating("conv2d_grad_input", r.outputs[0].dtype(), [&]<class T>() {
    const T *dy = r.inputs[0].data<T>(), *w = r.inputs[1].data<T>();
    T* dx = r.outputs[0].data<T>();
    for (std::int64_t n = 0; n < g.n; ++n)
      for (std::int64_t c = 0; c < g.c; ++c)
        for (std::int64_t row = 0; row < g.h; ++row)
          for (std::int64_t col = 0; col < g.w; ++col) {
            double acc = 0.0;
            const std::int64_t first = c / g.cg * g.og;
            for (std::int64_t k = 0; k < g.kh; ++k) {
              const std::int64_t i = source(0, row, k, g.oh);
              if (i < 0) continue;
              for (std::int64_t l = 0; l < g.kw; ++l) {
                const std::int64_t j = source(1, col, l, g.ow);
                if (j < 0) continue;
                for (std::int64_t o = first; o < first + g.og; ++o)
                  acc += static_cast<double>(dy[((n * g.o + o) * g.oh + i) * g.ow + j]) *
                         static_cast<double>(w[((o * g.cg + c % g.cg) * g.kh + k) * g.kw + l]);
              }
            }
            dx[((n * g.c + c) * g.h + row) * g.w + col] = static_cast<T>(acc);
          }
  });
}

void reference_grad_weight(const RefArgs& r) {
  const auto& at = r.attrs.as<Conv2dGradWeightAttrs>();
  const Geometry g = geometry(at, r.inputs[0].shape(), r.outputs[0].shape(), r.inputs[1].shape());
  ops::visit_floating("conv2d_grad_weight", r.outputs[0].dtype(), [&]<class T>() {
    const T *x = r.inputs[0].data<T>(), *dy = r.inputs[1].data<T>();
    T* dw = r.outputs[0].data<T>();
    for (std::int64_t o = 0; o < g.o; ++o)
      for (std::int64_t c = 0; c < g.cg; ++c)
        for (std::int64_t k = 0; k < g.kh; ++k)
          for (std::int64_t l = 0; l < g.kw; ++l) {
            double acc = 0.0;
            for (std::int64_t n = 0; n < g.n; ++n) {
              const T* plane = x + (n * g.c + o / g.og * g.cg + c) * g.h * g.w;
              const T* up = dy + (n * g.o + o) * g.oh * g.ow;
              for (std::int64_t i = 0; i < g.oh; ++i) {
                const std::int64_t row = i * g.stride[0] - g.padding[0] + k * g.dilation[0];
                if (row < 0 || row >= g.h) continue;
                for (std::int64_t j = 0; j < g.ow; ++j) {
                  const std::int64_t col = j * g.stride[1] - g.padding[1] + l * g.dilation[1];
                  if (col < 0 || col >= g.w) continue;
                  acc += static_cast<double>(plane[row * g.w + col]) * static_cast<double>(up[i * g.ow + j]);
                }
              }
            }
            dw[((o * g.cg + c) * g.kh + k) * g.kw + l] = static_cast<T>(acc);
          }
  });
}

// Padding is counted as work, as everybody counts it.
double conv_flops(const Shape& w, const Shape& y) {
  return 2.0 * static_cast<double>(y.numel()) * static_cast<double>(w[1] * w[2] * w[3]);
}

Cost cost_conv2d(const Attrs& attrs, std::span<const TensorType> in, std::span<const TensorType> out) {
  const auto& at = attrs.as<Conv2dAttrs>();
  const double epilogue =
      (at.has_bias ? 1.0 : 0.0) + (at.has_residual ? 1.0 : 0.0) + (at.activation.empty() ? 0.0 : 1.0);
  return {conv_flops(in[1].shape, out[0].shape) + epilogue * static_cast<double>(out[0].numel()),
          ops::operand_bytes(in, out)};
}
Cost cost_grad_input(const Attrs&, std::span<const TensorType> in, std::span<const TensorType> out) {
  return {conv_flops(in[1].shape, in[0].shape), ops::operand_bytes(in, out)};
}
Cost cost_grad_weight(const Attrs&, std::span<const TensorType> in, std::span<const TensorType> out) {
  return {conv_flops(out[0].shape, in[1].shape), ops::operand_bytes(in, out)};
}

}  // namespace

std::int64_t conv_output_size(std::int64_t input, std::int64_t kernel, std::int64_t stride,
                              std::int64_t padding, std::int64_t dilation) {
  const std::int64_t room = input + 2 * padding - dilation * (kernel - 1) - 1;
  return room < 0 ? 0 : room / stride + 1;
}

Value conv2d(Value x, Value weight, Conv2dAttrs attrs, SourceLoc loc) {
  return conv2d(x, weight, Value{}, std::move(attrs), std::move(loc));
}

Value conv2d(Value x, Value weight, Value bias, Conv2dAttrs attrs, SourceLoc loc) {
  attrs.has_bias = bias.defined();
  attrs.has_residual = false;
  if (bias.defined()) return apply1("conv2d", {x, weight, bias}, attrs, std::move(loc));
  return apply1("conv2d", {x, weight}, attrs, std::move(loc));
}

Value conv2d_grad_input(Value dy, Value weight, const Conv2dGradInputAttrs& attrs, SourceLoc loc) {
  return apply1("conv2d_grad_input", {dy, weight}, attrs, std::move(loc));
}

Value conv2d_grad_weight(Value x, Value dy, const Conv2dGradWeightAttrs& attrs, SourceLoc loc) {
  return apply1("conv2d_grad_weight", {x, dy}, attrs, std::move(loc));
}

namespace ops {

OpDef def_conv2d() {
  OpDef d;
  d.precision = Precision::Compute;
  d.name = "conv2d";
  d.doc = "Two-dimensional convolution with groups, stride, padding and dilation, and an optional epilogue";
  d.min_inputs = 2;
  d.max_inputs = 4;
  d.attrs = Conv2dAttrs{};
  d.infer = infer_conv2d;
  d.gradient = grad_conv2d;
  d.reference = reference_conv2d;
  d.cost = cost_conv2d;
  return d;
}

OpDef def_conv2d_grad_input() {
  OpDef d;
  d.precision = Precision::Compute;
  d.name = "conv2d_grad_input";
  d.doc = "Gradient of conv2d with respect to its input; also the transposed convolution";
  d.min_inputs = d.max_inputs = 2;
  d.attrs = Conv2dGradInputAttrs{};
  d.infer = infer_grad_input;
  d.gradient = grad_grad_input;
  d.reference = reference_grad_input;
  d.cost = cost_grad_input;
  return d;
}

OpDef def_conv2d_grad_weight() {
  OpDef d;
  d.precision = Precision::Compute;
  d.name = "conv2d_grad_weight";
  d.doc = "Gradient of conv2d with respect to its weight";
  d.min_inputs = d.max_inputs = 2;
  d.attrs = Conv2dGradWeightAttrs{};
  d.infer = infer_grad_weight;
  d.gradient = grad_grad_weight;
  d.reference = reference_grad_weight;
  d.cost = cost_grad_weight;
  return d;
}

}  // namespace ops
}  // namespace ingot
