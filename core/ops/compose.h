// What functions that are made of several ops share: one name and place for their nodes, and refusals that
// name the caller's line.
//
// Only the .cpp files of core/ops include it.
//
//   Value l1_loss(Value x, Value target, SourceLoc loc) {
//     const Composed call(x, "l1_loss", loc);                    // nodes "l1_loss.sub", at the caller's line
//     if (!(x.shape() == target.shape())) call.refuse("both operands must have one shape");
//     return mean(abs(sub(x, target)));
//   }
#pragma once

#include <string>
#include <utility>

#include "core/op/builder.h"

namespace ingot::ops {

class Composed {
 public:
  Composed(Value v, std::string name, const SourceLoc& loc)
      : graph_(v.graph()), name_(std::move(name)), loc_(loc), scope_(graph_, name_, loc) {}

  // Throws a ShapeError, or a UsageError, that opens with the function's name.
  [[noreturn]] void refuse(const std::string& message) const { raise(ShapeError(cat(name_, ": ", message))); }
  [[noreturn]] void refuse_use(const std::string& message) const {
    raise(UsageError(cat(name_, ": ", message)));
  }
  // `axis` counted from 0; throws when x has none such.
  int axis_of(Value x, std::int64_t axis) const {
    if (axis < -x.rank() || axis >= x.rank())
      refuse(cat("axis ", axis, " is out of range for ", to_string(x.type())));
    return static_cast<int>(axis < 0 ? axis + x.rank() : axis);
  }
  void require_floating(Value x, const std::string& what) const {
    if (!is_floating(x.dtype()))
      refuse(cat(what, " must be floating, got ", to_string(x.type()), "; convert with cast()"));
  }

 private:
  template <class E>
  [[noreturn]] void raise(E e) const {
    e.add_context(scope_path(graph_), user_line(graph_, loc_));
    throw e;
  }

  Graph& graph_;
  std::string name_;
  SourceLoc loc_;
  Scope scope_;
};

}  // namespace ingot::ops
