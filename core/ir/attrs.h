// Attrs: the attributes of a node, as a plain struct that the op declares.
//
// A struct lists its fields once; equality, hashing, printing, parsing and Python keywords all come from that
// list:
//
//   struct PadAttrs {
//     std::vector<std::int64_t> before, after;
//     double value = 0.0;
//     template <class Self, class Visit>
//     static void fields(Self& s, Visit&& v) { v("before", s.before); v("after", s.after); v("value",
//     s.value); }
//   };
//   Attrs a = PadAttrs{{1}, {2}};
//   a.as<PadAttrs>().value;
//
// Field types: the alternatives of AttrValue, and std::array<std::int64_t, N>. An Attrs is immutable and
// cheap to copy.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <variant>
#include <vector>

#include "core/base/error.h"
#include "core/expr/scalar_expr.h"
#include "core/ir/tensor.h"

namespace ingot {

class Graph;
using GraphPtr = std::shared_ptr<const Graph>;

using AttrValue = std::variant<bool, std::int64_t, double, std::string, std::vector<std::int64_t>, DType,
                               Shape, Layout, Tensor, ScalarExpr, GraphPtr>;

struct AttrField {
  std::string_view name;
  AttrValue value;
};

bool equal(const AttrValue& a, const AttrValue& b);  // tensors by bytes, graphs by content
std::uint64_t hash(const AttrValue& v);

namespace detail {

template <class T>
AttrValue to_attr(const T& v) {
  if constexpr (requires { std::tuple_size<T>::value; } && !std::is_same_v<T, Shape>)
    return std::vector<std::int64_t>(v.begin(), v.end());
  else
    return AttrValue(v);
}

template <class T>
void from_attr(std::string_view name, const AttrValue& a, T& out) {
  if constexpr (requires { std::tuple_size<T>::value; }) {
    const auto* list = std::get_if<std::vector<std::int64_t>>(&a);
    if (list == nullptr || list->size() != out.size())
      throw UsageError(cat("attribute '", name, "' expects a list of ", out.size(), " integers"));
    std::copy(list->begin(), list->end(), out.begin());
  } else if constexpr (std::is_same_v<T, double>) {
    if (const auto* i = std::get_if<std::int64_t>(&a))
      out = static_cast<double>(*i);
    else if (const auto* d = std::get_if<double>(&a))
      out = *d;
    else
      throw UsageError(cat("attribute '", name, "' expects a number"));
  } else {
    const auto* v = std::get_if<T>(&a);
    if (v == nullptr) throw UsageError(cat("attribute '", name, "' has another type"));
    out = *v;
  }
}

}  // namespace detail

class Attrs {
 public:
  Attrs() = default;
  template <class A>
  requires(!std::is_same_v<std::remove_cvref_t<A>, Attrs> && std::is_class_v<A>) Attrs(A attrs)
      : model_(std::make_shared<Model<A>>(std::move(attrs))) {}

  bool empty() const { return model_ == nullptr; }
  // Throws UsageError when the node's attributes are of another struct.
  template <class A>
  const A& as() const {
    const auto* m = dynamic_cast<const Model<A>*>(model_.get());
    if (m == nullptr) throw UsageError(cat("attributes are not of type ", typeid(A).name()));
    return m->value;
  }
  std::vector<AttrField> fields() const { return model_ ? model_->fields() : std::vector<AttrField>{}; }
  // True when both hold the same struct, whatever their values.
  bool same_struct(const Attrs& other) const {
    return model_ && other.model_ ? typeid(*model_) == typeid(*other.model_) : model_ == other.model_;
  }
  // A copy with one field changed; throws UsageError when there is no such field or its type differs.
  Attrs with(std::string_view name, const AttrValue& value) const;

  friend bool operator==(const Attrs& a, const Attrs& b);
  std::uint64_t hash() const;

 private:
  struct Concept {
    virtual ~Concept() = default;
    virtual std::vector<AttrField> fields() const = 0;
    virtual std::shared_ptr<const Concept> with(std::string_view name, const AttrValue& value) const = 0;
  };
  template <class A>
  struct Model final : Concept {
    explicit Model(A v) : value(std::move(v)) {}
    std::vector<AttrField> fields() const override {
      std::vector<AttrField> out;
      A::fields(value, [&](std::string_view name, const auto& field) {
        out.push_back({name, detail::to_attr(field)});
      });
      return out;
    }
    std::shared_ptr<const Concept> with(std::string_view name, const AttrValue& v) const override {
      auto copy = std::make_shared<Model>(value);
      bool found = false;
      A::fields(copy->value, [&](std::string_view n, auto& field) {
        if (n != name) return;
        found = true;
        detail::from_attr(n, v, field);
      });
      return found ? copy : nullptr;
    }
    A value;
  };
  std::shared_ptr<const Concept> model_;
};

}  // namespace ingot
