// Constants and counters. They read nothing, so a session issues them once, before its first run.
#include "core/ops/creation.h"

#include "cuda/base/memory.h"
#include "cuda/kernels/fill.h"
#include "cuda/ops/launch_step.h"
#include "cuda/ops/operands.h"

namespace ingot::cuda {

namespace {

// Every element alike: any layout without padding, which must stay zeros.
std::unique_ptr<Step> lower_full(const Problem& p) {
  const TensorType& y = p.out();
  if (y.physical_numel() != y.numel()) return nullptr;
  return launch_step("fill", [n = y.numel(), element = size_of(y.dtype),
                              bits = element_bits(y.dtype, p.attrs<FullAttrs>().value)](
                                 void* const*, void* const* out, void*, const Stream& stream) {
    fill(bits, element, out[0], n, stream);
  });
}

// From ordinary host memory, which a graph cannot capture.
std::unique_ptr<Step> lower_constant(const Problem& p) {
  if (!is_plain(p.out())) return nullptr;
  auto step = launch_step("upload", [value = p.attrs<ConstantAttrs>().value.contiguous()](
                                        void* const*, void* const* out, void*, const Stream& stream) {
    if (value.bytes() != 0) copy_to_device(out[0], value.raw(), value.bytes(), stream);
  });
  step->capturable = false;
  return step;
}

std::unique_ptr<Step> lower_iota(const Problem& p) {
  if (!is_plain(p.out())) return nullptr;
  return launch_step("iota", [n = p.out().numel(), dtype = p.out().dtype](void* const*, void* const* out,
                                                                          void*, const Stream& stream) {
    iota(dtype, out[0], n, stream);
  });
}

}  // namespace

void add_creation(LoweringTable& table) {
  table.add("full", {.lower = lower_full});
  table.add("constant", {.lower = lower_constant});
  table.add("iota", {.lower = lower_iota});
}

}  // namespace ingot::cuda
