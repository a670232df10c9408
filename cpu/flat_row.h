// FlatTables: the tables of a FlatRow (cpu/simd/pool_kernels.h), made when a pooling is lowered.
//
// With 6 channels and vectors of 16 floats, a vector per pixel does six sixteenths of a vector's work. Read
// as one run of floats, a row of the result fills every lane; what each lane takes from the other side is the
// same for all rows, so it is looked up.
//
//   FlatTables f = flat_maxima(channels, columns_in, windows, width);
//   if (!f.empty()) shape.flat = f.view();                   // else: a vector per pixel is the better choice
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cpu/simd/pool_kernels.h"

namespace ingot::cpu {

struct FlatTables {
  std::int64_t taps = 0;
  std::vector<std::int64_t> start, base;
  std::vector<std::int32_t> lane, cell;

  bool empty() const { return start.empty(); }
  FlatRow view() const {
    return {
        static_cast<std::int64_t>(start.size()), taps, start.data(), base.data(), lane.data(), cell.data()};
  }
};

// Window j along the columns covers the pixels [begin[j], end[j]) and starts at start[j] <= begin[j]; each
// covers a pixel.
struct FlatColumns {
  std::span<const std::int64_t> start, begin, end;
};

// Of the maximum, from a row of `w` pixels, and of its gradient, from a row with a pixel per window. Empty
// where whole vectors of channels do as well, a row is shorter than what is read at a time, or the lanes lie
// too far apart.
FlatTables flat_maxima(std::int64_t channels, std::int64_t w, const FlatColumns& columns, std::int64_t width);
FlatTables flat_gradient(std::int64_t channels, std::int64_t w, const FlatColumns& columns,
                         std::int64_t width);

}  // namespace ingot::cpu
