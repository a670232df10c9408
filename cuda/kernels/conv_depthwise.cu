// Depthwise convolution (a kernel of kh x kw taps for each channel) and its gradients.
//
//   y[pixel, c] = act(sum over taps of x[pixel moved by tap, c] w[c, tap] + bias[c] + residual)
//   dx likewise from dy, with taps turned;  dw[c, tap] = sum over pixels of x[moved, c] dy[pixel, c]
//
// Bytes that must move: both operands and the result once; an image element is used by up to kh kw sums,
// whose further reads come from the caches. Threads own 16 bytes of neighbouring channels (or one channel) of
// several pixels, eight of them side by side, so that 128 bytes are read in a row. Weights, which lie
// [c][tap], are turned to [tap][c] in shared memory, up to 32 taps at a time. The gradient of the weight cuts
// the pixels into slices, adds 32 threads through shared memory in order, and slices in a second pass.
//
// Occupancy: depthwise_kernel, depthwise_grad_weight_kernel from 37%: eight sums for each of several
//   pixels or taps, for f16 and bf16; at 64 registers they spill.
#include "cuda/base/launch.h"
#include "cuda/kernels/conv_paths.h"
#include "cuda/kernels/tile_finish.h"
#include "cuda/kernels/tile_output.h"
#include "cuda/kernels/tile_sources.h"

namespace ingot::cuda::depthwise {

using namespace gpu;
using tile::Output;

constexpr int kThreads = 256, kLanes = 8, kPixelLanes = kThreads / kLanes;
constexpr int kPixels = 4;    // of a thread
constexpr int kTaps = 32;     // in shared memory
constexpr int kGradTaps = 3;  // of a block, gradient of the weight

// The forward pass and the gradient of the input differ in where a pixel's taps lie: Source is ForwardImage
// or GradImage, whose depth is a tap and a channel.
// Bound by: bandwidth (loads, stores); narrow where V = 1.
template <class T, int V, class Source>
__global__ void __launch_bounds__(kThreads, 3)
    depthwise_kernel(Source source, const T* w, Output<T> out, unsigned channel_blocks) {
  constexpr int kChannels = kLanes * V;
  GPU_SHARED(weights, float, [kTaps][kChannels]);
  const int thread = static_cast<int>(threadIdx.x), taps = source.g.kh * source.g.kw;
  const int own = thread % kLanes * V, channel0 = static_cast<int>(blockIdx.x % channel_blocks) * kChannels;
  const int channels = static_cast<int>(out.n), channel = channel0 + own;
  const long long pixel0 =
      static_cast<long long>(blockIdx.x / channel_blocks) * (kPixelLanes * kPixels) + thread / kLanes;
  typename Source::Row rows[kPixels];
  float sums[kPixels][V] = {};
#pragma unroll
  for (int i = 0; i < kPixels; ++i) rows[i] = source.row(pixel0 + i * kPixelLanes);
  typename Source::Depth tap{};
  tap.at.low = channel;
  for (int first = 0; first < taps; first += kTaps) {
    const int here = taps - first < kTaps ? taps - first : kTaps;
    __syncthreads();  // the taps before these are used up
    // Few turns: unrolled, nvcc addresses later ones by constants beyond registers that went below zero.
#pragma unroll 1
    for (int i = thread; i < here * kChannels; i += kThreads) {
      const int c = i / here, t = i - c * here;
      weights[t][c] =
          channel0 + c < channels ? widen(w[static_cast<long long>(channel0 + c) * taps + first + t]) : 0.0f;
    }
    __syncthreads();
    if (channel >= channels) continue;  // to the same barriers
    for (int t = 0; t < here; ++t) {
#pragma unroll
      for (int i = 0; i < kPixels; ++i) {
        const T* const from = source.at(rows[i], tap);
        if (from == nullptr) continue;
        float x[V];
        load_some<V>(from, x);
#pragma unroll
        for (int e = 0; e < V; ++e) sums[i][e] += x[e] * weights[t][own + e];
      }
      if (++tap.at.mid == source.g.kw) tap.at.mid = 0, ++tap.at.high;
    }
  }
  if (channel >= channels) return;
#pragma unroll
  for (int i = 0; i < kPixels; ++i)
    if (pixel0 + i * kPixelLanes < out.m)
      tile::store_either<V>(sums[i], V, pixel0 + i * kPixelLanes, channel, out);
}

// Blocks (channels and taps, slice of pixels); partial[slice][c][tap].
// Bound by: bandwidth (loads); narrow where V = 1.
template <class T, int V>
__global__ void __launch_bounds__(kThreads)
    depthwise_grad_weight_kernel(tile::PixelImage<T> x, const T* dy, float* partial, long long pixels,
                                 long long slice, unsigned channel_blocks) {
  constexpr int kChannels = kLanes * V;
  GPU_SHARED(part, float, [kPixelLanes][kChannels]);
  const ConvGeometry& g = x.g;
  const int thread = static_cast<int>(threadIdx.x), taps = g.kh * g.kw;
  const int own = thread % kLanes * V, lane = thread / kLanes;
  const int channel0 = static_cast<int>(blockIdx.x % channel_blocks) * kChannels, channel = channel0 + own;
  const int tap0 = static_cast<int>(blockIdx.x / channel_blocks) * kGradTaps;
  typename tile::PixelImage<T>::Row rows[kGradTaps];
#pragma unroll
  for (int t = 0; t < kGradTaps; ++t) {
    const int row = (tap0 + t) / g.kw, column = (tap0 + t) % g.kw;
    rows[t] = {row < g.kh ? row * g.dilation_h - g.pad_h : tile::kOutside, column * g.dilation_w - g.pad_w,
               channel};
  }
  const long long first = blockIdx.y * slice + lane;
  const long long end = (blockIdx.y + 1) * slice < pixels ? (blockIdx.y + 1) * slice : pixels;
  float sums[kGradTaps][V] = {};
  if (channel < g.c) {
    auto depth = x.depth(first, kPixelLanes);
    for (long long pixel = first; pixel < end; pixel += kPixelLanes) {
      float up[V];
      load_some<V>(dy + pixel * g.c + channel, up);
#pragma unroll
      for (int t = 0; t < kGradTaps; ++t) {
        const T* const from = x.at(rows[t], depth);
        if (from == nullptr) continue;
        float v[V];
        load_some<V>(from, v);
#pragma unroll
        for (int e = 0; e < V; ++e) sums[t][e] += v[e] * up[e];
      }
      x.advance(depth);
    }
  }
#pragma unroll
  for (int t = 0; t < kGradTaps; ++t) {
#pragma unroll
    for (int e = 0; e < V; ++e) part[lane][own + e] = sums[t][e];
    __syncthreads();
    if (thread < kChannels && channel0 + thread < g.c && tap0 + t < taps) {
      float sum = 0.0f;
      for (int i = 0; i < kPixelLanes; ++i) sum += part[i][thread];
      partial[(static_cast<long long>(blockIdx.y) * g.c + channel0 + thread) * taps + tap0 + t] = sum;
    }
    __syncthreads();
  }
}

// Pixels of a slice of the weight's gradient, and how many slices.
struct Slices {
  std::int64_t slice = 0, count = 0;
};
Slices grad_weight_slices(const ConvGeometry& g) {
  constexpr std::int64_t kEnoughBlocks = 528, kLeastPixels = 256;
  const std::int64_t pixels = g.images * g.oh * g.ow;
  if (pixels == 0) return {};
  const std::int64_t others =
      divide_up(g.c, kLanes * 4) * divide_up(std::int64_t{1} * g.kh * g.kw, kGradTaps);
  const std::int64_t count =
      std::clamp<std::int64_t>(std::min(kEnoughBlocks / others, pixels / kLeastPixels), 1, kEnoughBlocks);
  const std::int64_t slice = divide_up(divide_up(pixels, count), kPixelLanes) * kPixelLanes;
  return {slice, divide_up(pixels, slice)};
}

template <class T, int V>
void grad_weight(const ConvCall& c, const Stream& stream) {
  const ConvGeometry& g = c.geometry;
  const Slices s = grad_weight_slices(g);
  const std::int64_t taps = std::int64_t{1} * g.kh * g.kw;
  if (s.count > 0) {
    const unsigned channel_blocks = blocks_for(static_cast<std::size_t>(g.c), kLanes * V);
    const dim3 grid(channel_blocks * blocks_for(static_cast<std::size_t>(taps), kGradTaps),
                    static_cast<unsigned>(s.count));
    launch(depthwise_grad_weight_kernel<T, V>, grid, dim3(kThreads), 0, stream,
           tile::PixelImage<T>{static_cast<const T*>(c.first), g}, static_cast<const T*>(c.second),
           static_cast<float*>(c.workspace), g.images * g.oh * g.ow, s.slice, channel_blocks);
  }
  finish_product(c.dtype,
                 {{1, g.c * taps, 0, 1},
                  static_cast<int>(s.count),
                  static_cast<const float*>(c.workspace),
                  c.result,
                  g.c * taps,
                  0,
                  0},
                 {}, stream);
}

template <class T, int V>
void image_pass(const ConvCall& c, const Stream& stream) {
  const ConvGeometry& g = c.geometry;
  const bool forward = c.pass == ConvPass::Forward;
  const ProductSizes sizes{forward ? g.images * g.oh * g.ow : g.images * g.h * g.w, g.c, 0, 1};
  if (sizes.m == 0) return;
  const bool second_pass = !tile::is_fast(c.epilogue.activation);
  Output<T> out = tile::make_output<T>(c.result, c.epilogue, sizes, g.c, {});
  if (second_pass) out.partial = static_cast<float*>(c.workspace);
  // Channels first, so that blocks side by side read the same pixels.
  const unsigned channel_blocks = blocks_for(static_cast<std::size_t>(g.c), kLanes * V);
  const dim3 grid(blocks_for(static_cast<std::size_t>(sizes.m), kPixelLanes * kPixels) * channel_blocks);
  const auto go = [&](const auto& source) {
    launch(depthwise_kernel<T, V, std::remove_cvref_t<decltype(source)>>, grid, dim3(kThreads), 0, stream,
           source, static_cast<const T*>(c.second), out, channel_blocks);
  };
  if (forward)
    go(tile::ForwardImage<T>{static_cast<const T*>(c.first), g});
  else
    go(tile::GradImage<T>{static_cast<const T*>(c.first), g});
  if (second_pass)
    finish_product(c.dtype, {sizes, 1, static_cast<const float*>(c.workspace), c.result, g.c, 0, 0},
                   c.epilogue, stream);
}

template <class T>
void run(const ConvCall& c, const Stream& stream) {
  constexpr int V = Vec16<T>::kSize;
  const bool grad_weights = c.pass == ConvPass::GradWeight;
  // The weight's gradient reads both operands in vectors, the others one, of whose kind the result is too.
  const bool vector = c.geometry.c % V == 0 && tile::is_aligned<T>(c.first, {}) &&
                      (!grad_weights || tile::is_aligned<T>(c.second, {}));
  if (grad_weights)
    vector ? grad_weight<T, V>(c, stream) : grad_weight<T, 1>(c, stream);
  else
    vector ? image_pass<T, V>(c, stream) : image_pass<T, 1>(c, stream);
}

}  // namespace ingot::cuda::depthwise

namespace ingot::cuda {

std::size_t depthwise_workspace(ConvPass pass, const ConvGeometry& g, ScalarOp activation) {
  const std::int64_t taps = std::int64_t{1} * g.kh * g.kw;
  std::int64_t sums = 0;
  if (pass == ConvPass::GradWeight)
    sums = depthwise::grad_weight_slices(g).count * g.c * taps;
  else if (!tile::is_fast(activation))
    sums = g.images * g.oh * g.ow * g.c;
  return static_cast<std::size_t>(sums) * sizeof(float);
}

void depthwise_conv(const ConvCall& call, const Stream& stream) {
  if (call.dtype == DType::F32)
    depthwise::run<float>(call, stream);
  else if (call.dtype == DType::F16)
    depthwise::run<__half>(call, stream);
  else
    depthwise::run<__nv_bfloat16>(call, stream);
}

}  // namespace ingot::cuda
