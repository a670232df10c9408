// Named ranges of host time for profilers (Nsight Systems and others that know NVTX).
//
// A range lasts as long as its object and nests in those of the same thread. Names are copied by the tool,
// and cost a jump when none is attached. Ranges are in the domain "Ingot". NVTX 3 is headers of the CUDA
// Toolkit alone; without them ranges do nothing. They mark when work is issued: what a captured graph replays
// has no ranges of its own.
//
//   const NvtxRange range("softmax");
//   launch(...);
#pragma once

#if __has_include(<nvtx3/nvToolsExt.h>)
#include <nvtx3/nvToolsExt.h>
#define INGOT_HAS_NVTX 1
#else
#define INGOT_HAS_NVTX 0
#endif

namespace ingot::cuda {

class NvtxRange {
 public:
#if INGOT_HAS_NVTX
  explicit NvtxRange(const char* name) {
    nvtxEventAttributes_t event{};
    event.version = NVTX_VERSION;
    event.size = NVTX_EVENT_ATTRIB_STRUCT_SIZE;
    event.messageType = NVTX_MESSAGE_TYPE_ASCII;
    event.message.ascii = name;
    nvtxDomainRangePushEx(domain(), &event);
  }
  ~NvtxRange() {
    nvtxDomainRangePop(domain());
  }
#else
  explicit NvtxRange(const char*) {}
  ~NvtxRange() {}
#endif
  NvtxRange(const NvtxRange&) = delete;
  NvtxRange& operator=(const NvtxRange&) = delete;

 private:
#if INGOT_HAS_NVTX
  static nvtxDomainHandle_t domain() {
    static const nvtxDomainHandle_t ours = nvtxDomainCreateA("Ingot");
    return ours;
  }
#endif
};

}  // namespace ingot::cuda
