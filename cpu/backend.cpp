// CpuBackend: asks the table's candidates in order, then the same in f32 for half precision, and the
// reference last.
#include <sys/mman.h>

#include <cstdlib>
#include <cstring>

#include "core/op/registry.h"
#include "core/runtime/lowering.h"
#include "cpu/candidates.h"
#include "cpu/parallel.h"
#include "cpu/reference_step.h"
#include "cpu/threads.h"
#include "cpu/widened_step.h"

namespace ingot {

namespace cpu {

#define INGOT_CPU_FAMILY(name) void add_##name(LoweringTable&);
#include "cpu/families.def"
#undef INGOT_CPU_FAMILY

namespace {

const LoweringTable& table() {
  static const LoweringTable t = [] {
    LoweringTable made;
#define INGOT_CPU_FAMILY(name) add_##name(made);
#include "cpu/families.def"
#undef INGOT_CPU_FAMILY
    return made;
  }();
  return t;
}

std::unique_ptr<Step> first_that_accepts(const Problem& p) {
  if (auto step = first_step(table(), p)) return step;
  if (auto step = widened_step(table(), p)) return step;
  return lower_reference(p);
}

std::optional<Backend::Layouts> accelerated_layouts(const Problem& p, const std::vector<bool>& state_free) {
  if (auto l = kernel_layouts(table(), p, state_free)) return l;
  return widened_layouts(table(), p, state_free);
}

// The kernel that takes the node in its own layouts; "" where it would run by the reference.
std::string kernel_of(const Graph& graph, const Node& node, const Target& target) {
  const auto l = accelerated_layouts({graph, node, target}, std::vector<bool>(node.inputs.size(), true));
  if (!l) return "";
  Graph laid = graph;
  for (std::size_t i = 0; i < node.inputs.size(); ++i) laid.value(node.inputs[i]).type.layout = l->inputs[i];
  laid.value(node.outputs[0]).type.layout = l->outputs[0];
  const auto step = first_that_accepts({laid, node, target});
  return step == nullptr ? "" : step->kernel;
}

std::string refusal(const Problem& p) {
  const OpDef* def = Registry::instance().find(p.node.op);
  if (table().find(p.node.op) == nullptr && (def == nullptr || def->reference == nullptr))
    return cat("the CPU backend has no lowering of '", p.node.op,
               "' and the op has no reference; give its OpDef a `reference`");
  return cat("the CPU backend has no kernel for ", describe(p),
             "; the reference serves row-major operands only");
}

// Everything is done when the call returns.
class CpuQueue final : public Queue {
 public:
  explicit CpuQueue(int threads) : threads_(threads) {}
  void copy_in(void* device, const void* host, std::size_t bytes) override { copy(device, host, bytes); }
  void copy_out(void* host, const void* device, std::size_t bytes) override { copy(host, device, bytes); }
  void copy(void* to, const void* from, std::size_t bytes) override {
    if (bytes != 0) std::memcpy(to, from, bytes);
  }
  void fill(void* device, std::byte value, std::size_t bytes) override {
    if (bytes != 0) std::memset(device, static_cast<int>(value), bytes);
  }
  void begin() override {
    if (omp_get_max_threads() != threads_) omp_set_num_threads(threads_);
  }

 private:
  int threads_;
};

class CpuBackend final : public Backend {
 public:
  std::string_view name() const override { return "cpu"; }

  Target target(int device) const override {
    if (device == 0) return Target::cpu();
    throw UsageError(cat("the CPU is device 0, got ", device));
  }
  std::vector<std::pair<std::string, std::string>> facts() const override {
    return {{"cpu", Target::cpu().name}};
  }

  std::optional<std::string> refuses(const Graph& graph, const Node& node) const override {
    const Target one = [] {
      Target t;
      t.threads = 1;
      return t;
    }();
    const Problem p{graph, node, one};
    if (lower_reference(p) != nullptr) return std::nullopt;
    const ThreadScope threads(one.threads);
    if (first_that_accepts(p) != nullptr) return std::nullopt;
    return refusal(p);
  }

  Layouts layouts(const Graph& graph, const Node& node, const std::vector<bool>& state_free,
                  const Target& target) const override {
    const ThreadScope threads(target.threads);
    const Problem p{graph, node, target};
    return accelerated_layouts(p, state_free).value_or(row_major_layouts(p));
  }

  bool accelerates(const Graph& graph, const Node& node, const Target& target) const override {
    // A node that keeps several threads busy loses nothing by being a step of its own, and its readers find
    // in the caches what it made just before them.
    if (node.op == "fused_many")
      for (const ValueId v : node.outputs)
        if (useful_threads(2, graph.type(v).numel()) > 1) return false;
    const ThreadScope threads(target.threads);
    if (node.op == "conv2d") {  // asked about its activation: is it the kernel that would run without?
      Node plain = node;
      plain.attrs = node.attrs.with("activation", std::string());
      const std::string kernel = kernel_of(graph, node, target);
      return !kernel.empty() && kernel == kernel_of(graph, plain, target);
    }
    return accelerated_layouts({graph, node, target}, std::vector<bool>(node.inputs.size(), true))
        .has_value();
  }

  std::unique_ptr<Step> lower(const Graph& graph, const Node& node, const Target& target) const override {
    const ThreadScope threads(target.threads);
    const Problem p{graph, node, target};
    if (auto step = first_that_accepts(p)) return step;
    UsageError e(refusal(p));
    e.add_context(node.name, node.loc);
    throw e;
  }

  std::shared_ptr<void> allocate(std::size_t bytes, int) const override {
    constexpr std::size_t kAlign = 64, kHugePage = 2 << 20;
    // Passing through memory page by page of 4 KiB costs more in address translation than the memory itself.
    // Where the system gives huge pages only to those who ask, as most do, this asks.
    const bool huge = bytes >= 2 * kHugePage;
    const std::size_t align = huge ? kHugePage : kAlign;
    const std::size_t rounded = (std::max<std::size_t>(bytes, 1) + kAlign - 1) / kAlign * kAlign;
    void* p = nullptr;
    if (rounded < bytes || posix_memalign(&p, align, rounded) != 0)
      throw OutOfMemoryError(cat("the CPU has no room for ", bytes, " more bytes"));
#ifdef MADV_HUGEPAGE
    if (huge)
      madvise(p, rounded / kHugePage * kHugePage, MADV_HUGEPAGE);  // a wish: refused, all works as before
#endif
    return {p, [](void* q) { std::free(q); }};
  }
  std::unique_ptr<Queue> make_queue(const Target& target, void* stream) const override {
    if (stream != nullptr)
      throw UsageError("the CPU has no streams: SessionOptions::stream is for sessions on a GPU");
    return std::make_unique<CpuQueue>(target.threads);
  }
};

}  // namespace

std::vector<OwnLayouts> all_candidates(const Problem& p) {
  std::vector<OwnLayouts> all = steps_in_own_layouts(table(), p);
  std::vector<bool> free(p.node.inputs.size(), true);
  if (!free.empty()) free[0] = false;
  const auto add = [&](const char* name, Graph alone, const auto& lower) {
    if (auto step = lower(Problem{alone, alone.nodes()[0], p.target}))
      all.push_back({name, std::move(alone), std::move(step)});
  };
  if (const auto l = widened_layouts(table(), p, free))
    add("widened", node_with_layouts(p, *l), [](const Problem& w) { return widened_step(table(), w); });
  add("reference", node_with_layouts(p, row_major_layouts(p)), lower_reference);
  return all;
}

}  // namespace cpu

void register_cpu_backend() {
  register_backend(std::make_unique<cpu::CpuBackend>());
}

}  // namespace ingot
