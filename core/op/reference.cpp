#include "core/op/reference.h"

namespace ingot {

std::vector<Tensor> run_reference(const OpDef& def, const Attrs& attrs, std::span<const Tensor> inputs) {
  if (def.reference == nullptr) throw UsageError(cat("op '", def.name, "' has no reference to run"));
  std::vector<Tensor> in, out;
  std::vector<TensorType> types;
  for (const Tensor& t : inputs) {
    in.push_back(t.contiguous());
    types.push_back(in.back().type());
  }
  for (const TensorType& t : infer(def, attrs, types)) out.push_back(Tensor::zeros({t.dtype, t.shape}));
  def.reference({attrs, in, out});
  return out;
}

}  // namespace ingot
