// cuda/kernels/attention on the simulated device against the ops' references in double: rows and keys around
// a tile's edge, results of several tiles of columns, shared heads, masks, pointers that forbid 16 bytes,
// three dtypes.
#include <cmath>

#include "core/base/error.h"
#include "core/op/reference.h"
#include "core/ops/attention.h"
#include "cuda/kernels/attention.h"
#include "tests/cuda_sim/operand.h"

namespace ingot {
namespace {

using cuda::AttentionShape;
using cuda::DeviceBuffer;
using cuda::Stream;

struct Problem {
  AttentionShape shape{};
  std::vector<std::int32_t> lengths{};
  std::size_t shift = 0;
};

Tensor tensor(const std::vector<double>& v, const Shape& shape) {
  return Tensor::from<double>(shape, v);
}

template <class T>
void check(const Problem& p) {
  const AttentionShape& s = p.shape;
  const DType dtype = kType<T>;
  SCOPED_TRACE(cat(name(dtype), " ", s.batch, " x ", s.q_heads, "/", s.k_heads, " heads, ", s.rows, " x ",
                   s.keys, ", depth ", s.depth, "/", s.v_depth, s.causal ? " causal" : "", " shift ",
                   p.shift));
  const Shape q_shape{s.batch, s.q_heads, s.rows, s.depth}, k_shape{s.batch, s.k_heads, s.keys, s.depth},
      v_shape{s.batch, s.k_heads, s.keys, s.v_depth}, y_shape{s.batch, s.q_heads, s.rows, s.v_depth},
      lse_shape{s.batch, s.q_heads, s.rows};
  const auto count = [](const Shape& shape) { return static_cast<std::size_t>(shape.numel()); };
  const Stream stream;
  const auto operand = [&](const Shape& shape, unsigned seed) {
    return operand_of<T>(count(shape), seed, 0, 1.5, p.shift, stream);
  };
  const Operand q = operand(q_shape, 1), k = operand(k_shape, 2), v = operand(v_shape, 3),
                dy = operand(y_shape, 4), y = operand(y_shape, 5), dq = operand(q_shape, 5),
                dk = operand(k_shape, 5), dv = operand(v_shape, 5);
  const Operand lse = param_of(DType::F32, count(lse_shape), 5, 0, 0, stream);
  DeviceBuffer lengths(std::max<std::size_t>(p.lengths.size() * sizeof(std::int32_t), 1));
  cuda::copy_to_device(lengths.data(), p.lengths.data(), p.lengths.size() * sizeof(std::int32_t), stream);
  const auto* const given = p.lengths.empty() ? nullptr : static_cast<const std::int32_t*>(lengths.data());

  cuda::attention(dtype, s, {q.data(), k.data(), v.data(), given, y.data(), lse.data()}, stream);
  const auto y_host = read(dtype, y.data(), count(y_shape), stream),
             lse_host = read(DType::F32, lse.data(), count(lse_shape), stream);
  const DeviceBuffer workspace(std::max<std::size_t>(cuda::attention_grad_workspace(s), 1));
  cuda::attention_grad(
      dtype, s,
      {dy.data(), q.data(), k.data(), v.data(), y.data(), lse.data(), given, dq.data(), dk.data(), dv.data()},
      workspace.data(), stream);

  const AttentionAttrs attrs{s.scale, s.causal, given != nullptr};
  std::vector<Tensor> in{tensor(q.values, q_shape), tensor(k.values, k_shape), tensor(v.values, v_shape)};
  Tensor lengths_host;
  if (given != nullptr) {
    lengths_host = Tensor::from<std::int32_t>({s.batch}, p.lengths);
    in.push_back(lengths_host);
  }
  const auto want = run_reference(op("attention"), attrs, in);
  expect_near("y", y_host, want[0], dtype, 4e-6);
  expect_near("lse", lse_host, want[1], DType::F32, 4e-6);
  std::vector<Tensor> grad_in{tensor(dy.values, y_shape), in[0], in[1], in[2], tensor(y_host, y_shape),
                              tensor(lse_host, lse_shape)};
  if (given != nullptr) grad_in.push_back(lengths_host);
  const auto grad = run_reference(op("attention_grad"), attrs, grad_in);
  const double error = 3e-5 * std::sqrt(static_cast<double>(s.depth));
  expect_near("dq", read(dtype, dq.data(), count(q_shape), stream), grad[0], dtype, error);
  expect_near("dk", read(dtype, dk.data(), count(k_shape), stream), grad[1], dtype, error);
  expect_near("dv", read(dtype, dv.data(), count(v_shape), stream), grad[2], dtype, error);
}

class Attention : public SimTest {};

TEST_F(Attention, TilesAndTheirEdges) {
  for (const auto& [rows, keys] : {std::pair{1, 1}, {63, 65}, {64, 64}, {65, 1}, {5, 129}}) {
    const AttentionShape s{.rows = rows, .keys = keys, .depth = 32, .v_depth = 24, .scale = 0.3};
    check<float>({.shape = s});
    check<f16>({.shape = s});
    check<bf16>({.shape = s});
  }
}

TEST_F(Attention, Causal) {
  for (const auto& [rows, keys] : {std::pair{70, 70}, {3, 70}, {130, 65}}) {
    const AttentionShape s{
        .rows = rows, .keys = keys, .depth = 8, .v_depth = 8, .scale = 0.5, .causal = true};
    check<float>({.shape = s});
    check<bf16>({.shape = s});
  }
}

// A tile takes 32 elements of a row at once and makes 64 columns of a result.
TEST_F(Attention, RowsOfAnyLength) {
  for (const auto& [depth, v_depth] : {std::pair{1, 1}, {33, 7}, {64, 128}, {130, 65}}) {
    const AttentionShape s{.rows = 9, .keys = 12, .depth = depth, .v_depth = v_depth, .scale = 0.2};
    check<float>({.shape = s});
    check<f16>({.shape = s});
  }
}

TEST_F(Attention, SharedHeadsAndLengths) {
  const AttentionShape s{
      .batch = 3, .q_heads = 6, .k_heads = 2, .rows = 5, .keys = 70, .depth = 16, .v_depth = 8, .scale = 0.4};
  check<float>({.shape = s});
  check<float>({.shape = s, .lengths = {70, 0, 64}});
  check<bf16>({.shape = s, .lengths = {1, 65, 100}});
}

TEST_F(Attention, RowsThatDoNotStartAtSixteenBytes) {
  const AttentionShape s{.rows = 20, .keys = 30, .depth = 32, .v_depth = 32, .scale = 0.25};
  check<float>({.shape = s, .shift = 1});
  check<f16>({.shape = s, .shift = 3});
}

TEST_F(Attention, NothingToDoAndErrors) {
  const Stream stream;
  cuda::attention(DType::F32, {.batch = 0}, {}, stream);
  cuda::attention(DType::F32, {.rows = 0}, {}, stream);
  cuda::attention_grad(DType::F32, {.batch = 0}, {}, nullptr, stream);
  check<float>({.shape = {.rows = 3, .keys = 0}});
  check<float>({.shape = {.rows = 0, .keys = 3}});
  EXPECT_THROW(cuda::attention(DType::F64, {}, {}, stream), UsageError);
  EXPECT_THROW(cuda::attention(DType::F32, {.rows = std::int64_t{1} << 31}, {}, stream), ShapeError);
  EXPECT_THROW(cuda::attention_grad(DType::F32, {.keys = std::int64_t{1} << 31}, {}, nullptr, stream),
               ShapeError);
}

}  // namespace
}  // namespace ingot
