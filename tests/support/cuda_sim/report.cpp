#include "tests/support/cuda_sim/report.h"

#include <cxxabi.h>
#include <dlfcn.h>
#include <signal.h>
#include <ucontext.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "core/base/error.h"
#include "tests/support/cuda_sim/engine.h"
#include "tests/support/cuda_sim/kernel_table.h"
#include "tests/support/cuda_sim/machine.h"

namespace ingot::sim {

namespace {

// Where the hardware stopped a kernel, kept while the fault is turned into a finding.
struct HardwareFault {
  std::uintptr_t address = 0;
  const void* code = nullptr;
};
HardwareFault hardware_fault;

struct Explained {
  Finding finding;
  cudaError_t error;
};

Explained explain(std::uintptr_t address, const void* code) {
  const Engine& e = engine();
  const std::string place = e.place(e.thread(), static_cast<const char*>(code) + 1);
  Memory& memory = machine().memory();
  if (e.stacks().overflowed(address) != nullptr)
    return {{Fault::StackOverflow, cat(place, " used more than ", StackPool::kBytes,
                                       " bytes of local variables; a GPU would spill them all to memory")},
            cudaErrorLaunchFailure};
  if (!memory.contains(address)) {
    if (address == 0)  // x86 reports a misaligned 16-byte access without its address
      return {{Fault::Misaligned,
               place + " used a null pointer, or a 16-byte access whose address is not a multiple of 16"},
              cudaErrorMisalignedAddress};
    return {{Fault::OutOfBounds, cat(place, " used address ", reinterpret_cast<const void*>(address),
                                     ", which belongs to nothing; check its pointers and indices")},
            cudaErrorIllegalAddress};
  }
  const Allocation* const a = memory.find(address);
  if (a == nullptr || a->state == Allocation::State::Live)
    return {{Fault::OutOfBounds,
             cat(place, " used memory ",
                 a != nullptr ? "behind the end of " + describe(*a) : "outside every allocation",
                 "; check the index against the size")},
            cudaErrorIllegalAddress};
  const char* const why =
      a->state == Allocation::State::Freed
          ? ", which was freed; keep its buffer alive until the stream has passed the kernel"
          : ", whose allocation this stream does not wait for; order the streams by an event";
  return {{Fault::UseAfterFree, cat(place, " used ", describe(*a), why)}, cudaErrorIllegalAddress};
}

// Runs on the fiber's stack, where the faulting instruction was. Nothing that owns memory may be left on it.
[[noreturn]] void explain_kernel_fault() {
  cudaError_t error = cudaSuccess;
  {
    Explained explained = explain(hardware_fault.address, hardware_fault.code);
    report(explained.finding.fault, std::move(explained.finding.text));
    error = explained.error;
  }
  engine().abandon(error);
}

void on_fault(int signal_number, siginfo_t* info, void* raw_context) {
  const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr);
  auto* const context = static_cast<ucontext_t*>(raw_context);
  auto& registers = context->uc_mcontext.gregs;
  Engine& e = engine();
  if (e.running() && e.thread() >= 0 &&
      e.stacks().contains(static_cast<std::uintptr_t>(registers[REG_RSP]))) {
    hardware_fault = {address, reinterpret_cast<const void*>(registers[REG_RIP])};
    // Continue in explain_kernel_fault. Its frame goes below the kernel's red zone, or to the top of an
    // overflowed stack; nothing on it is used again.
    auto stack = static_cast<std::uintptr_t>(registers[REG_RSP]) - 256;
    if (e.stacks().overflowed(address) != nullptr)
      stack = reinterpret_cast<std::uintptr_t>(e.state(e.thread()).stack->top());
    registers[REG_RSP] = static_cast<greg_t>(stack / 16 * 16 - 8);
    registers[REG_RIP] = reinterpret_cast<greg_t>(&explain_kernel_fault);
    return;
  }
  if (machine_exists() && machine().memory().contains(address)) {
    const Allocation* const a = machine().memory().find(address);
    const std::string text = cat("host code touched device memory at ", info->si_addr,
                                 a != nullptr ? " (" + describe(*a) + ")" : "", " at ",
                                 source_line(reinterpret_cast<const void*>(registers[REG_RIP] + 1)),
                                 "; copy it to the host first: cuda/base/memory.h\n");
    (void)!write(STDERR_FILENO, text.data(), text.size());
  }
  // Not ours to judge: die of it in the ordinary way.
  signal(signal_number, SIG_DFL);
}

}  // namespace

std::string file_name(const char* path) {
  const char* const slash = std::strrchr(path, '/');
  return slash == nullptr ? path : slash + 1;
}

std::string plain_name(const char* symbol) {
  int status = 0;
  char* const plain = abi::__cxa_demangle(symbol, nullptr, nullptr, &status);
  std::string name = status == 0 ? plain : symbol;
  std::free(plain);
  // "void ns::f<float>(float const*, int)": the part between result and parameters.
  int depth = 0;
  std::size_t end = name.size();
  for (std::size_t i = 0; i < name.size(); ++i) {
    if (name[i] == '<') ++depth;
    if (name[i] == '>') --depth;
    if (name[i] == '(' && depth == 0 && name.compare(i, 11, "(anonymous ") != 0) {
      end = i;
      break;
    }
  }
  name.resize(end);
  if (name.starts_with("void ")) name.erase(0, 5);
  return name;
}

std::string function_name(const void* function) {
  Dl_info info{};
  if (dladdr(function, &info) == 0 || info.dli_sname == nullptr || info.dli_saddr != function)
    return cat("kernel at ", function);
  return plain_name(info.dli_sname);
}

std::string source_line(const void* code) {
  Dl_info info{};
  if (dladdr(code, &info) == 0 || info.dli_fname == nullptr) return "";
  const auto offset =
      static_cast<std::size_t>(static_cast<const char*>(code) - static_cast<char*>(info.dli_fbase)) - 1;
  const ReadableImage file(info.dli_fname);
  std::ostringstream command;
  command << "addr2line -i -e '" << file.path() << "' 0x" << std::hex << offset << " 2>/dev/null";
  std::string lines;  // the innermost function's first, then where it was inlined
  if (FILE* const pipe = popen(command.str().c_str(), "r")) {
    char buffer[1024];
    while (std::fgets(buffer, sizeof buffer, pipe) != nullptr) {
      std::string line = buffer;
      line = line.substr(0, line.find_first_of(" \n"));
      if (line.empty() || line.starts_with("??") || line.ends_with(":?") || line.ends_with(":0")) continue;
      lines += (lines.empty() ? "" : ", inlined at ") + file_name(line.c_str());
    }
    pclose(pipe);
  }
  if (!lines.empty()) return lines;
  std::ostringstream place;
  place << file_name(info.dli_fname) << "+0x" << std::hex << offset;
  return place.str();
}

void prepare_thread_for_faults() {
#if !defined(__SANITIZE_ADDRESS__)  // which has done so already
  thread_local std::byte stack[64 * 1024];
  thread_local const bool once = [] {
    stack_t alternative{};
    alternative.ss_sp = stack;
    alternative.ss_size = sizeof stack;
    return sigaltstack(&alternative, nullptr) == 0;
  }();
  (void)once;
#endif
}

void catch_hardware_faults() {
  prepare_thread_for_faults();
  struct sigaction action {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  sigemptyset(&action.sa_mask);
  sigaction(SIGSEGV, &action, nullptr);
  sigaction(SIGBUS, &action, nullptr);
}

}  // namespace ingot::sim
