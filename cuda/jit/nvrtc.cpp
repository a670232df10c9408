#include "cuda/jit/nvrtc.h"

#include <algorithm>
#include <cstdlib>
#include <sstream>

#include "core/base/error.h"
#include "cuda/jit/kernel_source.h"

namespace ingot::cuda {

namespace {

// From the documentation: results are an int enumeration whose 0 is success, programs are opaque pointers.
using Result = int;
using Program = struct OpaqueProgram*;

std::string numbered(std::string_view text) {
  std::ostringstream out;
  std::istringstream lines{std::string(text)};
  std::string line;
  for (int i = 1; std::getline(lines, line); ++i) out << i << "\t" << line << "\n";
  return std::move(out).str();
}

}  // namespace

struct Nvrtc::Api {
  SharedLibrary library;
  Result (*version)(int*, int*);
  Result (*num_archs)(int*);
  Result (*archs)(int*);
  Result (*create)(Program*, const char*, const char*, int, const char* const*, const char* const*);
  Result (*destroy)(Program*);
  Result (*compile)(Program, int, const char* const*);
  Result (*ptx_size)(Program, std::size_t*);
  Result (*ptx)(Program, char*);
  Result (*cubin_size)(Program, std::size_t*);
  Result (*cubin)(Program, char*);
  Result (*log_size)(Program, std::size_t*);
  Result (*log)(Program, char*);
  const char* (*error_string)(Result);

  explicit Api(const LibraryNames& names)
      : library(names, {"nvrtcVersion", "nvrtcGetNumSupportedArchs", "nvrtcGetSupportedArchs",
                        "nvrtcCreateProgram", "nvrtcDestroyProgram", "nvrtcCompileProgram", "nvrtcGetPTXSize",
                        "nvrtcGetPTX", "nvrtcGetCUBINSize", "nvrtcGetCUBIN", "nvrtcGetProgramLogSize",
                        "nvrtcGetProgramLog", "nvrtcGetErrorString"}) {
    find(version, "nvrtcVersion");
    find(num_archs, "nvrtcGetNumSupportedArchs");
    find(archs, "nvrtcGetSupportedArchs");
    find(create, "nvrtcCreateProgram");
    find(destroy, "nvrtcDestroyProgram");
    find(compile, "nvrtcCompileProgram");
    find(ptx_size, "nvrtcGetPTXSize");
    find(ptx, "nvrtcGetPTX");
    find(cubin_size, "nvrtcGetCUBINSize");
    find(cubin, "nvrtcGetCUBIN");
    find(log_size, "nvrtcGetProgramLogSize");
    find(log, "nvrtcGetProgramLog");
    find(error_string, "nvrtcGetErrorString");
  }

  template <class Function>
  void find(Function& function, const char* name) const {
    function = reinterpret_cast<Function>(library.symbol(name));
  }

  void check(Result r, const char* call) const {
    if (r != 0) throw DeviceError(cat(call, " failed: ", error_string(r)));
  }
  // What a pair of "how long" and "copy" functions gives; text ends with a zero byte that is not part of it.
  std::string fetch(Program p, Result (*size)(Program, std::size_t*), Result (*copy)(Program, char*),
                    const char* call) const {
    std::size_t n = 0;
    check(size(p, &n), call);
    std::string out(n, '\0');
    if (n != 0) check(copy(p, out.data()), call);
    return out;
  }
};

const LibraryNames& Nvrtc::libraries() {
  static const LibraryNames names{{"libnvrtc.so.13", "libnvrtc.so.12"}, cuda_library_folders()};
  return names;
}

Nvrtc::Nvrtc(const LibraryNames& libraries) {
  try {
    api_ = std::make_unique<Api>(libraries);
  } catch (const DeviceError& e) {
    throw DeviceError(cat(
        "NVRTC, which compiles generated kernels, could not be loaded. Install the CUDA Toolkit 12.8 or "
        "later "
        "(Debian and Ubuntu: the package cuda-nvrtc-13-0; Python: pip install nvidia-cuda-nvrtc) and put the "
        "folder of libnvrtc.so on LD_LIBRARY_PATH or set CUDA_HOME. ",
        e.message()));
  }
}

Nvrtc::~Nvrtc() = default;

const Nvrtc& Nvrtc::instance() {
  // Never destroyed: the library keeps threads and caches of its own until the process ends.
  static const Nvrtc* const one = new Nvrtc(libraries());
  return *one;
}

std::optional<std::string> Nvrtc::missing() {
  try {
    instance();
    return std::nullopt;
  } catch (const DeviceError& e) {
    return e.what();
  }
}

std::string Nvrtc::version() const {
  int major = 0, minor = 0;
  api_->check(api_->version(&major, &minor), "nvrtcVersion");
  return cat(major, ".", minor);
}

std::vector<int> Nvrtc::architectures() const {
  int n = 0;
  api_->check(api_->num_archs(&n), "nvrtcGetNumSupportedArchs");
  std::vector<int> all(static_cast<std::size_t>(n));
  api_->check(api_->archs(all.data()), "nvrtcGetSupportedArchs");
  return all;
}

std::vector<std::string> Nvrtc::options(int arch, KernelFormat format) {
  return {cat("--gpu-architecture=", format == KernelFormat::Cubin ? "sm_" : "compute_", arch),
          "--std=c++17",
          "--fmad=false",
          "--ftz=false",
          "--prec-div=true",
          "--prec-sqrt=true"};
}

std::string Nvrtc::compile(std::string_view name, std::string_view text, int arch,
                           KernelFormat format) const {
  const std::vector<int> known = architectures();
  if (std::find(known.begin(), known.end(), arch) == known.end())
    throw UsageError(cat("NVRTC ", version(), " compiles for sm_", join(known, ", sm_"), ", not for sm_",
                         arch, "; a newer CUDA Toolkit may"));
  std::vector<const char*> texts, names, flags;
  for (const EmbeddedHeader& h : embedded_headers()) {
    texts.push_back(h.text);
    names.push_back(h.name);
  }
  const std::vector<std::string> wanted = options(arch, format);
  for (const std::string& o : wanted) flags.push_back(o.c_str());

  Program made = nullptr;
  const std::string source(text), file = cat(name, ".cu");
  api_->check(api_->create(&made, source.c_str(), file.c_str(), static_cast<int>(texts.size()), texts.data(),
                           names.data()),
              "nvrtcCreateProgram");
  const auto drop = [this](Program p) { api_->destroy(&p); };
  const std::unique_ptr<OpaqueProgram, decltype(drop)> program(made, drop);

  const Result r = api_->compile(program.get(), static_cast<int>(flags.size()), flags.data());
  if (r != 0) {
    std::string log = api_->fetch(program.get(), api_->log_size, api_->log, "nvrtcGetProgramLog");
    while (!log.empty() && (log.back() == '\0' || log.back() == '\n')) log.pop_back();
    throw Error(cat("NVRTC ", version(), " refuses the kernel ", name, " for sm_", arch, " (",
                    api_->error_string(r), "):\n", log, "\n", numbered(text)));
  }
  if (format == KernelFormat::Cubin)
    return api_->fetch(program.get(), api_->cubin_size, api_->cubin, "nvrtcGetCUBIN");
  std::string ptx = api_->fetch(program.get(), api_->ptx_size, api_->ptx, "nvrtcGetPTX");
  if (!ptx.empty() && ptx.back() == '\0') ptx.pop_back();
  return ptx;
}

}  // namespace ingot::cuda
