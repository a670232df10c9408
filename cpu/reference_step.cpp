#include "cpu/reference_step.h"

#include "core/base/half.h"
#include "core/base/half_types.h"
#include "core/op/registry.h"

namespace ingot::cpu {

namespace {

constexpr std::size_t kAlign = 64;

std::size_t widened_bytes(const TensorType& t) {
  if (!is_half(t.dtype)) return 0;
  const std::size_t bytes = static_cast<std::size_t>(t.numel()) * sizeof(float);
  return (bytes + kAlign - 1) / kAlign * kAlign;
}

template <class T>
void widen(const Tensor& from, const Tensor& to) {
  const T* in = from.data<T>();
  float* out = to.data<float>();
  for (std::int64_t i = 0, n = from.numel(); i < n; ++i) out[i] = in[i].to_float();
}

template <class T>
void narrow(const Tensor& from, const Tensor& to) {
  const float* in = from.data<float>();
  T* out = to.data<T>();
  for (std::int64_t i = 0, n = from.numel(); i < n; ++i) out[i] = T::from(in[i]);
}

// One operand: the tensor in the plan's memory and what the reference sees, the same unless half precision.
struct Operand {
  Tensor memory, seen;
};

class BoundReference final : public BoundStep {
 public:
  BoundReference(RefFn fn, Attrs attrs, const std::vector<TensorType>& in, const std::vector<TensorType>& out,
                 const Bindings& b)
      : fn_(fn), attrs_(std::move(attrs)) {
    auto* scratch = static_cast<std::byte*>(b.workspace);
    const auto bind = [&scratch](const std::vector<TensorType>& types, std::span<void* const> addresses,
                                 std::vector<Operand>& operands, std::vector<Tensor>& seen) {
      for (std::size_t i = 0; i < types.size(); ++i) {
        Operand o{Tensor(types[i], addresses[i], nullptr), {}};
        o.seen = o.memory;
        if (is_half(types[i].dtype)) {
          o.seen = Tensor({DType::F32, types[i].shape}, scratch, nullptr);
          scratch += widened_bytes(types[i]);
        }
        seen.push_back(o.seen);
        operands.push_back(std::move(o));
      }
    };
    bind(in, b.inputs, inputs_, seen_inputs_);
    bind(out, b.outputs, outputs_, seen_outputs_);
  }

  void run() override {
    for (const Operand& o : inputs_) {
      if (o.memory.dtype() == DType::F16) widen<f16>(o.memory, o.seen);
      if (o.memory.dtype() == DType::BF16) widen<bf16>(o.memory, o.seen);
    }
    fn_({attrs_, seen_inputs_, seen_outputs_});
    for (const Operand& o : outputs_) {
      if (o.memory.dtype() == DType::F16) narrow<f16>(o.seen, o.memory);
      if (o.memory.dtype() == DType::BF16) narrow<bf16>(o.seen, o.memory);
    }
  }

 private:
  RefFn fn_;
  Attrs attrs_;
  std::vector<Operand> inputs_, outputs_;
  std::vector<Tensor> seen_inputs_, seen_outputs_;
};

class ReferenceStep final : public Step {
 public:
  ReferenceStep(RefFn fn, const Problem& p) : fn_(fn), attrs_(p.node.attrs) {
    kernel = "reference";
    for (int i = 0; i < p.num_inputs(); ++i) in_.push_back(p.in(i));
    for (int i = 0; i < p.num_outputs(); ++i) out_.push_back(p.out(i));
    for (const auto& t : in_) workspace_bytes += widened_bytes(t);
    for (const auto& t : out_) workspace_bytes += widened_bytes(t);
  }
  std::unique_ptr<BoundStep> bind(const Bindings& b) const override {
    return std::make_unique<BoundReference>(fn_, attrs_, in_, out_, b);
  }

 private:
  RefFn fn_;
  Attrs attrs_;
  std::vector<TensorType> in_, out_;
};

}  // namespace

std::unique_ptr<Step> lower_reference(const Problem& p) {
  const OpDef* def = Registry::instance().find(p.node.op);
  if (def == nullptr || def->reference == nullptr) return nullptr;
  for (int i = 0; i < p.num_inputs(); ++i)
    if (!p.in(i).same_memory({p.in(i).dtype, p.in(i).shape})) return nullptr;
  for (int i = 0; i < p.num_outputs(); ++i)
    if (!p.out(i).same_memory({p.out(i).dtype, p.out(i).shape})) return nullptr;
  return std::make_unique<ReferenceStep>(def->reference, p);
}

}  // namespace ingot::cpu
