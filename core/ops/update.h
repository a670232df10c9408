// Optimiser steps: one op updates many tensors.
//
// Operands are (lr, step, grad_scale), three floating scalars, then `count` parameters, `count` gradients,
// and `count` tensors of each kind of state the rule keeps; results are the new parameters and states in the
// same order. Each result may take its operand's memory. `step` is 1 in the first step; 0 says that no step
// is taken: parameters and states stay as they are, bit for bit, whatever the gradients hold. Gradients are
// multiplied by grad_scale first (loss scaling, clipping). Parameter k, its gradient and states have one
// shape; parameter and states one dtype; a gradient may be of another floating dtype. The formulas are
// PyTorch's (torch.optim).
//
//   const Value operands[] = {lr, step, scale, w, b, dw, db, mw, mb};
//   auto next = apply("sgd", operands, SgdAttrs{2, 0.9});        // w', b', mw', mb'
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/op/builder.h"

namespace ingot {

inline constexpr int kUpdateScalars = 3;  // lr, step, grad_scale: the operands before the first parameter

// g += weight_decay p;  m' = g in the first step, else momentum m + (1 - dampening) g;
// p' = p - lr (nesterov ? g + momentum m' : m').  Without momentum there is no m and p' = p - lr g.
struct SgdAttrs {
  std::int64_t count = 1;
  double momentum = 0.0, dampening = 0.0, weight_decay = 0.0;
  bool nesterov = false;
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("count", s.count);
    v("momentum", s.momentum);
    v("dampening", s.dampening);
    v("weight_decay", s.weight_decay);
    v("nesterov", s.nesterov);
  }
};

// States m and v.  g += weight_decay p, or with `decoupled` (AdamW) p *= 1 - lr weight_decay;
// m' = beta1 m + (1 - beta1) g;  v' = beta2 v + (1 - beta2) g^2;
// p' = p - lr / (1 - beta1^step) m' / (sqrt(v' / (1 - beta2^step)) + eps).
// Sources: Kingma, Ba, arXiv 1412.6980; Loshchilov, Hutter, arXiv 1711.05101.
struct AdamAttrs {
  std::int64_t count = 1;
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0.0;
  bool decoupled = false;
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("count", s.count);
    v("beta1", s.beta1);
    v("beta2", s.beta2);
    v("eps", s.eps);
    v("weight_decay", s.weight_decay);
    v("decoupled", s.decoupled);
  }
};

// States sq, then buf when momentum != 0, then avg when centered.  g += weight_decay p;
// sq' = alpha sq + (1 - alpha) g^2;  avg' = alpha avg + (1 - alpha) g;
// d = g / (sqrt(sq' - avg'^2 when centered) + eps);  buf' = momentum buf + d;  p' = p - lr (buf' or d).
struct RmspropAttrs {
  std::int64_t count = 1;
  double alpha = 0.99, eps = 1e-8, weight_decay = 0.0, momentum = 0.0;
  bool centered = false;
  template <class Self, class Visit>
  static void fields(Self& s, Visit&& v) {
    v("count", s.count);
    v("alpha", s.alpha);
    v("eps", s.eps);
    v("weight_decay", s.weight_decay);
    v("momentum", s.momentum);
    v("centered", s.centered);
  }
};

// Euclidean norm of all elements of all tensors (any floating dtypes, any shapes): an f32 scalar, f64 when
// the first is f64.
Value global_norm(std::span<const Value> tensors, SourceLoc loc = SourceLoc::current());

}  // namespace ingot
