// Fills the registry with every built-in op.
#include "core/op/registry.h"
#include "core/ops/elementwise.h"

namespace ingot {

namespace ops {
#define INGOT_OP(name) OpDef def_##name();
#include "core/ops/op_list.def"
#undef INGOT_OP
}  // namespace ops

void register_builtin_ops(Registry& registry) {
  ops::register_scalar_ops(registry);
#define INGOT_OP(name) registry.add(ops::def_##name());
#include "core/ops/op_list.def"
#undef INGOT_OP
}

}  // namespace ingot
