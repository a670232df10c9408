// Findings, with the names of kernels and the source lines of code addresses.
//
//   report(Fault::Race, cat("kernel ", name, ": ..."));
//   source_line(__builtin_return_address(0));   // "kernels.cu:12", or the function and offset without
//   addr2line
#pragma once

#include <string>

#include "tests/support/cuda_sim/sim.h"

namespace ingot::sim {

void report(Fault fault, std::string text);

// Where an instruction is in the source, for messages; "" when nothing is known.
std::string source_line(const void* code);
// A function's demangled name without its parameters, or "kernel at 0x..." for one the linker does not
// export.
std::string function_name(const void* function);
// "file.cu" of "/some/folder/file.cu".
std::string file_name(const char* path);

// Makes faults of hardware (SIGSEGV, SIGBUS) findings of the running kernel, or a message and death for host
// code that touches device memory. Called once.
void catch_hardware_faults();
// Gives the calling OS thread a stack for the handler, once: a kernel may have used up its own.
void prepare_thread_for_faults();

}  // namespace ingot::sim
