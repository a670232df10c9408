#include "core/plan/cost_model.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "core/base/error.h"
#include "core/op/registry.h"

namespace ingot {

namespace {

static_assert(static_cast<std::size_t>(DType::Bool) + 1 == kDTypes);

constexpr std::array<std::string_view, kWorks> kWorkNames = {"product",
                                                             "convolution",
                                                             "convolution_grad_input",
                                                             "convolution_grad_weight",
                                                             "depthwise",
                                                             "normalisation",
                                                             "normalisation_grad",
                                                             "pooling",
                                                             "pooling_grad",
                                                             "reduction",
                                                             "elementwise",
                                                             "movement",
                                                             "update",
                                                             "other"};

// By op; scalar functions are elementwise, and ops that are not here are Work::Other.
struct Placed {
  std::string_view op;
  Work work;
};
constexpr Placed kPlaced[] = {{"matmul", Work::Product},
                              {"attention", Work::Product},
                              {"attention_grad", Work::Product},
                              {"lstm", Work::Product},
                              {"lstm_grad", Work::Product},
                              {"gru", Work::Product},
                              {"gru_grad", Work::Product},
                              {"rnn", Work::Product},
                              {"rnn_grad", Work::Product},
                              {"conv2d", Work::Convolution},
                              {"conv2d_sums", Work::Convolution},
                              {"conv2d_grad_input", Work::ConvolutionGradInput},
                              {"conv2d_grad_input_sums", Work::ConvolutionGradInput},
                              {"conv2d_grad_input_unpooled", Work::ConvolutionGradInput},
                              {"conv2d_grad_weight", Work::ConvolutionGradWeight},
                              {"conv2d_grad_weight_unpooled", Work::ConvolutionGradWeight},
                              {"batch_norm", Work::Normalisation},
                              {"batch_norm_apply", Work::Normalisation},
                              {"batch_norm_apply_two", Work::Normalisation},
                              {"batch_norm_infer", Work::Normalisation},
                              {"concat_batch_norm", Work::Normalisation},
                              {"concat_batch_norm_apply", Work::Normalisation},
                              {"batch_norm_statistics", Work::Reduction},
                              {"layer_norm", Work::Normalisation},
                              {"group_norm", Work::Normalisation},
                              {"batch_norm_grad", Work::NormalisationGrad},
                              {"concat_batch_norm_grad", Work::NormalisationGrad},
                              {"batch_norm_grad_apply", Work::NormalisationGrad},
                              {"layer_norm_grad", Work::NormalisationGrad},
                              {"group_norm_grad", Work::NormalisationGrad},
                              {"max_pool2d", Work::Pooling},
                              {"avg_pool2d", Work::Pooling},
                              {"adaptive_avg_pool2d", Work::Pooling},
                              {"resize2d", Work::Pooling},
                              {"max_pool2d_grad", Work::PoolingGrad},
                              {"avg_pool2d_grad", Work::PoolingGrad},
                              {"adaptive_avg_pool2d_grad", Work::PoolingGrad},
                              {"resize2d_grad", Work::PoolingGrad},
                              {"reduce_sum", Work::Reduction},
                              {"reduce_mean", Work::Reduction},
                              {"reduce_max", Work::Reduction},
                              {"reduce_min", Work::Reduction},
                              {"reduce_var", Work::Reduction},
                              {"argmax", Work::Reduction},
                              {"softmax", Work::Reduction},
                              {"log_softmax", Work::Reduction},
                              {"softmax_grad", Work::Reduction},
                              {"log_softmax_grad", Work::Reduction},
                              {"softmax_cross_entropy", Work::Reduction},
                              {"softmax_cross_entropy_grad", Work::Reduction},
                              {"cumsum", Work::Reduction},
                              {"global_norm", Work::Reduction},
                              {"fused", Work::Elementwise},
                              {"fused_many", Work::Elementwise},
                              {"cast", Work::Elementwise},
                              {"full", Work::Elementwise},
                              {"iota", Work::Elementwise},
                              {"dropout", Work::Elementwise},
                              {"dropout_grad", Work::Elementwise},
                              {"uniform", Work::Elementwise},
                              {"normal", Work::Elementwise},
                              {"reshape", Work::Movement},
                              {"transpose", Work::Movement},
                              {"slice", Work::Movement},
                              {"slice_grad", Work::Movement},
                              {"concat", Work::Movement},
                              {"pad", Work::Movement},
                              {"broadcast_to", Work::Movement},
                              {"reorder", Work::Movement},
                              {"constant", Work::Movement},
                              {"gather", Work::Movement},
                              {"take_along_axis", Work::Movement},
                              {"embedding", Work::Movement},
                              {"one_hot", Work::Movement},
                              {"sgd", Work::Update},
                              {"adam", Work::Update},
                              {"rmsprop", Work::Update}};

// The weight of a convolution or of its gradients.
const Shape& weight_of(const Graph& g, const Node& n) {
  if (n.op == "conv2d" || n.op.ends_with("_sums")) return g.type(n.inputs.at(1)).shape;
  return g.type(n.op.starts_with("conv2d_grad_input") ? n.inputs.back() : n.outputs.at(0)).shape;
}

// Each output channel reads one input channel: the weight has an axis of 1 where the image has many channels.
bool is_depthwise(const Graph& g, const Node& n) {
  const Shape& weight = weight_of(g, n);
  const Shape& image = g.type(n.op.starts_with("conv2d_grad_input") ? n.outputs.at(0) : n.inputs.at(0)).shape;
  return weight.rank() == 4 && image.rank() == 4 && weight[1] == 1 && image[1] > 1;
}

bool on_matrix_units(Work w) {
  return w == Work::Product || w == Work::Convolution || w == Work::ConvolutionGradInput ||
         w == Work::ConvolutionGradWeight;
}

double of_type(const std::array<double, kDTypes>& rates, DType t) {
  const double rate = rates[static_cast<std::size_t>(t)];
  return rate > 0.0 ? rate : rates[static_cast<std::size_t>(DType::F32)];
}

// What vectors or tensor cores compute side by side.
double channels_of(const Graph& g, const Node& n, Work work) {
  if (work == Work::Product) return static_cast<double>(g.type(n.outputs.at(0)).shape[-1]);
  if (!on_matrix_units(work)) return 0.0;
  return static_cast<double>(weight_of(g, n)[work == Work::ConvolutionGradInput ? 1 : 0]);
}

// Of a byte that is touched again when so many have passed. Beyond what a level holds, the next one takes
// over by and by: where twice as much passes through, nothing is left of it.
double seconds_a_byte(const Machine& m, double distance) {
  double s = 1.0 / m.levels.front().bytes_per_second;
  for (std::size_t i = 0; i + 1 < m.levels.size(); ++i) {
    const double beyond = std::clamp(distance / m.levels[i].bytes - 1.0, 0.0, 1.0);
    s += beyond * (1.0 / m.levels[i + 1].bytes_per_second - s);
  }
  return s;
}

// Of all bytes of a node, at the full bandwidths.
double traffic_seconds(const Machine& m, const Amounts& a) {
  double once = 0.0, seconds = 0.0;
  for (const Touched& t : a.touched) {
    once += t.bytes;
    seconds += t.bytes * seconds_a_byte(m, t.distance);
  }
  if (once > a.bytes) return seconds * a.bytes / once;  // not all of its operands are read
  return seconds + (a.bytes - once) * seconds_a_byte(m, a.working_set);
}

const Efficiency& efficiency(const Machine& m, Work work, std::string_view kernel, DType type) {
  static const Efficiency full{};
  for (const Efficiency& e : m.efficiencies)
    if (e.work == work && kernel.starts_with(e.kernel) && (!e.dtype || *e.dtype == type)) return e;
  return full;
}

}  // namespace

std::string_view name(Work w) {
  return kWorkNames[static_cast<std::size_t>(w)];
}

std::optional<Work> work_by_name(std::string_view name) {
  const auto at = std::find(kWorkNames.begin(), kWorkNames.end(), name);
  if (at == kWorkNames.end()) return std::nullopt;
  return static_cast<Work>(at - kWorkNames.begin());
}

std::string_view name(Bound b) {
  constexpr std::array<std::string_view, 3> kNames = {"memory", "compute", "latency"};
  return kNames[static_cast<std::size_t>(b)];
}

Work work_of(const Graph& graph, const Node& node) {
  const auto* at =
      std::find_if(std::begin(kPlaced), std::end(kPlaced), [&](const Placed& p) { return p.op == node.op; });
  if (at == std::end(kPlaced)) return op(node.op).scalar != ScalarOp::None ? Work::Elementwise : Work::Other;
  const bool conv = on_matrix_units(at->work) && at->work != Work::Product;
  return conv && is_depthwise(graph, node) ? Work::Depthwise : at->work;
}

Machine with_threads(Machine m, int threads) {
  if (m.threads == 0 || threads <= 0 || threads == m.threads) return m;
  const double more = static_cast<double>(threads) / m.threads;
  for (auto* rates : {&m.vector, &m.matrix})
    for (double& r : *rates) r *= more;
  m.tf32 *= more;
  for (MemoryLevel& l : m.levels)
    if (l.per_thread) l.bytes *= more, l.bytes_per_second *= more;
  // A level that all share is no faster for more threads, but cannot be faster than the one before it.
  for (std::size_t i = 1; i < m.levels.size(); ++i)
    m.levels[i].bytes_per_second = std::min(m.levels[i].bytes_per_second, m.levels[i - 1].bytes_per_second);
  for (std::size_t i = m.levels.size(); i-- > 2;)
    m.levels[i - 2].bytes = std::min(m.levels[i - 2].bytes, m.levels[i - 1].bytes);
  m.threads = threads;
  return m;
}

void check_machine(const Machine& m) {
  const auto refuse = [&](const auto&... why) { throw UsageError(cat("machine ", m.name, ": ", why...)); };
  const auto positive = [](double v) { return v > 0.0 && std::isfinite(v); };
  if (m.levels.empty()) refuse("'memory' has no level; expected at least one");
  for (const auto* rates : {&m.vector, &m.matrix})
    if (!positive(of_type(*rates, DType::F32))) refuse("the f32 rate must be greater than 0");
  if (m.lanes < 1) refuse("lanes must be at least 1, got ", m.lanes);
  if (!(m.launch_seconds >= 0.0) || !std::isfinite(m.launch_seconds))
    refuse("launch_seconds must be at least 0, got ", m.launch_seconds);
  for (std::size_t i = 0; i < m.levels.size(); ++i) {
    const MemoryLevel& l = m.levels[i];
    const bool last = i + 1 == m.levels.size();
    if (!positive(l.bytes_per_second)) refuse("memory level ", l.name, " needs a bandwidth greater than 0");
    if (last ? l.bytes != 0.0 : !positive(l.bytes))
      refuse("memory level ", l.name,
             last ? " is the last and holds everything: no 'bytes'" : " needs 'bytes'");
    if (i == 0) continue;
    const MemoryLevel& before = m.levels[i - 1];
    if (l.bytes_per_second > before.bytes_per_second)
      refuse("memory level ", l.name, " is faster than ", before.name, ", which comes before it");
    if (!last && l.bytes < before.bytes)
      refuse("memory level ", l.name, " holds less than ", before.name, ", which comes before it");
  }
  for (const Efficiency& e : m.efficiencies) {
    const auto share = [](double v) { return v > 0.0 && v <= 1.0; };
    if (!share(e.compute) || !share(e.memory))
      refuse("the efficiency of ", name(e.work), " must be above 0 and at most 1, got compute ", e.compute,
             " and memory ", e.memory);
    if (!(e.result_cost >= 0.0) || !std::isfinite(e.result_cost))
      refuse("result_cost of ", name(e.work), " must be at least 0, got ", e.result_cost);
  }
}

Amounts amounts_of(const Graph& graph, const Node& node) {
  const Cost c = cost(graph, node);
  Amounts a{.flops = c.flops, .bytes = c.bytes};
  a.channels = channels_of(graph, node, work_of(graph, node));
  a.dtype = graph.type(node.inputs.empty() ? node.outputs.at(0) : node.inputs[0]).dtype;
  for (const auto* list : {&node.inputs, &node.outputs})
    for (const ValueId v : *list) a.working_set += static_cast<double>(graph.type(v).bytes());
  if (!node.outputs.empty()) a.results = static_cast<double>(graph.type(node.outputs[0]).numel());
  return a;
}

StepCost predict(const Machine& m, Work work, const Amounts& a, const Lowered& how) {
  // Widened operands (cpu/widened_step.h) are computed with in f32.
  const DType computed = how.kernel.starts_with("f32:") ? DType::F32 : a.dtype;
  double peak = of_type(on_matrix_units(work) ? m.matrix : m.vector, computed);
  if (how.allow_tf32 && m.tf32 > 0.0 && computed == DType::F32 && on_matrix_units(work)) peak = m.tf32;
  const Efficiency& e = efficiency(m, work, how.kernel, a.dtype);
  const double traffic = traffic_seconds(m, a);
  const double idle = a.channels > 0.0 ? std::ceil(a.channels / m.lanes) * m.lanes / a.channels : 1.0;
  const double flops = a.flops * how.arithmetic;
  const double compute = idle * (flops + 2.0 * e.result_cost * a.results) / (peak * e.compute);
  const double memory = traffic / e.memory;
  const double launch = static_cast<double>(how.launches) * m.launch_seconds;
  StepCost c{a.flops, a.bytes, how.launches, 0.0, 0.0, Bound::Latency};
  c.seconds = together(m, compute, memory) + launch;
  c.roofline_seconds = std::max(flops / peak, traffic);
  c.bound = launch >= std::max(compute, memory) ? Bound::Latency
            : compute > memory                  ? Bound::Compute
                                                : Bound::Memory;
  return c;
}

StepCost predict(const Machine& m, const Graph& graph, const Node& node, const Lowered& how) {
  return predict(m, work_of(graph, node), amounts_of(graph, node), how);
}

StepCost predict_copy(const Machine& m, double bytes) {
  return predict(m, Work::Movement, {.bytes = bytes, .working_set = bytes}, {"copy"});
}

StepCost predict(const Machine& m, const Graph& graph) {
  CostSum sum;
  for (const Node& n : graph.nodes())
    if (!op(n.op).view) sum.add(predict(m, graph, n));
  return sum.total();
}

void CostSum::add(const StepCost& c) {
  total_.flops += c.flops;
  total_.bytes += c.bytes;
  total_.launches += c.launches;
  total_.seconds += c.seconds;
  total_.roofline_seconds += c.roofline_seconds;
  by_bound_[static_cast<std::size_t>(c.bound)] += c.seconds;
  const auto most = std::max_element(by_bound_.begin(), by_bound_.end());
  total_.bound = static_cast<Bound>(most - by_bound_.begin());
}

}  // namespace ingot
