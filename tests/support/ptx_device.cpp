#include "tests/support/ptx_device.h"

#include <algorithm>
#include <cstring>

#include "core/base/error.h"

#ifdef INGOT_HAVE_PTXVM
#include "ptxvm.h"
#endif

namespace ingot {

PtxArg PtxArg::read(const void* data, std::size_t bytes) {
  PtxArg a;
  a.kind = Kind::Read;
  a.data = const_cast<void*>(data);
  a.bytes = bytes;
  return a;
}

PtxArg PtxArg::write(void* data, std::size_t bytes) {
  PtxArg a = read(data, bytes);
  a.kind = Kind::Write;
  return a;
}

#ifdef INGOT_HAVE_PTXVM

struct PtxDevice::Machine {
  ptxvm* vm = ptxvm_create();
  ~Machine() { ptxvm_destroy(vm); }
  void check(int status) const {
    if (status != 0) throw Error(ptxvm_error(vm));
  }
};

bool PtxDevice::available() {
  return true;
}

PtxDevice::PtxDevice(const std::string& ptx) : machine_(std::make_unique<Machine>()) {
  machine_->check(ptxvm_load(machine_->vm, ptx.c_str()));
}

PtxDevice::~PtxDevice() = default;

void PtxDevice::share(void* data, std::size_t bytes, bool writable) {
  machine_->check(ptxvm_register(machine_->vm, data, bytes, "shared with kernels",
                                 writable ? 0 : static_cast<int>(PTXVM_READ_ONLY)));
}

void PtxDevice::launch(const std::string& kernel, const PtxLaunch& how, const std::vector<PtxArg>& args) {
  ptxvm* const vm = machine_->vm;
  int index = 0;
  while (index < ptxvm_kernel_count(vm) && kernel != ptxvm_kernel_name(vm, index)) ++index;
  if (index == ptxvm_kernel_count(vm)) throw UsageError(cat("the module has no kernel '", kernel, "'"));
  if (ptxvm_kernel_params(vm, index) != static_cast<int>(args.size()))
    throw UsageError(
        cat(kernel, " takes ", ptxvm_kernel_params(vm, index), " parameters, got ", args.size()));

  // A buffer given twice is registered once, for writing if any use writes. Empty ones have no memory.
  struct Buffer {
    void* data;
    std::size_t bytes;
    bool written;
    std::string name;
  };
  std::vector<Buffer> buffers;
  std::vector<std::byte> params(ptxvm_kernel_param_bytes(vm, index));
  for (std::size_t i = 0; i < args.size(); ++i) {
    const PtxArg& a = args[i];
    std::size_t offset = 0, bytes = 0;
    machine_->check(ptxvm_kernel_param(vm, index, static_cast<int>(i), &offset, &bytes));
    const void* const from =
        a.kind == PtxArg::Kind::Value ? static_cast<const void*>(a.value.data()) : &a.data;
    const std::size_t size = a.kind == PtxArg::Kind::Value ? a.bytes : sizeof(void*);
    if (size != bytes)
      throw UsageError(cat("parameter ", i, " of ", kernel, " has ", bytes, " bytes, got ", size));
    std::memcpy(params.data() + offset, from, size);
    if (a.kind == PtxArg::Kind::Value || a.bytes == 0) continue;
    bool known = false;
    for (Buffer& b : buffers) {
      if (b.data != a.data) continue;
      known = true;
      b.bytes = std::max(b.bytes, a.bytes);
      b.written = b.written || a.kind == PtxArg::Kind::Write;
      b.name += cat("=argument ", i);
    }
    if (!known) buffers.push_back({a.data, a.bytes, a.kind == PtxArg::Kind::Write, cat("argument ", i)});
  }

  struct Registered {
    ptxvm* vm;
    std::vector<void*> all;
    ~Registered() {
      for (void* p : all) ptxvm_unregister(vm, p);
    }
  } registered{vm, {}};
  for (const Buffer& b : buffers) {
    machine_->check(ptxvm_register(vm, b.data, b.bytes, b.name.c_str(),
                                   b.written ? 0 : static_cast<int>(PTXVM_READ_ONLY)));
    registered.all.push_back(b.data);
  }
  ptxvm_options options;
  ptxvm_default_options(&options);
  options.seed = how.seed;
  options.uninit_shared = 1;
  options.resident = how.resident;
  machine_->check(ptxvm_launch(vm, kernel.c_str(), how.blocks.data(), how.threads.data(), how.shared_bytes,
                               params.data(), params.size(), &options));
}

#else

struct PtxDevice::Machine {};

bool PtxDevice::available() {
  return false;
}
PtxDevice::PtxDevice(const std::string&) {
  throw UsageError(std::string(kMissing));
}
PtxDevice::~PtxDevice() = default;
void PtxDevice::share(void*, std::size_t, bool) {
  throw UsageError(std::string(kMissing));
}
void PtxDevice::launch(const std::string&, const PtxLaunch&, const std::vector<PtxArg>&) {
  throw UsageError(std::string(kMissing));
}

#endif

}  // namespace ingot
