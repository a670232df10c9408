#include "core/runtime/lowering.h"

#include "core/runtime/candidates.h"

namespace ingot {

namespace {

// Elementwise code writes every physical element, so a padded block would lose its zeros: f(0) need not be 0.
bool takes_elementwise(const TensorType& t) {
  return !t.layout.is_row_major() && t.physical_numel() == t.numel();
}

bool is_own(const Lowering& row) {
  return std::string_view(row.name) == "own";
}

bool left_out(const Lowering& row, const Target& target) {
  return target.autotune == Autotune::Off && !is_own(row);
}

bool within_limit(const Lowering& row, const Step& step, const Target& target) {
  return is_own(row) || step.workspace_bytes <= target.workspace_limit;
}

// The first of the candidate's ways that the workspace limit allows; those before it go to `above`.
std::unique_ptr<Step> allowed_step(const Lowering& row, const Problem& p, std::vector<PassedOver>& above) {
  if (left_out(row, p.target)) return nullptr;
  Problem asked = p;
  for (asked.alternative = 0; asked.alternative < row.alternatives; ++asked.alternative) {
    auto step = row.lower(asked);
    if (step == nullptr || within_limit(row, *step, p.target)) return step;
    above.push_back({step->kernel, step->workspace_bytes});
  }
  return nullptr;
}

}  // namespace

std::string describe(const Problem& p) {
  std::vector<std::string> types;
  for (int i = 0; i < p.num_inputs(); ++i) types.push_back(to_string(p.in(i)));
  return cat(p.node.op, "(", join(types), ")");
}

std::unique_ptr<Step> first_step(const LoweringTable& table, const Problem& p) {
  const auto* rows = table.find(p.node.op);
  if (rows == nullptr) return nullptr;
  std::vector<PassedOver> above;
  for (const Lowering& row : *rows)
    if (auto step = allowed_step(row, p, above)) {
      step->passed_over = std::move(above);
      return step;
    }
  return nullptr;
}

std::vector<Offer> all_steps(const LoweringTable& table, const Problem& p) {
  std::vector<Offer> offers;
  const auto* rows = table.find(p.node.op);
  if (rows == nullptr) return offers;
  for (const Lowering& row : *rows) {
    Problem asked = p;
    for (asked.alternative = 0; asked.alternative < row.alternatives && !left_out(row, p.target);
         ++asked.alternative) {
      auto step = row.lower(asked);
      if (step == nullptr) break;
      const bool within = within_limit(row, *step, p.target);
      offers.push_back({std::move(step), within, is_own(row)});
    }
  }
  return offers;
}

std::vector<Candidate> explain_step(const LoweringTable& table, const Problem& p) {
  std::vector<Candidate> all;
  const auto* rows = table.find(p.node.op);
  if (rows == nullptr) return all;
  bool taken = false;
  for (const Lowering& row : *rows) {
    std::string why;
    std::vector<PassedOver> above;
    Problem asked = p;
    asked.why = &why;
    const auto step = allowed_step(row, asked, above);
    for (const PassedOver& o : above)
      all.push_back({row.name, o.kernel, o.workspace_bytes, false,
                     cat("wants more workspace than the limit of ", p.target.workspace_limit, " bytes")});
    if (left_out(row, p.target)) why = "libraries are left out (autotune off)";
    if (step == nullptr && !above.empty()) continue;
    Candidate c{row.name, "", 0, false, ""};
    if (step != nullptr) {
      c.kernel = step->is_view ? "view" : step->kernel;
      c.workspace_bytes = step->workspace_bytes;
      c.taken = !taken;
      c.why = taken ? "an earlier candidate accepts" : "";
      taken = true;
    } else {
      c.why = why.empty() ? "not for these types, layouts or attributes" : why;
    }
    all.push_back(std::move(c));
  }
  return all;
}

std::optional<Backend::Layouts> kernel_layouts(const LoweringTable& table, const Problem& p,
                                               const std::vector<bool>& state_free) {
  const auto* rows = table.find(p.node.op);
  if (rows == nullptr) return std::nullopt;
  for (const Lowering& row : *rows) {
    Backend::Layouts l = row.layouts != nullptr ? row.layouts(p, state_free) : row_major_layouts(p);
    if (l.outputs.empty() && p.num_outputs() != 0) continue;
    for (Layout& layout : l.inputs) layout = layout.canonical();
    for (Layout& layout : l.outputs) layout = layout.canonical();
    const Graph alone = node_with_layouts(p, l);
    std::vector<PassedOver> above;
    if (allowed_step(row, {alone, alone.nodes()[0], p.target}, above) != nullptr) return l;
  }
  return std::nullopt;
}

Backend::Layouts first_layouts(const LoweringTable& table, const Problem& p,
                               const std::vector<bool>& state_free) {
  return kernel_layouts(table, p, state_free).value_or(row_major_layouts(p));
}

Backend::Layouts row_major_layouts(const Problem& p) {
  Backend::Layouts l;
  l.inputs.resize(static_cast<std::size_t>(p.num_inputs()));
  l.outputs.resize(static_cast<std::size_t>(p.num_outputs()));
  return l;
}

Backend::Layouts elementwise_layouts(const Problem& p, const std::vector<bool>&) {
  const Shape& shape = p.out().shape;
  Layout chosen;
  for (int i = 0; i < p.num_inputs() && chosen.is_row_major(); ++i)
    if (p.in(i).shape == shape && takes_elementwise(p.in(i))) chosen = p.in(i).layout;
  Backend::Layouts l;
  for (int i = 0; i < p.num_inputs(); ++i)
    l.inputs.push_back(p.in(i).shape == shape ? chosen : Layout::row_major());
  for (int i = 0; i < p.num_outputs(); ++i)
    l.outputs.push_back(p.out(i).shape == shape ? chosen : Layout::row_major());
  return l;
}

Backend::Layouts channels_last_layouts(const Problem& p, const std::vector<bool>&) {
  const auto of = [](const TensorType& t) {
    return t.shape.rank() == 4 ? Layout::channels_last(4) : Layout::row_major();
  };
  Backend::Layouts l;
  for (int i = 0; i < p.num_inputs(); ++i) l.inputs.push_back(of(p.in(i)));
  for (int i = 0; i < p.num_outputs(); ++i) l.outputs.push_back(of(p.out(i)));
  return l;
}

bool lies_channels_last(const TensorType& t) {
  return t.shape.rank() == 4 && t.same_memory({t.dtype, t.shape, Layout::channels_last(4)});
}

Backend::Layouts unchanged_layouts(const Problem& p, const std::vector<bool>&) {
  Backend::Layouts l = row_major_layouts(p);
  for (int i = 0; i < p.num_inputs(); ++i) l.inputs[static_cast<std::size_t>(i)] = p.in(i).layout;
  return l;
}

Backend::Layouts grouped_layouts(const Problem& p, int scalars, std::int64_t count) {
  const auto n = static_cast<int>(count);
  Backend::Layouts l = row_major_layouts(p);
  for (int i = scalars; i < p.num_inputs(); ++i)
    l.inputs[static_cast<std::size_t>(i)] = p.in(scalars + (i - scalars) % n).layout;
  for (int o = 0; o < p.num_outputs(); ++o)
    l.outputs[static_cast<std::size_t>(o)] = p.in(scalars + o % n).layout;
  return l;
}

}  // namespace ingot
