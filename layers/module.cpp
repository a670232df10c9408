#include "layers/module.h"

namespace ingot {

Value Module::operator()(Value x, SourceLoc loc) {
  const Scope scope(x.graph(), name_, is_layer() ? std::move(loc) : SourceLoc{});
  return forward(x);
}

Sequential& Sequential::add(std::shared_ptr<Module> module) {
  if (module == nullptr) throw UsageError("Sequential::add: the module is null");
  modules_.push_back(std::move(module));
  return *this;
}

Value Sequential::forward(Value x) {
  for (std::size_t i = 0; i < modules_.size(); ++i) {
    const Scope scope(x.graph(), modules_[i]->name().empty() ? cat(i) : std::string());
    x = (*modules_[i])(x, loc_);
  }
  return x;
}

}  // namespace ingot
