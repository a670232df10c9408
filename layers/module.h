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

#include <memory>
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

// Runs modules one after another; each child's name is its position ("0", "1", ...) unless it has one.
class Sequential : public Module {
 public:
  // The nodes of its layers point to the line that made the Sequential.
  explicit Sequential(std::string name = {}, SourceLoc loc = SourceLoc::current())
      : Module(std::move(name)), loc_(std::move(loc)) {}
  Sequential& add(std::shared_ptr<Module> module);
  // net.add<Conv2d>("", 3, 64, 3)
  template <class M, class... Args>
  Sequential& add(Args&&... args) {
    return add(std::make_shared<M>(std::forward<Args>(args)...));
  }
  std::size_t size() const { return modules_.size(); }

 protected:
  Value forward(Value x) override;

 private:
  SourceLoc loc_;
  std::vector<std::shared_ptr<Module>> modules_;
};

}  // namespace ingot
