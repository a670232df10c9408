// The waits between lanes: worked examples, random stretches against every interleaving, and the accesses of
// compiled programs.
#include "core/runtime/lanes.h"

#include <algorithm>
#include <bit>
#include <random>

#include "core/ops/conv.h"
#include "core/ops/elementwise.h"
#include "core/ops/reduce.h"
#include "core/ops/softmax.h"
#include "core/ops/view.h"
#include "gtest/gtest.h"

namespace ingot {
namespace {

constexpr Lane kCompute = Lane::Compute, kCommunication = Lane::Communication;

// One byte each, in the arena.
StepAccess step(Lane lane, const std::vector<std::size_t>& reads, const std::vector<std::size_t>& writes) {
  StepAccess s;
  s.lane = lane;
  for (const std::size_t byte : reads) s.reads.push_back({Region::Arena, byte, byte + 1});
  for (const std::size_t byte : writes) s.writes.push_back({Region::Arena, byte, byte + 1});
  return s;
}

// "done>waiting ..."
std::string text(const std::vector<LaneWait>& waits) {
  std::vector<std::string> parts;
  for (const LaneWait& w : waits) parts.push_back(cat(w.done, ">", w.waiting));
  return join(parts, " ");
}
std::string waits_of(const std::vector<StepAccess>& steps) {
  return text(lane_waits(steps));
}

TEST(LaneWaits, OneLaneNeedsNone) {
  EXPECT_EQ(waits_of({}), "");
  EXPECT_EQ(waits_of({step(kCompute, {}, {1}), step(kCompute, {1}, {1})}), "");
}

TEST(LaneWaits, EachKindOfConflictIsWaitedFor) {
  EXPECT_EQ(waits_of({step(kCompute, {}, {1}), step(kCommunication, {1}, {2})}), "0>1 1>2")
      << "a read after a write";
  EXPECT_EQ(waits_of({step(kCompute, {1}, {}), step(kCommunication, {}, {1})}), "0>1 1>2")
      << "a write after a read";
  EXPECT_EQ(waits_of({step(kCompute, {}, {1}), step(kCommunication, {}, {1})}), "0>1 1>2")
      << "a write after a write";
  EXPECT_EQ(waits_of({step(kCompute, {1}, {}), step(kCommunication, {1}, {})}), "-1>1 1>2")
      << "two reads have no order; the lane starts after the stretch does";
}

TEST(LaneWaits, ThoseThatFollowFromOthersAreLeftOut) {
  // 3 reads what 0 wrote, after a wait for 1; 5 reads what 2 wrote, after a wait for 3.
  EXPECT_EQ(waits_of({step(kCompute, {}, {1}), step(kCompute, {}, {2}), step(kCommunication, {2}, {3}),
                      step(kCommunication, {1}, {4}), step(kCompute, {4}, {5}), step(kCompute, {3}, {6})}),
            "1>2 3>4");
  // The latest of several.
  EXPECT_EQ(waits_of({step(kCompute, {}, {1}), step(kCompute, {}, {2}), step(kCommunication, {1, 2}, {3})}),
            "1>2 2>3");
}

TEST(LaneWaits, BytesAndRegionsDecide) {
  StepAccess write, read;
  write.writes = {{Region::Arena, 64, 128}};
  read.lane = kCommunication;
  for (const auto& [range, together] : {std::pair{ByteRange{Region::Arena, 127, 200}, true},
                                        {ByteRange{Region::Arena, 0, 65}, true},
                                        {ByteRange{Region::Arena, 128, 200}, false},
                                        {ByteRange{Region::Arena, 0, 64}, false},
                                        {ByteRange{Region::Arena, 80, 80}, false},
                                        {ByteRange{Region::State, 64, 128}, false}}) {
    read.reads = {range};
    EXPECT_EQ(conflict(write, read), together) << range.begin << " " << range.end;
    EXPECT_EQ(conflict(read, write), together) << range.begin << " " << range.end;
    EXPECT_EQ(waits_of({write, read}), together ? "0>1 1>2" : "-1>1 1>2");
  }
}

// ---- Random stretches -----------------------------------------------------------------------------------

std::vector<StepAccess> random_steps(std::mt19937& rng) {
  const auto pick = [&](std::size_t n) { return static_cast<std::size_t>(rng()) % n; };
  std::vector<StepAccess> steps(1 + pick(9));
  const std::size_t bytes = 3 + pick(20);
  for (StepAccess& s : steps) {
    std::vector<std::size_t> reads(pick(3)), writes(pick(3));
    for (std::size_t& byte : reads) byte = pick(bytes);
    for (std::size_t& byte : writes) byte = pick(bytes);
    s = step(pick(2) == 0 ? kCompute : kCommunication, reads, writes);
  }
  return steps;
}

// Whether one of them writes a byte that the other touches, byte by byte.
bool share(const StepAccess& a, const StepAccess& b) {
  const auto touches = [](const std::vector<ByteRange>& ranges, std::size_t byte) {
    return std::any_of(ranges.begin(), ranges.end(),
                       [&](const ByteRange& r) { return r.begin <= byte && byte < r.end; });
  };
  for (std::size_t byte = 0; byte < 32; ++byte) {
    const bool a_writes = touches(a.writes, byte), b_writes = touches(b.writes, byte);
    if (a_writes && (b_writes || touches(b.reads, byte))) return true;
    if (b_writes && touches(a.reads, byte)) return true;
  }
  return false;
}

// Two steps that must keep their order; the ends of the stretch conflict with everything.
std::vector<std::pair<std::int32_t, std::int32_t>> conflicts(const std::vector<StepAccess>& steps) {
  const auto n = static_cast<std::int32_t>(steps.size());
  std::vector<std::pair<std::int32_t, std::int32_t>> pairs;
  for (std::int32_t a = -1; a < n; ++a)
    for (std::int32_t b = a + 1; b <= n; ++b)
      if (a < 0 || b == n || share(steps[static_cast<std::size_t>(a)], steps[static_cast<std::size_t>(b)]))
        pairs.emplace_back(a, b);
  return pairs;
}

// Whether some order of execution that keeps to lanes and waits swaps two steps of a conflict. Tries every
// one: a bit of `merge` says which lane goes next.
bool may_go_wrong(const std::vector<StepAccess>& steps, const std::vector<LaneWait>& waits) {
  const auto n = static_cast<std::int32_t>(steps.size());
  std::vector<std::int32_t> lanes[2] = {{-1}, {}};
  for (std::int32_t i = 0; i < n; ++i)
    lanes[static_cast<int>(steps[static_cast<std::size_t>(i)].lane)].push_back(i);
  lanes[0].push_back(n);
  const auto pairs = conflicts(steps);
  const std::size_t total = lanes[0].size() + lanes[1].size();
  std::vector<std::size_t> when(total);  // by position + 1
  for (std::uint32_t merge = 0; merge < 1u << total; ++merge) {
    if (static_cast<std::size_t>(std::popcount(merge)) != lanes[1].size()) continue;
    std::size_t next[2] = {0, 0};
    for (std::size_t t = 0; t < total; ++t) {
      const std::uint32_t lane = merge >> t & 1u;
      when[static_cast<std::size_t>(lanes[lane][next[lane]++] + 1)] = t;
    }
    const auto in_order = [&](std::int32_t a, std::int32_t b) {
      return when[static_cast<std::size_t>(a + 1)] < when[static_cast<std::size_t>(b + 1)];
    };
    const bool legal = std::all_of(waits.begin(), waits.end(),
                                   [&](const LaneWait& w) { return in_order(w.done, w.waiting); });
    if (legal && !std::all_of(pairs.begin(), pairs.end(),
                              [&](const auto& pair) { return in_order(pair.first, pair.second); }))
      return true;
  }
  return false;
}

TEST(LaneWaits, EveryInterleavingKeepsConflictsInOrderAndEachWaitIsNeeded) {
  std::mt19937 rng(7);
  std::size_t waits_seen = 0, between_steps = 0;
  for (int round = 0; round < 1500; ++round) {
    const std::vector<StepAccess> steps = random_steps(rng);
    const std::vector<LaneWait> waits = lane_waits(steps);
    ASSERT_FALSE(may_go_wrong(steps, waits)) << "round " << round << ", waits " << text(waits);
    for (std::size_t i = 0; i < waits.size(); ++i) {
      std::vector<LaneWait> fewer = waits;
      fewer.erase(fewer.begin() + static_cast<std::ptrdiff_t>(i));
      ASSERT_TRUE(may_go_wrong(steps, fewer)) << "round " << round << ", wait " << i << " of " << text(waits);
      between_steps +=
          waits[i].done >= 0 && waits[i].waiting < static_cast<std::int32_t>(steps.size()) ? 1 : 0;
    }
    waits_seen += waits.size();
  }
  EXPECT_GT(waits_seen, 3000u);
  EXPECT_GT(between_steps, 1000u);
}

// ---- As signals of a queue ------------------------------------------------------------------------------

// Writes down what is issued: "s0c" is signal 0 of the compute lane, "w0m" the other lane's wait for it.
class NotingQueue final : public Queue {
 public:
  void copy_in(void*, const void*, std::size_t) override {}
  void copy_out(void*, const void*, std::size_t) override {}
  void copy(void*, const void*, std::size_t) override {}
  void fill(void*, std::byte, std::size_t) override {}
  void signal(std::size_t number, Lane from) override { note('s', number, from); }
  void wait_for(std::size_t number, Lane waiting) override { note('w', number, waiting); }

  std::vector<std::string> notes;

 private:
  void note(char what, std::size_t number, Lane lane) {
    notes.push_back(cat(what, number, lane == kCompute ? 'c' : 'm'));
  }
};

TEST(LaneOrder, SignalsAfterAStepAndWaitsBeforeOne) {
  const std::vector<StepAccess> steps = {step(kCompute, {}, {1}), step(kCommunication, {9}, {2}),
                                         step(kCommunication, {1}, {3}), step(kCompute, {2}, {4})};
  EXPECT_EQ(waits_of(steps), "-1>1 0>2 1>3 2>4");
  const LaneOrder order(steps);
  EXPECT_EQ(order.signals(), 4u);
  NotingQueue queue;
  order.issue(queue, [&](std::size_t i) { queue.notes.push_back(cat(i)); });
  EXPECT_EQ(join(queue.notes, " "), "s0c 0 s1c w0m 1 s2m w1m 2 s3m w2c 3 w3c");
}

TEST(LaneOrder, OneLaneIsIssuedAsItIs) {
  const std::vector<StepAccess> steps(3);
  const LaneOrder order(steps);
  EXPECT_EQ(order.signals(), 0u);
  NotingQueue queue;
  order.issue(queue, [&](std::size_t i) { queue.notes.push_back(cat(i)); });
  EXPECT_EQ(join(queue.notes, " "), "0 1 2");
}

// ---- Programs -------------------------------------------------------------------------------------------

// Two rows of steps with no value in common; the second one's softmax lies where the first one's lay.
ProgramPtr two_rows(bool share_memory) {
  Graph g;
  const TensorType t{DType::F32, {64, 64}};
  const Value x = input(g, "x", t), y = input(g, "y", t);
  output("a", max(softmax(x), {1}));
  output("b", max(softmax(y), {1}));
  return compile(g, {.optimise = false, .share_memory = share_memory});
}

std::vector<std::string> ops_of(const ProgramPtr& p) {
  std::vector<std::string> ops;
  for (const NodeId n : p->schedule()) ops.push_back(p->graph().node(n).op);
  return ops;
}

TEST(StepAccesses, MemoryThatIsUsedAgainIsAWriteAfterARead) {
  const ProgramPtr shared = two_rows(true), apart = two_rows(false);
  for (const ProgramPtr& p : {shared, apart})
    ASSERT_EQ(join(ops_of(p), " "), "softmax reduce_max softmax reduce_max");
  const auto place = [&](const ProgramPtr& p, std::size_t at) {
    return p->place(p->graph().node(p->schedule()[at]).outputs[0]).offset;
  };
  ASSERT_EQ(place(shared, 0), place(shared, 2));
  ASSERT_NE(place(apart, 0), place(apart, 2));
  const auto waits = [](const ProgramPtr& p) {
    std::vector<StepAccess> steps = step_accesses(*p);
    steps[1].lane = kCommunication;
    return waits_of(steps);
  };
  EXPECT_EQ(waits(shared), "0>1 1>2");
  EXPECT_EQ(waits(apart), "0>1 1>4");
}

TEST(StepAccesses, AreTheOperandsResultsAndWorkspaceOfTheSteps) {
  Graph g;
  const Value x = input(g, "x", {DType::F32, {1, 3, 9, 9}});
  const Value w = state(g, StateRole::Parameter, "w", {DType::F32, {4, 3, 3, 3}}, Init::normal(0.0, 1.0));
  output("y", softmax(reshape(conv2d(x, w), {4, 49})));
  g.add_update(w.id(), (w * 0.5).id());
  const ProgramPtr p = compile(g, {.optimise = false});
  const std::vector<StepAccess> steps = step_accesses(*p);
  ASSERT_EQ(steps.size(), p->schedule().size());
  std::size_t views = 0, workspaces = 0, updates = 0;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const Node& node = p->graph().node(p->schedule()[i]);
    const Step& s = p->step(p->schedule()[i]);
    EXPECT_EQ(steps[i].lane, kCompute);
    if (s.is_view) {
      EXPECT_TRUE(steps[i].reads.empty() && steps[i].writes.empty()) << node.op;
      ++views;
      continue;
    }
    const auto expect = [&](const ByteRange& range, ValueId v) {
      EXPECT_EQ(range.region, p->place(v).region) << node.op;
      EXPECT_EQ(range.begin, p->place(v).offset) << node.op;
      EXPECT_EQ(range.end - range.begin, p->graph().type(v).bytes()) << node.op;
    };
    ASSERT_EQ(steps[i].reads.size(), node.inputs.size());
    for (std::size_t k = 0; k < node.inputs.size(); ++k) expect(steps[i].reads[k], node.inputs[k]);
    ASSERT_EQ(steps[i].writes.size(), node.outputs.size() + (s.workspace_bytes != 0 ? 1 : 0)) << node.op;
    for (std::size_t k = 0; k < node.outputs.size(); ++k) expect(steps[i].writes[k], node.outputs[k]);
    if (s.workspace_bytes != 0) {
      const ByteRange& last = steps[i].writes.back();
      EXPECT_EQ(last.region, Region::Arena);
      EXPECT_EQ(last.end - last.begin, s.workspace_bytes);
      EXPECT_LE(last.end, p->region_bytes(Region::Arena));
      ++workspaces;
    }
    if (steps[i].writes[0].region == Region::Parameter) ++updates;
  }
  EXPECT_EQ(views, 1u);
  EXPECT_GE(workspaces, 1u);
  EXPECT_EQ(updates, 1u) << "the new weight is written over the old one";
}

}  // namespace
}  // namespace ingot
