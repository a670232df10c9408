// cuda/base/nvtx against a profiler made of two functions, which NVTX finds by the name of a symbol.
#include "cuda/base/nvtx.h"

#include <string>
#include <vector>

#include "cuda/ops/launch_step.h"
#include "tests/cuda_sim/sim_test.h"

#if INGOT_HAS_NVTX

namespace {

std::vector<std::string>& heard() {
  static std::vector<std::string> all;
  return all;
}

int NVTX_API hear_push(nvtxDomainHandle_t, const nvtxEventAttributes_t* event) {
  heard().push_back(std::string("+") + event->message.ascii);
  return 0;
}
int NVTX_API hear_pop(nvtxDomainHandle_t) {
  heard().push_back("-");
  return 0;
}

int NVTX_API start_profiler(NvtxGetExportTableFunc_t export_table) {
  const auto* const callbacks =
      static_cast<const NvtxExportTableCallbacks*>(export_table(NVTX_ETID_CALLBACKS));
  NvtxFunctionTable table = nullptr;
  unsigned size = 0;
  if (callbacks == nullptr || callbacks->GetModuleFunctionTable(NVTX_CB_MODULE_CORE2, &table, &size) == 0)
    return 0;
  *table[NVTX_CBID_CORE2_DomainRangePushEx] = reinterpret_cast<NvtxFunctionPointer>(hear_push);
  *table[NVTX_CBID_CORE2_DomainRangePop] = reinterpret_cast<NvtxFunctionPointer>(hear_pop);
  return 1;
}

// A weak variable of NVTX; static, so before the first range.
[[maybe_unused]] const bool attached = (InitializeInjectionNvtx2_fnptr = start_profiler, true);

}  // namespace

namespace ingot {
namespace {

using Heard = std::vector<std::string>;

class Nvtx : public SimTest {};

TEST_F(Nvtx, RangesNestAndEnd) {
  heard().clear();
  {
    const cuda::NvtxRange outer("outer");
    const cuda::NvtxRange inner("inner");
  }
  EXPECT_EQ(heard(), (Heard{"+outer", "+inner", "-", "-"}));
}

TEST_F(Nvtx, AStepIsARangeOfItsKernelsName) {
  const cuda::Stream stream;
  bool inside = false;
  const auto step = cuda::launch_step("softmax", [&inside](void* const*, void* const*, void*, const auto&) {
    inside = heard() == Heard{"+softmax"};
  });
  const auto bound = step->bind({{}, {}, nullptr, const_cast<cuda::Stream*>(&stream)});
  heard().clear();
  bound->run();
  EXPECT_TRUE(inside);
  EXPECT_EQ(heard(), (Heard{"+softmax", "-"}));
}

}  // namespace
}  // namespace ingot

#endif
