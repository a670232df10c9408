// IDX files, the format of MNIST and its kin, plain or gzip-compressed.
//
// Layout (http://yann.lecun.com/exdb/mnist): two zero bytes, a type byte, the number of dimensions, one
// big-endian 32-bit size per dimension, then the elements in row-major order, big-endian. The types that
// Ingot's tensors hold are read: unsigned byte (u8), 32-bit integer (i32), float (f32), double (f64). Throws
// FormatError naming the file, what was expected and what was found.
//
//   Tensor images = read_idx("train-images-idx3-ubyte.gz");   // u8[60000, 28, 28]
#pragma once

#include <string>

#include "core/ir/tensor.h"

namespace ingot {

Tensor read_idx(const std::string& path);

}  // namespace ingot
