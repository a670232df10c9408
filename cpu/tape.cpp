#include "cpu/tape.h"

#include <algorithm>
#include <cstring>

#include "core/base/error.h"
#include "core/base/half_types.h"
#include "core/ir/walk.h"
#include "cpu/parallel.h"

namespace ingot::cpu {

namespace {

constexpr std::int64_t kBlock = 1024;
constexpr int kMaxSlots = 256;

template <class T>
void gather(const void* from, std::int64_t stride, std::int64_t n, void* to) {
  const T* x = static_cast<const T*>(from);
  T* y = static_cast<T*>(to);
  if (stride == 0)
    std::fill_n(y, n, *x);
  else if (stride == 1)
    std::memcpy(to, from, static_cast<std::size_t>(n) * sizeof(T));
  else
    for (std::int64_t i = 0; i < n; ++i) y[i] = x[i * stride];
}

void gather(std::size_t element, const void* from, std::int64_t stride, std::int64_t n, void* to) {
  switch (element) {
    case 1:
      return gather<std::uint8_t>(from, stride, n, to);
    case 2:
      return gather<std::uint16_t>(from, stride, n, to);
    case 4:
      return gather<std::uint32_t>(from, stride, n, to);
    default:
      return gather<std::uint64_t>(from, stride, n, to);
  }
}

void fill_constant(Storage s, double v, std::int64_t n, void* to) {
  switch (s) {
    case Storage::F32:
      std::fill_n(static_cast<float*>(to), n, static_cast<float>(v));
      return;
    case Storage::F64:
      std::fill_n(static_cast<double*>(to), n, v);
      return;
    case Storage::I32:
      std::fill_n(static_cast<std::int32_t*>(to), n, static_cast<std::int32_t>(v));
      return;
    case Storage::I64:
      std::fill_n(static_cast<std::int64_t*>(to), n, static_cast<std::int64_t>(v));
      return;
    case Storage::U8:
      std::fill_n(static_cast<std::uint8_t*>(to), n, static_cast<std::uint8_t>(static_cast<std::int64_t>(v)));
  }
}

}  // namespace

bool Tape::accepts(std::span<const TensorType> inputs, std::span<const TensorType> outputs) {
  return elementwise_accepts(inputs, outputs);
}

Tape::Tape(const ScalarExpr& expr, std::span<const TensorType> inputs, std::span<const TensorType> outputs)
    : kernels_(tape_kernels(cpu_level())) {
  if (!accepts(inputs, outputs) || expr.inputs().size() != inputs.size() ||
      expr.outputs().size() != outputs.size())
    throw UsageError(cat("a tape of ", expr.inputs().size(), " inputs cannot run on these ", inputs.size(),
                         " operands; ask Tape::accepts first"));
  const TensorType& out = outputs[0];
  numel_ = out.numel();
  if (numel_ == 0) return;  // run() does nothing

  Walk walk = elementwise_walk(inputs, out);
  dims_ = std::move(walk.dims);
  const auto& strides = walk.strides;
  choose_block(strides);

  // Operands, constants and instructions get slots; slot r is register r of the expression.
  const int count = expr.num_inputs(), registers = count + static_cast<int>(expr.instrs().size());
  slots_ = registers;
  if (slots_ > kMaxSlots)
    throw UsageError(cat("a tape has at most ", kMaxSlots, " registers, this one ", slots_, "; split it"));
  std::int64_t used = 0;
  const auto reserve = [&](std::size_t element) {
    const std::int64_t at = used;
    used += (block_ * static_cast<std::int64_t>(element) + 63) / 64 * 64;
    return at;
  };
  for (int i = 0; i < count; ++i) {
    const TensorType& t = inputs[static_cast<std::size_t>(i)];
    Operand o;
    o.dtype = t.dtype;
    o.slot = i;
    o.strides = strides[static_cast<std::size_t>(i)];
    // Contiguous over the inner dimensions of `run` elements, repeated over the outer ones?
    std::size_t d = dims_.size();
    std::int64_t run = 1;
    while (d > 0 && (o.strides[d - 1] == run || dims_[d - 1] == 1)) run *= dims_[--d];
    const bool outer_zero = std::all_of(o.strides.begin(), o.strides.begin() + static_cast<std::ptrdiff_t>(d),
                                        [](std::int64_t s) { return s == 0; });
    if (d == 0)
      o.access = is_half(t.dtype) ? Access::Convert : Access::Direct;
    else if (outer_zero && block_ % run == 0)
      o.access = Access::Repeated;
    else
      o.access = Access::Strided;
    // Half types are gathered as they are behind the widened block.
    if (o.access != Access::Direct) {
      o.offset = reserve(size_of(storage_of(t.dtype)));
      if (is_half(t.dtype) && o.access != Access::Convert) reserve(2);
    }
    operands_.push_back(std::move(o));
  }

  // The last instruction that reads each register; outputs are read at the end.
  const int end = static_cast<int>(expr.instrs().size());
  std::vector<int> last(static_cast<std::size_t>(registers), -1);
  for (int i = 0; i < end; ++i) {
    const auto& in = expr.instrs()[static_cast<std::size_t>(i)];
    for (int a = 0; a < expr.arity(in); ++a) last[in.args[static_cast<std::size_t>(a)]] = i;
  }
  std::vector<int> direct_output(static_cast<std::size_t>(registers), -1);
  for (std::size_t k = 0; k < outputs.size(); ++k) {
    const auto r = expr.outputs()[k];
    const bool half = is_half(outputs[k].dtype);
    Output o{r, outputs[k].dtype, false, nullptr};
    if (half) o.store = outputs[k].dtype == DType::F16 ? kernels_.store_f16 : kernels_.store_bf16;
    const bool computed =
        r >= count && expr.instrs()[static_cast<std::size_t>(r - count)].op != ScalarOp::Const;
    if (!half && computed && direct_output[r] < 0) {
      o.direct = true;
      direct_output[r] = static_cast<int>(k);
    } else {
      last[r] = end;
    }
    outputs_.push_back(o);
    written_.push_back(o.direct ? r - count : end);
  }
  for (int i = 0; i < count; ++i) last_read_.push_back(last[static_cast<std::size_t>(i)]);

  struct Free {
    std::size_t element;
    std::int64_t offset;
  };
  std::vector<Free> free;
  std::vector<std::int64_t> offset_of(static_cast<std::size_t>(registers), -1);
  for (int i = 0; i < end; ++i) {
    const auto& in = expr.instrs()[static_cast<std::size_t>(i)];
    const int r = count + i;
    const Storage storage = storage_of(in.dtype);
    if (in.op == ScalarOp::Const) {
      constants_.push_back({storage, r, reserve(size_of(storage)), round_to(in.dtype, in.imm)});
      continue;
    }
    Instr made{nullptr, r, {0, 0, 0}, -1};
    for (std::size_t a = 0; a < 3; ++a) made.args[a] = in.args[a];
    const int arity = expr.arity(in);
    const DType from = expr.dtype(in.args[static_cast<std::size_t>(std::max(arity - 1, 0))]);
    const Storage source = storage_of(from);
    if (in.op == ScalarOp::Cast) {
      made.kernel = in.dtype == DType::Bool
                        ? kernels_.to_bool[static_cast<int>(source)]
                        : kernels_.casts[static_cast<int>(source)][static_cast<int>(storage)];
    } else {
      made.kernel = kernels_.op(in.op, source);
    }
    if (made.kernel == nullptr)
      throw UsageError(cat("the CPU tape has no ", info(in.op).name, " for ", name(from)));
    // A register ends where its last reader is; the reader may write over it.
    for (int a = 0; a < arity; ++a) {
      const auto s = in.args[static_cast<std::size_t>(a)];
      if (s < count || last[s] != i || offset_of[s] < 0) continue;
      const DType d = expr.dtype(s);
      free.push_back({size_of(storage_of(d)), offset_of[s]});
      offset_of[s] = -1;  // listed once even if it is read twice
    }
    if (direct_output[static_cast<std::size_t>(r)] < 0) {
      const std::size_t element = size_of(storage);
      const auto it =
          std::find_if(free.begin(), free.end(), [&](const Free& f) { return f.element == element; });
      if (it != free.end()) {
        made.offset = it->offset;
        free.erase(it);
      } else {
        made.offset = reserve(element);
      }
      offset_of[static_cast<std::size_t>(r)] = made.offset;
    }
    instrs_.push_back(made);
    // A cast to a half type rounds; other results keep float's precision until they are stored.
    if (in.op == ScalarOp::Cast && is_half(in.dtype)) {
      Instr rounding{
          in.dtype == DType::F16 ? kernels_.round_f16 : kernels_.round_bf16, r, {r, 0, 0}, made.offset};
      instrs_.push_back(rounding);
    }
  }
  thread_bytes_ = static_cast<std::size_t>(used);
}

void Tape::choose_block(std::span<const std::vector<std::int64_t>> strides) {
  // Whole periods of the inner dimensions, so that operands broadcast over the outer ones look the same in
  // each block.
  block_ = kBlock;
  bool repeats = false;
  for (const auto& s : strides) repeats = repeats || (dims_.size() > 1 && s[0] == 0);
  if (!repeats) return;
  std::int64_t period = 1;
  for (std::size_t d = dims_.size(); d-- > 1;) period *= dims_[d];
  if (period <= 2 * kBlock)
    block_ = std::max<std::int64_t>(1, kBlock / std::max<std::int64_t>(period, 1)) * period;
}

void Tape::expand(const Operand& o, const void* memory, std::int64_t begin, std::int64_t n, void* to) const {
  const bool half = is_half(o.dtype);
  const std::size_t element = size_of(o.dtype);
  const std::size_t widened = (static_cast<std::size_t>(block_) * sizeof(float) + 63) / 64 * 64;
  std::byte* target = static_cast<std::byte*>(to) + (half ? widened : 0);
  const std::size_t rank = dims_.size();
  std::array<std::int64_t, Shape::kMaxRank> index{};
  std::int64_t rest = begin, position = 0;
  for (std::size_t d = rank; d-- > 0;) {
    index[d] = rest % dims_[d];
    rest /= dims_[d];
    position += index[d] * o.strides[d];
  }
  const std::size_t inner = rank - 1;
  for (std::int64_t done = 0; done < n;) {
    const std::int64_t run = std::min(dims_[inner] - index[inner], n - done);
    gather(element, static_cast<const std::byte*>(memory) + static_cast<std::size_t>(position) * element,
           o.strides[inner], run, target + static_cast<std::size_t>(done) * element);
    done += run;
    position += run * o.strides[inner];
    index[inner] += run;
    for (std::size_t d = inner; d > 0 && index[d] == dims_[d]; --d) {
      position += o.strides[d - 1] - dims_[d] * o.strides[d];
      index[d] = 0;
      ++index[d - 1];
    }
  }
  if (half) (o.dtype == DType::F16 ? kernels_.load_f16 : kernels_.load_bf16)(to, target, nullptr, nullptr, n);
}

void Tape::run_blocks(void* const* inputs, void* const* outputs, std::byte* scratch, std::int64_t first,
                      std::int64_t last) const {
  std::array<void*, kMaxSlots> slot;
  for (const Constant& c : constants_) {
    slot[static_cast<std::size_t>(c.slot)] = scratch + c.offset;
    fill_constant(c.storage, c.value, std::min(block_, last - first), scratch + c.offset);
  }
  for (const Operand& o : operands_) {
    slot[static_cast<std::size_t>(o.slot)] = scratch + o.offset;
    if (o.access == Access::Repeated)
      expand(o, inputs[o.slot], first, std::min(block_, last - first), scratch + o.offset);
  }
  for (const Instr& i : instrs_)
    if (i.offset >= 0) slot[static_cast<std::size_t>(i.out)] = scratch + i.offset;

  for (std::int64_t begin = first; begin < last; begin += block_) {
    const std::int64_t n = std::min(block_, last - begin);
    for (const Operand& o : operands_) {
      auto* memory = static_cast<std::byte*>(inputs[o.slot]);
      const std::int64_t bytes = begin * static_cast<std::int64_t>(size_of(o.dtype));
      switch (o.access) {
        case Access::Direct:
          slot[static_cast<std::size_t>(o.slot)] = memory + bytes;
          break;
        case Access::Convert:
          (o.dtype == DType::F16 ? kernels_.load_f16 : kernels_.load_bf16)(
              slot[static_cast<std::size_t>(o.slot)], memory + bytes, nullptr, nullptr, n);
          break;
        case Access::Strided:
          expand(o, memory, begin, n, slot[static_cast<std::size_t>(o.slot)]);
          break;
        case Access::Repeated:
          break;
      }
    }
    for (std::size_t k = 0; k < outputs_.size(); ++k)
      if (outputs_[k].direct)
        slot[static_cast<std::size_t>(outputs_[k].slot)] =
            static_cast<std::byte*>(outputs[k]) +
            begin * static_cast<std::int64_t>(size_of(outputs_[k].dtype));
    for (const Instr& i : instrs_)
      i.kernel(slot[static_cast<std::size_t>(i.out)], slot[static_cast<std::size_t>(i.args[0])],
               slot[static_cast<std::size_t>(i.args[1])], slot[static_cast<std::size_t>(i.args[2])], n);
    for (std::size_t k = 0; k < outputs_.size(); ++k) {
      const Output& o = outputs_[k];
      if (o.direct) continue;
      const std::size_t element = size_of(o.dtype);
      std::byte* to = static_cast<std::byte*>(outputs[k]) + static_cast<std::size_t>(begin) * element;
      const void* from = slot[static_cast<std::size_t>(o.slot)];
      if (o.store != nullptr)
        o.store(to, from, nullptr, nullptr, n);
      else if (to != from)
        std::memcpy(to, from, static_cast<std::size_t>(n) * element);
    }
  }
}

void Tape::run(void* const* inputs, void* const* outputs, void* workspace, int threads) const {
  if (numel_ == 0) return;
  const int parts = std::min(useful_threads(threads, work(numel_)), threads);
  parallel_parts(parts, [&](int part) {
    const Range r = part_of(numel_, part, parts, block_);
    if (r.begin < r.end) run_part(inputs, outputs, workspace, part, r.begin, r.end);
  });
}

void Tape::run_part(void* const* inputs, void* const* outputs, void* workspace, int part, std::int64_t begin,
                    std::int64_t end) const {
  run_blocks(inputs, outputs,
             static_cast<std::byte*>(workspace) + static_cast<std::size_t>(part) * thread_bytes_, begin, end);
}

std::vector<std::array<int, 2>> Tape::in_place() const {
  std::vector<std::array<int, 2>> pairs;
  for (std::size_t i = 0; i < operands_.size(); ++i) {
    if (operands_[i].access != Access::Direct && operands_[i].access != Access::Convert) continue;
    for (std::size_t k = 0; k < outputs_.size(); ++k) {
      if (outputs_[k].dtype != operands_[i].dtype) continue;
      // A converted operand is read at the start of a block, a direct one until its last instruction.
      const bool read_before = operands_[i].access == Access::Convert || last_read_[i] <= written_[k];
      if (read_before) pairs.push_back({static_cast<int>(i), static_cast<int>(k)});
    }
  }
  return pairs;
}

}  // namespace ingot::cpu
