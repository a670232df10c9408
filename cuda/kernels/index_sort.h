// Positions of an index tensor sorted by the row they name, in their own order within a row: what sums over
// repeated indices need to be the same in every run. For .cu files that sum; the kernels are in
// index_sort.cu.
//
// Row numbers and positions are 32 bits wide. Indices that name no row sort behind all others, as row `dim`.
// The results lie in the workspace.
//
//   const SortedRows s = sort_rows(rows, n, workspace, stream);     // s.row[j] rises; s.position[j] < n
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/base/stream.h"
#include "cuda/kernels/indices.h"

namespace ingot::cuda {

struct SortedRows {
  const unsigned* row = nullptr;
  const unsigned* position = nullptr;
};

// Bytes of device memory, aligned to 16. Throws UsageError for 2^32 - 1 indices or rows and more.
std::size_t sort_rows_workspace(std::int64_t n, std::int64_t dim);

SortedRows sort_rows(const gpu::Rows& rows, std::int64_t n, void* workspace, const Stream& stream);

}  // namespace ingot::cuda
