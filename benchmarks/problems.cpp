#include "benchmarks/problems.h"

#include <algorithm>
#include <vector>

#include "core/base/philox.h"
#include "core/op/registry.h"
#include "core/op/text.h"
#include "core/runtime/program.h"
#include "core/runtime/session.h"
#include "tools/op_problem.h"

namespace ingot::bench {

namespace {

// Not elementwise: the layers of the published networks at their batch sizes, and rows of logits, tokens and
// statistics as those networks have them.
const Problem kProblems[] = {
    {"conv2d f32[16, 3, 224, 224] f32[64, 3, 7, 7] {stride=[2, 2], padding=[3, 3]}"},
    {"conv2d f32[16, 64, 56, 56] f32[64, 64, 3, 3] {padding=[1, 1]}"},
    {"conv2d f32[16, 64, 56, 56] f32[128, 64, 3, 3] {stride=[2, 2], padding=[1, 1]}"},
    {"conv2d f32[8, 64, 56, 56] f32[256, 64, 1, 1]"},
    {"conv2d f32[8, 1024, 14, 14] f32[512, 1024, 1, 1]"},
    {"conv2d f32[16, 512, 7, 7] f32[512, 512, 3, 3] {padding=[1, 1]}"},
    {"conv2d f32[128, 16, 32, 32] f32[16, 16, 3, 3] {padding=[1, 1]}"},
    {"conv2d f32[16, 96, 112, 112] f32[96, 1, 3, 3] {padding=[1, 1], groups=96}"},
    {"conv2d f32[64, 1, 28, 28] f32[6, 1, 5, 5] {padding=[2, 2]}"},
    {"conv2d_sums f32[16, 64, 56, 56] f32[64, 64, 3, 3] {padding=[1, 1]}"},
    {"conv2d_grad_input_sums f32[16, 64, 56, 56] f32[64, 64, 3, 3] f32[16, 64, 56, 56] f32[64] f32[64] "
     "f32[64] "
     "f32[64] {padding=[1, 1], input_shape=[16, 64, 56, 56]}"},
    {"conv2d_grad_input f32[16, 64, 56, 56] f32[64, 64, 3, 3] {padding=[1, 1], input_shape=[16, 64, 56, "
     "56]}"},
    {"conv2d_grad_input f32[8, 256, 56, 56] f32[256, 64, 1, 1] {input_shape=[8, 64, 56, 56]}"},
    {"conv2d_grad_input f32[64, 16, 10, 10] f32[16, 6, 5, 5] {input_shape=[64, 6, 14, 14]}"},
    {"conv2d_grad_input_unpooled f32[64, 16, 5, 5] u8[64, 16, 5, 5] f32[16, 6, 5, 5] {pool_input_shape=[64, "
     "16, 10, 10], input_shape=[64, 6, 14, 14]}",
     4},
    {"conv2d_grad_weight f32[16, 64, 56, 56] f32[16, 64, 56, 56] {padding=[1, 1], weight_shape=[64, 64, 3, "
     "3]}"},
    {"conv2d_grad_weight f32[8, 64, 56, 56] f32[8, 256, 56, 56] {weight_shape=[256, 64, 1, 1]}"},
    {"conv2d_grad_weight f32[64, 1, 28, 28] f32[64, 6, 28, 28] {padding=[2, 2], weight_shape=[6, 1, 5, 5]}"},
    {"conv2d_grad_weight_unpooled f32[64, 6, 14, 14] f32[64, 16, 5, 5] u8[64, 16, 5, 5] "
     "{pool_input_shape=[64, 16, 10, 10], weight_shape=[16, 6, 5, 5]}",
     4},
    {"matmul f32[512, 512] f32[512, 512]"},
    {"matmul f32[16, 512] f32[1000, 512] {transpose_b=true}"},
    {"matmul f32[64, 400] f32[120, 400] {transpose_b=true}"},
    {"matmul f32[16, 128, 64] f32[16, 64, 128]"},
    {"max_pool2d f32[16, 64, 112, 112] {kernel=[3, 3], padding=[1, 1]}"},
    {"max_pool2d f32[64, 6, 28, 28]"},
    {"max_pool2d_grad f32[16, 64, 56, 56] u8[16, 64, 56, 56] {kernel=[3, 3], padding=[1, 1], "
     "input_shape=[16, 64, 112, 112]}",
     9},
    {"avg_pool2d f32[16, 64, 56, 56]"},
    {"avg_pool2d_grad f32[16, 64, 28, 28] {input_shape=[16, 64, 56, 56]}"},
    {"adaptive_avg_pool2d f32[16, 512, 7, 7]"},
    {"adaptive_avg_pool2d_grad f32[16, 512, 1, 1] {input_shape=[16, 512, 7, 7]}"},
    {"resize2d f32[16, 64, 28, 28] {output_size=[56, 56], mode=\"bilinear\", coordinates=\"half_pixel\"}"},
    {"resize2d_grad f32[16, 64, 56, 56] {input_shape=[16, 64, 28, 28], mode=\"bilinear\", "
     "coordinates=\"half_pixel\"}"},
    {"concat_batch_norm f32[128] f32[128] f32[128] f32[128] f32[16, 64, 56, 56] f32[16, 32, 56, 56] f32[16, "
     "32, 56, 56] {activation=\"relu\"}"},
    {"concat_batch_norm_apply f32[128] f32[128] f32[128] f32[128] f32[16, 64, 56, 56] f32[16, 32, 56, 56] "
     "f32[16, 32, 56, 56] {activation=\"relu\"}"},
    {"concat_batch_norm_grad f32[16, 128, 56, 56] f32[128] f32[128] f32[128] f32[16, 64, 56, 56] f32[16, 32, "
     "56, 56] f32[16, 32, 56, 56]"},
    {"batch_norm f32[16, 64, 112, 112] f32[64] f32[64] f32[64] f32[64] {activation=\"relu\"}"},
    {"batch_norm f32[128, 16, 32, 32] f32[16] f32[16] f32[16] f32[16]"},
    {"batch_norm_grad f32[16, 64, 56, 56] f32[16, 64, 56, 56] f32[64] f32[64] f32[64]"},
    {"batch_norm_statistics f32[64] f32[64] f32[64] f32[64] {rows=16, pixels=3136}"},
    {"batch_norm_grad_apply f32[16, 64, 56, 56] f32[16, 64, 56, 56] f32[64] f32[64] f32[64] f32[64] f32[64]"},
    {"batch_norm_apply_two f32[16, 64, 56, 56] f32[64] f32[64] f32[64] f32[64] f32[16, 64, 56, 56] f32[64] "
     "f32[64] "
     "f32[64] f32[64]"},
    {"batch_norm_apply f32[16, 64, 56, 56] f32[64] f32[64] f32[64] f32[64]"},
    {"batch_norm_infer f32[16, 64, 56, 56] f32[64] f32[64] f32[64] f32[64]"},
    {"layer_norm f32[1024, 768] f32[768] f32[768] {axis=1}"},
    {"layer_norm_grad f32[1024, 768] f32[1024, 768] f32[768] f32[1024] f32[1024] {axis=1}"},
    {"group_norm f32[16, 64, 56, 56] f32[64] f32[64] {groups=32}"},
    {"group_norm_grad f32[16, 64, 56, 56] f32[16, 64, 56, 56] f32[64] f32[16, 32] f32[16, 32] {groups=32}"},
    {"lstm f32[128, 64, 1024] f32[1024, 256] f32[64, 256] f32[64, 256]"},
    {"lstm_grad f32[128, 64, 256] f32[64, 256] f32[64, 256] f32[1024, 256] f32[64, 256] f32[128, 64, 1024] "
     "f32[128, 64, 256]"},
    {"gru f32[128, 64, 768] f32[768, 256] f32[256] f32[64, 256]"},
    {"gru_grad f32[128, 64, 256] f32[64, 256] f32[768, 256] f32[64, 256] f32[128, 64, 256] f32[128, 64, "
     "1024]"},
    {"rnn f32[128, 64, 256] f32[256, 256] f32[64, 256]"},
    {"rnn_grad f32[128, 64, 256] f32[64, 256] f32[256, 256] f32[128, 64, 256]"},
    {"softmax f32[1024, 1024]"},
    {"softmax_grad f32[1024, 1024] f32[1024, 1024]"},
    {"log_softmax f32[1024, 1000]"},
    {"log_softmax_grad f32[1024, 1000] f32[1024, 1000]"},
    {"attention f32[1, 8, 1024, 64] f32[1, 8, 1024, 64] f32[1, 8, 1024, 64] {causal=true}"},
    {"attention f32[1, 8, 4096, 64] f32[1, 8, 4096, 64] f32[1, 8, 4096, 64]"},
    {"attention_grad f32[1, 8, 1024, 64] f32[1, 8, 1024, 64] f32[1, 8, 1024, 64] f32[1, 8, 1024, 64] f32[1, "
     "8, 1024, 64] f32[1, 8, 1024] {causal=true}"},
    {"softmax_cross_entropy f32[128, 1000] i32[128]", 1000},
    {"softmax_cross_entropy_grad f32[128] f32[128, 1000] i32[128] f32[128]", 1000},
    {"reduce_sum f32[4096, 1024] {axes=[1]}"},
    {"reduce_sum f32[4096, 1024] {axes=[0]}"},
    {"reduce_mean f32[16, 512, 7, 7] {axes=[2, 3]}"},
    {"reduce_max f32[4096, 1024] {axes=[1]}"},
    {"reduce_min f32[4096, 1024] {axes=[1]}"},
    {"reduce_var f32[4096, 1024] {axes=[1]}"},
    {"argmax f32[128, 1000] {axis=1}"},
    {"cumsum f32[1024, 1024] {axis=1}"},
    {"sort f32[128, 1000]"},
    {"topk f32[128, 1000] {k=5}"},
    {"compress f32[4096, 256] bool[4096] {axis=0}", 2},
    {"gather f32[50257, 256] i32[1024]", 50257},
    {"scatter_add f32[1024, 256] i32[1024] {shape=[50257, 256]}", 50257},
    {"take_along_axis f32[128, 1000] i32[128, 5] {axis=1}", 1000},
    {"put_along_axis f32[1024, 1] i32[1024, 1] {axis=1, size=1000}", 1000},
    {"one_hot i32[1024] {depth=1000}", 1000},
    {"embedding f32[50257, 256] i32[4, 256]", 50257},
    {"embedding_grad f32[4, 256, 256] i32[4, 256] {rows=50257}", 50257},
    {"concat f32[16, 64, 56, 56] f32[16, 64, 56, 56] {axis=1}"},
    {"slice f32[16, 64, 56, 56] {starts=[0, 0, 0, 0], ends=[16, 32, 56, 56], steps=[1, 1, 1, 1]}"},
    {"slice_grad f32[16, 32, 56, 56] {starts=[0, 0, 0, 0], ends=[16, 32, 56, 56], steps=[1, 1, 1, 1], "
     "shape=[16, 64, 56, 56]}"},
    {"pad f32[128, 3, 32, 32] {before=[0, 0, 4, 4], after=[0, 0, 4, 4]}"},
    {"transpose f32[2048, 2048] {perm=[1, 0]}"},
    {"reorder f32[16, 64, 56, 56] {layout=@0231}"},
    {"broadcast_to f32[64, 1, 1] {shape=[16, 64, 56, 56]}"},
    {"cast f32[16, 64, 56, 56] {dtype=bf16}"},
    {"cast bf16[16, 64, 56, 56]"},
    {"dropout f32[128, 4096] i64[2]", 1000},
    {"dropout_grad f32[128, 4096] bool[128, 4096]", 2},
    {"uniform i64[2] {shape=[128, 4096]}", 1000},
    {"normal i64[2] {shape=[128, 4096]}", 1000},
    {"fused f32[16, 64, 56, 56] f32[16, 64, 56, 56] {expr=\"f32,f32;%2=add(%0,%1);%3=relu(%2)->%3\"}"},
    {"fused bf16[16, 64, 56, 56] bf16[16, 64, 56, 56] {expr=\"bf16,bf16;%2=add(%0,%1);%3=relu(%2)->%3\"}"},
    {"fused_many f32[512, 512, 3, 3] f32[1000, 512] {count=2, expr=\"f32;%1=cast.bf16(%0)->%1\"}"},
    {"add f32[16, 64, 56, 56] f32[64, 1, 1]"},
    {"where bool[16, 64, 56, 56] f32[16, 64, 56, 56] f32[16, 64, 56, 56]", 2},
    {"global_norm f32[512, 512, 3, 3] f32[1000, 512]"},
    {"sgd f32[] f32[] f32[] f32[512, 512, 3, 3] f32[512, 512, 3, 3] f32[512, 512, 3, 3] {momentum=0.9}"},
    {"adam f32[] f32[] f32[] f32[512, 512, 3, 3] f32[512, 512, 3, 3] f32[512, 512, 3, 3] f32[512, 512, 3, "
     "3]"},
    {"rmsprop f32[] f32[] f32[] f32[512, 512, 3, 3] f32[512, 512, 3, 3] f32[512, 512, 3, 3]"},
};

// An elementwise op on the activations of ResNet-18's first stage.
constexpr const char* kElementwise = "f32[16, 64, 56, 56]";

struct Parsed {
  std::string op, attributes;
  std::vector<TensorType> types;
};

Parsed parse(const std::string& text) {
  const std::size_t brace = text.find('{');
  const std::string head = text.substr(0, brace);
  Parsed p;
  if (brace != std::string::npos) p.attributes = text.substr(brace);
  const std::size_t name_end = head.find(' ');
  p.op = head.substr(0, name_end);
  for (std::size_t at = name_end; at != std::string::npos && at < head.size();) {
    const std::size_t begin = head.find_first_not_of(' ', at);
    if (begin == std::string::npos) break;
    std::size_t end = head.find(']', begin);
    if (end == std::string::npos)
      throw UsageError(cat("'", text, "': expected a type such as f32[8, 4] in '", head.substr(begin), "'"));
    end = std::min(head.find(' ', end), head.size());
    p.types.push_back(parse_type(head.substr(begin, end - begin)));
    at = end;
  }
  return p;
}

// The problem as mixed precision would have it (core/passes/precision.h); empty where that leaves it in f32.
std::string in_bf16(const std::string& text) {
  const Parsed p = parse(text);
  const OpDef& def = op(p.op);
  if (def.precision == Precision::Full || p.op == "cast" || p.op.starts_with("fused")) return "";
  std::string out = p.op;
  bool changed = false;
  for (std::size_t i = 0; i < p.types.size(); ++i) {
    TensorType type = p.types[i];
    const bool full = std::find(def.full_inputs.begin(), def.full_inputs.end(), static_cast<int>(i)) !=
                      def.full_inputs.end();
    if (type.dtype == DType::F32 && !full) {
      type.dtype = DType::BF16;
      changed = true;
    }
    out += " " + to_string(type);
  }
  return changed ? out + (p.attributes.empty() ? "" : " " + p.attributes) : "";
}

bool has_own_problem(const std::string& name) {
  return std::any_of(std::begin(kProblems), std::end(kProblems),
                     [&](const Problem& p) { return p.text.starts_with(name + " "); });
}

// Elementwise ops have no shapes of their own: one problem each follows from the number of operands.
std::vector<Problem> elementwise_problems() {
  std::vector<Problem> out;
  for (const OpDef* def : Registry::instance().all()) {
    if (def->scalar == ScalarOp::None || (has_own_problem(def->name) && def->name != "add")) continue;
    const std::string type = def->name.starts_with("logical_") ? "bool[16, 64, 56, 56]" : kElementwise;
    std::string text = def->name;
    for (int i = 0; i < def->min_inputs; ++i) text += " " + type;
    out.push_back({text});
  }
  return out;
}

}  // namespace

std::string not_timed(const std::string& op) {
  if (op == "reshape") return "another shape for the same memory";
  if (op == "constant" || op == "full" || op == "iota") return "computed when the program is compiled";
  return "";
}

std::vector<Problem> problems() {
  std::vector<Problem> out(std::begin(kProblems), std::end(kProblems));
  const std::vector<Problem> more = elementwise_problems();
  out.insert(out.end(), more.begin(), more.end());
  const std::size_t in_f32 = out.size();
  for (std::size_t i = 0; i < in_f32; ++i)
    if (const std::string text = in_bf16(out[i].text); !text.empty()) out.push_back({text, out[i].integers});
  return out;
}

ProgramPtr compile_problem(const std::string& text, int threads) {
  const auto [name, attributes, types] = parse(text);
  return compile(tools::op_graph(name, types, attributes), {.target = Target::cpu(threads)});
}

void fill(const Session& s, std::uint32_t integers) {
  for (const ValueId v : s.program().graph().inputs()) {
    const Tensor t = s.input(s.program().graph().value(v).name);
    const Philox rng(1, v.index);
    for (std::int64_t i = 0; i < t.numel(); ++i) {
      const std::uint32_t bits = rng.bits(static_cast<std::uint64_t>(i));
      t.set(i, is_floating(t.dtype()) ? 2.0 * static_cast<double>(uniform01(bits)) - 1.0
                                      : static_cast<double>(bits % integers));
    }
  }
}

}  // namespace ingot::bench
