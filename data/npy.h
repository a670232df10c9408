// NumPy's .npy files, format versions 1.0 to 3.0.
//
// Elements must be little-endian, in C order and of a type that Ingot's tensors hold (f4 f8 f2 i4 i8 u1 b1);
// Fortran order, big-endian and foreign types are refused by name. The writer writes version 1.0 through
// AtomicFile; bf16 has no NumPy type and is refused.
// Source: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
//
//   Tensor x = read_npy("x_train.npy");
//   write_npy("logits.npy", logits);
#pragma once

#include <string>

#include "core/ir/tensor.h"

namespace ingot {

Tensor read_npy(const std::string& path);
void write_npy(const std::string& path, const Tensor& tensor);

}  // namespace ingot
