// What tests of the CUDA backend on the simulated device share: the fixture, and a graph that is run several
// times with other inputs, as a list of tensors to compare.
//
//   const auto want = run(graph, Target::cpu(1), {.runs = 4});
//   expect_close(run(graph, Target::cuda(0), {.runs = 4}), want, 1e-5);
#pragma once

#include <functional>
#include <map>
#include <string>

#include "core/op/builder.h"
#include "core/runtime/session.h"
#include "tests/cuda_sim/sim_test.h"

namespace ingot {

class CudaBackendTest : public SimTest {
 public:
  // Both policies that find a missing event, a few seeds each.
  template <class Body>
  static void each_order(const Body& body, int seeds = 4, int first = 1) {
    for (const sim::Policy policy : {sim::Policy::Demand, sim::Policy::Random})
      for (int seed = first; seed < first + seeds; ++seed) {
        sim::reset({.seed = static_cast<std::uint64_t>(seed), .policy = policy});
        SCOPED_TRACE(cat(policy == sim::Policy::Demand ? "demand" : "random", ", seed ", seed));
        body();
        expect_clean();  // the next reset() forgets
      }
  }
};

// Inputs of run number `run`: floats without structure, labels below 10, every row real.
void fill_inputs(const Session& s, int run);

struct Runs {
  int runs = 5;
  // The outputs are looked at after every so many runs: in between the next inputs are fed while a run works.
  int look_every = 2;
  SessionOptions options = {.seed = 3};
};
// Every output that was looked at, and every state at the end.
std::map<std::string, Tensor> run(const ProgramPtr& program, const Runs& runs = {});
std::map<std::string, Tensor> run(const Graph& g, const Target& target, const Runs& runs = {});

// |a - b| <= tolerance * (1 + |b|), element by element.
bool close(const std::map<std::string, Tensor>& got, const std::map<std::string, Tensor>& want,
           double tolerance);
void expect_close(const std::map<std::string, Tensor>& got, const std::map<std::string, Tensor>& want,
                  double tolerance);

// The CUDA backend, which passes each step that it made to `change`: what if a lowering had said otherwise?
// There is one such backend; a later call changes the steps of all targets.
Target changed_target(std::function<void(const Node&, std::unique_ptr<Step>&)> change);
// With steps in the lanes that `choose` gives.
Target lanes_target(std::function<Lane(const Node&)> choose);

// Runs the session so often, and expects one graph launch a run, nothing launched beside it and nothing
// allocated.
void expect_one_launch_a_run(Session& s, std::size_t runs);

// Softmax of a state, log-softmax of the input, sums of it, and a state in which every run so far leaves its
// mark: ops that every build of the backend has.
Graph softmax_graph();

}  // namespace ingot
