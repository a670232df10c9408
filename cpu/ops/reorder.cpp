// reorder: the same tensor in another layout. oneDNN does f32 and blocked layouts of bf16 where it computes
// in it; the rest is moved by the size of its elements.
#include <cstring>

#include "core/ops/view.h"
#include "cpu/onednn.h"
#include "cpu/strided_copy.h"

namespace ingot::cpu {

namespace {

Backend::Layouts layouts_reorder(const Problem& p, const std::vector<bool>&) {
  return {{p.in(0).layout}, {p.attrs<ReorderAttrs>().layout}};
}

class ViewStep final : public Step {
 public:
  ViewStep() {
    kernel = "view";
    is_view = true;
  }
  std::unique_ptr<BoundStep> bind(const Bindings&) const override {
    struct Nothing final : BoundStep {
      void run() override {}
    };
    return std::make_unique<Nothing>();
  }
};

std::unique_ptr<Step> lower_view(const Problem& p) {
  return p.in(0).same_memory(p.out()) ? std::make_unique<ViewStep>() : nullptr;
}

// To the layout that it has: a copy (core/ops/view.h).
std::unique_ptr<Step> lower_copy(const Problem& p) {
  if (p.in(0).layout.canonical() != p.out().layout.canonical()) return nullptr;
  return make_step("copy", [bytes = p.out().bytes()](void* const* inputs, void* const* outputs, void*) {
    if (bytes != 0) std::memcpy(outputs[0], inputs[0], bytes);
  });
}

std::unique_ptr<Step> lower_onednn(const Problem& p) {
  if (!onednn_computes(p.in(0).dtype) || p.in(0).numel() == 0) return nullptr;
  const auto from = to_desc(p.in(0)), to = to_desc(p.out());
  if (!from || !to) return nullptr;
  const dnnl::reorder::primitive_desc pd(onednn_engine(), *from, onednn_engine(), *to, *epilogue_attr(""),
                                         true);
  if (!pd) return nullptr;
  auto step = std::make_unique<PrimitiveStep>(cat("onednn:", pd.impl_info_str()), p.target.threads);
  step->read(DNNL_ARG_FROM, 0, *from, *from);
  step->write(DNNL_ARG_TO, 0, *to, *to);
  step->execute(pd);
  return step;
}

// Element strides of each logical axis of an unblocked tensor.
std::array<std::int64_t, Shape::kMaxRank> strides_of(const TensorType& t) {
  std::array<std::int64_t, Shape::kMaxRank> s{};
  std::int64_t stride = 1;
  for (int i = t.shape.rank() - 1; i >= 0; --i) {
    const int axis = t.layout.is_row_major() ? i : t.layout.order[static_cast<std::size_t>(i)];
    s[static_cast<std::size_t>(axis)] = stride;
    stride *= t.shape[axis];
  }
  return s;
}

// An element is moved, whatever its type means.
std::unique_ptr<Step> lower_strided(const Problem& p) {
  const TensorType &in = p.in(0), &out = p.out();
  if (in.layout.is_blocked() || out.layout.is_blocked() || in.numel() == 0) return nullptr;
  const auto from = strides_of(in), to = strides_of(out);
  std::vector<StridedCopy::Dim> dims;
  for (std::size_t i = 0; i < static_cast<std::size_t>(in.shape.rank()); ++i)
    dims.push_back({in.shape[static_cast<int>(i)], from[i], to[i]});
  return make_step("copy", [copy = StridedCopy(std::move(dims), size_of(in.dtype)),
                            threads = p.target.threads](void* const* inputs, void* const* outputs, void*) {
    copy.run(inputs[0], outputs[0], threads);
  });
}
// Of 16 bits, two to seven times as fast as oneDNN, but where the result's channels, side by side, fill no
// vector.
std::unique_ptr<Step> lower_strided_16(const Problem& p) {
  const TensorType& out = p.out();
  if (size_of(out.dtype) != 2 || out.shape.rank() == 0 || out.layout.is_blocked()) return nullptr;
  if (lies_channels_last(out) && out.shape[1] < 8) return nullptr;
  return lower_strided(p);
}

// Blocked layouts of dtypes that oneDNN does not know: element by element, padding cleared first.
std::unique_ptr<Step> lower_any(const Problem& p) {
  const TensorType in = p.in(0), out = p.out();
  return make_step("reorder", [=](void* const* inputs, void* const* outputs, void*) {
    const LayoutIndex from(in), to(out);
    const std::size_t size = size_of(in.dtype);
    const auto* x = static_cast<const std::byte*>(inputs[0]);
    auto* y = static_cast<std::byte*>(outputs[0]);
    std::memset(y, 0, out.bytes());
    std::array<std::int64_t, Shape::kMaxRank> index{};
    const int rank = in.shape.rank();
    for (std::int64_t n = in.numel(); n > 0; --n) {
      const std::span<const std::int64_t> at(index.data(), static_cast<std::size_t>(rank));
      std::memcpy(y + static_cast<std::size_t>(to.offset(at)) * size,
                  x + static_cast<std::size_t>(from.offset(at)) * size, size);
      for (int a = rank - 1; a >= 0 && ++index[static_cast<std::size_t>(a)] == in.shape[a]; --a)
        index[static_cast<std::size_t>(a)] = 0;
    }
  });
}

}  // namespace

void add_reorder(LoweringTable& t) {
  for (const LowerFn lower :
       {lower_copy, lower_view, lower_strided_16, lower_onednn, lower_strided, lower_any})
    t.add("reorder", {.lower = lower, .layouts = layouts_reorder});
}

}  // namespace ingot::cpu
