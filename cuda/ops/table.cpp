#include "cuda/ops/table.h"

namespace ingot::cuda {

#define INGOT_CUDA_FAMILY(name) void add_##name(LoweringTable&);
#include "cuda/ops/families.def"
#undef INGOT_CUDA_FAMILY

const LoweringTable& lowerings() {
  static const LoweringTable table = [] {
    LoweringTable made;
#define INGOT_CUDA_FAMILY(name) add_##name(made);
#include "cuda/ops/families.def"
#undef INGOT_CUDA_FAMILY
    return made;
  }();
  return table;
}

}  // namespace ingot::cuda
