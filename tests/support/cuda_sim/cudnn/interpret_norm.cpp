// Batch norm, its gradient and average pooling, as cuDNN defines them.
//
// Source: NVIDIA, "cuDNN Backend API" (documentation of cuDNN 9), the operations' descriptors; the running
// variance is unbiased, as cudnnBatchNormalizationForwardTraining says.
#include <algorithm>
#include <cmath>

#include "core/base/error.h"
#include "tests/support/cuda_sim/cudnn/values.h"

namespace ingot::fake_cudnn {

namespace {

// f(row, y, x) for every element of a channel.
template <class F>
void each(const Dims& d, F f) {
  for (std::int64_t n = 0; n < d[0]; ++n)
    for (std::int64_t y = 0; y < d[2]; ++y)
      for (std::int64_t x = 0; x < d[3]; ++x) f(n, y, x);
}

Values channels(std::int64_t count) {
  return zeros({1, count, 1, 1});
}

// Whole numbers, which windows of pooling have.
std::array<std::int64_t, 2> pair(const Descriptor& settings, cudnnBackendAttributeName_t name) {
  const auto v = settings.list<cudnnFraction_t>(name);
  return {v[0].numerator / v[0].denominator, v[1].numerator / v[1].denominator};
}

}  // namespace

std::vector<Values> norm_forward(const std::vector<Values>& in) {
  const Values &x = in[0], &scale = in[1], &bias = in[2], &running_mean = in[5], &running_var = in[6];
  const double eps = in[3].at[0], factor = in[4].at[0];
  const Dims& d = x.dims;
  const auto count = static_cast<double>(d[0] * d[2] * d[3]);
  std::vector<Values> out{zeros(d), channels(d[1]), channels(d[1]), channels(d[1]), channels(d[1])};
  for (std::int64_t c = 0; c < d[1]; ++c) {
    double mean = 0.0, squares = 0.0;
    each(d, [&](auto n, auto i, auto j) { mean += x(n, c, i, j); });
    mean /= count;
    each(d, [&](auto n, auto i, auto j) { squares += std::pow(x(n, c, i, j) - mean, 2.0); });
    const double rstd = 1.0 / std::sqrt(squares / count + eps);
    each(d, [&](auto n, auto i, auto j) {
      out[0](n, c, i, j) = (x(n, c, i, j) - mean) * rstd * scale(0, c, 0, 0) + bias(0, c, 0, 0);
    });
    out[1](0, c, 0, 0) = mean, out[2](0, c, 0, 0) = rstd;
    out[3](0, c, 0, 0) = (1.0 - factor) * running_mean(0, c, 0, 0) + factor * mean;
    out[4](0, c, 0, 0) = (1.0 - factor) * running_var(0, c, 0, 0) + factor * squares / (count - 1.0);
  }
  return out;
}

std::vector<Values> norm_backward(const std::vector<Values>& in) {
  const Values &dy = in[0], &x = in[1], &scale = in[2], &mean = in[3], &rstd = in[4];
  const Dims& d = x.dims;
  const auto count = static_cast<double>(d[0] * d[2] * d[3]);
  std::vector<Values> out{zeros(d), channels(d[1]), channels(d[1])};
  for (std::int64_t c = 0; c < d[1]; ++c) {
    const double r = rstd(0, c, 0, 0);
    const auto normal = [&](auto n, auto i, auto j) { return (x(n, c, i, j) - mean(0, c, 0, 0)) * r; };
    double dscale = 0.0, dbias = 0.0;
    each(d, [&](auto n, auto i, auto j) {
      dscale += dy(n, c, i, j) * normal(n, i, j);
      dbias += dy(n, c, i, j);
    });
    each(d, [&](auto n, auto i, auto j) {
      out[0](n, c, i, j) =
          scale(0, c, 0, 0) * r * (dy(n, c, i, j) - dbias / count - normal(n, i, j) * dscale / count);
    });
    out[1](0, c, 0, 0) = dscale, out[2](0, c, 0, 0) = dbias;
  }
  return out;
}

std::vector<Values> channel_sums(const Values& x) {
  const Dims& d = x.dims;
  std::vector<Values> out{channels(d[1]), channels(d[1])};
  for (std::int64_t c = 0; c < d[1]; ++c)
    each(d, [&](auto n, auto i, auto j) {
      out[0](0, c, 0, 0) += x(n, c, i, j);
      out[1](0, c, 0, 0) += x(n, c, i, j) * x(n, c, i, j);
    });
  return out;
}

// dscale, dbias, and dx = dy * out[2] + x * out[3] + out[4].
std::vector<Values> norm_backward_sums(const std::vector<Values>& in) {
  const Values &x = in[1], &mean = in[2], &rstd = in[3], &scale = in[4];
  const Dims& d = x.dims;
  const auto count = static_cast<double>(d[0] * d[2] * d[3]);
  std::vector<Values> out(5, channels(d[1]));
  const std::vector<Values> sums = norm_backward({in[0], x, scale, mean, rstd});
  out[0] = sums[1], out[1] = sums[2];
  for (std::int64_t c = 0; c < d[1]; ++c) {
    const double own = scale(0, c, 0, 0) * rstd(0, c, 0, 0);
    const double slope = -own * rstd(0, c, 0, 0) * out[0](0, c, 0, 0) / count;
    out[2](0, c, 0, 0) = own, out[3](0, c, 0, 0) = slope;
    out[4](0, c, 0, 0) = -own * out[1](0, c, 0, 0) / count - slope * mean(0, c, 0, 0);
  }
  return out;
}

Values average_pool(const Descriptor& settings, const Values& x, const Dims& result) {
  const auto window = pair(settings, CUDNN_ATTR_RESAMPLE_WINDOW_DIMS),
             stride = pair(settings, CUDNN_ATTR_RESAMPLE_STRIDES),
             before = pair(settings, CUDNN_ATTR_RESAMPLE_PRE_PADDINGS);
  const bool with_padding =
      settings.one<cudnnResampleMode_t>(CUDNN_ATTR_RESAMPLE_MODE) == CUDNN_RESAMPLE_AVGPOOL_INCLUDE_PADDING;
  Values y = zeros(result);
  for (std::int64_t n = 0; n < result[0]; ++n)
    for (std::int64_t c = 0; c < result[1]; ++c)
      for (std::int64_t i = 0; i < result[2]; ++i)
        for (std::int64_t j = 0; j < result[3]; ++j) {
          double sum = 0.0;
          std::int64_t cells = 0;
          for (std::int64_t k = 0; k < window[0]; ++k)
            for (std::int64_t l = 0; l < window[1]; ++l) {
              const std::int64_t row = i * stride[0] - before[0] + k, col = j * stride[1] - before[1] + l;
              if (row < 0 || row >= x.dims[2] || col < 0 || col >= x.dims[3]) continue;
              sum += x(n, c, row, col);
              ++cells;
            }
          y(n, c, i, j) = sum / static_cast<double>(with_padding ? window[0] * window[1] : cells);
        }
  return y;
}

std::string norm_misfit(const Descriptor& operation, const std::vector<Dims>& in,
                        const std::vector<Dims>& out) {
  const bool forward = operation.type == CUDNN_BACKEND_OPERATION_NORM_FORWARD_DESCRIPTOR;
  if (operation.one<cudnnBackendNormMode_t>(forward ? CUDNN_ATTR_OPERATION_NORM_FWD_MODE
                                                    : CUDNN_ATTR_OPERATION_NORM_BWD_MODE) != CUDNN_BATCH_NORM)
    return "only batch norm is known here";
  if (forward && operation.one<cudnnBackendNormFwdPhase_t>(CUDNN_ATTR_OPERATION_NORM_FWD_PHASE) !=
                     CUDNN_NORM_FWD_TRAINING)
    return "only batch norm in training is known here";
  const Parts parts = parts_of(operation);
  const Dims x = in[forward ? 0 : 1], each{1, x[1], 1, 1};
  const auto wrong = [&](cudnnBackendAttributeName_t name, const Dims& d, bool image) -> std::string {
    const Descriptor& t = operation.part(name);
    const bool number = name == CUDNN_ATTR_OPERATION_NORM_FWD_EPSILON_DESC ||
                        name == CUDNN_ATTR_OPERATION_NORM_FWD_EXP_AVG_FACTOR_DESC;
    if (is_by_value(t) != number)
      return cat("attribute ", static_cast<int>(name), " is passed the wrong way");
    if (number) return "";
    if (d != (image ? x : each))
      return cat("attribute ", static_cast<int>(name), " has not the image's size");
    if (!image && t.one<cudnnDataType_t>(CUDNN_ATTR_TENSOR_DATA_TYPE) != CUDNN_DATA_FLOAT)
      return cat("attribute ", static_cast<int>(name), " is not in f32");
    return "";
  };
  for (std::size_t i = 0; i < in.size(); ++i)
    if (auto why = wrong(parts.operands[i], in[i], i == 0 || (!forward && i == 1)); !why.empty()) return why;
  for (std::size_t i = 0; i < out.size(); ++i)
    if (auto why = wrong(parts.results[i], out[i], i == 0); !why.empty()) return why;
  return "";
}

std::string pool_misfit(const Descriptor& settings, const Dims& x, const Dims& y) {
  const auto mode = settings.one<cudnnResampleMode_t>(CUDNN_ATTR_RESAMPLE_MODE);
  if (mode != CUDNN_RESAMPLE_AVGPOOL_INCLUDE_PADDING && mode != CUDNN_RESAMPLE_AVGPOOL_EXCLUDE_PADDING)
    return "only average pooling is known here";
  if (settings.one<cudnnPaddingMode_t>(CUDNN_ATTR_RESAMPLE_PADDING_MODE) != CUDNN_ZERO_PAD)
    return "averages are padded with zeros";
  for (const auto name : {CUDNN_ATTR_RESAMPLE_WINDOW_DIMS, CUDNN_ATTR_RESAMPLE_STRIDES,
                          CUDNN_ATTR_RESAMPLE_PRE_PADDINGS, CUDNN_ATTR_RESAMPLE_POST_PADDINGS})
    for (const cudnnFraction_t& f : settings.list<cudnnFraction_t>(name))
      if (f.denominator != 1 || f.numerator < 0) return "windows of pooling are whole numbers";
  const auto window = pair(settings, CUDNN_ATTR_RESAMPLE_WINDOW_DIMS),
             stride = pair(settings, CUDNN_ATTR_RESAMPLE_STRIDES),
             before = pair(settings, CUDNN_ATTR_RESAMPLE_PRE_PADDINGS),
             behind = pair(settings, CUDNN_ATTR_RESAMPLE_POST_PADDINGS);
  if (x[0] != y[0] || x[1] != y[1]) return "pooling changes the images or channels";
  for (const std::size_t i : {0u, 1u}) {
    if (window[i] < 1 || stride[i] < 1) return "a window of pooling is empty";
    if (before[i] >= window[i] || behind[i] >= window[i]) return "a window of pooling lies in the padding";
    const std::int64_t room = x[2 + i] + before[i] + behind[i] - window[i];
    if (room < 0 || room / stride[i] + 1 != y[2 + i])
      return cat("pooling's result is ", y[2 + i], " along axis ", 2 + i);
  }
  return "";
}

}  // namespace ingot::fake_cudnn
