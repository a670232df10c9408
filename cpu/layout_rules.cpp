// Layout rules that many ops share; see cpu/lowering.h.
#include "cpu/lowering.h"

namespace ingot::cpu {

namespace {

// Elementwise code writes every physical element, so a padded block would lose its zeros: f(0) need not be 0.
bool takes_elementwise(const TensorType& t) {
  return !t.layout.is_row_major() && t.physical_numel() == t.numel();
}

}  // namespace

Backend::Layouts elementwise_layouts(const Problem& p, const std::vector<bool>&) {
  const Shape& shape = p.out().shape;
  Layout chosen;
  for (int i = 0; i < p.num_inputs() && chosen.is_row_major(); ++i)
    if (p.in(i).shape == shape && takes_elementwise(p.in(i))) chosen = p.in(i).layout;
  Backend::Layouts l;
  for (int i = 0; i < p.num_inputs(); ++i)
    l.inputs.push_back(p.in(i).shape == shape ? chosen : Layout::row_major());
  for (int i = 0; i < p.num_outputs(); ++i)
    l.outputs.push_back(p.out(i).shape == shape ? chosen : Layout::row_major());
  return l;
}

Backend::Layouts channels_last_layouts(const Problem& p, const std::vector<bool>&) {
  const auto of = [](const TensorType& t) {
    return t.shape.rank() == 4 ? Layout::channels_last(4) : Layout::row_major();
  };
  Backend::Layouts l;
  for (int i = 0; i < p.num_inputs(); ++i) l.inputs.push_back(of(p.in(i)));
  for (int i = 0; i < p.num_outputs(); ++i) l.outputs.push_back(of(p.out(i)));
  return l;
}

}  // namespace ingot::cpu
