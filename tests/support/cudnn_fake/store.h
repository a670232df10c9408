// The attributes of a descriptor, and the state of the library, as fake.cpp keeps and interpret.cpp reads
// them.
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

// The attributes that name the tensors of an operation: operands, and the last its result.
struct Parts {
  std::vector<cudnnBackendAttributeName_t> operands;
  cudnnBackendAttributeName_t result;
  cudnnBackendAttributeName_t settings;
};
Parts parts_of(const Descriptor& operation);

// Runs the operations on memory: what lies at each tensor's identifier.
void interpret(const Descriptor& graph, const std::map<std::int64_t, void*>& memory);
// Why an operation cannot be: its shapes do not fit together. Empty for one that can.
std::string misfit(const Descriptor& operation);
// Bytes from a tensor's first element to behind its last.
std::size_t bytes_of(const Descriptor& tensor);

}  // namespace ingot::fake_cudnn
