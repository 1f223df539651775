// ZB-H1 as list scheduling: all ranks at once, in simulated time, each doing the most urgent thing it can: B
// and F, which others wait for, the latter as far as its stashes allow; W where it would otherwise wait.
// Which of B and F is the more urgent, and how far F may run ahead, depends on the costs, so the best of
// several programs is taken.
#include <algorithm>
#include <deque>
#include <limits>

#include "core/base/error.h"
#include "parallel/pipeline/communication_pass.h"
#include "parallel/pipeline/compute_programs.h"
#include "parallel/pipeline/schedules.h"
#include "parallel/pipeline/verifier.h"

namespace longspan {

namespace {

using Kind = Action::Kind;
constexpr double kNotYet = std::numeric_limits<double>::infinity();

// How many microbatches a rank may have begun, between their F and B, and between their F and their last W;
// and which of F and B goes first where both could.
struct Limits {
  int forwards_ahead = 0, stashes = 0;
  Kind first = Kind::kBackwardInput;
};

struct RankState {
  explicit RankState(const PipelineShape& shape) : writer(shape) {}
  ComputeWriter writer;
  std::vector<double> input, gradient;  // by microbatch: when it is there
  std::deque<Action> weights;           // W that may be done, in their order
  double clock = 0;
  int forwards = 0, backwards = 0, weight_blocks = 0;  // done
};

class ListScheduler {
 public:
  ListScheduler(const PipelineShape& shape, const PipelineCosts& costs) : shape_(shape), costs_(costs) {}

  // limits(rank)
  template <class LimitsOf>
  std::vector<Program> run(const LimitsOf& limits_of) {
    const int num_ranks = shape_.placement.num_ranks;
    const auto num_microbatches = static_cast<size_t>(shape_.num_microbatches);
    for (int rank = 0; rank < num_ranks; ++rank) {
      RankState& state = states_.emplace_back(shape_);
      state.input.assign(num_microbatches, rank == 0 ? 0 : kNotYet);
      state.gradient.assign(num_microbatches, kNotYet);
    }
    for (;;) {
      // The rank that can go on first: what others do after that cannot bring it anything sooner.
      Choice next;
      for (int rank = 0; rank < num_ranks; ++rank) {
        const Choice choice = choose(rank, limits_of(rank));
        if (choice.begin < next.begin) next = choice;
      }
      if (next.begin == kNotYet) break;
      take(next);
    }
    std::vector<Program> programs;
    for (RankState& state : states_) programs.push_back(state.writer.finish());
    return programs;
  }

 private:
  struct Choice {
    int rank = 0;
    Kind kind = Kind::kForward;
    double begin = kNotYet;
  };

  int num_own_blocks(int rank) const {
    const PlacedChunk& chunk = shape_.placement.chunks[static_cast<size_t>(rank)];
    return chunk.end - chunk.begin;
  }

  Choice choose(int rank, const Limits& limits) const {
    const RankState& state = states_[static_cast<size_t>(rank)];
    Choice best{rank};
    const auto offer = [&](Kind kind, double ready) {  // in the order of urgency
      const double begin = std::max(state.clock, ready);
      if (begin < best.begin) best = {rank, kind, begin};
    };
    const double forward = forward_ready(rank, limits), backward = backward_ready(rank);
    if (limits.first == Kind::kForward) offer(Kind::kForward, forward);
    offer(Kind::kBackwardInput, backward);
    offer(Kind::kForward, forward);
    if (!state.weights.empty()) offer(Kind::kBackwardWeight, 0);
    return best;
  }

  double forward_ready(int rank, const Limits& limits) const {
    const RankState& state = states_[static_cast<size_t>(rank)];
    const int finished = state.weight_blocks / num_own_blocks(rank);
    const bool may = state.forwards < shape_.num_microbatches && state.forwards - state.backwards < limits.forwards_ahead &&
                     state.forwards - finished < limits.stashes;
    return may ? state.input[static_cast<size_t>(state.forwards)] : kNotYet;
  }

  double backward_ready(int rank) const {
    const RankState& state = states_[static_cast<size_t>(rank)];
    if (state.backwards == shape_.num_microbatches) return kNotYet;
    const int m = shape_.gradient_order(state.backwards);
    return m < state.forwards ? state.gradient[static_cast<size_t>(m)] : kNotYet;
  }

  void take(const Choice& choice) {
    RankState& state = states_[static_cast<size_t>(choice.rank)];
    state.clock = choice.begin;
    if (choice.kind == Kind::kForward) return forward(choice.rank, state);
    if (choice.kind == Kind::kBackwardInput) return backward_input(choice.rank, state);
    const Action action = state.weights.front();
    state.weights.pop_front();
    state.clock += costs_.seconds_of(shape_, action);
    state.writer.backward_weight(action.microbatch, action.block);
    ++state.weight_blocks;
  }

  void forward(int rank, RankState& state) {
    const int m = state.forwards++;
    const PlacedChunk& chunk = shape_.placement.chunks[static_cast<size_t>(rank)];
    for (int b = chunk.begin; b < chunk.end; ++b) state.clock += costs_.of(shape_, m, b).forward_seconds;
    state.writer.forward(m, rank);
    if (rank + 1 == shape_.placement.num_ranks) {
      state.gradient[static_cast<size_t>(m)] = state.clock;
    } else {
      states_[static_cast<size_t>(rank) + 1].input[static_cast<size_t>(m)] = state.clock + costs_.seconds_of_message(shape_, m);
    }
  }

  void backward_input(int rank, RankState& state) {
    const int m = shape_.gradient_order(state.backwards++);
    const PlacedChunk& chunk = shape_.placement.chunks[static_cast<size_t>(rank)];
    for (int b = chunk.end; b-- > chunk.begin;) {
      state.clock += costs_.of(shape_, m, b).backward_input_seconds;
      state.weights.push_back({Kind::kBackwardWeight, m, b});
    }
    state.writer.backward_input(m, rank);
    if (rank == 0) return;
    states_[static_cast<size_t>(rank) - 1].gradient[static_cast<size_t>(m)] = state.clock + costs_.seconds_of_message(shape_, m);
  }

  const PipelineShape& shape_;
  const PipelineCosts& costs_;
  std::deque<RankState> states_;  // by rank; never moved
};

// 1F1B whose W come `rank` microbatches later, which is ZB-H1 as it is drawn for equal F, B and W.
std::vector<Program> delayed_weights(const PipelineShape& shape) {
  const int num_ranks = shape.placement.num_ranks, num_microbatches = shape.num_microbatches;
  std::vector<Program> programs;
  for (int rank = 0; rank < num_ranks; ++rank) {
    ComputeWriter writer(shape);
    const PlacedChunk& chunk = shape.placement.chunks[static_cast<size_t>(rank)];
    const int warm_up = std::min(num_microbatches, num_ranks - 1 - rank + shape.sequence_chunks - 1);
    for (int m = 0; m < warm_up; ++m) writer.forward(m, rank);
    for (int k = 0; k < num_microbatches + rank; ++k) {
      if (warm_up + k < num_microbatches) writer.forward(warm_up + k, rank);
      if (k < num_microbatches) writer.backward_input(shape.gradient_order(k), rank);
      if (k < rank) continue;
      for (int b = chunk.end; b-- > chunk.begin;) writer.backward_weight(shape.gradient_order(k - rank), b);
    }
    programs.push_back(writer.finish());
  }
  return programs;
}

// Programs of which, by these costs, one or the other is the fastest.
std::vector<PipelineProgram> candidates(const PipelineShape& shape, const PipelineCosts& costs) {
  check_costs(costs, shape);
  const int most = shape.placement.num_ranks - 1 + shape.sequence_chunks;
  std::vector<std::vector<Program>> compute;
  compute.push_back(one_forward_one_backward_compute(shape));
  compute.push_back(delayed_weights(shape));
  for (Kind first : {Kind::kForward, Kind::kBackwardInput}) {
    compute.push_back(ListScheduler(shape, costs).run([&](int rank) { return Limits{most - rank, most, first}; }));
    compute.push_back(ListScheduler(shape, costs).run([&](int) { return Limits{most, most, first}; }));
  }
  std::vector<PipelineProgram> programs;
  for (const auto& each : compute) programs.push_back(insert_communication(shape, each));
  return programs;
}

double makespan(const PipelineProgram& program, const PipelineCosts& costs) {
  return simulate(program, costs, SendMode::kAsynchronous).makespan_seconds;
}

bool keeps_no_more(const PipelineFacts& one, const PipelineFacts& other) {
  return std::equal(one.ranks.begin(), one.ranks.end(), other.ranks.begin(),
                    [](const RankFacts& a, const RankFacts& b) { return a.peak_stash_bytes <= b.peak_stash_bytes; });
}

}  // namespace

PipelineProgram make_zero_bubble(const PipelineShape& shape, const PipelineCosts& costs) {
  if (shape.placement.chunks_per_rank() != 1) {
    raise(ErrorKind::kConfiguration, "the zero-bubble schedule has 1 chunk a rank, not {}; use 1",
          shape.placement.chunks_per_rank());
  }
  std::vector<PipelineProgram> programs = candidates(shape, costs);
  std::vector<double> times;
  for (const PipelineProgram& program : programs) times.push_back(makespan(program, costs));
  return std::move(programs[static_cast<size_t>(std::min_element(times.begin(), times.end()) - times.begin())]);
}

Replanned replan_zero_bubble(const PipelineProgram& program, const PipelineCosts& costs) {
  const PipelineFacts before = verify_pipeline(program, costs);
  Replanned best = {.program = program, .bubble_before = before.bubble, .bubble = before.bubble};
  double least = before.makespan_seconds;
  for (PipelineProgram& candidate : candidates(program.shape, costs)) {
    const PipelineFacts facts = verify_pipeline(candidate, costs);
    if (facts.makespan_seconds >= least || !keeps_no_more(facts, before)) continue;
    least = facts.makespan_seconds;
    best.program = std::move(candidate);
    best.bubble = facts.bubble;
  }
  return best;
}

}  // namespace longspan
