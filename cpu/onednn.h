// The private layer over oneDNN 3: layouts both ways, and steps made of primitives.
//
// Only .cpp files of cpu/ include this header (dnnl.hpp compiles slowly and must not reach users). A
// PrimitiveStep is described with the node's operands as they lie in memory and as the primitive wants them;
// where the two differ it reorders through the workspace. bind() creates primitives and memory objects once;
// run() only executes.
//
//   auto step = std::make_unique<PrimitiveStep>("onednn:" + impl, target.threads);
//   step->read(DNNL_ARG_SRC, 0, *to_desc(p.in(0)), pd.src_desc());
//   step->write(DNNL_ARG_DST, 0, *to_desc(p.out(0)), pd.dst_desc());
//   step->execute(pd);
#pragma once

#include <dnnl.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/runtime/lowering.h"

namespace ingot::cpu {

const dnnl::engine& onednn_engine();

// False for tensors of 2^31 elements and more: oneDNN's search for block sizes counts in int and divides by
// what overflowed to 0.
bool within_onednn(const TensorType& type);

// Whether oneDNN computes in this type on this processor: f32 everywhere, bf16 where it has instructions for
// it (AVX-512 BF16 or AMX), with sums in f32.
bool onednn_computes(DType dtype);

// The memory of a tensor as oneDNN describes it. With groups above 1 the tensor is a convolution weight
// [O, C/G, KH, KW] and the answer has the five axes [G, O/G, C/G, KH, KW]. Nothing when oneDNN has no name
// for the dtype or the blocks, and beyond its counts.
std::optional<dnnl::memory::desc> to_desc(const TensorType& type, std::int64_t groups = 1);
// The inverse. Nothing when the description cannot be said as a Layout of the tensor of `rank` axes: blocks
// that straddle groups, holes, extra data.
std::optional<Layout> to_layout(const dnnl::memory::desc& desc, std::int64_t groups = 1);
// A row-major view of the same memory under other dimensions and strides, in elements.
dnnl::memory::desc strided_desc(const dnnl::memory::dims& dims, const dnnl::memory::dims& strides,
                                DType dtype = DType::F32);

// Post-operations of an epilogue, in the order bias (not here), residual, activation. Nothing when oneDNN
// lacks the activation.
std::optional<dnnl::primitive_attr> epilogue_attr(std::string_view activation,
                                                  const dnnl::memory::desc* residual = nullptr);

class PrimitiveStep final : public Step {
 public:
  PrimitiveStep(std::string kernel_name, int threads);
  // Operand `index` of the node lies as `given`; the primitive's argument `arg` wants it as `wanted`. Writing
  // clears padding.
  void read(int arg, int index, const dnnl::memory::desc& given, const dnnl::memory::desc& wanted);
  void write(int arg, int index, const dnnl::memory::desc& given, const dnnl::memory::desc& wanted);
  // Adds the primitive that the reads and writes since the last call belong to.
  void execute(const dnnl::primitive_desc_base& pd);

  std::unique_ptr<BoundStep> bind(const Bindings& b) const override;

 private:
  struct Place {
    enum class Kind : std::uint8_t { Input, Output, Workspace } kind = Kind::Input;
    std::size_t at = 0;  // operand index, or offset in the workspace
  };
  struct Arg {
    int id = 0;
    Place place;
    dnnl::memory::desc desc;
  };
  struct Call {
    dnnl::primitive_desc_base pd;
    std::vector<Arg> args;
  };
  Place reserve(std::size_t bytes);
  void reorder(const Arg& from, const Arg& to);
  void add_call(Call call);

  int threads_;
  std::vector<Call> calls_;
  std::vector<Arg> args_;                        // of the primitive being described
  std::vector<std::pair<Arg, Arg>> afterwards_;  // reorders that follow it
};

}  // namespace ingot::cpu
