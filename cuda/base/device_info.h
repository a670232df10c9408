// What GPUs there are, what each can do, and when there is none, why.
//
// Asking needs no context and never throws for a machine without a GPU: `devices()` then gives the reason and
// the fix.
//
//   const DeviceList list = devices();
//   if (list.count == 0) std::cout << list.reason << '\n';
//   else std::cout << device_info(0).name << '\n';   // "NVIDIA H100 80GB HBM3"
#pragma once

#include <cstddef>
#include <string>

namespace ingot::cuda {

struct DeviceList {
  int count = 0;
  std::string reason;      // why count is 0, and what to do; else empty
  int driver_version = 0;  // 13000 is CUDA 13.0, the newest that the driver can run; 0 without a driver
  int runtime_version = 0;
};
DeviceList devices();

struct DeviceInfo {
  int index = 0;
  std::string name;
  int sm = 0;  // 90 for compute capability 9.0
  int multiprocessors = 0;
  std::size_t memory_bytes = 0;
  std::size_t l2_bytes = 0;
  int memory_bus_bits = 0;
  int clock_khz = 0, memory_clock_khz = 0;
  int threads_per_multiprocessor = 0;
  std::size_t shared_per_multiprocessor = 0;
  std::size_t shared_per_block = 0;  // with the opt-in that launch() makes
  int registers_per_multiprocessor = 0;
  // Peak of the memory system in bytes per second: two transfers a clock. 0 where the driver does not tell
  // its clock.
  double memory_bandwidth() const { return 2e3 * memory_clock_khz * memory_bus_bits / 8; }
};

// Throws UsageError when there is no such device.
DeviceInfo device_info(int index);
// The device of the calling thread, on which buffers, streams and launches are made.
void set_device(int index);
int current_device();

// Makes a device current for the calling thread, and at its end the one that was.
class DeviceScope {
 public:
  explicit DeviceScope(int index);
  ~DeviceScope();
  DeviceScope(const DeviceScope&) = delete;
  DeviceScope& operator=(const DeviceScope&) = delete;

 private:
  int before_;
  bool changed_;
};

}  // namespace ingot::cuda
