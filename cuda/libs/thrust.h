// Sorting and running sums by Thrust: wrappers, nothing else. No header of Thrust is needed to use them.
//
// Each takes its temporary memory from a workspace whose size is known before the run, without a GPU: what
// CUB's dispatch computes for the largest of its tunings, with room. `*_fits` asks Thrust itself where there
// is a device (CUB's own query needs one) and says whether that is enough; without a device it says yes, and
// a call that asks for more than it was given throws DeviceError. One instance of each serves all dtypes, so
// that the library stays small.
//
// Keys are sorted stably. Sums are of integers: CUB adds in the order in which blocks happen to arrive, which
// for floating numbers would not give the same bits each time. Pointers are device memory that does not
// overlap; workspaces are aligned to 64 bytes.
//
//   thrust_sort(keys, places, n, workspace, stream);      // thrust_sort_workspace(n) bytes
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/base/dtype.h"
#include "cuda/base/stream.h"
#include "cuda/kernels/scan.h"

namespace ingot::cuda {

// The most elements of a call.
constexpr std::int64_t kMostOfThrust = (std::int64_t{1} << 31) - 1;

std::size_t thrust_sort_workspace(std::int64_t n);
bool thrust_sort_fits(std::int64_t n);
// Sorts (key, place) pairs by key.
void thrust_sort(unsigned long long* keys, unsigned* places, std::int64_t n, void* workspace,
                 const Stream& stream);

std::size_t thrust_scan_workspace(std::int64_t n);
bool thrust_scan_fits(std::int64_t n);
// running_sum() of cuda/kernels/scan.h for i32, i64, u8 and bool (x only). Throws UsageError for others.
void thrust_running_sum(DType x_dtype, const void* x, DType y_dtype, void* y, const ReduceShape& shape,
                        const ScanKind& kind, void* workspace, const Stream& stream);

}  // namespace ingot::cuda
