// Target: what a device can do and how much it has. Compiling needs a Target, running needs a device.
//
//   Target t = Target::cpu(2);        // this machine, two threads
//   Target g = Target::cuda(0);       // its first GPU
#pragma once

#include <cstddef>
#include <limits>
#include <string>

namespace ingot {

// How a GPU backend chooses among the kernels that could run a node (core/runtime/lowering.h).
enum class Autotune {
  Off,        // Ingot's own kernels; no library is asked
  Heuristic,  // the first candidate that accepts, a library's plans in the order of its own heuristics
  Measure,    // all of them timed once on the device; what was measured is kept on the disk
};

struct Target {
  std::string backend = "cpu";   // "cpu" or "cuda"
  std::string name;              // "Intel Xeon ..., 2 threads"
  int device = 0;                // the backend's device number
  int threads = 1;               // of the CPU
  int sm = 0;                    // of a GPU: 90 for compute capability 9.0
  std::size_t memory_bytes = 0;  // 0: unknown
  bool deterministic = true;
  // f32 products and convolutions may round their operands to TF32 (10 bits of mantissa) for tensor cores.
  bool allow_tf32 = false;
  Autotune autotune = Autotune::Heuristic;
  // No plan of a library that wants more workspace is taken.
  std::size_t workspace_limit = std::numeric_limits<std::size_t>::max();
  // A GPU that was written down, not found (io/target_file.h): programs are compiled for it and say what they
  // need, a session refuses it. cuDNN's JSON of device properties; empty: a device of this machine.
  std::string described{};

  // threads = 0: one per core this process may use.
  static Target cpu(int threads = 0);
  // A GPU of this machine. Throws UsageError that says what is missing (the backend, the driver, the device)
  // and how to get it.
  static Target cuda(int device = 0);
};

}  // namespace ingot
