// From graph to program: run the passes, lower each node, decide which values share memory, place everything.
#include <algorithm>
#include <limits>

#include "core/op/registry.h"
#include "core/passes/match.h"
#include "core/runtime/program.h"

namespace ingot {

std::string_view name(Region region) {
  constexpr std::string_view kNames[kRegions] = {"arena",  "parameters", "gradients",
                                                 "states", "staging",    "constants"};
  return kNames[static_cast<std::size_t>(region)];
}

namespace {

constexpr std::size_t kAlign = 64;
constexpr std::uint32_t kNone = 0xffffffffu;
std::size_t round_up(std::size_t n) {
  return (n + kAlign - 1) / kAlign * kAlign;
}

// Memory that one or more values share.
struct Storage {
  Region region = Region::Arena;
  std::size_t bytes = 0;
  std::int32_t first = 0, last = 0;
  std::size_t offset = 0;
  ValueId owner;
};

}  // namespace

class Compiler {
 public:
  // `memory_target` is the pass checkpoint's; 0: the backend's own share of time.
  Compiler(const Graph& graph, const CompileOptions& options, std::size_t memory_target)
      : options_(options), program_(std::make_shared<Program>()) {
    Program& p = *program_;
    p.target_ = options.target;
    p.backend_ = &backend(options.target.backend);
    PassContext context;
    context.skip = options.skip_passes;
    context.dump_dir = options.dump_passes;
    context.optimise = options.optimise;
    context.layouts = [&p](const Graph& g, const Node& n, const std::vector<bool>& free) {
      return p.backend_->layouts(g, n, free, p.target_);
    };
    context.accelerates = [&p](const Graph& g, const Node& n) {
      return p.backend_->accelerates(g, n, p.target_);
    };
    context.node_seconds = options.node_seconds;
    context.memory_target = memory_target;
    context.recompute_share = p.backend_->recompute_share();
    p.graph_ = run_pipeline(graph, context);
    p.recomputed_ = context.recomputed;
    p.timings_ = std::move(context.timings);
  }

  ProgramPtr run() {
    lower(0);
    keep_old_contents();
    split_prepare();
    find_lifetimes();
    assign_storage();
    place();
    report();
    return program_;
  }

 private:
  const Graph& graph() const { return program_->graph_; }

  // An output that lies in the memory of a state, and a state's next content that is the content of another,
  // are to be the old content, which the updates at the end of a run overwrite: they become copies of it.
  void keep_old_contents() {
    Graph& g = program_->graph_;
    std::vector<bool> updated(g.values().size(), false);
    for (const Update& u : g.updates()) updated[u.state.index] = true;
    const auto first = static_cast<std::uint32_t>(g.nodes().size());
    std::vector<ValueId> copies(g.values().size());
    const auto kept = [&](ValueId v, ValueId into) {
      ValueId root = v;
      while (g.value(root).kind == ValueKind::Result && g.value(root).output_index == 0 &&
             program_->step(g.value(root).producer).is_view)
        root = g.node(g.value(root).producer).inputs[0];
      if (!updated[root.index] || root == into) return v;
      if (ValueId& copy = copies[v.index]; !copy.valid()) {
        const TensorType type = g.type(v);
        const NodeId made = g.add_node({"reorder",
                                        op("reorder").attrs.with("layout", type.layout),
                                        {v},
                                        {},
                                        cat(g.value(root).name, "/old"),
                                        g.value(v).loc},
                                       std::span(&type, 1));
        copy = g.node(made).outputs[0];
      }
      return copies[v.index];
    };
    const std::vector<Output> outputs = g.outputs();
    const std::vector<Update> updates = g.updates();
    g.clear_outputs();
    g.clear_updates();
    for (const Output& o : outputs) g.add_output(o.name, kept(o.value, {}));
    for (const Update& u : updates) g.add_update(u.state, kept(u.value, u.state));
    lower(first);
  }

  // The nodes from `first` on.
  void lower(std::uint32_t first) {
    Program& p = *program_;
    for (std::uint32_t i = first; i < graph().nodes().size(); ++i) {
      const Node& n = graph().nodes()[i];
      try {
        if (const auto why = p.backend_->refuses(graph(), n))
          throw UsageError(cat(n.op, " cannot run on ", p.backend_->name(), ": ", *why));
        p.steps_.push_back(p.backend_->lower(graph(), n, p.target_));
      } catch (Error& e) {
        e.add_context(n.name, n.loc);
        throw;
      }
    }
  }

  void split_prepare() {
    Program& p = *program_;
    const std::vector<bool> once = constant_nodes(graph());
    for (std::uint32_t i = 0; i < graph().nodes().size(); ++i)
      (once[i] ? p.prepare_ : p.schedule_).push_back({i});
  }

  void find_lifetimes() {
    const Program& p = *program_;
    end_ = static_cast<std::int32_t>(p.schedule_.size());
    last_use_.assign(graph().values().size(), -1);
    for (std::int32_t s = 0; s < end_; ++s)
      for (const ValueId v : graph().node(p.schedule_[static_cast<std::size_t>(s)]).inputs)
        last_use_[v.index] = s;
    for (const auto& o : graph().outputs()) last_use_[o.value.index] = end_;
  }

  Storage& storage(ValueId v) { return storages_[storage_of_[v.index]]; }

  std::uint32_t new_storage(ValueId v, Region region, std::int32_t first) {
    const auto id = static_cast<std::uint32_t>(storages_.size());
    storages_.push_back({region, graph().type(v).bytes(), first, std::max(first, last_use_[v.index]), 0, v});
    storage_of_[v.index] = id;
    return id;
  }

  void join(ValueId v, std::uint32_t id) {
    storage_of_[v.index] = id;
    storages_[id].last = std::max(storages_[id].last, last_use_[v.index]);
  }

  void assign_storage() {
    Program& p = *program_;
    storage_of_.assign(graph().values().size(), kNone);
    for (const ValueId v : graph().inputs()) new_storage(v, Region::Staging, 0);
    for (const auto& s : graph().states())
      new_storage(s.value, s.role == StateRole::Parameter ? Region::Parameter : Region::State, 0);
    std::vector<ValueId> update_of(
        graph().values().size());  // value -> state that it becomes, if exactly one
    for (const auto& u : graph().updates())
      if (!update_of[u.value.index].valid()) update_of[u.value.index] = u.state;

    for (const NodeId n : p.prepare_) {
      const Node& node = graph().node(n);
      for (std::size_t k = 0; k < node.outputs.size(); ++k) {
        if (p.step(n).is_view && k == 0)
          join(node.outputs[k], storage_of_[node.inputs[0].index]);
        else
          new_storage(node.outputs[k], Region::Constant, 0);
      }
    }
    for (std::int32_t at = 0; at < end_; ++at) {
      const NodeId n = p.schedule_[static_cast<std::size_t>(at)];
      const Node& node = graph().node(n);
      for (std::size_t k = 0; k < node.outputs.size(); ++k) {
        const ValueId v = node.outputs[k];
        if (p.step(n).is_view && k == 0) {
          join(v, storage_of_[node.inputs[0].index]);
        } else if (const auto target = state_target(n, k, at, update_of[v.index]); target != kNone) {
          join(v, target);
        } else if (const auto shared = in_place_target(n, k, at); shared != kNone) {
          join(v, shared);
        } else {
          new_storage(v, Region::Arena, at);
        }
        if (update_of[v.index].valid() && storage_of_[v.index] != storage_of_[update_of[v.index].index])
          last_use_[v.index] = storage(v).last = end_;  // copied when all steps are done
      }
    }
    for (const auto& u : graph().updates())
      if (storage_of_[u.value.index] != storage_of_[u.state.index]) {
        p.copies_.push_back(u);
        storage(u.value).last = end_;
      }
  }

  bool pair_listed(NodeId n, std::size_t input, std::size_t output) const {
    const auto& pairs = program_->step(n).in_place;
    return std::find(pairs.begin(), pairs.end(),
                     std::array<int, 2>{static_cast<int>(input), static_cast<int>(output)}) != pairs.end();
  }

  // True when the node reads the storage only through operands that may share memory with output k.
  bool reads_safely(NodeId n, std::size_t k, std::uint32_t id) const {
    const Node& node = graph().node(n);
    for (std::size_t i = 0; i < node.inputs.size(); ++i)
      if (storage_of_[node.inputs[i].index] == id && !pair_listed(n, i, k)) return false;
    return true;
  }

  // Another output of the same node already lies there.
  bool taken_by_sibling(NodeId n, std::size_t k, std::uint32_t id) const {
    const Node& node = graph().node(n);
    for (std::size_t j = 0; j < k; ++j)
      if (storage_of_[node.outputs[j].index] == id) return true;
    return false;
  }

  // The state's own memory, when output k becomes the state's next content and nobody reads the old content
  // later.
  std::uint32_t state_target(NodeId n, std::size_t k, std::int32_t at, ValueId state) {
    if (!options_.in_place || !state.valid()) return kNone;
    const std::uint32_t id = storage_of_[state.index];
    const ValueId v = graph().node(n).outputs[k];
    if (!graph().type(state).same_memory(graph().type(v)) ||
        graph().type(state).bytes() != graph().type(v).bytes())
      return kNone;
    if (storages_[id].last > at || !reads_safely(n, k, id) || taken_by_sibling(n, k, id)) return kNone;
    return id;
  }

  std::uint32_t in_place_target(NodeId n, std::size_t k, std::int32_t at) {
    if (!options_.in_place) return kNone;
    const Node& node = graph().node(n);
    for (const auto& [i, o] : program_->step(n).in_place) {
      if (static_cast<std::size_t>(o) != k) continue;
      const ValueId from = node.inputs.at(static_cast<std::size_t>(i));
      const std::uint32_t id = storage_of_[from.index];
      const Storage& s = storages_[id];
      if (s.region != Region::Arena || s.last > at || s.bytes != graph().type(node.outputs[k]).bytes())
        continue;
      if (!reads_safely(n, k, id) || taken_by_sibling(n, k, id)) continue;
      return id;
    }
    return kNone;
  }

  void place() {
    Program& p = *program_;
    const auto bump = [&](Storage& s) {
      auto& size = p.region_bytes_[static_cast<std::size_t>(s.region)];
      s.offset = size;
      size += round_up(s.bytes);
    };
    // Gradients lie in the order of the parameters, so that an optimiser or a collective sees one range.
    for (const auto& state : graph().states())
      for (const auto& g : graph().gradients()) {
        if (g.state != state.value) continue;
        Storage& s = storage(g.value);
        if (s.region != Region::Arena || s.bytes != storage(g.state).bytes) continue;
        s.region = Region::Gradient;
        bump(s);
      }
    for (Storage& s : storages_)
      if (s.region != Region::Arena && s.region != Region::Gradient) bump(s);
    auto& staging = p.region_bytes_[static_cast<std::size_t>(Region::Staging)];
    p.input_bytes_ = staging;
    staging *= 1 + static_cast<std::size_t>(p.backend_->staging_slots());

    std::vector<PlanItem> items;
    std::vector<std::uint32_t> item_storage;
    for (std::uint32_t i = 0; i < storages_.size(); ++i) {
      if (storages_[i].region != Region::Arena) continue;
      items.push_back({storages_[i].bytes, storages_[i].first, storages_[i].last});
      item_storage.push_back(i);
      p.blocks_.push_back({storages_[i].owner, 0, storages_[i].bytes, storages_[i].first, storages_[i].last});
    }
    for (std::int32_t at = 0; at < end_; ++at) {
      const std::size_t bytes = p.step(p.schedule_[static_cast<std::size_t>(at)]).workspace_bytes;
      if (bytes == 0) continue;
      p.report_.workspace_bytes = std::max(p.report_.workspace_bytes, bytes);
      items.push_back({bytes, at, at});
      p.blocks_.push_back({{}, 0, bytes, at, at});
    }
    // Nodes that run once use workspaces before the schedule starts, when the arena is idle.
    std::size_t prepare_workspace = 0;
    for (const NodeId n : p.prepare_)
      prepare_workspace = std::max(prepare_workspace, p.step(n).workspace_bytes);

    MemoryPlan plan = plan_memory(items, kAlign);
    if (!options_.share_memory) {
      plan.arena_bytes = 0;
      for (std::size_t i = 0; i < items.size(); ++i) {
        plan.offsets[i] = plan.arena_bytes;
        plan.arena_bytes += round_up(items[i].bytes);
      }
    }
    for (std::size_t i = 0; i < items.size(); ++i) p.blocks_[i].offset = plan.offsets[i];
    for (std::size_t i = 0; i < item_storage.size(); ++i) storages_[item_storage[i]].offset = plan.offsets[i];
    p.region_bytes_[static_cast<std::size_t>(Region::Arena)] =
        std::max(plan.arena_bytes, round_up(prepare_workspace));
    p.report_.max_live_bytes = std::max(plan.max_live_bytes, round_up(prepare_workspace));
    p.peak_step_ = plan.peak_step;
    p.places_.resize(graph().values().size());
    for (std::uint32_t v = 0; v < p.places_.size(); ++v)
      if (storage_of_[v] != kNone)
        p.places_[v] = {storages_[storage_of_[v]].region, storages_[storage_of_[v]].offset};
  }

  void report() {
    Program& p = *program_;
    MemoryReport& r = p.report_;
    r.arena_bytes = p.region_bytes(Region::Arena);
    r.parameter_bytes = p.region_bytes(Region::Parameter);
    r.gradient_bytes = p.region_bytes(Region::Gradient);
    r.state_bytes = p.region_bytes(Region::State);
    r.staging_bytes = p.region_bytes(Region::Staging);
    r.constant_bytes = p.region_bytes(Region::Constant);
    for (const std::size_t bytes : p.region_bytes_) r.total_bytes += bytes;
  }

  const CompileOptions& options_;
  std::shared_ptr<Program> program_;
  std::int32_t end_ = 0;
  std::vector<std::int32_t> last_use_;
  std::vector<Storage> storages_;
  std::vector<std::uint32_t> storage_of_;
};

ProgramPtr compile(const Graph& graph, const CompileOptions& options) {
  if (options.memory_budget == 0) return Compiler(graph, options, 0).run();
  // What the graph's values need is not all: workspaces, inputs and states are known when all is placed. The
  // target falls by what a plan was too large.
  std::size_t target = std::numeric_limits<std::size_t>::max();
  ProgramPtr p = Compiler(graph, options, target).run();
  while (p->report().total_bytes > options.memory_budget) {
    const std::size_t excess = p->report().total_bytes - options.memory_budget;
    const std::size_t alive = p->recomputed().bytes_after;
    ProgramPtr lower;
    if (alive > excess) {
      target = std::min(target, alive) - excess;
      lower = Compiler(graph, options, target).run();
    }
    if (lower == nullptr || lower->recomputed().bytes_after >= alive) {
      const std::size_t least =
          std::min(p->report().total_bytes, lower ? lower->report().total_bytes : SIZE_MAX);
      throw UsageError(cat("a session would need ", least,
                           " bytes with all that can be computed again, and the budget is ",
                           options.memory_budget, "; allow more, or take a smaller batch"));
    }
    p = std::move(lower);
  }
  return p;
}

int Program::launches() const {
  int sum = static_cast<int>(copies_.size()) * (target_.backend == "cpu" ? 0 : 1);
  for (const NodeId n : schedule_) {
    const Node& node = graph_.node(n);
    if (!step(n).is_view) sum += step(n).launches(node.inputs.size(), node.outputs.size());
  }
  return sum;
}

int Program::library_calls() const {
  int sum = 0;
  for (const NodeId n : schedule_) sum += step(n).library_calls;
  return sum;
}

double Program::flops() const {
  double sum = 0.0;
  for (const NodeId n : schedule_) sum += cost(graph_, graph_.node(n)).flops;
  return sum;
}

double Program::bytes_moved() const {
  double sum = 0.0;
  for (const NodeId n : schedule_)
    if (!step(n).is_view) sum += cost(graph_, graph_.node(n)).bytes;
  return sum;
}

}  // namespace ingot
