// Convolutions and their gradients through oneDNN.
//
// Images are channels-last; one channel lies so anyhow. (oneDNN reads a row-major first layer only where it
// writes its own blocked layout, so three channels are reordered before it.) Weights lie as the forward
// primitive wants them; their gradients are written in that layout too, so that the update needs no reorder.
// Where the gradient of the input wants the weights otherwise, the step reorders them in its workspace:
// weights are small beside images.
#include "core/ops/conv.h"

#include <cstring>

#include "cpu/onednn.h"
#include "cpu/parallel.h"

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
    if (t->dtype != DType::F32 || t->numel() == 0) return std::nullopt;
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

// The layout of the weights that the forward convolution over such images is fastest with; row-major when it
// cannot be said as a Layout.
Layout weight_layout(const Geometry& g, const TensorType& x, const TensorType& w, const TensorType& y) {
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
  return x.same_memory(with(x, Layout::channels_last(4))) ? x.layout : Layout::channels_last(4);
}

// conv2d: x, w, [bias], [residual] -> y

Backend::Layouts layouts_conv2d(const Problem& p, const std::vector<bool>& state_free) {
  if (p.in(0).dtype != DType::F32) return {};
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

std::unique_ptr<Step> lower_conv2d(const Problem& p) {
  const auto& a = p.attrs<Conv2dAttrs>();
  const Geometry g = geometry(a);
  const auto d = descs(p.in(0), p.in(1), p.out(), g.groups);
  const auto w = to_desc(p.in(1), g.groups);
  if (!d || !w) return nullptr;
  std::optional<memory::desc> bias, residual;
  if (a.has_bias) bias = to_desc(p.in(2));
  if (a.has_residual) residual = image_desc(p.in(2 + a.has_bias));
  const auto attr = epilogue_attr(a.activation, residual ? &*residual : nullptr);
  if (!attr || (a.has_residual && !residual)) return nullptr;
  const auto pd = forward_pd(g, *d, d->w_any, bias ? &*bias : nullptr,
                             trailing_padding(g, p.in(0).shape, p.in(1).shape, p.out().shape), *attr);
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

// conv2d_grad_input: dy, w -> dx

Backend::Layouts layouts_grad_input(const Problem& p, const std::vector<bool>& state_free) {
  if (p.in(0).dtype != DType::F32) return {};
  const auto& a = p.attrs<Conv2dGradInputAttrs>();
  const Layout nhwc = Layout::channels_last(4);
  Layout weight = p.in(1).layout;
  if (state_free[1]) weight = weight_layout(geometry(a), with(p.out(), nhwc), p.in(1), with(p.in(0), nhwc));
  return {{nhwc, weight}, {nhwc}};
}

std::unique_ptr<PrimitiveStep> make_grad_input(const Geometry& g, const TensorType& dy, const TensorType& w,
                                               const TensorType& dx, int threads) {
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

// The gradient of a strided 1x1 convolution (the shortcut of a residual block) touches one pixel in stride^2.
// oneDNN's strided kernels take several times as long for it as the product over the touched pixels and the
// copy that spreads the result.
class SpreadStep final : public Step {
 public:
  SpreadStep(std::unique_ptr<PrimitiveStep> product, const Shape& dx, const Shape& dy,
             std::array<std::int64_t, 2> stride, int threads)
      : product_(std::move(product)), dx_(dx), dy_(dy), stride_(stride) {
    constexpr std::size_t kAlign = 64;
    const Shape touched{dy[0], dx[1], dy[2], dy[3]};
    touched_bytes_ =
        (static_cast<std::size_t>(touched.numel()) * sizeof(float) + kAlign - 1) / kAlign * kAlign;
    workspace_bytes = touched_bytes_ + product_->workspace_bytes;
    kernel = cat(product_->kernel, "+spread");
    parts_ = useful_threads(threads, dx.numel());
  }

  std::unique_ptr<BoundStep> bind(const Bindings& b) const override {
    struct Bound final : BoundStep {
      std::unique_ptr<BoundStep> product;
      StepFn spread;
      const float* touched = nullptr;
      float* dx = nullptr;
      void run() override {
        product->run();
        void* in[] = {const_cast<float*>(touched)};
        void* out[] = {dx};
        spread(in, out, nullptr);
      }
    };
    auto bound = std::make_unique<Bound>();
    void* touched = b.workspace;
    bound->product = product_->bind({b.inputs, std::span<void* const>(&touched, 1),
                                     static_cast<std::byte*>(b.workspace) + touched_bytes_, nullptr});
    bound->touched = static_cast<const float*>(touched);
    bound->dx = static_cast<float*>(b.outputs[0]);
    bound->spread = [dx = dx_, dy = dy_, stride = stride_, parts = parts_](void* const* in, void* const* out,
                                                                           void*) {
      spread(static_cast<const float*>(in[0]), static_cast<float*>(out[0]), dx, dy, stride, parts);
    };
    return bound;
  }

 private:
  static void spread(const float* from, float* to, const Shape& dx, const Shape& dy,
                     std::array<std::int64_t, 2> stride, int parts) {
    const std::int64_t c = dx[1], height = dx[2], width = dx[3], rows = dy[2], columns = dy[3];
    const auto bytes = [](std::int64_t n) { return static_cast<std::size_t>(n) * sizeof(float); };
    parallel_ranges(parts, dx[0] * height, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t r = begin; r < end; ++r) {
        const std::int64_t h = r % height, n = r / height;
        float* row = to + r * width * c;
        std::memset(row, 0, bytes(width * c));
        if (h % stride[0] != 0 || h / stride[0] >= rows) continue;
        const float* source = from + (n * rows + h / stride[0]) * columns * c;
        for (std::int64_t j = 0; j < columns; ++j)
          std::memcpy(row + j * stride[1] * c, source + j * c, bytes(c));
      }
    });
  }

  std::unique_ptr<PrimitiveStep> product_;
  Shape dx_, dy_;
  std::array<std::int64_t, 2> stride_;
  std::size_t touched_bytes_ = 0;
  int parts_ = 1;
};

std::unique_ptr<Step> lower_strided_pointwise(const Problem& p) {
  const auto& a = p.attrs<Conv2dGradInputAttrs>();
  const TensorType &dy = p.in(0), &w = p.in(1), &dx = p.out();
  const bool pointwise = w.shape[2] == 1 && w.shape[3] == 1 && a.padding == std::array<std::int64_t, 2>{0, 0};
  if (!pointwise || (a.stride[0] == 1 && a.stride[1] == 1) || dx.numel() == 0) return nullptr;
  const Layout nhwc = Layout::channels_last(4);
  if (!dx.same_memory(with(dx, nhwc)) || dx.dtype != DType::F32) return nullptr;
  Geometry g = geometry(a);
  g.stride = {1, 1};
  const TensorType touched{dx.dtype, {dy.shape[0], dx.shape[1], dy.shape[2], dy.shape[3]}, nhwc};
  auto product = make_grad_input(g, dy, w, touched, p.target.threads);
  if (product == nullptr) return nullptr;
  return std::make_unique<SpreadStep>(std::move(product), dx.shape, dy.shape, a.stride, p.target.threads);
}

// conv2d_grad_weight: x, dy -> dw

Backend::Layouts layouts_grad_weight(const Problem& p, const std::vector<bool>&) {
  if (p.in(0).dtype != DType::F32) return {};
  const auto& a = p.attrs<Conv2dGradWeightAttrs>();
  const Layout image = image_layout(p.in(0)), nhwc = Layout::channels_last(4);
  return {{image, nhwc}, {weight_layout(geometry(a), with(p.in(0), image), p.out(), with(p.in(1), nhwc))}};
}

std::unique_ptr<Step> lower_grad_weight(const Problem& p) {
  const auto& a = p.attrs<Conv2dGradWeightAttrs>();
  const Geometry g = geometry(a);
  const auto d = descs(p.in(0), p.out(), p.in(1), g.groups);
  const auto w = to_desc(p.out(), g.groups);
  if (!d || !w) return nullptr;
  const auto end = trailing_padding(g, p.in(0).shape, p.out().shape, p.in(1).shape);
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

}  // namespace

void add_conv(LoweringTable& t) {
  t.add("conv2d", {.lower = lower_conv2d, .layouts = layouts_conv2d});
  t.add("conv2d_grad_input", {.lower = lower_strided_pointwise, .layouts = layouts_grad_input});
  t.add("conv2d_grad_input", {.lower = lower_grad_input, .layouts = layouts_grad_input});
  t.add("conv2d_grad_weight", {.lower = lower_grad_weight, .layouts = layouts_grad_weight});
}

}  // namespace ingot::cpu
