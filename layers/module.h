// Module: a named piece of a model that appends graph.
//
// A module holds hyperparameters and sub-modules, no tensors: its parameters are states of the graph, named
// by the path of the modules around it ("layer1.0.conv1.weight"), as in a PyTorch state dict. Calling a
// module twice on one graph shares its parameters. Whether the graph trains is `graph.build.training`.
//
//   struct Net : Module {
//     Conv2d conv{"conv", 1, 8, 3, {.padding = 1}};
//     Linear fc{"fc", 8, 10};
//     Value forward(Value x) override { return fc(mean(relu(conv(x)), {2, 3})); }
//   };
//   Net net;
//   Value logits = net(x);
#pragma once

#include <concepts>
#include <cstdint>
#include <memory>
#include <source_location>
#include <string>
#include <utility>
#include <vector>

#include "core/op/builder.h"

namespace ingot {

class Module {
 public:
  explicit Module(std::string name = {}) : name_(std::move(name)) {}
  virtual ~Module() = default;
  Module(const Module&) = default;
  Module& operator=(const Module&) = default;

  const std::string& name() const { return name_; }
  Value operator()(Value x, SourceLoc loc = SourceLoc::current());

 protected:
  virtual Value forward(Value x) = 0;
  // Layers of the library answer true: their nodes point to the line that calls them, not into the library.
  virtual bool is_layer() const { return false; }

 private:
  std::string name_;
};

class Layer : public Module {
 public:
  using Module::Module;

 protected:
  bool is_layer() const override { return true; }
};

// The first argument of Sequential::add<M>() together with the line that wrote it: a call with a pack of
// arguments cannot have a line of its own.
template <class T>
struct Located {
  T value;
  SourceLoc loc;
  template <std::convertible_to<T> U>
  Located(U&& v, const std::source_location& l = std::source_location::current())
      : value(std::forward<U>(v)), loc(l) {}
};

// Runs modules one after another; each child's name is its position ("0", "1", ...) unless it has one. The
// nodes of its layers point to the line that added them.
class Sequential : public Module {
 public:
  // `loc` serves children whose own line is not known.
  explicit Sequential(std::string name = {}, SourceLoc loc = SourceLoc::current())
      : Module(std::move(name)), loc_(std::move(loc)) {}
  Sequential& add(std::shared_ptr<Module> module, SourceLoc loc = SourceLoc::current());
  // net.add<Conv2d>("", 3, 64, 3), net.add<MaxPool2d>(2), net.add<ReLU>()
  template <class M>
  Sequential& add(SourceLoc loc = SourceLoc::current()) {
    return add(std::make_shared<M>(), std::move(loc));
  }
  template <class M, class... Args>
  Sequential& add(Located<std::string> name, Args&&... args) {
    return add(std::make_shared<M>(std::move(name.value), std::forward<Args>(args)...), name.loc);
  }
  template <class M, class... Args>
  Sequential& add(Located<std::int64_t> number, Args&&... args) {
    return add(std::make_shared<M>(number.value, std::forward<Args>(args)...), number.loc);
  }
  template <class M, class First, class... Args>
  requires(!std::convertible_to<First, std::string> && !std::convertible_to<First, std::int64_t> &&
           !std::convertible_to<First, SourceLoc>) Sequential& add(First&& first, Args&&... args) {
    return add(std::make_shared<M>(std::forward<First>(first), std::forward<Args>(args)...), loc_);
  }
  std::size_t size() const { return children_.size(); }

 protected:
  Value forward(Value x) override;

 private:
  struct Child {
    std::shared_ptr<Module> module;
    SourceLoc loc;
  };
  SourceLoc loc_;
  std::vector<Child> children_;
};

}  // namespace ingot
