#include "core/ir/retype.h"

namespace ingot {

ScalarExpr retyped(const ScalarExpr& e, const TypeMap& map) {
  ScalarExpr out;
  for (const DType d : e.inputs()) out.add_input(map(d));
  for (const ScalarExpr::Instr& i : e.instrs()) {
    if (i.op == ScalarOp::Const)
      out.emit_const(i.imm, map(i.dtype));
    else if (i.op == ScalarOp::Cast)
      out.emit_cast(i.args[0], map(i.dtype));
    else
      out.emit(i.op, std::span<const ScalarExpr::Reg>(i.args.data(), static_cast<std::size_t>(e.arity(i))));
  }
  for (const ScalarExpr::Reg r : e.outputs()) out.add_output(r);
  return out;
}

Attrs retyped(Attrs attrs, const TypeMap& map) {
  for (const AttrField& f : attrs.fields()) {
    if (const auto* d = std::get_if<DType>(&f.value))
      attrs = attrs.with(f.name, map(*d));
    else if (const auto* t = std::get_if<Tensor>(&f.value); t != nullptr && t->defined())
      attrs = attrs.with(f.name, t->to(map(t->dtype())));
    else if (const auto* e = std::get_if<ScalarExpr>(&f.value))
      attrs = attrs.with(f.name, retyped(*e, map));
  }
  return attrs;
}

}  // namespace ingot
