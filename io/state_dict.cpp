#include "io/state_dict.h"

#include <algorithm>
#include <set>

#include "core/base/glob.h"

namespace ingot {

NamedTypes state_dict_types(const Graph& graph) {
  NamedTypes types;
  for (const State& state : graph.states()) {
    const TensorType& t = graph.type(state.value);
    if (state.role == StateRole::Parameter || state.role == StateRole::Buffer)
      types.emplace_back(state.name, TensorType(t.dtype, t.shape));
  }
  return types;
}

FittingTensors fitting_tensors(const NamedTypes& expected, const TensorList& found,
                               const LoadOptions& options, const std::string& file) {
  TensorList weights;
  for (const auto& [name, tensor] : found)
    if (!name.starts_with("optim/") && name != "generator") weights.emplace_back(name, tensor);
  FittingTensors out;
  out.report = compare_keys(expected, weights);
  const auto excepted = [&](const std::string& key) { return any_glob_matches(options.except, key); };
  KeyReport wrong = out.report;
  if (options.strict) {
    std::erase_if(wrong.missing_keys, excepted);
    std::erase_if(wrong.unexpected_keys, excepted);
  } else {
    wrong.missing_keys.clear();
    wrong.unexpected_keys.clear();
  }
  if (options.ignore_mismatched)
    wrong.mismatched_keys.clear();
  else
    std::erase_if(wrong.mismatched_keys, [&](const auto& c) { return excepted(c.name); });
  if (!wrong.match()) throw FormatError(wrong.text(file));
  std::set<std::string> passed_over(out.report.unexpected_keys.begin(), out.report.unexpected_keys.end());
  for (const KeyReport::Changed& c : out.report.mismatched_keys) passed_over.insert(c.name);
  for (const auto& [name, tensor] : weights)
    if (!passed_over.contains(name)) out.tensors.emplace_back(name, tensor);
  return out;
}

KeyReport load_state_dict(Session& session, const TensorFile& found, const LoadOptions& options,
                          const std::string& file) {
  FittingTensors fitting =
      fitting_tensors(state_dict_types(session.program().graph()), found.tensors, options, file);
  for (const auto& [name, tensor] : fitting.tensors) session.set_state(name, tensor);
  return std::move(fitting.report);
}

}  // namespace ingot
