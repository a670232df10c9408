#include <array>
#include <chrono>
#include <cstdio>
#include <filesystem>

#include "core/base/file.h"
#include "core/op/text.h"
#include "core/op/verify.h"
#include "core/passes/pass.h"

namespace ingot {

namespace {

// The order, and the reason for each place.
constexpr std::array kPipeline = {
    // Differentiation leaves forward and backward nodes that nobody reads; less work for all that follow.
    Pass{"dce", eliminate_dead_code, true},
    // Before CSE, so that equal folded constants merge.
    Pass{"constant-folding", fold_constants},
    // x + 0, reshape of reshape, cast to the same type: they would hide patterns from the fusions.
    Pass{"simplify", simplify},
    // Gradient rules rebuild the same masks and scales; merged, they are saved once.
    Pass{"cse", eliminate_common_subexpressions},
    // Needs the one mask that CSE left, and must come before tapes swallow it.
    Pass{"mask-before-unpooling", mask_before_unpooling},
    // Its readers must be plain still, and the mask out of the way.
    Pass{"fuse-unpooling", fuse_unpooling},
    // Needs batch_norm_infer next to its convolution, so before convolutions take epilogues.
    Pass{"fold-batch-norm", fold_batch_norm},
    // The library does bias, residual and activation for free; what it takes is gone before tapes form.
    Pass{"fuse-epilogues", fuse_epilogues},
    // Knows batch norm by its epilogues and masks, and masks for several readers while they are plain.
    Pass{"fuse-sums", fuse_sums},
    // After both: it takes batch norms with their ReLU, and not those whose sums a convolution makes.
    Pass{"fuse-concat", fuse_concat},
    Pass{"fuse-elementwise", fuse_elementwise},
    // Last transformation: it asks the backend about each final node.
    Pass{"layout", assign_layouts, true},
    // Reorders of one value for several readers merge.
    Pass{"cse-after-layout", eliminate_common_subexpressions},
    Pass{"dce-after-layout", eliminate_dead_code, true},
    // Last: it weighs the final lifetimes, and CSE would merge again what it repeats.
    Pass{"recompute", recompute_cheap_values},
    // After it, so that what costs next to nothing is repeated first.
    Pass{"checkpoint", checkpoint},
    // After all that moves or repeats nodes: what it joins stands at one place from then on.
    Pass{"join-elementwise", join_elementwise},
};

}  // namespace

std::span<const Pass> pipeline() {
  return kPipeline;
}

Graph run_pipeline(const Graph& graph, PassContext& context) {
  using Clock = std::chrono::steady_clock;
  for (const auto& skipped : context.skip) {
    bool known = false;
    for (const Pass& p : kPipeline) known |= p.name == skipped;
    if (!known) {
      std::vector<std::string_view> names;
      for (const Pass& p : kPipeline) names.push_back(p.name);
      throw UsageError(cat("there is no pass '", skipped, "'; the passes are: ", join(names)));
    }
  }
  auto dump = [&, number = 0](std::string_view name, const Graph& g) mutable {
    if (context.dump_dir.empty()) return;
    std::error_code failed;
    std::filesystem::create_directories(context.dump_dir, failed);
    if (failed)
      throw Error(cat("cannot create the folder '", context.dump_dir,
                      "' for the graph's text after each pass: ", failed.message()));
    char prefix[8];
    std::snprintf(prefix, sizeof prefix, "%02d-", number++);
    write_file(cat(context.dump_dir, "/", prefix, name, ".txt"), print_graph(g));
  };
  verify(graph);
  dump("input", graph);
  Graph g = graph;
  for (const Pass& p : kPipeline) {
    if (context.skip.contains(std::string(p.name)) && !p.required) continue;
    if (!context.optimise && !p.required) continue;
    const auto start = Clock::now();
    Graph next = p.run(g, context);
    const double ms = std::chrono::duration<double, std::milli>(Clock::now() - start).count();
    try {
      verify(next);
    } catch (Error& e) {
      throw UsageError(cat("internal: pass '", p.name, "' broke the graph: ", e.what()));
    }
    context.timings.push_back({std::string(p.name), ms, g.nodes().size(), next.nodes().size()});
    g = std::move(next);
    dump(p.name, g);
  }
  return g;
}

}  // namespace ingot
