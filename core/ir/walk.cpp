#include "core/ir/walk.h"

namespace ingot {

std::vector<std::int64_t> strides_over(const TensorType& t, const Shape& out) {
  const int rank = t.shape.rank(), lead = out.rank() - rank;
  std::vector<std::int64_t> s(static_cast<std::size_t>(out.rank()), 0);
  std::int64_t stride = 1;
  for (int i = rank; i-- > 0;) {
    const int axis = t.layout.is_row_major() ? i : t.layout.order[static_cast<std::size_t>(i)];
    if (t.shape[axis] != 1) s[static_cast<std::size_t>(axis + lead)] = stride;
    stride *= t.shape[axis];
  }
  return s;
}

bool elementwise_accepts(std::span<const TensorType> inputs, std::span<const TensorType> outputs) {
  if (outputs.empty()) return false;
  const TensorType& o = outputs[0];
  if (o.physical_numel() != o.numel()) return false;
  for (const TensorType& t : outputs)
    if (t.shape != o.shape || t.layout.canonical() != o.layout.canonical()) return false;
  for (const TensorType& t : inputs) {
    if (!broadcastable_to(t.shape, o.shape) || t.physical_numel() != t.numel()) return false;
    const bool same = t.shape == o.shape && t.layout.canonical() == o.layout.canonical();
    if ((o.layout.is_blocked() || t.layout.is_blocked()) && !same && t.numel() != 1) return false;
  }
  return true;
}

Walk elementwise_walk(std::span<const TensorType> inputs, const TensorType& out) {
  Walk w;
  if (out.layout.is_blocked()) {
    w.dims = {out.numel()};
    for (const TensorType& t : inputs) w.strides.push_back({t.numel() == 1 ? 0 : 1});
    return w;
  }
  std::vector<std::vector<std::int64_t>> logical;
  for (const TensorType& t : inputs) logical.push_back(strides_over(t, out.shape));
  w.strides.resize(inputs.size());
  for (int d = 0; d < out.shape.rank(); ++d) {
    const int axis = out.layout.is_row_major() ? d : out.layout.order[static_cast<std::size_t>(d)];
    const auto a = static_cast<std::size_t>(axis);
    const std::int64_t size = out.shape[axis];
    if (size == 1) continue;
    bool joins = !w.dims.empty();
    for (std::size_t i = 0; i < inputs.size() && joins; ++i)
      joins = w.strides[i].back() == logical[i][a] * size;
    if (joins)
      w.dims.back() *= size;
    else
      w.dims.push_back(size);
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      if (joins)
        w.strides[i].back() = logical[i][a];
      else
        w.strides[i].push_back(logical[i][a]);
    }
  }
  if (w.dims.empty()) {
    w.dims = {1};
    for (auto& s : w.strides) s = {0};
  }
  return w;
}

}  // namespace ingot
