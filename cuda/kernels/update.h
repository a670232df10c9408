// Optimiser steps over many tensors, and the norm of many tensors: launches of the kernels in update.cu.
//
// The rules are those of core/ops/update.h. A tensor has one `dtype` for the parameter and its states, and
// its own for the gradient; both are f32, f16 or bf16, computed in f32. Tensors of one call may differ. The
// learning rate, the step's number and the gradients' factor are read from device memory when the kernel
// runs, so a captured launch stays right. Results may lie over their operands (`to` equal to `from`).
// Pointers are aligned to their element; 16 bytes at a time are moved where all of a tensor's pointers allow
// it.
//
// All tensors of a call go in as few launches as hold them (40 tensors each). Neighbours are joined first
// where every role's memory goes on after at most `pad` - 1 bytes: a program lays parameters, gradients and
// states each in one range, in one order, each tensor at a multiple of 64 bytes, so the update of a network
// is one tensor to the kernel. The bytes between two tensors then belong to nobody: they are read and
// written.
//
//   const UpdateTensor w{.count = n, .gradient = dw, .from = {w, m}, .to = {w, m}};
//   sgd({.momentum = 0.9}, {{w}}, {{lr}, {step}, {one}}, stream);
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/base/dtype.h"
#include "cuda/base/stream.h"

namespace ingot::cuda {

inline constexpr int kMaxUpdateRoles = 4;  // the parameter and up to three states

// One parameter in each of its roles: [0] the parameter, then its states in the order of the op.
struct UpdateTensor {
  std::int64_t count = 0;
  DType dtype = DType::F32, gradient_dtype = DType::F32;
  const void* gradient = nullptr;
  std::array<const void*, kMaxUpdateRoles> from{};
  std::array<void*, kMaxUpdateRoles> to{};
};

// A number in device memory: f32, f16, bf16 or f64.
struct DeviceScalar {
  const void* data = nullptr;
  DType dtype = DType::F32;
};
struct UpdateScalars {
  DeviceScalar lr, step, grad_scale;
};

struct SgdRule {  // roles: p, and m with a momentum
  double momentum = 0.0, dampening = 0.0, weight_decay = 0.0;
  bool nesterov = false;
};
struct AdamRule {  // roles: p, m, v
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0.0;
  bool decoupled = false;
};
struct RmspropRule {  // roles: p, sq, then buf with a momentum, then avg when centered
  double alpha = 0.99, eps = 1e-8, weight_decay = 0.0, momentum = 0.0;
  bool centered = false;
};

// Roles that a rule keeps.
int roles(const SgdRule& rule);
int roles(const AdamRule& rule);
int roles(const RmspropRule& rule);

// `pad`: see above; 1 joins only what has nothing between. Throws UsageError that names another dtype. States
// that fall below the smallest normal f32 become 0, as on the CPU.
void sgd(const SgdRule& rule, std::span<const UpdateTensor> tensors, const UpdateScalars& scalars,
         const Stream& stream, std::size_t pad = 1);
void adam(const AdamRule& rule, std::span<const UpdateTensor> tensors, const UpdateScalars& scalars,
          const Stream& stream, std::size_t pad = 1);
void rmsprop(const RmspropRule& rule, std::span<const UpdateTensor> tensors, const UpdateScalars& scalars,
             const Stream& stream, std::size_t pad = 1);

// The tensors with neighbours joined. What sgd(), adam() and rmsprop() start with; `kept` is roles(rule).
std::vector<UpdateTensor> joined(std::span<const UpdateTensor> tensors, int kept, std::size_t pad);

struct NormOperand {
  const void* data = nullptr;
  std::int64_t count = 0;
  DType dtype = DType::F32;
};

// Bytes of device memory, aligned to 4, that global_norm() uses while it runs.
std::size_t global_norm_workspace(std::span<const NormOperand> operands);
// *norm = sqrt(sum of all squares), f32. Squares are added in f32 over 64 elements and more widely from there
// on: the order depends on the counts alone, so the bits are the same each time. Elements beyond 1.8e19 make
// the norm infinite. Throws UsageError that names another dtype.
void global_norm(std::span<const NormOperand> operands, float* norm, void* workspace, const Stream& stream);

}  // namespace ingot::cuda
