// The kernels that CUDA sources define, with their namespaces, as the simulator names them.
//
//   kernel_names("cuda/kernels");     // {"ingot::softmax::warp_rows_kernel", ...}, sorted
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ingot {

// Of one file's text. Comments and strings are skipped; `__global__` of a mere declaration counts too.
std::vector<std::string> kernels_in(std::string_view text);
// Of all .cu and .h files of a folder, each name once.
std::vector<std::string> kernel_names(const std::string& folder);

}  // namespace ingot
