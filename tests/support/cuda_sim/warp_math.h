// What a complete warp operation does to its lanes, and how an asynchronous copy lands. The twins of PTX's
// shfl, vote, mma, ldmatrix and cp.async, with the fragment layouts of the PTX ISA (see cuda/base/kernel.h).
#pragma once

namespace ingot::sim {

struct WarpOp;
struct AsyncCopy;

void run_warp_op(WarpOp& op, int warp);
void land(const AsyncCopy& copy);

}  // namespace ingot::sim
