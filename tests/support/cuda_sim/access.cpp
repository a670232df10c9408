#include "tests/support/cuda_sim/access.h"

#include <link.h>

#include <algorithm>
#include <cstdlib>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/base/error.h"
#include "tests/support/cuda_sim/engine.h"
#include "tests/support/cuda_sim/machine.h"
#include "tests/support/cuda_sim/report.h"

namespace ingot::sim {

namespace {

constexpr std::uint64_t kAtomic = 1;
constexpr unsigned kClockBits = 21, kThreadBits = 10;

std::uint64_t pack(std::uint32_t phase, int thread, std::uint32_t clock, bool atomic) {
  return std::uint64_t{phase} << 32 | static_cast<std::uint64_t>(thread) << (kClockBits + 1) |
         std::uint64_t{clock & ((1u << kClockBits) - 1)} << 1 | (atomic ? kAtomic : 0);
}
std::uint32_t phase_of(std::uint64_t record) {
  return static_cast<std::uint32_t>(record >> 32);
}
int thread_of(std::uint64_t record) {
  return static_cast<int>(record >> (kClockBits + 1) & ((1u << kThreadBits) - 1));
}
std::uint32_t clock_of(std::uint64_t record) {
  return static_cast<std::uint32_t>(record >> 1 & ((1u << kClockBits) - 1));
}

// Phases of one block, up to its fence, that an atomic on some address has published.
struct Published {
  std::uint32_t first, last;
};

struct Races {
  std::uint32_t phase = 1, block_first = 1, launch_first = 1, fenced = 0;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> blocks;  // (first phase, block number) of this launch
  std::unordered_map<std::uintptr_t, std::vector<Published>> published;
  std::vector<std::pair<const std::vector<Published>*, std::size_t>>
      acquired;  // by this block: lists, and how much
  std::set<const void*> reported;
};
Races races;

std::string block_of(std::uint32_t phase) {
  auto next = std::upper_bound(races.blocks.begin(), races.blocks.end(), phase,
                               [](std::uint32_t p, const auto& b) { return p < b.first; });
  return engine().block_name(std::prev(next)->second);
}

bool acquired(std::uint32_t phase) {
  for (const auto& [list, count] : races.acquired) {
    const auto end = list->begin() + static_cast<std::ptrdiff_t>(count);
    const auto next = std::upper_bound(list->begin(), end, phase,
                                       [](std::uint32_t p, const Published& b) { return p < b.first; });
    if (next != list->begin() && phase <= std::prev(next)->last) return true;
  }
  return false;
}

bool ordered(std::uint64_t record, int thread, bool shared) {
  const std::uint32_t phase = phase_of(record);
  if (phase < races.launch_first) return true;                      // an earlier launch (or never)
  if (phase < races.block_first) return shared || acquired(phase);  // shared memory is the block's own
  const int other = thread_of(record);
  if (phase < races.phase || other == thread) return true;
  if (other / 32 != thread / 32) return false;
  return engine().warp_of(thread).known[thread % 32][other % 32] > clock_of(record);
}

const char* word(Access access) {
  return access == Access::Read ? "reads" : access == Access::Write ? "writes" : "updates atomically";
}

// A launch with one race usually has thousands; each place in the code is told once.
void report_race(int thread, std::uint64_t record, bool other_wrote, const std::string& what, Access access,
                 const void* code) {
  if (races.reported.size() >= 20 || !races.reported.insert(code).second) return;
  const bool other_block = phase_of(record) < races.block_first;
  const std::string other =
      cat(other_block ? block_of(phase_of(record)) + ", " : "", engine().thread_name(thread_of(record)));
  report(Fault::Race,
         cat(engine().place(thread, code), ' ', word(access), ' ', what, ", which ", other,
             (record & kAtomic) != 0 ? " updated atomically"
             : other_wrote           ? " wrote"
                                     : " read",
             other_block ? "; blocks of one launch are not ordered: give each its own bytes, or use two "
                           "launches"
                         : "; put a barrier between (__syncthreads(), or __syncwarp() within a warp)"));
}

// Records the access; sets `raced`, and with which earlier access, when it races.
void visit(Cell& cell, bool shared, int thread, std::uint64_t record, Access access, bool& raced,
           std::uint64_t& with, bool& wrote) {
  const bool atomic = access == Access::Atomic;
  const auto conflict = [&](std::uint64_t earlier, bool earlier_wrote) {
    if (raced || earlier == 0 || (atomic && (earlier & kAtomic) != 0) || ordered(earlier, thread, shared))
      return;
    raced = true;
    with = earlier;
    wrote = earlier_wrote;
  };
  conflict(cell.write, true);
  if (access == Access::Read) {
    // A read by another block stays remembered: a later write of a third block is a race with it.
    const std::uint64_t first = cell.read[0];
    const bool replace = phase_of(first) < races.launch_first ||
                         (phase_of(first) >= races.block_first &&
                          (phase_of(first) < races.phase || thread_of(first) == thread));
    cell.read[replace ? 0 : 1] = record;
    return;
  }
  conflict(cell.read[0], false);
  conflict(cell.read[1], false);
  cell.write = record;
  cell.read[0] = cell.read[1] = 0;
}

// The fiber is not unwound, so the text must not stay on its stack.
[[noreturn]] void illegal(Fault fault, std::string text, cudaError_t error) {
  report(fault, std::move(text));
  engine().abandon(error);
}

std::string doing(Access access, std::size_t bytes) {
  return cat(word(access), ' ', bytes, bytes == 1 ? " byte" : " bytes");
}

void judge_cells(Cell* cells, std::size_t bytes, int thread, Access access, const void* code, bool shared,
                 std::uintptr_t address) {
  const std::uint64_t record =
      pack(races.phase, thread, engine().state(thread).clock, access == Access::Atomic);
  bool raced = false, wrote = false, uninitialised = false;
  std::uint64_t with = 0;
  for (std::size_t i = 0; i < bytes; ++i) {
    if (shared && access != Access::Write && phase_of(cells[i].write) < races.block_first)
      uninitialised = true;
    visit(cells[i], shared, thread, record, access, raced, with, wrote);
  }
  if (!raced && !uninitialised) return;
  std::string what;
  if (shared) {
    const auto& array = engine().shared().nearest(address);
    what = cat("byte ", engine().shared().offset_in(array, address), " of shared array '", array.name, "'");
  } else {
    const Allocation& a = *machine().memory().find(address);
    what = cat("byte ", address - a.base, " of ", describe(a));
  }
  if (uninitialised && races.reported.size() < 20 && races.reported.insert(code).second)
    report(Fault::Uninitialised,
           cat(engine().place(thread, code), " reads ", what,
               ", which no thread of the block has written; fill shared memory before it is read"));
  if (raced) report_race(thread, with, wrote, what, access, code);
}

// Segments of the program and its shared objects: constant tables and static variables, which kernels may
// read.
bool in_program(std::uintptr_t address) {
  static std::vector<std::pair<std::uintptr_t, std::uintptr_t>> ranges;
  const auto look = [address] {
    return std::any_of(ranges.begin(), ranges.end(),
                       [address](const auto& r) { return address >= r.first && address < r.second; });
  };
  if (look()) return true;
  ranges.clear();
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void*) {
        for (int i = 0; i < info->dlpi_phnum; ++i)
          if (info->dlpi_phdr[i].p_type == PT_LOAD) {
            const auto start = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
            ranges.emplace_back(start, start + info->dlpi_phdr[i].p_memsz);
          }
        return 0;
      },
      nullptr);
  return look();
}

}  // namespace

void judge_for(int thread, std::uintptr_t address, std::size_t bytes, Access access, const void* code) {
  Engine& e = engine();
  if (e.stacks().contains(address)) return;  // a local variable
  SharedArena& shared = e.shared();
  Memory& memory = machine().memory();
  const bool is_shared = shared.contains(address), is_device = !is_shared && memory.contains(address);
  if (!is_shared && !is_device) {
    const auto arguments = reinterpret_cast<std::uintptr_t>(e.launch().arguments.data());
    if (address - arguments < e.launch().arguments.size() || in_program(address) ||
        memory.pinned(address).second != 0)
      return;
    illegal(
        Fault::HostMemory,
        cat(e.place(thread, code), ' ', doing(access, bytes), " at ", reinterpret_cast<const void*>(address),
            ", which is no memory of the device; copy it there first, or use a PinnedBuffer"),
        cudaErrorIllegalAddress);
  }
  if (address % bytes != 0)
    illegal(
        Fault::Misaligned,
        cat(e.place(thread, code), ' ', doing(access, bytes), " at ", reinterpret_cast<const void*>(address),
            ", which is not a multiple of ", bytes, "; check the stride of the rows, or use single elements"),
        cudaErrorMisalignedAddress);
  if (is_shared) {
    if (shared.find(address, bytes) == nullptr) {
      const auto& array = shared.nearest(address);
      illegal(
          Fault::OutOfBounds,
          cat(e.place(thread, code), ' ', doing(access, bytes), " at byte ", shared.offset_in(array, address),
              " of shared array '", array.name, "', which has ", array.bytes, " bytes"),
          cudaErrorIllegalAddress);
    }
    judge_cells(shared.cells(address), bytes, thread, access, code, true, address);
    return;
  }
  Allocation* const a = memory.find(address);
  if (a == nullptr)
    illegal(Fault::OutOfBounds,
            cat(e.place(thread, code), ' ', doing(access, bytes), " outside every allocation"),
            cudaErrorIllegalAddress);
  if (a->state != Allocation::State::Live)
    illegal(Fault::UseAfterFree,
            cat(e.place(thread, code), ' ', doing(access, bytes), " at byte ", address - a->base, " of ",
                describe(*a),
                a->state == Allocation::State::Freed
                    ? ", which was freed; keep its buffer alive until the stream has passed the kernel"
                    : ", whose allocation this stream does not wait for; order the streams by an event"),
            cudaErrorIllegalAddress);
  if (address < a->base || address + bytes > a->base + a->bytes)
    illegal(Fault::OutOfBounds,
            cat(e.place(thread, code), ' ', doing(access, bytes), " at byte ",
                static_cast<std::ptrdiff_t>(address - a->base), " of ", describe(*a),
                "; check the index against the size"),
            cudaErrorIllegalAddress);
  judge_cells(memory.cells_of(*a) + (address - a->base), bytes, thread, access, code, false, address);
  if (access == Access::Atomic) {
    auto& list = races.published[address];
    races.acquired.emplace_back(&list, list.size());
    if (races.fenced >= races.block_first) {
      if (!list.empty() && list.back().first == races.block_first)
        list.back().last = races.fenced;
      else
        list.push_back({races.block_first, races.fenced});
    }
  }
}

void judge(std::uintptr_t address, std::size_t bytes, Access access, const void* code) {
  judge_for(engine().thread(), address, bytes, access, code);
}

void races_begin_launch() {
  if (races.phase > 0xf0000000u) {  // the counter would wrap: forget all accesses
    machine().memory().forget_accesses();
    engine().shared().forget_accesses();
    races.phase = 1;
  }
  races.blocks.clear();
  races.published.clear();
  races.acquired.clear();
  races.reported.clear();
  races.launch_first = races.phase + 1;
}

void races_begin_block() {
  races.block_first = ++races.phase;
  races.fenced = 0;
  races.acquired.clear();
  races.blocks.emplace_back(races.phase, engine().block_number());
}

void races_barrier() {
  ++races.phase;
}

void races_fence() {
  races.fenced = races.phase;
}

}  // namespace ingot::sim
