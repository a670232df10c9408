// A stand-in for a GPU: runs what NVRTC or nvcc made of a kernel in the PTX interpreter
// (../shared/tools/ptxvm), which checks every access for bounds, alignment, read-only memory and races.
//
// The interpreter is compiled in when its folder lies beside the source tree; otherwise available() is false
// and tests skip. Buffers are host memory. A buffer ends where its tensor ends: the byte after it belongs to
// nobody. Launches throw Error with kernel, PTX line, thread, block and address.
//
//   if (!PtxDevice::available()) GTEST_SKIP() << PtxDevice::kMissing;
//   PtxDevice device(ptx);
//   device.launch("saxpy", {.blocks = {8, 1, 1}, .threads = {128, 1, 1}},
//                 {PtxArg::read(x.raw(), x.bytes()), PtxArg::write(y.raw(), y.bytes())});
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace ingot {

// One kernel parameter: a buffer, or a value.
struct PtxArg {
  enum class Kind : std::uint8_t { Read, Write, Value };
  Kind kind = Kind::Value;
  void* data = nullptr;
  std::size_t bytes = 0;
  std::array<std::byte, 8> value{};

  // Stores into a buffer that is only read are errors. One buffer may be given several times, read and
  // written.
  static PtxArg read(const void* data, std::size_t bytes);
  static PtxArg write(void* data, std::size_t bytes);
  template <class T>
  static PtxArg of(T v) {
    static_assert(sizeof(T) <= 8);
    PtxArg a;
    a.bytes = sizeof(T);
    __builtin_memcpy(a.value.data(), &v, sizeof(T));
    return a;
  }
};

struct PtxLaunch {
  std::array<std::uint32_t, 3> blocks{1, 1, 1}, threads{1, 1, 1};
  std::size_t shared_bytes = 0;
  std::uint64_t seed = 1;  // order of threads and blocks
};

class PtxDevice {
 public:
  static constexpr std::string_view kMissing =
      "the PTX interpreter (../shared/tools/ptxvm beside the source tree) was not there at build time";
  static bool available();

  // Loads one module; throws Error for text the interpreter does not know.
  explicit PtxDevice(const std::string& ptx);
  ~PtxDevice();
  PtxDevice(const PtxDevice&) = delete;
  PtxDevice& operator=(const PtxDevice&) = delete;

  void launch(const std::string& kernel, const PtxLaunch& how, const std::vector<PtxArg>& args);

 private:
  struct Machine;
  std::unique_ptr<Machine> machine_;
};

}  // namespace ingot
