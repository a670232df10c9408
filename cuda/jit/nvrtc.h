// NVRTC, NVIDIA's run-time compiler, loaded when a kernel is first wanted.
//
// The library is libnvrtc.so.13, else .12, of the loader's folders or the toolkit's
// (cuda/jit/shared_library.h). It needs no driver and no GPU. Where it is missing, everything else works and
// instance() says what to install. Kernels are compiled so that they round as the CPU does: products and sums
// are not contracted, division and square root are exact, subnormals are kept. All functions may be called
// from several threads.
//
//   if (auto why = Nvrtc::missing()) ...                     // the reason, for messages
//   std::string ptx = Nvrtc::instance().compile(k.name, k.text, 90, KernelFormat::Ptx);
//
// Source: NVIDIA, "NVRTC" (CUDA Toolkit documentation).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cuda/jit/shared_library.h"

namespace ingot::cuda {

enum class KernelFormat : std::uint8_t {
  Ptx,    // text; the driver of that GPU or a later one compiles it
  Cubin,  // machine code for exactly that architecture
};

class Nvrtc {
 public:
  // Throws DeviceError that says what was tried and what to install.
  static const Nvrtc& instance();
  static std::optional<std::string> missing();

  // What instance() looks for.
  static const LibraryNames& libraries();

  explicit Nvrtc(const LibraryNames& libraries);
  ~Nvrtc();
  Nvrtc(const Nvrtc&) = delete;
  Nvrtc& operator=(const Nvrtc&) = delete;

  std::string version() const;             // "13.0"
  std::vector<int> architectures() const;  // 75, 80, ..., 120

  // What the compiler is told for architecture `arch` (90 is sm_90).
  static std::vector<std::string> options(int arch, KernelFormat format);

  // `text` may include embedded_headers(). `name` is for messages. Throws UsageError when this NVRTC does not
  // know `arch`, and Error with the compiler's log and the numbered text when it refuses the text.
  std::string compile(std::string_view name, std::string_view text, int arch, KernelFormat format) const;

 private:
  struct Api;
  std::unique_ptr<Api> api_;
};

}  // namespace ingot::cuda
