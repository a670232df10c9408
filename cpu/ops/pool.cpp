// Pooling of channels-last images in f32, maxima in bf16 too: channels are the vector axis, rows of pixels
// are split over threads.
//
// Every output element is written by one thread in a fixed order, the gradients too: they gather from the
// windows that cover a pixel instead of scattering into them. Other layouts and dtypes and dilated windows
// are left to the reference.
#include "core/ops/pool.h"

#include "core/runtime/lowering.h"
#include "cpu/flat_row.h"
#include "cpu/parallel.h"
#include "cpu/simd/pool_kernels.h"

namespace ingot::cpu {

namespace {

using Sizes = std::vector<std::int64_t>;

// The windows along one axis: window i starts at start[i] (padding included), covers the pixels [begin[i],
// end[i]) and counts as size[i] cells in an average; pixel h lies in the windows [first[h], last[h]).
struct Windows {
  Sizes start, begin, end, size, first, last;

  void add(std::int64_t from, std::int64_t to, std::int64_t cells, std::int64_t input) {
    start.push_back(from);
    begin.push_back(std::max<std::int64_t>(from, 0));
    end.push_back(std::min(to, input));
    size.push_back(cells);
  }
  bool apart() const {
    for (std::size_t i = 1; i < begin.size(); ++i)
      if (begin[i] < end[i - 1]) return false;
    return true;
  }
  void cover(std::int64_t input) {
    first.assign(static_cast<std::size_t>(input), 0);
    last.assign(static_cast<std::size_t>(input), 0);
    for (std::size_t i = begin.size(); i-- > 0;)
      for (std::int64_t h = begin[i]; h < end[i]; ++h) {
        const auto u = static_cast<std::size_t>(h);
        first[u] = static_cast<std::int64_t>(i);
        if (last[u] == 0) last[u] = static_cast<std::int64_t>(i) + 1;
      }
  }
};

Windows sliding(std::int64_t input, std::int64_t output, std::int64_t kernel, std::int64_t stride,
                std::int64_t padding, bool include_pad) {
  Windows w;
  for (std::int64_t i = 0; i < output; ++i) {
    const std::int64_t from = i * stride - padding, to = from + kernel;
    const std::int64_t padded = std::min(to, input + padding) - from;
    const std::int64_t inside = std::min(to, input) - std::max<std::int64_t>(from, 0);
    w.add(from, to, include_pad ? padded : inside, input);
  }
  w.cover(input);
  return w;
}

Windows adaptive(std::int64_t input, std::int64_t output) {
  Windows w;
  for (std::int64_t i = 0; i < output; ++i) {
    const std::int64_t from = i * input / output, to = ((i + 1) * input + output - 1) / output;
    w.add(from, to, to - from, input);
  }
  w.cover(input);
  return w;
}

struct Pooling {
  std::int64_t n = 0, c = 0, h = 0, w = 0, oh = 0, ow = 0, kw = 0;
  Windows rows, columns;
  FlatTables flat;
  int parts = 1;
};

// Every operand channels-last, the images of that type.
bool accepts(const Problem& p, DType images = DType::F32) {
  if (p.in(0).dtype != images || p.in(0).numel() == 0 || p.out().numel() == 0) return false;
  for (int i = 0; i < p.num_inputs(); ++i)
    if (!lies_channels_last(p.in(i))) return false;
  for (int i = 0; i < p.num_outputs(); ++i)
    if (!lies_channels_last(p.out(i))) return false;
  return true;
}

Pooling pooling(const Shape& x, const Shape& y, int threads) {
  Pooling p;
  p.n = x[0], p.c = x[1], p.h = x[2], p.w = x[3], p.oh = y[2], p.ow = y[3];
  p.parts = useful_threads(threads, x.numel());
  return p;
}

std::size_t at(std::int64_t i) {
  return static_cast<std::size_t>(i);
}

template <class A>
Pooling max_pooling(const A& a, const Shape& x, const Shape& y, int threads) {
  Pooling p = pooling(x, y, threads);
  p.kw = a.kernel[1];
  p.rows = sliding(p.h, p.oh, a.kernel[0], a.stride[0], a.padding[0], false);
  p.columns = sliding(p.w, p.ow, a.kernel[1], a.stride[1], a.padding[1], false);
  return p;
}

template <class A>
Pooling avg_pooling(const A& a, const Shape& x, const Shape& y, int threads) {
  Pooling p = pooling(x, y, threads);
  if constexpr (requires { a.output_size; }) {
    p.rows = adaptive(p.h, p.oh);
    p.columns = adaptive(p.w, p.ow);
  } else {
    p.rows = sliding(p.h, p.oh, a.kernel[0], a.stride[0], a.padding[0], a.count_include_pad);
    p.columns = sliding(p.w, p.ow, a.kernel[1], a.stride[1], a.padding[1], a.count_include_pad);
  }
  return p;
}

WindowAxis view(const Windows& w) {
  return {w.start.data(), w.begin.data(), w.end.data(), w.first.data(), w.last.data()};
}
FlatColumns flat_columns(const Windows& w) {
  return {w.start, w.begin, w.end};
}
MaxPooling kernel_shape(const Pooling& p) {
  return {p.c, p.w, p.ow, p.kw, view(p.rows), view(p.columns), p.columns.apart(), p.flat.view()};
}

template <class Offset>
StepFn max_forward(Pooling pooling, std::int64_t element, MaxRow<Offset> max_row) {
  return [p = std::move(pooling), element, max_row](void* const* in, void* const* out, void*) {
    const MaxPooling shape = kernel_shape(p);
    const auto* x = static_cast<const std::byte*>(in[0]);
    auto* y = static_cast<std::byte*>(out[0]);
    auto* offset = static_cast<Offset*>(out[1]);
    const std::int64_t image = p.h * p.w * p.c, row_size = p.ow * p.c;
    parallel_ranges(p.parts, p.n * p.oh, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row)
        max_row(shape, x + row / p.oh * image * element, x + p.n * image * element, row % p.oh,
                y + row * row_size * element, offset + row * row_size);
    });
  };
}

template <class Offset>
StepFn max_backward(Pooling pooling, std::int64_t element, MaxGradRow<Offset> max_grad_row) {
  return [p = std::move(pooling), element, max_grad_row](void* const* in, void* const* out, void*) {
    const MaxPooling shape = kernel_shape(p);
    const auto* dy = static_cast<const std::byte*>(in[0]);
    const auto* offset = static_cast<const Offset*>(in[1]);
    auto* dx = static_cast<std::byte*>(out[0]);
    const std::int64_t image = p.oh * p.ow * p.c, row_size = p.w * p.c;
    parallel_ranges(p.parts, p.n * p.h, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        const std::int64_t n = row / p.h;
        max_grad_row(shape, dy + n * image * element, offset + n * image, (p.n - n) * image, row % p.h,
                     dx + row * row_size * element);
      }
    });
  };
}

StepFn avg_forward(Pooling pooling) {
  return [p = std::move(pooling)](void* const* in, void* const* out, void*) {
    const auto* x = static_cast<const float*>(in[0]);
    auto* y = static_cast<float*>(out[0]);
    parallel_ranges(p.parts, p.n * p.oh, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        const std::int64_t n = row / p.oh, i = row % p.oh;
        for (std::int64_t j = 0; j < p.ow; ++j) {
          float* o = y + (row * p.ow + j) * p.c;
          const float scale = 1.0f / static_cast<float>(p.rows.size[at(i)] * p.columns.size[at(j)]);
          for (std::int64_t c = 0; c < p.c; ++c) o[c] = 0.0f;
          for (std::int64_t h = p.rows.begin[at(i)]; h < p.rows.end[at(i)]; ++h)
            for (std::int64_t w = p.columns.begin[at(j)]; w < p.columns.end[at(j)]; ++w) {
              const float* cell = x + ((n * p.h + h) * p.w + w) * p.c;
              for (std::int64_t c = 0; c < p.c; ++c) o[c] += cell[c];
            }
          for (std::int64_t c = 0; c < p.c; ++c) o[c] *= scale;
        }
      }
    });
  };
}

StepFn avg_backward(Pooling pooling) {
  return [p = std::move(pooling)](void* const* in, void* const* out, void*) {
    const auto* dy = static_cast<const float*>(in[0]);
    auto* dx = static_cast<float*>(out[0]);
    parallel_ranges(p.parts, p.n * p.h, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        const std::int64_t n = row / p.h, h = row % p.h;
        for (std::int64_t w = 0; w < p.w; ++w) {
          float* d = dx + (row * p.w + w) * p.c;
          bool first = true;  // the first window writes, the others add: mostly there is one
          for (std::int64_t i = p.rows.first[at(h)]; i < p.rows.last[at(h)]; ++i)
            for (std::int64_t j = p.columns.first[at(w)]; j < p.columns.last[at(w)]; ++j) {
              const float scale = 1.0f / static_cast<float>(p.rows.size[at(i)] * p.columns.size[at(j)]);
              const float* g = dy + ((n * p.oh + i) * p.ow + j) * p.c;
              for (std::int64_t c = 0; c < p.c; ++c) d[c] = first ? g[c] * scale : d[c] + g[c] * scale;
              first = false;
            }
          for (std::int64_t c = 0; first && c < p.c; ++c) d[c] = 0.0f;
        }
      }
    });
  };
}

// The kernels for the images of a maximum or its gradient, whose offsets have type `offsets`; null where
// there are none.
const MaxKernels* max_kernels(const Problem& p, DType offsets) {
  const DType type = p.in(0).dtype;
  if (!accepts(p, type)) return nullptr;
  const PoolKernels& k = pool_kernels(cpu_level());
  if (type == DType::F32) return &k.f32;
  return type == DType::BF16 && offsets == DType::U8 && k.bf16.row_u8 != nullptr ? &k.bf16 : nullptr;
}
std::string max_name(const Problem& p) {
  return cat(p.in(0).dtype == DType::BF16 ? "bf16:" : "", p.node.op, ":", name(cpu_level()));
}

std::unique_ptr<Step> lower_max(const Problem& p) {
  const auto& a = p.attrs<MaxPool2dAttrs>();
  const MaxKernels* k = max_kernels(p, p.out(1).dtype);
  if (k == nullptr || a.dilation != std::array<std::int64_t, 2>{1, 1}) return nullptr;
  Pooling g = max_pooling(a, p.in(0).shape, p.out().shape, p.target.threads);
  g.flat = flat_maxima(g.c, g.w, flat_columns(g.columns), pool_kernels(cpu_level()).width);
  const auto element = static_cast<std::int64_t>(size_of(p.in(0).dtype));
  return make_step(max_name(p), p.out(1).dtype == DType::U8 ? max_forward(std::move(g), element, k->row_u8)
                                                            : max_forward(std::move(g), element, k->row_i32));
}

std::unique_ptr<Step> lower_max_grad(const Problem& p) {
  const auto& a = p.attrs<MaxPool2dGradAttrs>();
  const MaxKernels* k = max_kernels(p, p.in(1).dtype);
  if (k == nullptr || a.dilation != std::array<std::int64_t, 2>{1, 1}) return nullptr;
  Pooling g = max_pooling(a, p.out().shape, p.in(0).shape, p.target.threads);
  g.flat = flat_gradient(g.c, g.w, flat_columns(g.columns), pool_kernels(cpu_level()).width);
  const auto element = static_cast<std::int64_t>(size_of(p.in(0).dtype));
  return make_step(max_name(p), p.in(1).dtype == DType::U8
                                    ? max_backward(std::move(g), element, k->grad_row_u8)
                                    : max_backward(std::move(g), element, k->grad_row_i32));
}

template <class A>
std::unique_ptr<Step> lower_avg(const Problem& p) {
  if (!accepts(p)) return nullptr;
  return make_step(cat(p.node.op, ":nhwc"),
                   avg_forward(avg_pooling(p.attrs<A>(), p.in(0).shape, p.out().shape, p.target.threads)));
}

template <class A>
std::unique_ptr<Step> lower_avg_grad(const Problem& p) {
  if (!accepts(p)) return nullptr;
  return make_step(cat(p.node.op, ":nhwc"),
                   avg_backward(avg_pooling(p.attrs<A>(), p.out().shape, p.in(0).shape, p.target.threads)));
}

}  // namespace

void add_pool(LoweringTable& t) {
  const auto add = [&t](std::string_view op, LowerFn lower) {
    t.add(op, {.lower = lower, .layouts = channels_last_layouts});
  };
  add("max_pool2d", lower_max);
  add("max_pool2d_grad", lower_max_grad);
  add("avg_pool2d", lower_avg<AvgPool2dAttrs>);
  add("avg_pool2d_grad", lower_avg_grad<AvgPool2dGradAttrs>);
  add("adaptive_avg_pool2d", lower_avg<AdaptiveAvgPool2dAttrs>);
  add("adaptive_avg_pool2d_grad", lower_avg_grad<AdaptiveAvgPool2dGradAttrs>);
}

}  // namespace ingot::cpu
