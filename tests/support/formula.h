// Weights and data from a formula: the C++ twin of tests/golden/formula.py, bit for bit.
//
// Golden files made by PyTorch hold results only; both sides compute the inputs. Element i (row-major) of the
// tensor named `key` comes from 24 bits:
//   h = FNV-1a 64 of key; z = splitmix64's finaliser of h + (i + 1) * 0x9e3779b97f4a7c15; bits = z >> 40
//   unit = (bits - 2^23) / 2^23 in [-1, 1), exact in float;  label = bits mod classes
//
//   Tensor x = formula::unit("input/0", {8, 3, 32, 32});
//   Tensor y = formula::labels("label/0", 8, 10);
//   Tensor w = formula::parameter("layer1.0.conv1.weight", {16, 16, 3, 3});
#pragma once

#include <cmath>
#include <cstdint>
#include <string_view>

#include "core/base/error.h"
#include "core/ir/tensor.h"

namespace ingot::formula {

inline std::uint64_t key_hash(std::string_view key) {
  std::uint64_t h = 0xcbf29ce484222325ull;
  for (const char c : key) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
  return h;
}

// The 24 bits of element `i` of the tensor whose key has this hash.
inline std::uint32_t bits(std::uint64_t hash, std::int64_t i) {
  std::uint64_t z = hash + (static_cast<std::uint64_t>(i) + 1) * 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return static_cast<std::uint32_t>((z ^ (z >> 31)) >> 40);
}

inline float unit_value(std::uint64_t hash, std::int64_t i) {
  return static_cast<float>(static_cast<std::int32_t>(bits(hash, i)) - (1 << 23)) /
         static_cast<float>(1 << 23);
}

// Values in [-1, 1). F32 and F64 hold the same numbers.
inline Tensor unit(std::string_view key, const Shape& shape, DType dtype = DType::F32) {
  const std::uint64_t hash = key_hash(key);
  Tensor t(TensorType{dtype, shape});
  for (std::int64_t i = 0; i < t.numel(); ++i) t.set(i, static_cast<double>(unit_value(hash, i)));
  return t;
}

// Class indices in [0, classes), shape [count].
inline Tensor labels(std::string_view key, std::int64_t count, std::int64_t classes,
                     DType dtype = DType::I32) {
  const std::uint64_t hash = key_hash(key);
  Tensor t(TensorType{dtype, Shape{count}});
  for (std::int64_t i = 0; i < count; ++i) t.set(i, static_cast<double>(bits(hash, i) % classes));
  return t;
}

// Texts [N, T] of 1 to T tokens in [1, vocabulary), then zeros; as make_text_golden.py does it.
inline Tensor texts(const std::string& key, const Shape& shape, std::int64_t vocabulary) {
  const Tensor tokens = labels(key, shape.numel(), vocabulary - 1, DType::I32),
               lengths = labels(key + "/length", shape[0], shape[1], DType::I32);
  const Tensor t = Tensor::zeros({DType::I32, shape});
  for (std::int64_t i = 0; i < t.numel(); ++i)
    if (i % shape[1] <= lengths.data<std::int32_t>()[i / shape[1]])
      t.data<std::int32_t>()[i] = tokens.data<std::int32_t>()[i] + 1;
  return t;
}

// The initial value of a state-dict entry, F32; the rules stand in tests/golden/formula.py.
inline Tensor parameter(std::string_view key, const Shape& shape) {
  const TensorType type{DType::F32, shape};
  if (key.ends_with("running_mean")) return Tensor::zeros(type);
  if (key.ends_with("running_var")) return Tensor::full(type, 1.0);
  const std::uint64_t hash = key_hash(key);
  Tensor t(type);
  float* out = t.data<float>();
  if (shape.rank() >= 2) {
    const double gain = shape.rank() > 2 ? 6.0 : 1.0;
    const double fan_in = static_cast<double>(shape.numel() / shape[0]);
    const float bound = static_cast<float>(std::sqrt(gain / fan_in));
    for (std::int64_t i = 0; i < t.numel(); ++i) out[i] = unit_value(hash, i) * bound;
  } else if (key.ends_with("weight")) {
    const float last = key.ends_with("bn2.weight") || key.ends_with("bn3.weight") ? 0.25f : 1.0f;
    for (std::int64_t i = 0; i < t.numel(); ++i) out[i] = (1.0f + unit_value(hash, i) * 0.25f) * last;
  } else if (key.ends_with("bias")) {
    for (std::int64_t i = 0; i < t.numel(); ++i) out[i] = unit_value(hash, i) * 0.125f;
  } else {
    throw UsageError(cat("formula::parameter: no rule for the state-dict entry '", std::string(key),
                         "' of shape ", to_string(shape), "; the rules stand in tests/golden/formula.py"));
  }
  return t;
}

}  // namespace ingot::formula
