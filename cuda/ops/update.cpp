// Optimiser steps and the norm of many tensors. Every tensor is seen as its memory, so any layout serves that
// all roles of a parameter share.
#include "core/ops/update.h"

#include "core/op/registry.h"
#include "cuda/kernels/update.h"
#include "cuda/ops/launch_step.h"
#include "cuda/ops/operands.h"

namespace ingot::cuda {

namespace {

// A program places values at multiples of this, so what lies between two of them belongs to nobody.
constexpr std::size_t kPlacing = 64;

// The tensors without their addresses, or nothing when a type or a layout is not served.
std::vector<UpdateTensor> tensors_of(const Problem& p, int count) {
  for (int i = 0; i < kUpdateScalars; ++i)
    if (!is_floating(p.in(i).dtype)) return {};
  const auto layout_at = [&](int i) {
    return p.in(kUpdateScalars + (i - kUpdateScalars) % count).layout.canonical();
  };
  for (int i = kUpdateScalars; i < p.num_inputs(); ++i)
    if (!is_float(p.in(i).dtype) || p.in(i).layout.canonical() != layout_at(i)) return {};
  for (int o = 0; o < p.num_outputs(); ++o)
    if (p.out(o).layout.canonical() != layout_at(kUpdateScalars + o)) return {};
  std::vector<UpdateTensor> tensors(static_cast<std::size_t>(count));
  for (int t = 0; t < count; ++t) {
    UpdateTensor& tensor = tensors[static_cast<std::size_t>(t)];
    const TensorType& parameter = p.in(kUpdateScalars + t);
    tensor.count = parameter.physical_numel();
    tensor.dtype = parameter.dtype;
    tensor.gradient_dtype = p.in(kUpdateScalars + count + t).dtype;
  }
  return tensors;
}

template <class A, class Rule>
std::unique_ptr<Step> make_update(const Problem& p, const Rule& rule,
                                  void (*update)(const Rule&, std::span<const UpdateTensor>,
                                                 const UpdateScalars&, const Stream&, std::size_t)) {
  const auto count = static_cast<std::size_t>(p.attrs<A>().count);
  const auto kept = static_cast<std::size_t>(roles(rule));
  const std::vector<UpdateTensor> types = tensors_of(p, static_cast<int>(count));
  if (types.empty()) return nullptr;
  const auto scalar = [&p](int i) { return p.in(i).dtype; };
  const std::array<DType, kUpdateScalars> scalars{scalar(0), scalar(1), scalar(2)};
  return launch_step(
      p.node.op,
      [=](void* const* in, void* const* out, void*, const Stream& stream) {
        std::vector<UpdateTensor> tensors = types;
        for (std::size_t t = 0; t < count; ++t) {
          void* const* const mine = in + kUpdateScalars + t;
          tensors[t].gradient = mine[count];
          for (std::size_t r = 0; r < kept; ++r) {
            tensors[t].from[r] = mine[(r == 0 ? 0 : r + 1) * count];
            tensors[t].to[r] = out[r * count + t];
          }
        }
        const UpdateScalars now{{in[0], scalars[0]}, {in[1], scalars[1]}, {in[2], scalars[2]}};
        update(rule, tensors, now, stream, kPlacing);
      },
      0, op(p.node.op).in_place(p.node.attrs, p.num_inputs()));
}

std::unique_ptr<Step> lower_sgd(const Problem& p) {
  const auto& a = p.attrs<SgdAttrs>();
  return make_update<SgdAttrs>(p, SgdRule{a.momentum, a.dampening, a.weight_decay, a.nesterov}, sgd);
}

std::unique_ptr<Step> lower_adam(const Problem& p) {
  const auto& a = p.attrs<AdamAttrs>();
  return make_update<AdamAttrs>(p, AdamRule{a.beta1, a.beta2, a.eps, a.weight_decay, a.decoupled}, adam);
}

std::unique_ptr<Step> lower_rmsprop(const Problem& p) {
  const auto& a = p.attrs<RmspropAttrs>();
  return make_update<RmspropAttrs>(p, RmspropRule{a.alpha, a.eps, a.weight_decay, a.momentum, a.centered},
                                   rmsprop);
}

template <class A>
Backend::Layouts update_layouts(const Problem& p, const std::vector<bool>&) {
  return grouped_layouts(p, kUpdateScalars, p.attrs<A>().count);
}

std::unique_ptr<Step> lower_global_norm(const Problem& p) {
  std::vector<NormOperand> types;
  for (int i = 0; i < p.num_inputs(); ++i) {
    if (!is_float(p.in(i).dtype)) return nullptr;
    types.push_back({nullptr, p.in(i).physical_numel(), p.in(i).dtype});  // padding holds zeros
  }
  return launch_step(
      "global_norm",
      [=](void* const* in, void* const* out, void* workspace, const Stream& stream) {
        std::vector<NormOperand> operands = types;
        for (std::size_t i = 0; i < operands.size(); ++i) operands[i].data = in[i];
        global_norm(operands, static_cast<float*>(out[0]), workspace, stream);
      },
      global_norm_workspace(types));
}

}  // namespace

void add_update(LoweringTable& table) {
  table.add("sgd", {.lower = lower_sgd, .layouts = update_layouts<SgdAttrs>});
  table.add("adam", {.lower = lower_adam, .layouts = update_layouts<AdamAttrs>});
  table.add("rmsprop", {.lower = lower_rmsprop, .layouts = update_layouts<RmspropAttrs>});
  table.add("global_norm", {.lower = lower_global_norm, .layouts = unchanged_layouts});
}

}  // namespace ingot::cuda
