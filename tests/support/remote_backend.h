// A backend whose memory the host may not touch and whose work is put off: what a GPU is to a session, on the
// CPU's kernels.
//
// Memory is mapped without access and opened only while a piece of work runs. Nothing runs when it is issued:
// a wait runs what it has to, in order. So a session that reads or writes device memory itself crashes, one
// that hands out results before they are there hands out wrong ones, and one that reuses the host's memory
// too early computes with it.
//
//   register_remote_backend();
//   Session s(compile(graph, {.target = remote_target(2)}));
#pragma once

#include "core/runtime/target.h"

namespace ingot::test {

// Once per process; later calls do nothing.
void register_remote_backend();
Target remote_target(int threads);

// Bytes of device and pinned memory in use.
std::size_t remote_bytes();
std::size_t remote_host_bytes();

}  // namespace ingot::test
