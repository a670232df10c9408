// The functions that kernels call: what prelude.h and cuda/base/kernel.h declare for .cu files.
#include <bit>
#include <cstring>

#include "core/base/error.h"
#include "tests/support/cuda_sim/access.h"
#include "tests/support/cuda_sim/engine.h"
#include "tests/support/cuda_sim/machine.h"
#include "tests/support/cuda_sim/prelude.h"
#include "tests/support/cuda_sim/report.h"

namespace ingot::sim {

void* shared_array(const void* site, const char* name, std::size_t bytes) {
  Engine& e = engine();
  void* const array = e.shared().array(site, name, bytes);
  if (e.shared().used() > e.shared_limit()) {
    report(Fault::OutOfBounds, cat(e.place(e.thread()), ": the block's shared memory grows to ",
                                   e.shared().used(), " bytes with array '", name, "'; the device has ",
                                   e.shared_limit(), " a block. Use smaller tiles."));
    e.abandon(cudaErrorInvalidConfiguration);
  }
  return array;
}

void* dynamic_shared() {
  return engine().shared().dynamic();
}

void check_aligned(const void* pointer, std::size_t bytes) {
  if (reinterpret_cast<std::uintptr_t>(pointer) % bytes == 0) return;
  Engine& e = engine();
  report(Fault::Misaligned, cat(e.place(e.thread(), __builtin_return_address(0)), ": an access of ", bytes,
                                " bytes at ", pointer, ", which is not a multiple of ", bytes,
                                "; check the stride of the rows, or use single elements"));
  e.abandon(cudaErrorMisalignedAddress);
}

unsigned to_tf32(float value) {
  const unsigned bits = std::bit_cast<unsigned>(value);
  if ((bits & 0x7f800000u) == 0x7f800000u) return bits;
  return (bits + 0x1000u) & 0xffffe000u;
}

void mma(MmaKind kind, float* d, const unsigned* a, const unsigned* b) {
  LaneData data;
  data.value = d;
  data.first = a;
  data.second = b;
  if (engine().warp_of(engine().thread()).alive != 0xffffffffu) {
    report(Fault::Divergence,
           cat(engine().place(engine().thread(), __builtin_return_address(0)),
               ": mma with a warp of which lanes are missing or have returned; all 32 must call it"));
    engine().abandon(cudaErrorLaunchFailure);
  }
  engine().join(WarpKind::Mma, static_cast<int>(kind), 0xffffffffu, data, "mma", 0);
}

void ldmatrix(unsigned* r, int matrices, bool transposed, const void* row) {
  Engine& e = engine();
  const void* const code = __builtin_return_address(0);
  const bool gives_address = e.thread() % 32 < 8 * matrices;
  if (gives_address && (reinterpret_cast<std::uintptr_t>(row) % 16 != 0 ||
                        !e.shared().contains(reinterpret_cast<std::uintptr_t>(row)))) {
    const bool shared = e.shared().contains(reinterpret_cast<std::uintptr_t>(row));
    report(shared ? Fault::Misaligned : Fault::OutOfBounds,
           cat(e.place(e.thread(), code),
               ": ldmatrix expects the address of a row in shared memory, aligned to 16; ", row,
               shared ? " is not aligned" : " is not in shared memory"));
    e.abandon(shared ? cudaErrorMisalignedAddress : cudaErrorIllegalAddress);
  }
  if (e.warp_of(e.thread()).alive != 0xffffffffu) {
    report(Fault::Divergence, cat(e.place(e.thread(), code),
                                  ": ldmatrix with a warp of which lanes are missing or have returned"));
    e.abandon(cudaErrorLaunchFailure);
  }
  LaneData data;
  data.value = r;
  data.first = row;
  data.second = code;
  e.join(WarpKind::LdMatrix, 2 * matrices + (transposed ? 1 : 0), 0xffffffffu, data, "ldmatrix", 0);
}

void copy_async(void* shared, const void* global, int bytes, int valid) {
  Engine& e = engine();
  const void* const code = __builtin_return_address(0);
  const auto to = reinterpret_cast<std::uintptr_t>(shared), from = reinterpret_cast<std::uintptr_t>(global);
  const auto unit = static_cast<std::uintptr_t>(bytes);
  if (to % unit != 0 || from % unit != 0) {
    report(Fault::Misaligned,
           cat(e.place(e.thread(), code), ": an asynchronous copy of ", bytes, " bytes from ", global, " to ",
               shared, ", which must both be multiples of ", bytes));
    e.abandon(cudaErrorMisalignedAddress);
  }
  if (e.shared().find(to, unit) == nullptr) {
    report(Fault::OutOfBounds, cat(e.place(e.thread(), code), ": an asynchronous copy of ", bytes,
                                   " bytes to ", shared, ", which is not inside an array of shared memory"));
    e.abandon(cudaErrorIllegalAddress);
  }
  // From here until the wait the bytes are the copy's; who reads them now gets NaN.
  if (e.judging()) judge(to, unit, Access::Write, code);
  std::memset(shared, 0xFF, static_cast<std::size_t>(bytes));
  e.copy_async({shared, global, bytes, valid, 0, code});
}

void copy_async_commit() {
  ++engine().state(engine().thread()).group;
}

void copy_async_wait(int pending) {
  engine().copy_async_wait(pending);
}

void barrier(const char* file, int line) {
  engine().barrier(file, line);
}

void warp_barrier(unsigned mask, const char* file, int line) {
  engine().join(WarpKind::Barrier, 0, mask, LaneData{}, file, line);
}

void warp_shuffle(Shuffle kind, unsigned mask, void* value, std::size_t bytes, int lane, int width,
                  const char* file, int line) {
  if (width < 1 || width > 32 || (width & (width - 1)) != 0 || bytes > 8) {
    report(Fault::Divergence, cat(engine().place(engine().thread()), ", ", file_name(file), ':', line,
                                  ": a shuffle of ", bytes, " bytes with width ", width,
                                  "; at most 8 bytes and a width of 1, 2, 4, 8, 16 or 32 are legal"));
    engine().abandon(cudaErrorLaunchFailure);
  }
  LaneData data;
  data.value = value;
  data.bytes = bytes;
  data.parameter = lane;
  data.width = width;
  engine().join(WarpKind::Shuffle, static_cast<int>(kind), mask, data, file, line);
}

unsigned warp_ballot(unsigned mask, bool predicate, const char* file, int line) {
  unsigned votes = 0;
  LaneData data;
  data.value = &votes;
  data.parameter = predicate ? 1 : 0;
  engine().join(WarpKind::Ballot, 0, mask, data, file, line);
  return votes;
}

unsigned active_lanes() {
  return 1u << (engine().thread() % 32);  // each lane runs alone here, which the language allows
}

void fence() {
  races_fence();
}

void set_condition(unsigned long long handle, unsigned value) {
  machine().set_condition(handle, value);
}

void atomic_access(const void* address, std::size_t bytes) {
  const auto a = reinterpret_cast<std::uintptr_t>(address);
  if (engine().judging())
    judge(a, bytes, Access::Atomic, __builtin_return_address(0));
  else
    check_aligned(address, bytes);
}

}  // namespace ingot::sim
