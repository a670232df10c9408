// Convolutions and their gradients through oneDNN.
//
// Images are channels-last; one channel lies so anyhow. (oneDNN reads a row-major first layer only where it
// writes its own blocked layout, so three channels are reordered before it.) Weights lie as the forward
// primitive wants them; their gradients are written in that layout too, so that the update needs no reorder.
// Where the gradient of the input wants the weights otherwise, the step reorders them in its workspace:
// weights are small beside images.
#include "core/ops/conv.h"

#include "cpu/bfloat_conv.h"
#include "cpu/onednn.h"
#include "cpu/planar_conv.h"
#include "cpu/pointwise_conv.h"
#include "cpu/touched_pixels.h"
#include "cpu/unpooled_conv.h"
#include "cpu/winograd.h"

namespace ingot::cpu {

namespace {

using dnnl::memory;

struct Geometry {
  memory::dims stride, dilation, padding;
  std::int64_t groups = 1;
};

template <class A>
Geometry geometry(const A& a) {
  return {{a.stride[0], a.stride[1]},
          {a.dilation[0] - 1, a.dilation[1] - 1},  // oneDNN counts the pixels between taps
          {a.padding[0], a.padding[1]},
          a.groups};
}

// Strided 1x1 convolutions in bf16 run over the pixels they touch only: of oneDNN's kernels for them some
// write out of bounds (cpu/touched_pixels.h). With padding they are left to f32.
bool refused(const Geometry& g, const TensorType& w) {
  return w.dtype == DType::BF16 && w.shape[2] == 1 && w.shape[3] == 1 && g.stride != memory::dims{1, 1};
}

// Trailing padding: oneDNN wants the window grid to end exactly; PyTorch lets pixels over at the end go
// unread.
memory::dims trailing_padding(const Geometry& g, const Shape& x, const Shape& w, const Shape& y) {
  memory::dims end;
  for (int i = 0; i < 2; ++i) {
    const auto u = static_cast<std::size_t>(i);
    const std::int64_t span = (g.dilation[u] + 1) * (w[2 + i] - 1) + 1;
    end.push_back((y[2 + i] - 1) * g.stride[u] + span - x[2 + i] - g.padding[u]);
  }
  return end;
}

struct Descs {
  memory::desc x, w_any, y;
};

memory::desc any_of(const memory::desc& d) {
  return {d.get_dims(), d.get_data_type(), memory::format_tag::any};
}

TensorType with(TensorType t, const Layout& l) {
  t.layout = l;
  return t;
}

// Channels-last wherever the memory allows that reading: oneDNN compares strides of unit axes too.
std::optional<memory::desc> image_desc(const TensorType& t) {
  const TensorType nhwc = with(t, Layout::channels_last(4));
  return to_desc(t.same_memory(nhwc) ? nhwc : t);
}

std::optional<Descs> descs(const TensorType& x, const TensorType& w, const TensorType& y,
                           std::int64_t groups) {
  for (const TensorType* t : {&x, &w, &y})
    if (t->dtype != x.dtype || !onednn_computes(t->dtype) || t->numel() == 0) return std::nullopt;
  const auto xd = image_desc(x), yd = image_desc(y), wd = to_desc({w.dtype, w.shape}, groups);
  if (!xd || !yd || !wd) return std::nullopt;
  return Descs{*xd, any_of(*wd), *yd};
}

dnnl::convolution_forward::primitive_desc forward_pd(const Geometry& g, const Descs& d, const memory::desc& w,
                                                     const memory::desc* bias, const memory::dims& end,
                                                     const dnnl::primitive_attr& attr) {
  constexpr auto kind = dnnl::prop_kind::forward_training;
  constexpr auto direct = dnnl::algorithm::convolution_direct;
  if (bias != nullptr)
    return {onednn_engine(), kind,       direct,    d.x, w,    *bias, d.y,
            g.stride,        g.dilation, g.padding, end, attr, true};
  return {onednn_engine(), kind, direct, d.x, w, d.y, g.stride, g.dilation, g.padding, end, attr, true};
}

dnnl::primitive_attr plain_attr() {
  return *epilogue_attr("");
}

constexpr std::array<std::int64_t, 2> kOnes{1, 1};

template <class A>
bool slides_by_one(const A& a) {
  return a.stride == kOnes && a.dilation == kOnes && a.groups == 1;
}

// See cpu/touched_pixels.h. `image` is the side of the convolution that has more pixels than it touches.
template <class A>
bool strided_pointwise(const A& a, const Shape& w, const TensorType& image) {
  return w[2] == 1 && w[3] == 1 && a.padding == std::array<std::int64_t, 2>{0, 0} && a.stride != kOnes &&
         onednn_computes(image.dtype) && image.numel() != 0 && lies_channels_last(image);
}

Geometry dense(Geometry g) {
  g.stride = {1, 1};
  return g;
}

// The layout of the weights that the forward convolution over such images is fastest with; row-major when it
// cannot be said as a Layout.
Layout weight_layout(const Geometry& g, const TensorType& x, const TensorType& w, const TensorType& y) {
  if (refused(g, w) && g.padding == memory::dims{0, 0})  // over the touched pixels
    return weight_layout(dense(g), touched_type(x, {g.stride[0], g.stride[1]}), w, y);
  const auto d = descs(x, w, y, g.groups);
  if (!d) return {};
  const auto pd =
      forward_pd(g, *d, d->w_any, nullptr, trailing_padding(g, x.shape, w.shape, y.shape), plain_attr());
  if (!pd) return {};
  const auto layout = to_layout(pd.weights_desc(), g.groups);
  if (!layout || !to_desc({w.dtype, w.shape, *layout}, g.groups)) return {};
  return *layout;
}

Layout image_layout(const TensorType& x) {
  return lies_channels_last(x) ? x.layout : Layout::channels_last(4);
}

// conv2d: x, w, [bias], [residual] -> y

Backend::Layouts layouts_conv2d(const Problem& p, const std::vector<bool>& state_free) {
  if (!onednn_computes(p.in(0).dtype)) return {};
  const auto& a = p.attrs<Conv2dAttrs>();
  const Layout image = image_layout(p.in(0)), nhwc = Layout::channels_last(4);
  Layout weight = p.in(1).layout;
  if (state_free[1] || weight.is_row_major())
    weight = weight_layout(geometry(a), with(p.in(0), image), p.in(1), with(p.out(), nhwc));
  Backend::Layouts l{{image, weight}, {nhwc}};
  if (a.has_bias) l.inputs.push_back({});
  if (a.has_residual) l.inputs.push_back(nhwc);
  return l;
}

// Null when declined. `x` stands for operand 0.
std::unique_ptr<PrimitiveStep> make_conv2d(const Problem& p, const Geometry& g, const TensorType& x) {
  const auto& a = p.attrs<Conv2dAttrs>();
  if (refused(g, p.in(1))) return nullptr;
  const auto d = descs(x, p.in(1), p.out(), g.groups);
  const auto w = to_desc(p.in(1), g.groups);
  if (!d || !w) return nullptr;
  std::optional<memory::desc> bias, residual;
  if (a.has_bias) bias = to_desc(p.in(2));
  if (a.has_residual) residual = image_desc(p.in(2 + a.has_bias));
  const auto attr = epilogue_attr(a.activation, residual ? &*residual : nullptr);
  if (!attr || (a.has_residual && !residual)) return nullptr;
  const auto pd = forward_pd(g, *d, d->w_any, bias ? &*bias : nullptr,
                             trailing_padding(g, x.shape, p.in(1).shape, p.out().shape), *attr);
  if (!pd) return nullptr;
  auto step = std::make_unique<PrimitiveStep>(cat("onednn:", pd.impl_info_str()), p.target.threads);
  step->read(DNNL_ARG_SRC, 0, d->x, pd.src_desc());
  step->read(DNNL_ARG_WEIGHTS, 1, *w, pd.weights_desc());
  if (bias) step->read(DNNL_ARG_BIAS, 2, *bias, *bias);
  if (residual)
    step->read(DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1, 2 + a.has_bias, *residual, *residual);
  step->write(DNNL_ARG_DST, 0, d->y, pd.dst_desc());
  step->execute(pd);
  return step;
}

std::unique_ptr<Step> make_conv2d_planar(const Problem& p, const TensorType& x, const TensorType& w,
                                         const TensorType& y) {
  const auto& a = p.attrs<Conv2dAttrs>();
  PlanarProblem q{x, w, y};
  q.top = a.padding[0];
  q.left = a.padding[1];
  q.has_bias = a.has_bias;
  q.relu = a.activation == "relu";
  if (!slides_by_one(a) || a.has_residual || (!a.activation.empty() && !q.relu)) return nullptr;
  return make_planar(q, p.target.threads);
}

std::unique_ptr<Step> lower_conv2d_planar(const Problem& p) {
  return make_conv2d_planar(p, p.in(0), p.in(1), p.out());
}

// As the other kernels', with weights in the layout that Winograd's transform wants, where it is free.
Backend::Layouts layouts_conv2d_winograd(const Problem& p, const std::vector<bool>& state_free) {
  Backend::Layouts l = layouts_conv2d(p, state_free);
  if (!l.outputs.empty() && (state_free[1] || p.in(1).layout.is_row_major()))
    l.inputs[1] = winograd_weight_layout();
  return l;
}

std::unique_ptr<Step> lower_conv2d_winograd(const Problem& p) {
  const auto& a = p.attrs<Conv2dAttrs>();
  WinogradProblem q{p.in(0), p.in(1), p.out()};
  q.top = a.padding[0];
  q.left = a.padding[1];
  q.has_bias = a.has_bias;
  q.relu = a.activation == "relu";
  if (a.has_residual) q.residual = &p.in(2 + a.has_bias);
  if (!slides_by_one(a) || (!a.activation.empty() && !q.relu) ||
      winograd_share(p.in(0).shape, p.out().shape, p.in(0).dtype) >= 1)
    return nullptr;
  return make_winograd(q, p.target.threads);
}

// One channel in bf16 leaves most of oneDNN's lanes empty: the planar kernel between two conversions is
// faster.
bool planar_in_f32(const Problem& p) {
  const auto f32 = [](TensorType t) {
    t.dtype = DType::F32;
    return t;
  };
  return p.in(0).dtype == DType::BF16 && p.in(0).shape[1] == 1 &&
         make_conv2d_planar(p, f32(p.in(0)), f32(p.in(1)), f32(p.out())) != nullptr;
}

std::unique_ptr<Step> lower_conv2d(const Problem& p) {
  if (planar_in_f32(p)) return nullptr;
  const auto& a = p.attrs<Conv2dAttrs>();
  auto step = make_conv2d(p, geometry(a), p.in(0));
  // The kernels with the defect described in cpu/touched_pixels.h.
  if ((step == nullptr || step->kernel.starts_with("onednn:jit_1x1")) &&
      strided_pointwise(a, p.in(1).shape, p.in(0))) {
    step = make_conv2d(p, dense(geometry(a)), touched_type(p.in(0), a.stride));
    if (step == nullptr) return nullptr;
    return touched_pixels(std::move(step), Touched::Input, p.in(0), a.stride, p.target.threads);
  }
  return step;
}

// conv2d_grad_input: dy, w -> dx

Backend::Layouts layouts_grad_input(const Problem& p, const std::vector<bool>& state_free) {
  if (!onednn_computes(p.in(0).dtype)) return {};
  const auto& a = p.attrs<Conv2dGradInputAttrs>();
  const Layout nhwc = Layout::channels_last(4);
  Layout weight = p.in(1).layout;
  if (state_free[1]) weight = weight_layout(geometry(a), with(p.out(), nhwc), p.in(1), with(p.in(0), nhwc));
  return {{nhwc, weight}, {nhwc}};
}

std::unique_ptr<PrimitiveStep> make_grad_input(const Geometry& g, const TensorType& dy, const TensorType& w,
                                               const TensorType& dx, int threads) {
  if (refused(g, w)) return nullptr;
  const auto d = descs(dx, w, dy, g.groups);
  const auto given = to_desc(w, g.groups);
  if (!d || !given) return nullptr;
  const auto end = trailing_padding(g, dx.shape, w.shape, dy.shape);
  const auto hint = forward_pd(g, *d, d->w_any, nullptr, end, plain_attr());
  if (!hint) return nullptr;
  const dnnl::convolution_backward_data::primitive_desc pd(
      onednn_engine(), dnnl::algorithm::convolution_direct, d->x, d->w_any, d->y, g.stride, g.dilation,
      g.padding, end, hint, plain_attr(), true);
  if (!pd) return nullptr;
  auto step = std::make_unique<PrimitiveStep>(cat("onednn:", pd.impl_info_str()), threads);
  step->read(DNNL_ARG_DIFF_DST, 0, d->y, pd.diff_dst_desc());
  step->read(DNNL_ARG_WEIGHTS, 1, *given, pd.weights_desc());
  step->write(DNNL_ARG_DIFF_SRC, 0, d->x, pd.diff_src_desc());
  step->execute(pd);
  return step;
}

std::unique_ptr<Step> lower_grad_input(const Problem& p) {
  return make_grad_input(geometry(p.attrs<Conv2dGradInputAttrs>()), p.in(0), p.in(1), p.out(),
                         p.target.threads);
}

std::unique_ptr<Step> lower_grad_input_touched(const Problem& p) {
  const auto& a = p.attrs<Conv2dGradInputAttrs>();
  if (!strided_pointwise(a, p.in(1).shape, p.out())) return nullptr;
  auto product = make_grad_input(dense(geometry(a)), p.in(0), p.in(1), touched_type(p.out(), a.stride),
                                 p.target.threads);
  if (product == nullptr) return nullptr;
  return touched_pixels(std::move(product), Touched::Output, p.out(), a.stride, p.target.threads);
}

std::unique_ptr<Step> lower_grad_input_planar(const Problem& p) {
  const auto& a = p.attrs<Conv2dGradInputAttrs>();
  const Shape& w = p.in(1).shape;
  PlanarProblem q{p.in(0), p.in(1), p.out()};
  q.top = w[2] - 1 - a.padding[0];
  q.left = w[3] - 1 - a.padding[1];
  q.gradient = true;
  if (!slides_by_one(a)) return nullptr;
  return make_planar(q, p.target.threads);
}

Backend::Layouts layouts_grad_input_winograd(const Problem& p, const std::vector<bool>& state_free) {
  Backend::Layouts l = layouts_grad_input(p, state_free);
  if (!l.outputs.empty() && state_free[1]) l.inputs[1] = winograd_weight_layout();
  return l;
}

std::unique_ptr<Step> lower_grad_input_winograd(const Problem& p) {
  const auto& a = p.attrs<Conv2dGradInputAttrs>();
  WinogradProblem q{p.in(0), p.in(1), p.out()};
  q.top = 2 - a.padding[0];
  q.left = 2 - a.padding[1];
  q.gradient = true;
  if (!slides_by_one(a) || winograd_share(p.in(0).shape, p.out().shape, p.in(0).dtype) >= 1) return nullptr;
  return make_winograd(q, p.target.threads);
}

std::unique_ptr<Step> lower_grad_input_spread(const Problem& p) {
  const auto& a = p.attrs<Conv2dGradInputAttrs>();
  if (!slides_by_one(a)) return nullptr;
  return make_spread(p.in(0), p.in(1), p.out(), a.padding[0], a.padding[1], p.target.threads);
}

// conv2d_grad_weight: x, dy -> dw

Backend::Layouts layouts_grad_weight(const Problem& p, const std::vector<bool>&) {
  if (!onednn_computes(p.in(0).dtype)) return {};
  const auto& a = p.attrs<Conv2dGradWeightAttrs>();
  const Layout image = image_layout(p.in(0)), nhwc = Layout::channels_last(4);
  return {{image, nhwc}, {weight_layout(geometry(a), with(p.in(0), image), p.out(), with(p.in(1), nhwc))}};
}

std::unique_ptr<PrimitiveStep> make_grad_weight(const Problem& p, const Geometry& g, const TensorType& x) {
  if (refused(g, p.out())) return nullptr;
  const auto d = descs(x, p.out(), p.in(1), g.groups);
  const auto w = to_desc(p.out(), g.groups);
  if (!d || !w) return nullptr;
  const auto end = trailing_padding(g, x.shape, p.out().shape, p.in(1).shape);
  const auto hint = forward_pd(g, *d, d->w_any, nullptr, end, plain_attr());
  if (!hint) return nullptr;
  const dnnl::convolution_backward_weights::primitive_desc pd(
      onednn_engine(), dnnl::algorithm::convolution_direct, d->x, d->w_any, d->y, g.stride, g.dilation,
      g.padding, end, hint, plain_attr(), true);
  if (!pd) return nullptr;
  auto step = std::make_unique<PrimitiveStep>(cat("onednn:", pd.impl_info_str()), p.target.threads);
  step->read(DNNL_ARG_SRC, 0, d->x, pd.src_desc());
  step->read(DNNL_ARG_DIFF_DST, 1, d->y, pd.diff_dst_desc());
  step->write(DNNL_ARG_DIFF_WEIGHTS, 0, *w, pd.diff_weights_desc());
  step->execute(pd);
  return step;
}

std::unique_ptr<Step> lower_grad_weight(const Problem& p) {
  return make_grad_weight(p, geometry(p.attrs<Conv2dGradWeightAttrs>()), p.in(0));
}

Backend::Layouts layouts_grad_weight_winograd(const Problem& p, const std::vector<bool>& state_free) {
  Backend::Layouts l = layouts_grad_weight(p, state_free);
  if (!l.outputs.empty()) l.outputs[0] = winograd_weight_layout();
  return l;
}

std::unique_ptr<Step> lower_grad_weight_winograd(const Problem& p) {
  const auto& a = p.attrs<Conv2dGradWeightAttrs>();
  if (!slides_by_one(a) || winograd_share(p.in(0).shape, p.in(1).shape, p.in(0).dtype) >= 1) return nullptr;
  return make_winograd_grad_weight(p.in(0), p.in(1), p.out(), a.padding[0], a.padding[1], p.target.threads);
}

std::unique_ptr<Step> lower_grad_weight_bfloat(const Problem& p) {
  const auto& a = p.attrs<Conv2dGradWeightAttrs>();
  if (a.groups != 1) return nullptr;
  return make_bfloat_grad_weight(p.in(0), p.in(1), p.out(), {a.stride, a.padding, a.dilation},
                                 p.target.threads);
}

std::unique_ptr<Step> lower_grad_weight_touched(const Problem& p) {
  const auto& a = p.attrs<Conv2dGradWeightAttrs>();
  if (!strided_pointwise(a, p.out().shape, p.in(0))) return nullptr;
  auto product = make_grad_weight(p, dense(geometry(a)), touched_type(p.in(0), a.stride));
  if (product == nullptr) return nullptr;
  return touched_pixels(std::move(product), Touched::Input, p.in(0), a.stride, p.target.threads);
}

std::unique_ptr<Step> lower_grad_weight_pointwise(const Problem& p) {
  const auto& a = p.attrs<Conv2dGradWeightAttrs>();
  const Shape& w = p.out().shape;
  if (!slides_by_one(a) || w[2] != 1 || w[3] != 1 || a.padding != std::array<std::int64_t, 2>{0, 0})
    return nullptr;
  return make_pointwise_grad_weight(p.in(0), p.in(1), p.out(), p.target.threads);
}

std::unique_ptr<Step> lower_grad_weight_planar(const Problem& p) {
  const auto& a = p.attrs<Conv2dGradWeightAttrs>();
  if (!slides_by_one(a)) return nullptr;
  return make_planar_grad_weight(p.in(0), p.in(1), p.out(), a.padding[0], a.padding[1], p.target.threads);
}

// The gradients of max pooled convolutions: dy, offset, w -> dx and x, dy, offset -> dw

// As the unpooled gradient would lie.
TensorType unpooled_type(const Problem& p, int dy, const UnpooledConvAttrs& a) {
  return {p.in(dy).dtype, a.pool_input_shape, Layout::channels_last(4)};
}

Backend::Layouts layouts_grad_input_unpooled(const Problem& p, const std::vector<bool>& state_free) {
  if (p.in(0).dtype != DType::F32) return {};
  const auto& a = p.attrs<Conv2dGradInputUnpooledAttrs>();
  const Layout nhwc = Layout::channels_last(4);
  Layout weight = p.in(2).layout;
  if (state_free[2])
    weight = weight_layout(geometry(a), with(p.out(), nhwc), p.in(2), unpooled_type(p, 0, a));
  return {{nhwc, nhwc, weight}, {nhwc}};
}

std::unique_ptr<Step> lower_grad_input_unpooled(const Problem& p) {
  return make_unpooled_grad_input(p.in(0), p.in(1), p.in(2), p.out(), p.attrs<Conv2dGradInputUnpooledAttrs>(),
                                  p.target.threads);
}

Backend::Layouts layouts_grad_weight_unpooled(const Problem& p, const std::vector<bool>&) {
  if (p.in(0).dtype != DType::F32) return {};
  const auto& a = p.attrs<Conv2dGradWeightUnpooledAttrs>();
  const Layout image = image_layout(p.in(0)), nhwc = Layout::channels_last(4);
  return {{image, nhwc, nhwc},
          {weight_layout(geometry(a), with(p.in(0), image), p.out(), unpooled_type(p, 1, a))}};
}

std::unique_ptr<Step> lower_grad_weight_unpooled(const Problem& p) {
  return make_unpooled_grad_weight(p.in(0), p.in(1), p.in(2), p.out(),
                                   p.attrs<Conv2dGradWeightUnpooledAttrs>(), p.target.threads);
}

}  // namespace

void add_conv(LoweringTable& t) {
  t.add("conv2d", {.lower = lower_conv2d_planar, .layouts = layouts_conv2d});
  t.add("conv2d", {.lower = lower_conv2d_winograd, .layouts = layouts_conv2d_winograd});
  t.add("conv2d", {.lower = lower_conv2d, .layouts = layouts_conv2d});
  t.add("conv2d_grad_input", {.lower = lower_grad_input_touched, .layouts = layouts_grad_input});
  t.add("conv2d_grad_input", {.lower = lower_grad_input_winograd, .layouts = layouts_grad_input_winograd});
  t.add("conv2d_grad_input", {.lower = lower_grad_input_spread, .layouts = layouts_grad_input});
  t.add("conv2d_grad_input", {.lower = lower_grad_input_planar, .layouts = layouts_grad_input});
  t.add("conv2d_grad_input", {.lower = lower_grad_input, .layouts = layouts_grad_input});
  t.add("conv2d_grad_weight", {.lower = lower_grad_weight_winograd, .layouts = layouts_grad_weight_winograd});
  t.add("conv2d_grad_weight", {.lower = lower_grad_weight_bfloat, .layouts = layouts_grad_weight});
  t.add("conv2d_grad_weight", {.lower = lower_grad_weight_touched, .layouts = layouts_grad_weight});
  t.add("conv2d_grad_weight", {.lower = lower_grad_weight_planar, .layouts = layouts_grad_weight});
  t.add("conv2d_grad_weight", {.lower = lower_grad_weight_pointwise, .layouts = layouts_grad_weight});
  t.add("conv2d_grad_weight", {.lower = lower_grad_weight, .layouts = layouts_grad_weight});
  t.add("conv2d_grad_input_unpooled",
        {.lower = lower_grad_input_unpooled, .layouts = layouts_grad_input_unpooled});
  t.add("conv2d_grad_weight_unpooled",
        {.lower = lower_grad_weight_unpooled, .layouts = layouts_grad_weight_unpooled});
}

}  // namespace ingot::cpu
