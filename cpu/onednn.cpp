#include "cpu/onednn.h"

#include <algorithm>
#include <limits>
#include <map>
#include <mutex>

#include "core/base/error.h"
#include "core/ops/activation.h"
#include "cpu/threads.h"

namespace ingot::cpu {

namespace {

using dnnl::memory;

dnnl::stream& stream() {
  static dnnl::stream s(onednn_engine());  // a CPU stream has no queue: threads may share it
  return s;
}

std::optional<memory::data_type> to_data_type(DType d) {
  switch (d) {
    case DType::F32:
      return memory::data_type::f32;
    case DType::BF16:
      return memory::data_type::bf16;
    case DType::F16:
      return memory::data_type::f16;
    case DType::I32:
      return memory::data_type::s32;
    case DType::U8:
      return memory::data_type::u8;
    default:
      return std::nullopt;
  }
}

struct Axis {
  std::int64_t extent = 1;  // outer, after blocking
  std::int64_t stride = 0;
};

// The order of the axes by falling stride, identity where unit axes leave a choice; nothing when there are
// holes.
std::optional<Layout> order_axes(std::span<const Axis> axes, std::int64_t inner) {
  std::vector<std::uint8_t> order, all;
  for (std::size_t a = 0; a < axes.size(); ++a) {
    all.push_back(static_cast<std::uint8_t>(a));
    if (axes[a].extent != 1) order.push_back(static_cast<std::uint8_t>(a));
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](std::uint8_t a, std::uint8_t b) { return axes[a].stride > axes[b].stride; });
  std::int64_t expected = inner;
  for (auto it = order.rbegin(); it != order.rend(); ++it) {
    if (axes[*it].stride != expected) return std::nullopt;
    expected *= axes[*it].extent;
  }
  if (std::is_sorted(order.begin(), order.end())) {
    order = all;
  } else {
    std::vector<std::uint8_t> units;
    for (const std::uint8_t a : all)
      if (axes[a].extent == 1) units.push_back(a);
    order.insert(order.begin(), units.begin(), units.end());
  }
  Layout l;
  l.rank = static_cast<std::uint8_t>(order.size());
  std::copy(order.begin(), order.end(), l.order.begin());
  return l;
}

// [O, ...] -> [G, O/G, ...]
memory::dims split_groups(const Shape& s, std::int64_t groups) {
  memory::dims d(s.begin(), s.end());
  if (groups == 1) return d;
  d[0] /= groups;
  d.insert(d.begin(), groups);
  return d;
}

// oneDNN 3 builds blocked descriptions from named tags only: finds the tag that means the layout.
std::optional<memory::desc> blocked_desc(const memory::dims& dims, memory::data_type type,
                                         const Layout& layout, std::int64_t groups) {
  static std::mutex mutex;
  static std::map<std::string, memory::format_tag> known;
  const std::string key = cat(to_string(layout), "/", dims.size(), groups > 1 ? "g" : "");
  const auto try_tag = [&](memory::format_tag tag) -> std::optional<memory::desc> {
    const memory::desc d(dims, type, tag, true);
    if (!d || to_layout(d, groups) != layout) return std::nullopt;
    return d;
  };
  const std::lock_guard lock(mutex);
  if (const auto it = known.find(key); it != known.end())
    if (auto d = try_tag(it->second)) return d;
  for (int tag = dnnl_format_tag_any + 1; tag < dnnl_format_tag_last; ++tag) {
    if (auto d = try_tag(static_cast<memory::format_tag>(tag))) {
      known[key] = static_cast<memory::format_tag>(tag);
      return d;
    }
  }
  return std::nullopt;
}

void check(dnnl_status_t status, const std::string& kernel) {
  if (status == dnnl_success) return;
  throw DeviceError(cat("oneDNN failed with status ", static_cast<int>(status), " (",
                        status == dnnl_out_of_memory ? "out of memory" : "see dnnl_status_t", ") in ",
                        kernel));
}

}  // namespace

const dnnl::engine& onednn_engine() {
  static const dnnl::engine e(dnnl::engine::kind::cpu, 0);
  return e;
}

std::optional<Layout> to_layout(const memory::desc& desc, std::int64_t groups) {
  if (desc.get_format_kind() != memory::format_kind::blocked || desc.get_submemory_offset() != 0)
    return std::nullopt;
  const auto dims = desc.get_dims(), padded = desc.get_padded_dims(), strides = desc.get_strides();
  for (const auto offset : desc.get_padded_offsets())
    if (offset != 0) return std::nullopt;
  const auto blocks = desc.get_inner_blks(), block_axes = desc.get_inner_idxs();
  if (blocks.size() > Layout::kMaxBlocks) return std::nullopt;

  std::vector<Axis> axes(dims.size());
  std::vector<std::int64_t> total(dims.size(), 1);
  std::int64_t inner = 1;
  for (std::size_t b = 0; b < blocks.size(); ++b) {
    total[static_cast<std::size_t>(block_axes[b])] *= blocks[b];
    inner *= blocks[b];
  }
  for (std::size_t a = 0; a < dims.size(); ++a) {
    axes[a] = {padded[a] / total[a], strides[a]};
    if (padded[a] != (dims[a] + total[a] - 1) / total[a] * total[a]) return std::nullopt;
  }
  const bool grouped = groups > 1;
  if (grouped) {
    // Groups and their channels are one axis of the tensor: they must be neighbours, and a block must not
    // reach over the end of a group.
    const Axis g = axes[0], o = axes[1];
    if (total[0] != 1 && (total[1] != 1 || dims[1] != 1)) return std::nullopt;
    if (total[1] != 1 && dims[1] % total[1] != 0) return std::nullopt;
    if (g.extent != 1 && o.extent != 1 && g.stride != o.stride * o.extent) return std::nullopt;
    axes.erase(axes.begin());
    axes[0] = {g.extent * o.extent, o.extent != 1 ? o.stride : g.stride};
  }
  auto layout = order_axes(axes, inner);
  if (!layout) return std::nullopt;
  for (std::size_t b = 0; b < blocks.size(); ++b) {
    const auto axis = block_axes[b] - (grouped && block_axes[b] > 0 ? 1 : 0);
    layout->blocks[b] = {static_cast<std::uint8_t>(axis), static_cast<std::uint16_t>(blocks[b])};
  }
  layout->num_blocks = static_cast<std::uint8_t>(blocks.size());
  return layout->canonical();
}

bool within_onednn(const TensorType& type) {
  return type.physical_numel() <= std::numeric_limits<int>::max();
}

bool onednn_computes(DType dtype) {
  static const bool bf16 = [] {
    const auto isa = dnnl::get_effective_cpu_isa();
    return isa == dnnl::cpu_isa::avx512_core_bf16 || isa == dnnl::cpu_isa::avx512_core_fp16 ||
           isa == dnnl::cpu_isa::avx512_core_amx || isa == dnnl::cpu_isa::avx512_core_amx_fp16;
  }();
  return dtype == DType::F32 || (dtype == DType::BF16 && bf16);
}

std::optional<memory::desc> to_desc(const TensorType& type, std::int64_t groups) {
  const auto data_type = to_data_type(type.dtype);
  if (!data_type || !within_onednn(type)) return std::nullopt;
  const Layout& l = type.layout;
  memory::dims dims = split_groups(type.shape, groups);
  if (l.is_blocked()) return blocked_desc(dims, *data_type, l, groups);
  if (dims.empty()) return memory::desc({1}, *data_type, memory::dims{1});
  memory::dims strides(static_cast<std::size_t>(type.shape.rank()));
  std::int64_t stride = 1;
  for (int i = type.shape.rank() - 1; i >= 0; --i) {
    const int axis = l.is_row_major() ? i : l.order[static_cast<std::size_t>(i)];
    strides[static_cast<std::size_t>(axis)] = stride;
    stride *= std::max<std::int64_t>(type.shape[axis], 1);
  }
  if (groups > 1) strides.insert(strides.begin(), strides[0] * dims[1]);
  return memory::desc(dims, *data_type, strides);
}

memory::desc strided_desc(const memory::dims& dims, const memory::dims& strides, DType dtype) {
  return memory::desc(dims, to_data_type(dtype).value(), strides);
}

std::optional<dnnl::primitive_attr> epilogue_attr(std::string_view activation, const memory::desc* residual) {
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  dnnl::post_ops ops;
  if (residual != nullptr) ops.append_binary(dnnl::algorithm::binary_add, *residual);
  using Function = dnnl::algorithm;
  const LastFunction a = activation_of("oneDNN", activation);
  switch (a.function) {
    case ScalarOp::None:
      break;
    case ScalarOp::Relu:
      if (a.has_top())
        ops.append_eltwise(Function::eltwise_clip, 0.0f, static_cast<float>(a.most));
      else
        ops.append_eltwise(Function::eltwise_relu, 0.0f, 0.0f);
      break;
    case ScalarOp::Tanh:
      ops.append_eltwise(Function::eltwise_tanh, 0.0f, 0.0f);
      break;
    case ScalarOp::Sigmoid:
      ops.append_eltwise(Function::eltwise_logistic, 0.0f, 0.0f);
      break;
    case ScalarOp::Silu:
      ops.append_eltwise(Function::eltwise_swish, 1.0f, 0.0f);
      break;
    case ScalarOp::HardSwish:
      ops.append_eltwise(Function::eltwise_hardswish, 1.0f / 6.0f, 0.5f);
      break;
    default:
      return std::nullopt;
  }
  attr.set_post_ops(ops);
  return attr;
}

PrimitiveStep::PrimitiveStep(std::string kernel_name, int threads) : threads_(threads) {
  kernel = std::move(kernel_name);
}

PrimitiveStep::Place PrimitiveStep::reserve(std::size_t bytes) {
  constexpr std::size_t kAlign = 64;
  const Place place{Place::Kind::Workspace, workspace_bytes};
  workspace_bytes += (bytes + kAlign - 1) / kAlign * kAlign;
  return place;
}

void PrimitiveStep::add_call(Call call) {
  const memory::desc scratchpad = call.pd.query_md(dnnl::query::scratchpad_md);
  if (scratchpad && scratchpad.get_size() != 0)
    call.args.push_back({DNNL_ARG_SCRATCHPAD, reserve(scratchpad.get_size()), scratchpad});
  calls_.push_back(std::move(call));
}

void PrimitiveStep::reorder(const Arg& from, const Arg& to) {
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  const dnnl::reorder::primitive_desc pd(onednn_engine(), from.desc, onednn_engine(), to.desc, attr);
  add_call({pd, {{DNNL_ARG_FROM, from.place, from.desc}, {DNNL_ARG_TO, to.place, to.desc}}});
}

void PrimitiveStep::read(int arg, int index, const memory::desc& given, const memory::desc& wanted) {
  const Place operand{Place::Kind::Input, static_cast<std::size_t>(index)};
  if (given == wanted) {
    args_.push_back({arg, operand, given});
    return;
  }
  args_.push_back({arg, reserve(wanted.get_size()), wanted});
  reorder({arg, operand, given}, args_.back());
}

void PrimitiveStep::write(int arg, int index, const memory::desc& given, const memory::desc& wanted) {
  const Place operand{Place::Kind::Output, static_cast<std::size_t>(index)};
  if (given == wanted) {
    args_.push_back({arg, operand, given});
    return;
  }
  args_.push_back({arg, reserve(wanted.get_size()), wanted});
  afterwards_.push_back({args_.back(), {arg, operand, given}});
}

void PrimitiveStep::execute(const dnnl::primitive_desc_base& pd) {
  add_call({pd, std::move(args_)});
  args_.clear();
  for (const auto& [from, to] : afterwards_) reorder(from, to);
  afterwards_.clear();
}

namespace {

class BoundPrimitives final : public BoundStep {
 public:
  struct Call {
    dnnl::primitive primitive;
    std::vector<memory> memories;
    std::vector<dnnl_exec_arg_t> args;
  };
  BoundPrimitives(std::string kernel, std::vector<Call> calls)
      : kernel_(std::move(kernel)), calls_(std::move(calls)), stream_(stream().get()) {}

  void run() override {
    for (const Call& c : calls_)
      check(
          dnnl_primitive_execute(c.primitive.get(), stream_, static_cast<int>(c.args.size()), c.args.data()),
          kernel_);
  }

 private:
  std::string kernel_;
  std::vector<Call> calls_;
  dnnl_stream_t stream_;
};

}  // namespace

std::unique_ptr<BoundStep> PrimitiveStep::bind(const Bindings& b) const {
  const ThreadScope threads(threads_);
  std::vector<BoundPrimitives::Call> calls;
  try {
    for (const Call& c : calls_) {
      BoundPrimitives::Call& made = calls.emplace_back();
      made.primitive = dnnl::primitive(c.pd.get());
      for (const Arg& a : c.args) {
        void* address = a.place.kind == Place::Kind::Input ? b.inputs[a.place.at]
                        : a.place.kind == Place::Kind::Output
                            ? b.outputs[a.place.at]
                            : static_cast<std::byte*>(b.workspace) + a.place.at;
        made.memories.emplace_back(a.desc, onednn_engine(), address);
        made.args.push_back({a.id, made.memories.back().get()});
      }
    }
  } catch (const dnnl::error& e) {
    throw DeviceError(cat("oneDNN cannot create ", kernel, ": ", e.what()));
  }
  return std::make_unique<BoundPrimitives>(kernel, std::move(calls));
}

}  // namespace ingot::cpu
