// Descriptions of machines for the cost model (core/plan/cost_model.h), as JSON.
//
// Those of benchmarks/machines/ come with the program: GPUs by the names of `--target` (io/target_file.h),
// whose `source` says which figures were measured and which are a data sheet's with an assumed efficiency,
// and `cpu`, one thread of a CPU that nobody measured. `ingot machine --measure` writes this machine's own
// into the cache folder.
//
//   {"name": "NVIDIA H200", "source": "...", "threads": 0, "lanes": 8, "launch_seconds": 1.5e-6,
//    "vector_flops": {"f32": 67e12}, "matrix_flops": {"f32": 67e12, "tf32": 394e12, "bf16": 788e12},
//    "memory": [{"level": "L2", "bytes": 6e7, "bytes_per_second": 6e12},
//               {"level": "memory", "bytes_per_second": 4.3e12}],
//    "efficiency": [{"work": "convolution", "kernel": "cudnn:", "dtype": "bf16", "compute": 0.7,
//                    "memory": 0.9, "result_cost": 64}]}
//
// `threads` is 0 for a GPU. `per_thread` on a level of memory says that each thread has its own. Of an
// efficiency only `work` is needed.
//
//   const Machine h200 = read_machine("h200");             // or "mine.json"
//   const Machine here = machine_of(Target::cpu(2));       // as measured, else "cpu" for two threads
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "core/passes/pass.h"
#include "core/plan/cost_model.h"
#include "core/runtime/target.h"

namespace ingot::tools {

// A name of described_machines(), or the path of a file. Throws UsageError for an unknown name, and
// FormatError that lists each missing, unknown, ill-typed or impossible key.
Machine read_machine(const std::string& name_or_path);
std::string to_json(const Machine& m);

// Names and descriptions that come with the program.
const std::vector<std::pair<std::string, std::string>>& described_machines();

// Where the measured description of a CPU is kept: a file of the cache folder named after the processor and
// the number of threads; "" where there is no cache folder.
std::string measured_machine_path(const Target& cpu);

// What is known of a target: a measured description of this CPU if there is one, for as many threads or,
// scaled, for another number; the program's description of a GPU by its name. Throws UsageError that says
// what to do where there is none.
Machine machine_of(const Target& target);
// What a node should take there (CompileOptions::node_seconds); null where nothing is known of the target.
SecondsOracle seconds_on(const Target& target);

}  // namespace ingot::tools
