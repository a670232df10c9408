// One tape on many tensors: the kernel's text, and what it computes as PTX against the tape on each tensor.
#include <cstring>
#include <numeric>

#include "core/base/error.h"
#include "cuda/jit/elementwise_source.h"
#include "tests/cuda/kernel_run.h"
#include "tests/support/messages.h"

namespace ingot {
namespace {

using cuda::elementwise_many_source;
using cuda::KernelSource;

ScalarExpr cast_to(DType from, DType to) {
  ScalarExpr e({from});
  e.add_output(e.emit_cast(0, to));
  return e;
}

ScalarExpr choice(DType d) {
  ScalarExpr e({DType::Bool, d, d});
  e.add_output(e.emit(ScalarOp::Where, {0, 1, 2}));
  return e;
}

ScalarExpr counter() {
  ScalarExpr e({DType::I64});
  e.add_output(e.emit(ScalarOp::Add, {0, e.emit_const(1, DType::I64)}));
  return e;
}

// Each tensor in memory of its own, `shift` bytes behind an address that is aligned to 16. With `in_place`
// results lie where the last list does.
void check(const ScalarExpr& e, int shared, const std::vector<std::int64_t>& counts, int shift = 0,
           bool in_place = false) {
  const auto what =
      cat(to_string(e), ", ", counts.size(), " tensors, shift ", shift, in_place ? " in place" : "");
  const KernelSource k = elementwise_many_source(e, shared, counts, shift == 0 ? 16 : shift);
  std::vector<Tensor> scalars, want;
  std::vector<std::vector<Tensor>> lists(e.inputs().size() - static_cast<std::size_t>(shared));
  for (int i = 0; i < shared; ++i)
    scalars.push_back(sample({e.inputs()[static_cast<std::size_t>(i)], {}}, static_cast<unsigned>(i)));
  for (std::size_t i = 0; i < lists.size(); ++i)
    for (std::size_t g = 0; g < counts.size(); ++g)
      lists[i].push_back(sample({e.inputs()[static_cast<std::size_t>(shared) + i], {counts[g]}},
                                static_cast<unsigned>(100 * i + g)));
  for (std::size_t g = 0; g < counts.size(); ++g) {
    KernelRun alone{e, scalars, {DType::F32, {counts[g]}}};
    for (const auto& list : lists) alone.inputs.push_back(list[g]);
    want.push_back(alone.cpu().at(0));
  }

  std::vector<std::vector<std::byte>> memory;
  std::vector<PtxArg> args;
  const auto place = [&](const Tensor& t) {
    memory.emplace_back(t.bytes() + 64);
    std::byte* const at = memory.back().data() +
                          (16 - reinterpret_cast<std::uintptr_t>(memory.back().data()) % 16) % 16 + shift;
    if (t.bytes() != 0) std::memcpy(at, t.raw(), t.bytes());
    return at;
  };
  for (const Tensor& t : scalars) args.push_back(PtxArg::read(t.raw(), t.bytes()));
  std::vector<std::byte*> results;
  for (std::size_t i = 0; i < lists.size(); ++i)
    for (const Tensor& t : lists[i]) {
      const bool written = in_place && i + 1 == lists.size();
      std::byte* const at = place(t);
      args.push_back(written ? PtxArg::write(at, t.bytes()) : PtxArg::read(at, t.bytes()));
      if (written) results.push_back(at);
    }
  for (std::size_t g = 0; g < counts.size(); ++g) {
    if (!in_place) results.push_back(place(Tensor(want[g].type())));
    args.push_back(PtxArg::write(results[g], want[g].bytes()));
  }
  ASSERT_EQ(k.alignment.size(), args.size()) << what;
  PtxDevice device(cuda::Nvrtc::instance().compile(k.name, k.text, 90, cuda::KernelFormat::Ptx));
  device.launch(k.name,
                {.blocks = {static_cast<std::uint32_t>(k.blocks), 1, 1},
                 .threads = {static_cast<std::uint32_t>(k.threads), 1, 1}},
                args);
  std::vector<Tensor> got;
  for (std::size_t g = 0; g < counts.size(); ++g) {
    got.emplace_back(want[g].type());
    if (want[g].bytes() != 0) std::memcpy(got[g].raw(), results[g], want[g].bytes());
  }
  expect_same(got, want, what);
}

// Whole shares, tails, one element, several blocks, and none at all.
const std::vector<std::int64_t> kCounts{2048, 1, 0, 4099, 8, 7, 2049, 64};

TEST(ManyKernels, CastsOfEveryLength) {
  INGOT_NEEDS_PTX();
  check(cast_to(DType::F32, DType::BF16), 0, kCounts);
  check(cast_to(DType::F32, DType::F16), 0, kCounts);
  check(cast_to(DType::BF16, DType::F32), 0, kCounts);
  check(cast_to(DType::F32, DType::BF16), 0, {5});
}

TEST(ManyKernels, Counters) {
  INGOT_NEEDS_PTX();
  check(counter(), 0, std::vector<std::int64_t>(53, 1));
  check(counter(), 0, std::vector<std::int64_t>(53, 1), 8, true);
}

TEST(ManyKernels, ASharedScalar) {
  INGOT_NEEDS_PTX();
  for (const DType d : {DType::F32, DType::I64, DType::F16}) check(choice(d), 1, kCounts);
}

TEST(ManyKernels, ResultsInTheMemoryOfOperands) {
  INGOT_NEEDS_PTX();
  check(choice(DType::F32), 1, kCounts, 0, true);
  // A list may give its memory, element by element; a shared scalar may not.
  const KernelSource k = elementwise_many_source(choice(DType::F32), 1, std::vector<std::int64_t>{5, 6});
  EXPECT_EQ(k.in_place, (std::vector<std::array<int, 2>>{{1, 0}, {2, 1}, {3, 0}, {4, 1}}));
  EXPECT_TRUE(elementwise_many_source(cast_to(DType::F32, DType::F16), 0, std::vector<std::int64_t>{5, 6})
                  .in_place.empty());
}

TEST(ManyKernels, MisalignedStarts) {
  INGOT_NEEDS_PTX();
  for (const int shift : {2, 4, 8}) check(choice(DType::F16), 1, kCounts, shift);
  check(cast_to(DType::F32, DType::F16), 0, kCounts, 4);
}

// As many as have room among a kernel's arguments; one more is refused.
TEST(ManyKernels, AsManyAsFit) {
  INGOT_NEEDS_PTX();
  const ScalarExpr e = choice(DType::F32);
  const std::size_t most = cuda::most_groups(e, 1);
  EXPECT_EQ(most, 166u);
  std::vector<std::int64_t> counts(most);
  std::iota(counts.begin(), counts.end(), 1);
  check(e, 1, counts);
  counts.push_back(3);
  EXPECT_TRUE(says(message_of<UsageError>([&] { elementwise_many_source(e, 1, counts); }), "1 to 166", "167",
                   "split"));
}

TEST(ManyKernels, NothingToDoIsNoBlock) {
  const KernelSource k = elementwise_many_source(counter(), 0, std::vector<std::int64_t>{0, 0});
  EXPECT_EQ(k.blocks, 0);
  EXPECT_TRUE(k.text.empty());
}

// Beyond what 32 bits count, indices are wide; elsewhere they are not.
TEST(ManyKernels, IndicesAreAsWideAsNeeded) {
  const auto text = [](std::int64_t n) {
    return elementwise_many_source(cast_to(DType::F32, DType::BF16), 0, std::vector<std::int64_t>{8, n}).text;
  };
  EXPECT_EQ(text(std::int64_t{1} << 20).find("unsigned long long"), std::string::npos);
  EXPECT_NE(text(std::int64_t{1} << 32).find("unsigned long long"), std::string::npos);
  EXPECT_THROW(text(std::int64_t{1} << 44), UsageError);
}

}  // namespace
}  // namespace ingot
