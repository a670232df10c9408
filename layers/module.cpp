#include "layers/module.h"

namespace ingot {

Value Module::operator()(Value x, SourceLoc loc) {
  const Scope scope(x.graph(), name_, is_layer() ? loc : SourceLoc{});
  if (!is_layer()) return forward(x);
  try {
    return forward(x);
  } catch (Error& e) {
    // Errors of ops have their node's name and line already; this is for the layer's own.
    e.add_context(scope_path(x.graph()), user_line(x.graph(), loc));
    throw;
  }
}

Sequential& Sequential::add(std::shared_ptr<Module> module, SourceLoc loc) {
  if (module == nullptr) throw UsageError("Sequential::add: the module is null");
  children_.push_back({std::move(module), std::move(loc)});
  return *this;
}

Value Sequential::forward(Value x) {
  for (std::size_t i = 0; i < children_.size(); ++i) {
    Module& module = *children_[i].module;
    const Scope scope(x.graph(), module.name().empty() ? cat(i) : std::string());
    x = module(x, children_[i].loc);
  }
  return x;
}

}  // namespace ingot
