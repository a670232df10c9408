#include "cuda/jit/elementwise_source.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <limits>

#include "core/base/error.h"
#include "core/ir/walk.h"
#include "cuda/jit/tape_text.h"

namespace ingot::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kAccess = 16;             // bytes of the widest access
constexpr std::size_t kMaxArgs = 500;   // pointers in the 4096 bytes of parameters that every GPU takes
constexpr int kFewest = 4, kMost = 16;  // elements per thread
constexpr int kLiveValues = 128;        // operands and results of a thread; beyond, registers get short
constexpr int kUnrolled = 768;          // instructions times elements, for the size of the code

struct Operand {
  enum class Access { One, Row, Distance, Anywhere };
  Access access = Access::Anywhere;
  DType dtype = DType::F32;
  std::vector<std::int64_t> dims, strides;
  int bytes = 0;  // of one access
  bool contiguous = false;
};

int alignment_of(const std::vector<int>& listed, std::size_t i, DType dtype) {
  const int element = static_cast<int>(size_of(dtype));
  if (i >= listed.size()) return kAccess;
  if (listed[i] < element || !std::has_single_bit(static_cast<unsigned>(listed[i])))
    throw UsageError(cat("the alignment of a ", name(dtype), " operand is a power of two of at least ",
                         element, " bytes, got ", listed[i]));
  return std::min(listed[i], kAccess);
}

// Bytes of one access to `count` elements in a row.
int access_bytes(DType dtype, int count, int alignment) {
  return std::min(static_cast<int>(size_of(dtype)) * count, alignment);
}

Operand classify(const TensorType& type, const TensorType& out, int count, int alignment) {
  Operand o;
  o.dtype = type.dtype;
  Walk walk = elementwise_walk({&type, 1}, out);
  o.dims = std::move(walk.dims);
  o.strides = std::move(walk.strides[0]);
  const std::int64_t inner = o.strides.back();
  o.contiguous = o.dims.size() == 1 && (inner == 1 || out.numel() == 1);
  const bool whole = o.dims.back() % count == 0;  // a thread's elements share all indices but the last
  if (o.dims.size() == 1 && inner == 0) {
    o.access = Operand::Access::One;
  } else if (o.contiguous || (whole && inner == 1)) {
    o.access = Operand::Access::Row;
    // A row of `whole` shares starts at a multiple of its length, so each share is aligned as the operand is.
    o.bytes = access_bytes(o.dtype, count, alignment);
  } else if (whole) {
    o.access = inner == 0 ? Operand::Access::One : Operand::Access::Distance;
  }
  return o;
}

// Where operand `o` holds element `v` of the output: "v / 5u % 3u * 7u + v % 5u * 2u".
std::string index_text(const Operand& o, std::string_view v, std::string_view suffix) {
  std::string s;
  std::int64_t inner = 1;
  for (std::size_t d = o.dims.size(); d-- > 0;) {
    if (o.strides[d] != 0) {
      std::string term(v);
      if (inner != 1) term += cat(" / ", inner, suffix);
      if (d != 0) term += cat(" % ", o.dims[d], suffix);
      if (o.strides[d] != 1) term += cat(" * ", o.strides[d], suffix);
      s = s.empty() ? term : cat(term, " + ", s);
    }
    inner *= o.dims[d];
  }
  return s.empty() ? "0" : s;
}

// Elements per thread: 16 bytes of the narrowest element that is read or written in a row, fewer for long
// tapes.
int elements_per_thread(const ScalarExpr& e, std::span<const TensorType> outputs,
                        std::span<const TensorType> inputs) {
  std::size_t narrowest = 16, widest = 1;
  const auto see = [&](const TensorType& t) {
    narrowest = std::min(narrowest, size_of(t.dtype));
    widest = std::max(widest, size_of(t.dtype));
  };
  for (const TensorType& t : outputs) see(t);
  for (const TensorType& t : inputs)
    if (t.numel() == outputs[0].numel()) see(t);
  int count = static_cast<int>(kAccess / narrowest);
  if (widest > 1) count = std::min(count, kMost / 2);
  count = std::max(count, kFewest);
  const int live = static_cast<int>(inputs.size() + outputs.size()),
            length = static_cast<int>(e.instrs().size());
  while (count > kFewest && (live * count > kLiveValues || length * count > kUnrolled)) count /= 2;
  return count;
}

void check(const ScalarExpr& e, std::span<const TensorType> inputs, std::span<const TensorType> outputs) {
  if (!elementwise_accepts(inputs, outputs) || e.inputs().size() != inputs.size() ||
      e.outputs().size() != outputs.size())
    throw UsageError(cat("a tape of ", e.inputs().size(), " inputs cannot run on these ", inputs.size(),
                         " operands; ask elementwise_accepts first"));
  for (std::size_t i = 0; i < inputs.size(); ++i)
    if (inputs[i].dtype != e.inputs()[i])
      throw UsageError(
          cat("operand ", i, " of the tape is ", name(e.inputs()[i]), ", got ", name(inputs[i].dtype)));
  for (std::size_t o = 0; o < outputs.size(); ++o)
    if (outputs[o].dtype != e.dtype(e.outputs()[o]))
      throw UsageError(cat("result ", o, " of the tape is ", name(e.dtype(e.outputs()[o])), ", got ",
                           name(outputs[o].dtype)));
  if (inputs.size() + outputs.size() > kMaxArgs)
    throw UsageError(cat("a kernel takes at most ", kMaxArgs, " operands and results, this tape has ",
                         inputs.size() + outputs.size(), "; split it"));
}

void comma(std::string& list, const std::string& item) {
  list += cat(list.empty() ? "" : ", ", item);
}

// All of a kernel before its body.
std::string opening(const ScalarExpr& e, std::string_view types, std::string_view name,
                    std::string_view parameters) {
  return cat("// ", to_string(e), "\n// ", types,
             "\n#include \"core/expr/scalar_ops.h\"\n#include \"cuda/jit/element.h\"\n\n"
             "using namespace ingot::cuda;\nnamespace scalar = ingot::scalar;\n\n",
             tape_function(e, "tape"), "\nextern \"C\" __global__ void __launch_bounds__(", kThreads, ")\n",
             name, "(", parameters, ") {\n");
}

// The group of a block, by halves: groups [low, high) begin at blocks first[low] and up.
std::string find_group(const std::vector<std::int64_t>& first, std::span<const std::int64_t> counts,
                       std::size_t inputs, std::size_t low, std::size_t high, std::string_view u) {
  if (high - low == 1) {
    std::string s = "{";
    for (std::size_t i = 0; i < inputs; ++i) s += cat(" x", i, " = x", i, "_", low, ";");
    return s + cat(" y = y_", low, "; n = ", counts[low], u, "; block -= ", first[low], "u; }\n");
  }
  const std::size_t middle = (low + high) / 2;
  return cat("if (block < ", first[middle], "u) {\n", find_group(first, counts, inputs, low, middle, u),
             "} else {\n", find_group(first, counts, inputs, middle, high, u), "}\n");
}

}  // namespace

KernelSource elementwise_source(const ScalarExpr& e, std::span<const TensorType> inputs,
                                std::span<const TensorType> outputs, const ElementwiseOptions& options) {
  check(e, inputs, outputs);
  KernelSource k;
  k.name = "ew_" + tape_name(e);
  k.threads = kThreads;
  const TensorType& out = outputs[0];
  const std::int64_t n = out.numel();
  const int count = k.elements_per_thread = elements_per_thread(e, outputs, inputs);
  if (n == 0) return k;
  k.blocks = (n + std::int64_t{kThreads} * count - 1) / (std::int64_t{kThreads} * count);
  if (k.blocks > std::numeric_limits<std::int32_t>::max())
    throw UsageError(cat(n, " elements are more than one launch can cover"));

  std::vector<Operand> operands;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    operands.push_back(
        classify(inputs[i], out, count, alignment_of(options.input_alignment, i, inputs[i].dtype)));
    for (std::size_t o = 0; o < outputs.size(); ++o)
      if (operands[i].contiguous && inputs[i].dtype == outputs[o].dtype)
        k.in_place.push_back({static_cast<int>(i), static_cast<int>(o)});
  }

  // The last thread's index after rounding up to whole blocks must fit.
  const bool wide = options.wide_index ||
                    k.blocks * kThreads * count > std::int64_t{std::numeric_limits<std::uint32_t>::max()};
  const std::string_view index = wide ? "unsigned long long" : "u32", u = wide ? "ull" : "u";
  const bool tail = n % count != 0;

  std::string params, head, args, results, stores, single;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const Operand& o = operands[i];
    k.alignment.push_back(std::max(o.bytes, static_cast<int>(size_of(o.dtype))));
    const std::string_view type = element_type(o.dtype);
    comma(params, cat("const ", type, "* x", i));
    comma(single, cat("x", i, "[", index_text(o, "i", u), "]"));
    switch (o.access) {
      case Operand::Access::One:
        head += cat("    const ", type, " a", i, " = x", i, "[", index_text(o, "first", u), "];\n");
        comma(args, cat("a", i));
        break;
      case Operand::Access::Row:
        head += cat("    ", type, " a", i, "[", count, "];\n    load<", o.bytes, ">(x", i, " + ",
                    o.contiguous ? "first" : cat("(", index_text(o, "first", u), ")"), ", a", i, ");\n");
        comma(args, cat("a", i, "[j]"));
        break;
      case Operand::Access::Distance:
        head += cat("    const ", type, "* a", i, " = x", i, " + (", index_text(o, "first", u), ");\n");
        comma(args, cat("a", i, "[j * ", o.strides.back(), wide ? "ll" : "", "]"));
        break;
      case Operand::Access::Anywhere:
        comma(args, cat("x", i, "[", index_text(o, "(first + j)", u), "]"));
        break;
    }
  }
  for (std::size_t o = 0; o < outputs.size(); ++o) {
    const std::string_view type = element_type(outputs[o].dtype);
    const int bytes =
        access_bytes(outputs[o].dtype, count, alignment_of(options.output_alignment, o, outputs[o].dtype));
    k.alignment.push_back(bytes);
    comma(params, cat(type, "* y", o));
    comma(single, cat("y", o, "[i]"));
    comma(args, cat("b", o, "[j]"));
    results += cat("    ", type, " b", o, "[", count, "];\n");
    stores += cat("    store<", bytes, ">(y", o, " + first, b", o, ");\n");
  }

  std::string types;
  for (const TensorType& t : inputs) comma(types, to_string(t));
  types += " ->";
  for (std::size_t o = 0; o < outputs.size(); ++o) types += cat(o ? ", " : " ", to_string(outputs[o]));

  k.text = opening(e, types, k.name, params);
  k.text +=
      cat("  const ", index, " first = (blockIdx.x * ", kThreads, u, " + threadIdx.x) * ", count, u, ";\n");
  k.text +=
      cat("  if (first + ", count, u, " <= ", n, u, ") {\n", head, results,
          "    INGOT_UNROLL\n    for (int j = 0; j < ", count, "; ++j) tape(", args, ");\n", stores, "  }");
  if (tail)
    k.text += cat(" else {\n    for (", index, " i = first; i < ", n, u, "; ++i) tape(", single, ");\n  }");
  k.text += "\n}\n";
  return k;
}

std::size_t most_groups(const ScalarExpr& e, int shared) {
  const auto scalars = static_cast<std::size_t>(shared);
  return (kMaxArgs - scalars) / (e.inputs().size() - scalars + 1);
}

KernelSource elementwise_many_source(const ScalarExpr& e, int shared, std::span<const std::int64_t> counts,
                                     int alignment) {
  const auto scalars = static_cast<std::size_t>(shared);
  const std::size_t lists = e.inputs().size() - scalars;
  if (counts.empty() || counts.size() > most_groups(e, shared))
    throw UsageError(cat("a kernel takes 1 to ", most_groups(e, shared), " groups of this tape, got ",
                         counts.size(), "; split them"));
  const DType result = e.dtype(e.outputs().at(0));
  const std::int64_t longest = *std::max_element(counts.begin(), counts.end());
  std::vector<TensorType> in;
  for (std::size_t i = 0; i < e.inputs().size(); ++i)
    in.emplace_back(e.inputs()[i], i < scalars ? Shape{} : Shape{longest});
  const TensorType out(result, {longest});
  KernelSource k;
  k.name = "many_" + tape_name(e);
  k.threads = kThreads;
  const int count = k.elements_per_thread = elements_per_thread(e, std::span(&out, 1), in);

  std::vector<std::int64_t> first;
  for (const std::int64_t n : counts) {
    first.push_back(k.blocks);
    k.blocks += (n + std::int64_t{kThreads} * count - 1) / (std::int64_t{kThreads} * count);
  }
  if (k.blocks == 0) return k;
  if (k.blocks > std::numeric_limits<std::int32_t>::max())
    throw UsageError(
        cat("many tensors, the longest of ", longest, " elements, are more than one launch can cover"));
  const bool wide =
      longest + std::int64_t{kThreads} * count > std::int64_t{std::numeric_limits<std::uint32_t>::max()};
  const std::string_view index = wide ? "unsigned long long" : "u32", u = wide ? "ull" : "u";

  std::string params, chosen, head, args, single;
  const auto pointers = [&](const std::string& type, const std::string& list, DType dtype) {
    const int bytes = access_bytes(dtype, count, alignment_of({alignment}, 0, dtype));
    for (std::size_t g = 0; g < counts.size(); ++g) {
      comma(params, cat(type, "* ", list, "_", g));
      k.alignment.push_back(bytes);
    }
    chosen += cat("  ", type, "* ", list, ";\n");
    comma(single, cat(list, "[i]"));
    return bytes;
  };
  for (std::size_t i = 0; i < scalars; ++i) {
    const std::string type = cat("const ", element_type(e.inputs()[i]));
    comma(params, cat(type, "* s", i));
    k.alignment.push_back(static_cast<int>(size_of(e.inputs()[i])));
    head += cat("  ", type, " a", i, " = s", i, "[0];\n");
    comma(args, cat("a", i));
    comma(single, cat("a", i));
  }
  std::string loads;
  for (std::size_t i = 0; i < lists; ++i) {
    const DType dtype = e.inputs()[scalars + i];
    const int bytes = pointers(cat("const ", element_type(dtype)), cat("x", i), dtype);
    loads += cat("    ", element_type(dtype), " b", i, "[", count, "];\n    load<", bytes, ">(x", i,
                 " + first, b", i, ");\n");
    comma(args, cat("b", i, "[j]"));
    if (dtype == result)
      for (std::size_t g = 0; g < counts.size(); ++g)
        k.in_place.push_back({static_cast<int>(scalars + i * counts.size() + g), static_cast<int>(g)});
  }
  const int bytes = pointers(std::string(element_type(result)), "y", result);
  comma(args, "c[j]");

  std::string types = cat(counts.size(), " groups:");
  for (const std::int64_t n : counts) types += cat(" ", n);
  k.text = opening(e, types, k.name, params);
  k.text += cat("  u32 block = blockIdx.x;\n  ", index, " n;\n", chosen,
                find_group(first, counts, lists, 0, counts.size(), u), "  const ", index, " first = (",
                wide ? "(unsigned long long)" : "", "block * ", kThreads, u, " + threadIdx.x) * ", count, u,
                ";\n", head, "  if (first + ", count, u, " <= n) {\n", loads, "    ", element_type(result),
                " c[", count, "];\n    INGOT_UNROLL\n    for (int j = 0; j < ", count, "; ++j) tape(", args,
                ");\n    store<", bytes, ">(y + first, c);\n  } else {\n    for (", index,
                " i = first; i < n; ++i) tape(", single, ");\n  }\n}\n");
  return k;
}

}  // namespace ingot::cuda
