// What the parts of the fake share: a descriptor's attributes, which fake.cpp keeps by the rules of rules.cpp
// and interpret.cpp gives a meaning.
#pragma once

#include <cudnn.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <vector>

namespace ingot::fake_cudnn {

struct Descriptor;

struct Attribute {
  cudnnBackendAttributeType_t type{};
  std::int64_t count = 0;
  std::vector<std::byte> bytes{};
  std::vector<std::shared_ptr<const Descriptor>> references{};
};

struct Descriptor {
  cudnnBackendDescriptorType_t type{};
  bool finalised = false;
  std::map<cudnnBackendAttributeName_t, Attribute> attributes{};

  bool has(cudnnBackendAttributeName_t name) const { return attributes.contains(name); }
  template <class T>
  std::vector<T> list(cudnnBackendAttributeName_t name) const {
    const Attribute& a = attributes.at(name);
    std::vector<T> values(static_cast<std::size_t>(a.count));
    if (a.bytes.size() == values.size() * sizeof(T) && !values.empty())
      std::memcpy(values.data(), a.bytes.data(), a.bytes.size());
    return values;
  }
  template <class T>
  T one(cudnnBackendAttributeName_t name) const {
    T value{};
    const Attribute& a = attributes.at(name);
    if (a.bytes.size() == sizeof value) std::memcpy(&value, a.bytes.data(), sizeof value);
    return value;
  }
  const Descriptor& part(cudnnBackendAttributeName_t name) const {
    return *attributes.at(name).references.at(0);
  }
};

constexpr std::int64_t kMostValues = 64;  // of an attribute that is a list

struct Rule {
  cudnnBackendAttributeType_t type{};
  std::int64_t least = 1, most = 1;
  bool needed = true;  // before the descriptor can be finalised
};
using Rules = std::map<cudnnBackendAttributeName_t, Rule>;
// Null for kinds of descriptors that the fake does not make.
const Rules* rules_of(cudnnBackendDescriptorType_t type);
std::size_t value_bytes(cudnnBackendAttributeType_t type);

// The attributes that name the tensors of an operation, those that it has.
struct Parts {
  std::vector<cudnnBackendAttributeName_t> operands, results;
};
Parts parts_of(const Descriptor& operation);
// The descriptor that says how it works; norms have none.
const Descriptor& settings_of(const Descriptor& operation);

bool is_virtual(const Descriptor& tensor);
// A number of the host's, read when the work is issued.
bool is_by_value(const Descriptor& tensor);

// Runs the operations on memory, what lies at each tensor's identifier; `scalars` are passed by value.
void interpret(const Descriptor& graph, const std::map<std::int64_t, void*>& memory,
               const std::map<std::int64_t, double>& scalars);
// Why an operation cannot be: its shapes do not fit together. Empty for one that can.
std::string misfit(const Descriptor& operation);
// Bytes from a tensor's first element to behind its last.
std::size_t bytes_of(const Descriptor& tensor);

}  // namespace ingot::fake_cudnn
