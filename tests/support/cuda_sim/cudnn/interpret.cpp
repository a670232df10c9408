// The meaning of an operation graph, by plain loops in double precision: what each tensor holds is rounded to
// its type, virtual tensors' too.
#include <stdexcept>
#include <string>

#include "core/base/error.h"
#include "core/base/half.h"
#include "tests/support/cuda_sim/cudnn/values.h"

namespace ingot::fake_cudnn {

namespace {

Dims four(const std::vector<std::int64_t>& v) {
  if (v.size() != 4) throw std::runtime_error("the fake cuDNN knows tensors of four axes");
  return {v[0], v[1], v[2], v[3]};
}

std::size_t element_bytes(cudnnDataType_t t) {
  return t == CUDNN_DATA_FLOAT ? 4 : 2;
}

double rounded(double v, cudnnDataType_t type) {
  const auto f = static_cast<float>(v);
  if (type == CUDNN_DATA_HALF) return static_cast<double>(f16::from(f).to_float());
  if (type == CUDNN_DATA_BFLOAT16) return static_cast<double>(bf16::from(f).to_float());
  return static_cast<double>(f);
}

// visit(dense index, offset in elements) for every element of a tensor.
template <class Visit>
void for_each(const Dims& d, const Dims& stride, Visit visit) {
  std::size_t i = 0;
  for (std::int64_t a = 0; a < d[0]; ++a)
    for (std::int64_t b = 0; b < d[1]; ++b)
      for (std::int64_t y = 0; y < d[2]; ++y)
        for (std::int64_t x = 0; x < d[3]; ++x, ++i)
          visit(i, a * stride[0] + b * stride[1] + y * stride[2] + x * stride[3]);
}

Dims dims_of(const Descriptor& tensor) {
  return four(tensor.list<std::int64_t>(CUDNN_ATTR_TENSOR_DIMENSIONS));
}
cudnnDataType_t type_of(const Descriptor& tensor) {
  return tensor.one<cudnnDataType_t>(CUDNN_ATTR_TENSOR_DATA_TYPE);
}

class Interpreter {
 public:
  Interpreter(const std::map<std::int64_t, void*>& memory, const std::map<std::int64_t, double>& scalars)
      : memory_(memory), scalars_(scalars) {}

  void run(const Descriptor& operation) {
    const Parts parts = parts_of(operation);
    std::vector<Values> operands;
    for (const auto name : parts.operands) operands.push_back(load(operation.part(name)));
    std::vector<Values> out = results(operation, operands, dims_of(operation.part(parts.results[0])));
    for (std::size_t i = 0; i < out.size(); ++i) {
      const Descriptor& result = operation.part(parts.results[i]);
      for (double& v : out[i].at) v = rounded(v, type_of(result));
      store(result, std::move(out[i]));
    }
  }

 private:
  static std::vector<Values> results(const Descriptor& operation, const std::vector<Values>& in,
                                     const Dims& first) {
    switch (operation.type) {
      case CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR:
        return {pointwise(settings_of(operation), in)};
      case CUDNN_BACKEND_OPERATION_NORM_FORWARD_DESCRIPTOR:
        return norm_forward(in);
      case CUDNN_BACKEND_OPERATION_NORM_BACKWARD_DESCRIPTOR:
        return norm_backward(in);
      case CUDNN_BACKEND_OPERATION_GEN_STATS_DESCRIPTOR:
        return channel_sums(in[0]);
      case CUDNN_BACKEND_OPERATION_BN_BWD_WEIGHTS_DESCRIPTOR:
        return norm_backward_sums(in);
      case CUDNN_BACKEND_OPERATION_RESAMPLE_FWD_DESCRIPTOR:
        return {average_pool(settings_of(operation), in[0], first)};
      default:
        return {convolution(operation, in, zeros(first))};
    }
  }

  Values load(const Descriptor& tensor) const {
    const auto id = tensor.one<std::int64_t>(CUDNN_ATTR_TENSOR_UNIQUE_ID);
    if (is_virtual(tensor)) return virtual_.at(id);
    if (is_by_value(tensor)) return {{1, 1, 1, 1}, {scalars_.at(id)}};
    Values v = zeros(dims_of(tensor));
    const auto* const from = static_cast<const std::byte*>(memory_.at(id));
    const cudnnDataType_t type = type_of(tensor);
    for_each(v.dims, four(tensor.list<std::int64_t>(CUDNN_ATTR_TENSOR_STRIDES)),
             [&](std::size_t i, std::int64_t offset) {
               const std::byte* const p = from + static_cast<std::size_t>(offset) * element_bytes(type);
               if (type == CUDNN_DATA_FLOAT) {
                 float f = 0;
                 std::memcpy(&f, p, sizeof f);
                 v.at[i] = static_cast<double>(f);
                 return;
               }
               std::uint16_t bits = 0;
               std::memcpy(&bits, p, sizeof bits);
               v.at[i] = static_cast<double>(type == CUDNN_DATA_HALF ? f16{bits}.to_float()
                                                                     : bf16{bits}.to_float());
             });
    return v;
  }

  void store(const Descriptor& tensor, Values v) {
    const auto id = tensor.one<std::int64_t>(CUDNN_ATTR_TENSOR_UNIQUE_ID);
    if (is_virtual(tensor)) {
      virtual_[id] = std::move(v);
      return;
    }
    auto* const to = static_cast<std::byte*>(memory_.at(id));
    const cudnnDataType_t type = type_of(tensor);
    for_each(v.dims, four(tensor.list<std::int64_t>(CUDNN_ATTR_TENSOR_STRIDES)),
             [&](std::size_t i, std::int64_t offset) {
               std::byte* const p = to + static_cast<std::size_t>(offset) * element_bytes(type);
               const auto f = static_cast<float>(v.at[i]);
               if (type == CUDNN_DATA_FLOAT) {
                 std::memcpy(p, &f, sizeof f);
                 return;
               }
               const std::uint16_t bits = type == CUDNN_DATA_HALF ? f16::from(f).bits : bf16::from(f).bits;
               std::memcpy(p, &bits, sizeof bits);
             });
  }

  // y of x and, where there is one, of an operand that is broadcast.
  static Values pointwise(const Descriptor& settings, const std::vector<Values>& in) {
    const auto mode = settings.one<cudnnPointwiseMode_t>(CUDNN_ATTR_POINTWISE_MODE);
    Values out = in.at(0);
    for (std::int64_t a = 0; a < out.dims[0]; ++a)
      for (std::int64_t b = 0; b < out.dims[1]; ++b)
        for (std::int64_t y = 0; y < out.dims[2]; ++y)
          for (std::int64_t x = 0; x < out.dims[3]; ++x) {
            double& v = out(a, b, y, x);
            if (mode == CUDNN_POINTWISE_RELU_FWD) {
              v = v > 0.0 ? v : 0.0;
              continue;
            }
            const Values& other = in.at(1);
            const auto at = [&](std::size_t axis, std::int64_t i) { return other.dims[axis] == 1 ? 0 : i; };
            const double w = other(at(0, a), at(1, b), at(2, y), at(3, x));
            // Heuristics let these pass, and nothing else.
            if (mode == CUDNN_POINTWISE_ADD)
              v += w;
            else if (mode == CUDNN_POINTWISE_SUB)
              v -= w;
            else if (mode == CUDNN_POINTWISE_MUL)
              v *= w;
            else
              v = w > 0.0 ? v : 0.0;  // the gradient through a ReLU of w
          }
    return out;
  }

  // The sum over all terms of the convolution, into whichever tensor is the result.
  static Values convolution(const Descriptor& operation, const std::vector<Values>& in, Values out) {
    const Descriptor& c = settings_of(operation);
    const auto pair = [&](cudnnBackendAttributeName_t name) { return c.list<std::int64_t>(name); };
    const auto padding = pair(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS),
               stride = pair(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES),
               dilation = pair(CUDNN_ATTR_CONVOLUTION_DILATIONS);
    const bool flipped = c.one<cudnnConvolutionMode_t>(CUDNN_ATTR_CONVOLUTION_CONV_MODE) == CUDNN_CONVOLUTION;
    const auto kind = operation.type;
    const bool forward = kind == CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR;
    const bool to_image = kind == CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR;
    // Operands are (x, w), (w, dy) and (x, dy).
    const Dims x = to_image ? out.dims : in[0].dims;
    const Dims w = forward ? in[1].dims : to_image ? in[0].dims : out.dims;
    const Dims y = forward ? out.dims : in[1].dims;
    const std::int64_t groups = x[1] / w[1], per_group = w[0] / groups;
    for (std::int64_t n = 0; n < y[0]; ++n)
      for (std::int64_t o = 0; o < y[1]; ++o)
        for (std::int64_t i = 0; i < y[2]; ++i)
          for (std::int64_t j = 0; j < y[3]; ++j)
            for (std::int64_t k = 0; k < w[2]; ++k)
              for (std::int64_t l = 0; l < w[3]; ++l) {
                const std::int64_t row = i * stride[0] - padding[0] + k * dilation[0];
                const std::int64_t col = j * stride[1] - padding[1] + l * dilation[1];
                if (row < 0 || row >= x[2] || col < 0 || col >= x[3]) continue;
                const std::int64_t wk = flipped ? w[2] - 1 - k : k, wl = flipped ? w[3] - 1 - l : l;
                for (std::int64_t ic = 0; ic < w[1]; ++ic) {
                  const std::int64_t channel = o / per_group * w[1] + ic;
                  if (forward)
                    out(n, o, i, j) += in[0](n, channel, row, col) * in[1](o, ic, wk, wl);
                  else if (to_image)
                    out(n, channel, row, col) += in[1](n, o, i, j) * in[0](o, ic, wk, wl);
                  else
                    out(o, ic, wk, wl) += in[1](n, o, i, j) * in[0](n, channel, row, col);
                }
              }
    return out;
  }

  const std::map<std::int64_t, void*>& memory_;
  const std::map<std::int64_t, double>& scalars_;
  std::map<std::int64_t, Values> virtual_;
};

}  // namespace

Parts parts_of(const Descriptor& operation) {
  const auto present = [&](std::vector<cudnnBackendAttributeName_t> names) {
    std::erase_if(names, [&](auto name) { return !operation.has(name); });
    return names;
  };
  switch (operation.type) {
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR:
      return {{CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W},
              {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y}};
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR:
      return {{CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY},
              {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX}};
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR:
      return {{CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY},
              {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW}};
    case CUDNN_BACKEND_OPERATION_NORM_FORWARD_DESCRIPTOR:
      return {{CUDNN_ATTR_OPERATION_NORM_FWD_XDESC, CUDNN_ATTR_OPERATION_NORM_FWD_SCALE_DESC,
               CUDNN_ATTR_OPERATION_NORM_FWD_BIAS_DESC, CUDNN_ATTR_OPERATION_NORM_FWD_EPSILON_DESC,
               CUDNN_ATTR_OPERATION_NORM_FWD_EXP_AVG_FACTOR_DESC,
               CUDNN_ATTR_OPERATION_NORM_FWD_INPUT_RUNNING_MEAN_DESC,
               CUDNN_ATTR_OPERATION_NORM_FWD_INPUT_RUNNING_VAR_DESC},
              {CUDNN_ATTR_OPERATION_NORM_FWD_YDESC, CUDNN_ATTR_OPERATION_NORM_FWD_MEAN_DESC,
               CUDNN_ATTR_OPERATION_NORM_FWD_INV_VARIANCE_DESC,
               CUDNN_ATTR_OPERATION_NORM_FWD_OUTPUT_RUNNING_MEAN_DESC,
               CUDNN_ATTR_OPERATION_NORM_FWD_OUTPUT_RUNNING_VAR_DESC}};
    case CUDNN_BACKEND_OPERATION_NORM_BACKWARD_DESCRIPTOR:
      return {{CUDNN_ATTR_OPERATION_NORM_BWD_DYDESC, CUDNN_ATTR_OPERATION_NORM_BWD_XDESC,
               CUDNN_ATTR_OPERATION_NORM_BWD_SCALE_DESC, CUDNN_ATTR_OPERATION_NORM_BWD_MEAN_DESC,
               CUDNN_ATTR_OPERATION_NORM_BWD_INV_VARIANCE_DESC},
              {CUDNN_ATTR_OPERATION_NORM_BWD_DXDESC, CUDNN_ATTR_OPERATION_NORM_BWD_DSCALE_DESC,
               CUDNN_ATTR_OPERATION_NORM_BWD_DBIAS_DESC}};
    case CUDNN_BACKEND_OPERATION_GEN_STATS_DESCRIPTOR:
      return {{CUDNN_ATTR_OPERATION_GENSTATS_XDESC},
              {CUDNN_ATTR_OPERATION_GENSTATS_SUMDESC, CUDNN_ATTR_OPERATION_GENSTATS_SQSUMDESC}};
    case CUDNN_BACKEND_OPERATION_BN_BWD_WEIGHTS_DESCRIPTOR:
      return {
          {CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_DY_DESC, CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_X_DESC,
           CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_MEAN_DESC, CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_INVSTD_DESC,
           CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_BN_SCALE_DESC},
          {CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_DBN_SCALE_DESC,
           CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_DBN_BIAS_DESC,
           CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_EQ_DY_SCALE_DESC,
           CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_EQ_X_SCALE_DESC, CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_EQ_BIAS}};
    case CUDNN_BACKEND_OPERATION_RESAMPLE_FWD_DESCRIPTOR:
      return {{CUDNN_ATTR_OPERATION_RESAMPLE_FWD_XDESC}, {CUDNN_ATTR_OPERATION_RESAMPLE_FWD_YDESC}};
    default:
      if (operation.has(CUDNN_ATTR_OPERATION_POINTWISE_DXDESC))
        return {{CUDNN_ATTR_OPERATION_POINTWISE_DYDESC, CUDNN_ATTR_OPERATION_POINTWISE_XDESC},
                {CUDNN_ATTR_OPERATION_POINTWISE_DXDESC}};
      return {present({CUDNN_ATTR_OPERATION_POINTWISE_XDESC, CUDNN_ATTR_OPERATION_POINTWISE_BDESC}),
              {CUDNN_ATTR_OPERATION_POINTWISE_YDESC}};
  }
}

const Descriptor& settings_of(const Descriptor& operation) {
  switch (operation.type) {
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR:
      return operation.part(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC);
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR:
      return operation.part(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC);
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR:
      return operation.part(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC);
    case CUDNN_BACKEND_OPERATION_RESAMPLE_FWD_DESCRIPTOR:
      return operation.part(CUDNN_ATTR_OPERATION_RESAMPLE_FWD_DESC);
    default:
      return operation.part(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR);
  }
}

bool is_virtual(const Descriptor& tensor) {
  return tensor.one<bool>(CUDNN_ATTR_TENSOR_IS_VIRTUAL);
}
bool is_by_value(const Descriptor& tensor) {
  return tensor.one<bool>(CUDNN_ATTR_TENSOR_IS_BY_VALUE);
}

void interpret(const Descriptor& graph, const std::map<std::int64_t, void*>& memory,
               const std::map<std::int64_t, double>& scalars) {
  Interpreter all(memory, scalars);
  for (const auto& o : graph.attributes.at(CUDNN_ATTR_OPERATIONGRAPH_OPS).references) all.run(*o);
}

std::string misfit(const Descriptor& operation) {
  const Parts parts = parts_of(operation);
  std::vector<Dims> in, out;
  for (const auto name : parts.operands) in.push_back(dims_of(operation.part(name)));
  for (const auto name : parts.results) out.push_back(dims_of(operation.part(name)));
  const Dims result = out[0];
  if (operation.type == CUDNN_BACKEND_OPERATION_NORM_FORWARD_DESCRIPTOR ||
      operation.type == CUDNN_BACKEND_OPERATION_NORM_BACKWARD_DESCRIPTOR)
    return norm_misfit(operation, in, out);
  if (operation.type == CUDNN_BACKEND_OPERATION_GEN_STATS_DESCRIPTOR ||
      operation.type == CUDNN_BACKEND_OPERATION_BN_BWD_WEIGHTS_DESCRIPTOR) {
    const Dims each{1, in[0][1], 1, 1};
    if (in.size() > 1 && in[1] != in[0]) return "two images of a sum differ in size";
    for (std::size_t i = 2; i < in.size(); ++i)
      if (in[i] != each) return "a norm's parameter has not one number for each channel";
    for (const Dims& d : out)
      if (d != each) return "a sum has not one number for each channel";
    return "";
  }
  if (operation.type == CUDNN_BACKEND_OPERATION_RESAMPLE_FWD_DESCRIPTOR)
    return pool_misfit(settings_of(operation), in[0], result);
  if (operation.type == CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR) {
    if (in[0] != result) return "an elementwise step changes its operand's shape";
    for (std::size_t axis = 0; in.size() > 1 && axis < 4; ++axis)
      if (in[1][axis] != 1 && in[1][axis] != result[axis]) return "an operand cannot be broadcast";
    return "";
  }
  const bool forward = operation.type == CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR;
  const bool to_image = operation.type == CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR;
  const Dims x = to_image ? result : in[0],
             w = forward    ? in[1]
                 : to_image ? in[0]
                            : result,
             y = forward ? result : in[1];
  if (x[0] != y[0] || w[0] != y[1] || x[1] % w[1] != 0 || w[0] % (x[1] / w[1]) != 0)
    return "images or channels of a convolution do not fit";
  const Descriptor& c = settings_of(operation);
  for (std::size_t i = 0; i < 2; ++i) {
    const auto at = [&](cudnnBackendAttributeName_t name) { return c.list<std::int64_t>(name).at(i); };
    const std::int64_t padded =
        x[2 + i] + at(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS) + at(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS);
    const std::int64_t room = padded - at(CUDNN_ATTR_CONVOLUTION_DILATIONS) * (w[2 + i] - 1) - 1;
    if (room < 0 || room / at(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES) + 1 != y[2 + i])
      return cat("a convolution's result is ", y[2 + i], " along axis ", 2 + i);
  }
  return "";
}

std::size_t bytes_of(const Descriptor& tensor) {
  const Dims d = dims_of(tensor), stride = four(tensor.list<std::int64_t>(CUDNN_ATTR_TENSOR_STRIDES));
  std::int64_t last = 0;
  for (std::size_t i = 0; i < 4; ++i) last += (d[i] - 1) * stride[i];
  return static_cast<std::size_t>(last + 1) * element_bytes(type_of(tensor));
}

}  // namespace ingot::fake_cudnn
