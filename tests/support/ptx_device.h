// A stand-in for a GPU: runs what NVRTC or nvcc made of a kernel in the PTX interpreter
// (../shared/tools/ptxvm), which checks every access for bounds, alignment, read-only memory, unwritten
// shared memory and races.
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
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace ingot {

// One kernel parameter: a buffer, or a value (a struct too).
struct PtxArg {
  enum class Kind : std::uint8_t { Read, Write, Value };
  Kind kind = Kind::Value;
  void* data = nullptr;
  std::size_t bytes = 0;
  std::vector<std::byte> value;

  // Stores into a buffer that is only read are errors. One buffer may be given several times, read and
  // written.
  static PtxArg read(const void* data, std::size_t bytes);
  static PtxArg write(void* data, std::size_t bytes);
  template <class T>
  static PtxArg of(const T& v) {
    static_assert(std::is_trivially_copyable_v<T>);
    const auto bytes = std::as_bytes(std::span(&v, 1));
    PtxArg a;
    a.bytes = sizeof(T);
    a.value.assign(bytes.begin(), bytes.end());
    return a;
  }
};

struct PtxLaunch {
  std::array<std::uint32_t, 3> blocks{1, 1, 1}, threads{1, 1, 1};
  std::size_t shared_bytes = 0;
  std::uint64_t seed = 1;  // order of threads and blocks
  int resident = 1;        // blocks that run side by side; all of them for barriers across the grid
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

  // Memory that kernels reach by a pointer inside a struct or another buffer, from now on.
  void share(void* data, std::size_t bytes, bool writable);
  void launch(const std::string& kernel, const PtxLaunch& how, const std::vector<PtxArg>& args);

 private:
  struct Machine;
  std::unique_ptr<Machine> machine_;
};

}  // namespace ingot
