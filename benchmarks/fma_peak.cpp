// Prints the peak rate of f32 multiply-adds of T threads (tools/fma_peak.h), against which compare.py states
// shares.
//
//   fma_peak --threads 2 --seconds 1     ->  {"gflops": 231.8, "threads": 2, "isa": "avx512"}
#include "tools/fma_peak.h"

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <string>
#include <string_view>
#include <thread>

namespace {

constexpr const char* kUsage =
    "usage: fma_peak [--threads T] [--seconds S]\n"
    "Prints the peak f32 multiply-add rate of T threads as JSON, e.g. fma_peak --threads 2\n";

int fail(const std::string& problem) {
  std::cerr << "fma_peak: " << problem << "\n" << kUsage;
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  int threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  double seconds = 1.0;
  for (int i = 1; i < argc; ++i) {
    const std::string_view option = argv[i];
    if (option == "--help") {
      std::cout << kUsage;
      return 0;
    }
    if (option != "--threads" && option != "--seconds")
      return fail("unknown option '" + std::string(option) + "'");
    if (i + 1 == argc) return fail("option '" + std::string(option) + "' needs a value");
    char* end = nullptr;
    const double value = std::strtod(argv[++i], &end);
    if (*end != '\0' || !(value > 0.0) || value > 4096.0)
      return fail("'" + std::string(argv[i]) + "' is no value for " + std::string(option));
    if (option == "--threads")
      threads = std::max(1, static_cast<int>(value));
    else
      seconds = value;
  }
  const ingot::tools::FmaRate peak = ingot::tools::fma_peak(threads, seconds);
  std::cout << "{\"gflops\": " << peak.flops / 1e9 << ", \"threads\": " << threads << ", \"isa\": \""
            << peak.isa << "\"}\n";
}
