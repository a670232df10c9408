// Target: what a device can do and how much it has. Compiling needs a Target, running needs a Device.
//
//   Target t = Target::cpu(2);        // this machine, two threads
#pragma once

#include <cstddef>
#include <string>

namespace ingot {

struct Target {
  std::string backend = "cpu";  // "cpu" or "cuda"
  std::string name;             // "Intel Xeon ..., 2 threads"
  int threads = 1;
  std::size_t memory_bytes = 0;  // 0: unknown
  bool deterministic = true;
  // f32 products and convolutions may round their operands to TF32 (10 bits of mantissa) for tensor cores.
  bool allow_tf32 = false;

  // threads = 0: one per core this process may use.
  static Target cpu(int threads = 0);
};

}  // namespace ingot
