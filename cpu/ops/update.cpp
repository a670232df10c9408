// Optimiser steps on f32: one pass over all tensors, cut into pieces that the threads share evenly.
#include "core/ops/update.h"

#include <algorithm>
#include <cmath>

#include "core/op/registry.h"
#include "core/runtime/lowering.h"
#include "cpu/parallel.h"
#include "cpu/pieces.h"
#include "cpu/simd/row_kernels.h"

namespace ingot::cpu {

namespace {

constexpr int kMaxRoles = 5;

struct Sizes {
  std::vector<std::int64_t> sizes;
  std::int64_t total = 0;
};

// All operands f32 and each tensor's roles in one layout.
bool collect(const Problem& p, std::int64_t count, Sizes& s) {
  const int n = p.num_inputs();
  if (count <= 0 || (n - kUpdateScalars) % count != 0 || (n - kUpdateScalars) / count > kMaxRoles)
    return false;
  for (int i = 0; i < kUpdateScalars; ++i)
    if (p.in(i).dtype != DType::F32) return false;
  for (int i = kUpdateScalars; i < n; ++i) {
    const TensorType &t = p.in(i),
                     &model = p.in(kUpdateScalars + (i - kUpdateScalars) % static_cast<int>(count));
    if (t.dtype != DType::F32 || t.layout.canonical() != model.layout.canonical()) return false;
  }
  for (int o = 0; o < p.num_outputs(); ++o) {
    const TensorType& model = p.in(kUpdateScalars + o % static_cast<int>(count));
    if (p.out(o).layout.canonical() != model.layout.canonical()) return false;
  }
  for (int i = 0; i < static_cast<int>(count); ++i) {
    s.sizes.push_back(p.in(kUpdateScalars + i).physical_numel());
    s.total += s.sizes.back();
  }
  return true;
}

template <class A>
Backend::Layouts update_layouts(const Problem& p, const std::vector<bool>&) {
  return grouped_layouts(p, kUpdateScalars, p.attrs<A>().count);
}

// apply(scalars) makes the arguments of a run; kernel(args, roles in, roles out, n) does one piece. Step 0
// leaves everything as it is, which in place is no work at all.
template <class Prepare, class Kernel>
std::unique_ptr<Step> make_update(const Problem& p, std::int64_t count, const Sizes& s, Prepare prepare,
                                  Kernel kernel) {
  const int parts = useful_threads(p.target.threads, s.total);
  const auto pieces = std::make_shared<const Pieces>(s.sizes, parts);
  const int in_roles = static_cast<int>((p.num_inputs() - kUpdateScalars) / count);
  const int out_roles = static_cast<int>(p.num_outputs() / count);
  return make_step(
      cat("update:", name(cpu_level())),
      [=](void* const* in, void* const* out, void*) {
        const auto scalar = [&](int i) { return static_cast<double>(*static_cast<const float*>(in[i])); };
        const bool taken = scalar(1) != 0.0;
        const auto args = prepare(scalar(0), scalar(1), scalar(2));
        parallel_parts(parts, [&](int part) {
          for (const Piece& piece : pieces->of(part)) {  // the same of each role
            const float* from[kMaxRoles] = {};
            float* to[kMaxRoles] = {};
            for (int r = 0; r < in_roles; ++r)
              from[r] =
                  static_cast<const float*>(in[kUpdateScalars + r * count + piece.tensor]) + piece.begin;
            for (int r = 0; r < out_roles; ++r)
              to[r] = static_cast<float*>(out[r * count + piece.tensor]) + piece.begin;
            if (taken) {
              kernel(args, from, to, piece.n);
              continue;
            }
            for (int r = 0; r < out_roles; ++r)  // the parameter, and behind its gradient the states
              if (const float* const kept = from[r == 0 ? 0 : r + 1]; kept != to[r])
                std::copy_n(kept, piece.n, to[r]);
          }
        });
      },
      0, op(p.node.op).in_place(p.node.attrs, p.num_inputs()));
}

std::unique_ptr<Step> lower_sgd(const Problem& p) {
  const SgdAttrs at = p.attrs<SgdAttrs>();
  Sizes s;
  if (!collect(p, at.count, s)) return nullptr;
  const RowKernels& k = row_kernels(cpu_level());
  return make_update(
      p, at.count, s,
      [at](double lr, double step, double scale) {
        return SgdArgs{static_cast<float>(lr),
                       static_cast<float>(scale),
                       static_cast<float>(at.weight_decay),
                       static_cast<float>(at.momentum),
                       static_cast<float>(at.dampening),
                       at.nesterov,
                       step == 1.0};
      },
      [&k](const SgdArgs& a, const float* const* from, float* const* to, std::int64_t n) {
        k.sgd(a, from[0], from[1], from[2], to[0], to[1], n);
      });
}

std::unique_ptr<Step> lower_adam(const Problem& p) {
  const AdamAttrs at = p.attrs<AdamAttrs>();
  Sizes s;
  if (!collect(p, at.count, s)) return nullptr;
  const RowKernels& k = row_kernels(cpu_level());
  return make_update(
      p, at.count, s,
      [at](double lr, double step, double scale) {
        AdamArgs a{};
        a.grad_scale = static_cast<float>(scale);
        a.weight_decay = at.decoupled ? 0.0f : static_cast<float>(at.weight_decay);
        a.shrink = at.decoupled ? static_cast<float>(1.0 - lr * at.weight_decay) : 1.0f;
        a.beta1 = static_cast<float>(at.beta1);
        a.beta2 = static_cast<float>(at.beta2);
        a.one_minus_beta1 = static_cast<float>(1.0 - at.beta1);
        a.one_minus_beta2 = static_cast<float>(1.0 - at.beta2);
        a.step_size = static_cast<float>(lr / (1.0 - std::pow(at.beta1, step)));
        a.inv_sqrt_correction2 = static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(at.beta2, step)));
        a.eps = static_cast<float>(at.eps);
        return a;
      },
      [&k](const AdamArgs& a, const float* const* from, float* const* to, std::int64_t n) {
        k.adam(a, from[0], from[1], from[2], from[3], to[0], to[1], to[2], n);
      });
}

std::unique_ptr<Step> lower_rmsprop(const Problem& p) {
  const RmspropAttrs at = p.attrs<RmspropAttrs>();
  Sizes s;
  if (at.centered || !collect(p, at.count, s)) return nullptr;
  const RowKernels& k = row_kernels(cpu_level());
  return make_update(
      p, at.count, s,
      [at](double lr, double, double scale) {
        RmspropArgs a{};
        a.lr = static_cast<float>(lr);
        a.grad_scale = static_cast<float>(scale);
        a.weight_decay = static_cast<float>(at.weight_decay);
        a.alpha = static_cast<float>(at.alpha);
        a.one_minus_alpha = static_cast<float>(1.0 - at.alpha);
        a.eps = static_cast<float>(at.eps);
        a.momentum = static_cast<float>(at.momentum);
        return a;
      },
      [&k](const RmspropArgs& a, const float* const* from, float* const* to, std::int64_t n) {
        k.rmsprop(a, from[0], from[1], from[2], from[3], to[0], to[1], to[2], n);
      });
}

std::unique_ptr<Step> lower_global_norm(const Problem& p) {
  std::vector<std::int64_t> sizes;
  std::int64_t total = 0;
  for (int i = 0; i < p.num_inputs(); ++i) {
    if (p.in(i).dtype != DType::F32) return nullptr;
    sizes.push_back(p.in(i).physical_numel());  // padding holds zeros
    total += sizes.back();
  }
  const RowKernels& k = row_kernels(cpu_level());
  const int parts = useful_threads(p.target.threads, total);
  const auto pieces = std::make_shared<const Pieces>(sizes, parts);
  return make_step(
      cat("rows:", name(cpu_level())),
      [=, &k](void* const* in, void* const* out, void* workspace) {
        auto* sums = static_cast<double*>(workspace);
        parallel_parts(parts, [&](int part) {
          double sum = 0.0;
          for (const Piece& piece : pieces->of(part))
            sum += k.sum_squares(static_cast<const float*>(in[piece.tensor]) + piece.begin, piece.n, 0.0f);
          sums[part] = sum;
        });
        double sum = 0.0;
        for (int part = 0; part < parts; ++part) sum += sums[part];
        *static_cast<float*>(out[0]) = static_cast<float>(std::sqrt(sum));
      },
      static_cast<std::size_t>(parts) * sizeof(double));
}

}  // namespace

void add_update(LoweringTable& table) {
  table.add("sgd", {.lower = lower_sgd, .layouts = update_layouts<SgdAttrs>});
  table.add("adam", {.lower = lower_adam, .layouts = update_layouts<AdamAttrs>});
  table.add("rmsprop", {.lower = lower_rmsprop, .layouts = update_layouts<RmspropAttrs>});
  table.add("global_norm", {.lower = lower_global_norm, .layouts = unchanged_layouts});
}

}  // namespace ingot::cpu
