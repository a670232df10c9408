// What a node should take on a machine: its bytes and operations, from the registry, times a description of
// the machine. No device is asked and nothing runs.
//
//   arithmetic = operations / (peak * efficiency), traffic = bytes / (bandwidth * efficiency)
//   seconds = max(arithmetic, traffic) on a GPU, their sum on a CPU, + launches * launch
//
// Bandwidth is that of the level of memory that still holds an operand from its last touch; for a node alone,
// of the level that holds all of its operands and results. Efficiencies belong to kinds of work and families
// of kernels, never to a node or a model. More bytes or more operations never take less time. Steps are added
// up, one after the other: docs/performance.md says what that leaves out.
//
//   const Machine m = read_machine("h200");                  // tools/machine_file.h, or filled by hand
//   predict(m, graph, node).seconds;
//   predict(m, graph).seconds;                               // all nodes, before anything is lowered
//   predict(m, *compile(graph)).total.seconds;               // core/runtime/prediction.h: as lowered
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/ir/graph.h"
#include "core/plan/reuse.h"

namespace ingot {

// Kinds of work: what shares an efficiency.
enum class Work : std::uint8_t {
  Product,
  Convolution,
  ConvolutionGradInput,
  ConvolutionGradWeight,
  Depthwise,  // convolutions of one channel each, and their gradients
  Normalisation,
  NormalisationGrad,
  Pooling,
  PoolingGrad,
  Reduction,  // sums, softmax, losses, scans
  Elementwise,
  Movement,  // copies, reorders, gathers
  Update,    // optimisers
  Other
};
inline constexpr int kWorks = 14;
inline constexpr std::size_t kDTypes = 8;  // of DType
std::string_view name(Work w);             // "convolution_grad_input"
std::optional<Work> work_by_name(std::string_view name);
Work work_of(const Graph& graph, const Node& node);

// What a family of kernels attains. The first entry that fits a node is the one that counts.
struct Efficiency {
  Work work = Work::Other;
  std::string kernel{};          // how the kernel's name begins; empty: any
  std::optional<DType> dtype{};  // of the first operand; empty: any
  double compute = 1.0;          // share of the peak, in (0, 1]
  double memory = 1.0;           // share of the bandwidth, in (0, 1]
  // What one result costs beside its own products, in multiply-adds: loading, storing, an epilogue. Short
  // sums are slow because of it.
  double result_cost = 0.0;
};

struct MemoryLevel {
  std::string name{};             // "L2"
  double bytes = 0.0;             // what fits; of the last level: 0, everything
  double bytes_per_second = 0.0;  // read and written together
  bool per_thread = false;        // each thread has its own; both figures are those of all of them
};

struct Machine {
  std::string name{};
  std::string source{};  // where the figures are from, for people
  int threads = 0;       // of a CPU; 0: a GPU
  int lanes = 1;         // channels that products and convolutions compute at once; a last part costs a whole
  double launch_seconds = 0.0;  // of each kernel that is started, on a CPU of each step
  // Operations a second, a multiply-add being two; by DType, 0 where it is that of f32. `matrix` is for
  // products and convolutions (tensor cores, dot product instructions), `vector` for all else.
  std::array<double, kDTypes> vector{}, matrix{};
  double tf32 = 0.0;                       // of f32 products that may round to TF32; 0: as f32
  std::vector<MemoryLevel> levels{};       // the smallest first; bandwidths do not rise
  std::vector<Efficiency> efficiencies{};  // where none fits: 1
};

// The same machine working with so many threads: its arithmetic, and the caches that each thread has for
// itself. A GPU stays as it is.
Machine with_threads(Machine m, int threads);

// Of a whole machine; throws UsageError that names the first figure that cannot be.
void check_machine(const Machine& m);

enum class Bound : std::uint8_t { Memory, Compute, Latency };
std::string_view name(Bound b);

struct StepCost {
  double flops = 0.0, bytes = 0.0;  // by the registry
  int launches = 0;
  double seconds = 0.0;
  double roofline_seconds = 0.0;  // at the peak and the full bandwidth, and started for nothing
  Bound bound = Bound::Latency;   // what takes the largest part
};

// How a node was lowered, where that is known.
struct Lowered {
  std::string_view kernel{};
  int launches = 1;
  bool allow_tf32 = false;
  double arithmetic = 1.0;  // of the operations that the registry counts, what the kernel computes (Step)
};

// Seconds of arithmetic and of traffic together. A GPU has other warps to run while some wait for memory;
// what a CPU's core waits for it mostly waits for with nothing else to do.
inline double together(const Machine& m, double arithmetic, double traffic) {
  return m.threads > 0 ? arithmetic + traffic : std::max(arithmetic, traffic);
}

StepCost predict(const Machine& m, const Graph& graph, const Node& node, const Lowered& how = {});
// The same of what a node is to the model: its work and these figures.
struct Amounts {
  double flops = 0.0, bytes = 0.0;  // by the registry
  double working_set = 0.0;         // bytes of all operands and results
  double results = 0.0;             // elements of the first result
  DType dtype = DType::F32;         // of the first operand
  double channels = 0.0;            // of the result, where lanes compute them; 0: of no account
  // Within a program: the operands and results by how long ago they were touched. What `bytes` counts beyond
  // them is read or written again, when the working set has passed. Empty: the node runs alone, again and
  // again.
  std::vector<Touched> touched{};
};
Amounts amounts_of(const Graph& graph, const Node& node);
StepCost predict(const Machine& m, Work work, const Amounts& a, const Lowered& how = {});
// A copy of so many bytes, read and written.
StepCost predict_copy(const Machine& m, double bytes);
// All nodes; `bound` is what bounds most of the time.
StepCost predict(const Machine& m, const Graph& graph);
// Adds costs up: the sum's own `bound` is that which bounds most of the time.
class CostSum {
 public:
  void add(const StepCost& c);
  const StepCost& total() const { return total_; }

 private:
  StepCost total_;
  std::array<double, 3> by_bound_{};
};

}  // namespace ingot
