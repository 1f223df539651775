// What verify_pipeline holds the program of one rank to; see there for the rules.
#pragma once

#include "parallel/pipeline/verifier.h"

namespace longspan {

class RankVerifier {
 public:
  RankVerifier(const PipelineShape& shape, const PipelineCosts& costs, int rank);
  void take(const Action& action);
  RankFacts finish() const;

 private:
  enum class Done : uint8_t { kNothing, kForward, kBackwardInput, kBackwardWeight };
  // Of a (microbatch, block) of this rank.
  struct State {
    Done done = Done::kNothing;
    bool has_input = false, has_gradient = false;  // received
    bool sent_activation = false, sent_gradient = false;
  };

  void forward(const Action& action);
  void backward_input(const Action& action);
  void backward_weight(const Action& action);
  void start_reduce(const Action& action);
  void reduce();
  void expect_all_started() const;
  void send(const Action& action, Done after, int neighbour, bool State::*sent);
  void receive(const Action& action, int neighbour, bool State::*received);

  State& at(int microbatch, int block);
  bool holds(int block) const;
  void expect_input(const Action& action, int neighbour, Done least, bool State::*received);
  void expect_peer(const Action& action, int neighbour) const;
  void advance(const Action& action, Done from, Done to);

  const PipelineShape& shape_;
  const PipelineCosts& costs_;
  int rank_;
  int num_own_ = 0;                              // blocks
  std::vector<int> owner_;                       // by block
  std::vector<State> states_;                    // [microbatch, block]
  std::vector<int> next_forward_, next_weight_;  // by block: how many are done
  std::vector<int> num_started_;                 // by bucket: how many sums
  int num_stashes_ = 0, num_receives_ = 0;
  int64_t stash_bytes_ = 0, num_finished_ = 0;
  bool reduced_ = false;
  RankFacts facts_;
};

}  // namespace longspan
