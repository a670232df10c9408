// Prints the peak multiply-add rates of T threads, in f32 and of bf16 products (tools/peak.h):
//
//   fma_peak --threads 2 --seconds 1  ->  {"gflops": 231.8, "threads": 2, "isa": "avx512",
//                                          "bf16_gflops": 460.1, "bf16_isa": "avx512_bf16"}
//
// bf16_gflops is null where it was not measured.
#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include "tools/peak.h"

namespace {

using namespace ingot::tools;

constexpr const char* kUsage =
    "usage: fma_peak [--threads T] [--seconds S]\n"
    "Prints the peak multiply-add rates of T threads as JSON, S seconds for f32 and S for bf16, e.g.\n"
    "fma_peak --threads 2\n";

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
  const Peak f32 = f32_peak(threads, seconds);
  std::cout << "{\"gflops\": " << f32.flops / 1e9 << ", \"threads\": " << threads << ", \"isa\": \""
            << f32.isa << "\", \"bf16_gflops\": ";
  if (const std::optional<Peak> bf16 = bf16_peak(threads, seconds))
    std::cout << bf16->flops / 1e9 << ", \"bf16_isa\": \"" << bf16->isa << "\"}\n";
  else
    std::cout << "null, \"bf16_isa\": \"amx_bf16\"}\n";
}
