#include "tests/cuda_sim/device_node.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "core/base/error.h"
#include "cuda/base/device_info.h"
#include "cuda/base/memory.h"
#include "cuda/ops/table.h"
#include "gtest/gtest.h"

namespace ingot {

namespace {

using cuda::DeviceBuffer;
using cuda::Stream;

DeviceBuffer upload(const Tensor& t, const Stream& stream) {
  DeviceBuffer buffer(std::max<std::size_t>(t.bytes(), 1));  // empty operands have an address too
  if (t.bytes() != 0) cuda::copy_to_device(buffer.data(), t.raw(), t.bytes(), stream);
  return buffer;
}

Tensor download(const void* memory, const TensorType& type, const Stream& stream) {
  Tensor t(type);
  if (t.bytes() != 0) cuda::copy_to_host(t.raw(), memory, t.bytes(), stream);
  stream.synchronize();
  return t;
}

class NodeRun {
 public:
  NodeRun(const Graph& graph, const Node& node, const Step& step, const std::vector<Tensor>& operands)
      : graph_(graph), node_(node), step_(step), operands_(operands) {}

  // `shared`: (operand, result) in one memory.
  std::vector<Tensor> run(const std::array<int, 2>* shared) const {
    const Stream stream;
    std::map<ValueId, DeviceBuffer> memory;  // an operand that is there twice lies in one place
    std::vector<DeviceBuffer> results;
    std::vector<void*> read, written;
    for (std::size_t i = 0; i < operands_.size(); ++i) {
      const auto [at, fresh] = memory.try_emplace(node_.inputs[i]);
      if (fresh) at->second = upload(operands_[i], stream);
      read.push_back(at->second.data());
    }
    for (std::size_t k = 0; k < node_.outputs.size(); ++k) {
      if (shared != nullptr && static_cast<std::size_t>((*shared)[1]) == k) {
        written.push_back(read[static_cast<std::size_t>((*shared)[0])]);
        continue;
      }
      results.emplace_back(std::max<std::size_t>(type(k).bytes(), 1));
      written.push_back(results.back().data());
    }
    if (step_.is_view) {
      written[0] = read[0];
    } else {
      const DeviceBuffer workspace(std::max<std::size_t>(step_.workspace_bytes, 1));
      const auto bound = step_.bind({read, written, workspace.data(), const_cast<Stream*>(&stream)});
      bound->run();
      stream.synchronize();
    }
    std::vector<Tensor> out;
    for (std::size_t k = 0; k < written.size(); ++k) out.push_back(download(written[k], type(k), stream));
    for (std::size_t i = 0; i < operands_.size(); ++i) {
      const auto same = [&](int other) {
        return node_.inputs[static_cast<std::size_t>(other)] == node_.inputs[i];
      };
      if (shared != nullptr && same((*shared)[0])) continue;
      EXPECT_TRUE(bitwise_equal(download(read[i], operands_[i].type(), stream), operands_[i]))
          << step_.kernel << " changed operand " << i;
    }
    return out;
  }

  TensorType type(std::size_t output) const { return graph_.type(node_.outputs[output]); }

 private:
  const Graph& graph_;
  const Node& node_;
  const Step& step_;
  const std::vector<Tensor>& operands_;
};

// What the memory planner asks before a result takes its operand's memory (core/runtime/compile.cpp).
bool may_share(const Graph& graph, const Node& node, const Step& step, const std::array<int, 2>& pair) {
  const ValueId from = node.inputs[static_cast<std::size_t>(pair[0])];
  if (graph.type(from).bytes() != graph.type(node.outputs[static_cast<std::size_t>(pair[1])]).bytes())
    return false;
  for (int i = 0; i < static_cast<int>(node.inputs.size()); ++i)
    if (node.inputs[static_cast<std::size_t>(i)] == from &&
        std::find(step.in_place.begin(), step.in_place.end(), std::array<int, 2>{i, pair[1]}) ==
            step.in_place.end())
      return false;
  return true;
}

bool same_elements(const Tensor& a, const Tensor& b, int result, const Unspecified& unspecified) {
  if (!unspecified) return bitwise_equal(a, b);
  for (std::int64_t i = 0; i < a.numel(); ++i)
    if (!unspecified(result, i) && a.get(i) != b.get(i) && !(std::isnan(a.get(i)) && std::isnan(b.get(i))))
      return false;
  return true;
}

// The op's candidates of that name; of no name, all.
LoweringTable candidates(const std::string& op, std::string_view row) {
  LoweringTable table;
  if (const auto* const rows = cuda::lowerings().find(op))
    for (const Lowering& l : *rows)
      if (row.empty() || row == l.name) table.add(op, l);
  return table;
}

// The node's step; its operands and results get the layouts that it wants. Null when every candidate
// declines.
std::unique_ptr<Step> lowered(Graph& graph, NodeId id, std::string_view row = {}) {
  const LoweringTable table = candidates(graph.node(id).op, row);
  const Target target = cuda_target();
  const std::vector<ValueId> in = graph.node(id).inputs, out = graph.node(id).outputs;
  const NodeLayouts layouts =
      first_layouts(table, {graph, graph.node(id), target}, std::vector<bool>(in.size(), false));
  if (layouts.inputs.size() != in.size() || layouts.outputs.size() != out.size())
    throw UsageError(cat("the lowering of ", graph.node(id).op, " names ", layouts.inputs.size(), " and ",
                         layouts.outputs.size(), " layouts for ", in.size(), " operands and ", out.size(),
                         " results"));
  for (std::size_t i = 0; i < in.size(); ++i) graph.value(in[i]).type.layout = layouts.inputs[i];
  for (std::size_t k = 0; k < out.size(); ++k) graph.value(out[k]).type.layout = layouts.outputs[k];
  return first_step(table, {graph, graph.node(id), target});
}

// Bound to addresses that nothing will use; aligned, as buffers are.
void expect(const Step& step, const Node& node) {
  if (!step.kernel.starts_with("generated:")) return;
  const Stream stream;
  void* const nowhere = reinterpret_cast<void*>(std::uintptr_t{256});
  const std::vector<void*> in(node.inputs.size(), nowhere), out(node.outputs.size(), nowhere);
  (void)step.bind({in, out, nullptr, const_cast<Stream*>(&stream)});
}

}  // namespace

Target cuda_target() {
  Target t;
  t.backend = "cuda";
  t.sm = cuda::device_info(0).sm;
  return t;
}

std::optional<DeviceNode> run_on_device(Graph graph, NodeId id, const std::vector<Tensor>& operands,
                                        const Unspecified& unspecified, std::string_view row) {
  const auto step = lowered(graph, id, row);
  if (step == nullptr) return std::nullopt;
  const Node& node = graph.node(id);

  DeviceNode done;
  done.kernel = step->kernel;
  std::vector<Tensor> placed;
  for (std::size_t i = 0; i < operands.size(); ++i) {
    placed.push_back(operands[i].to(graph.type(node.inputs[i]).layout));
    done.operand_types.push_back(placed.back().type());
  }
  const NodeRun run(graph, node, *step, placed);
  done.results = run.run(nullptr);
  for (const auto& pair : step->in_place) {
    if (!may_share(graph, node, *step, pair)) continue;
    const auto again = run.run(&pair);
    for (std::size_t k = 0; k < again.size(); ++k)
      EXPECT_TRUE(same_elements(again[k], done.results[k], static_cast<int>(k), unspecified))
          << step->kernel << ": result " << k << " differs when result " << pair[1] << " lies where operand "
          << pair[0] << " lies";
  }
  return done;
}

void expect_on_device(Graph graph, NodeId id) {
  if (const auto step = lowered(graph, id)) expect(*step, graph.node(id));
}

void expect_on_device(const Program& program) {
  for (const auto* nodes : {&program.prepare(), &program.schedule()})
    for (const NodeId n : *nodes) expect(program.step(n), program.graph().node(n));
}

}  // namespace ingot
