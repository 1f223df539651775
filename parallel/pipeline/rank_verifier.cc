#include "parallel/pipeline/rank_verifier.h"

#include <algorithm>

#include "core/base/error.h"

namespace longspan {

using Kind = Action::Kind;

RankVerifier::RankVerifier(const PipelineShape& shape, const PipelineCosts& costs, int rank)
    : shape_(shape), costs_(costs), rank_(rank) {
  const auto num_blocks = static_cast<size_t>(shape.placement.num_blocks());
  for (const PlacedChunk& chunk : shape.placement.chunks) {
    owner_.insert(owner_.end(), static_cast<size_t>(chunk.end - chunk.begin), chunk.rank);
  }
  num_own_ = static_cast<int>(std::count(owner_.begin(), owner_.end(), rank));
  states_.resize(static_cast<size_t>(shape.num_microbatches) * num_blocks);
  next_forward_.assign(num_blocks, 0);
  next_weight_.assign(num_blocks, 0);
  num_started_.assign(shape.reductions.buckets.size(), 0);
}

RankVerifier::State& RankVerifier::at(int microbatch, int block) {
  return states_[static_cast<size_t>(microbatch) * owner_.size() + static_cast<size_t>(block)];
}

bool RankVerifier::holds(int block) const {
  return owner_[static_cast<size_t>(block)] == rank_;
}

void RankVerifier::take(const Action& action) {
  check(!reduced_, "rank {}: {} comes after the reduction", rank_, action.to_string());
  if (action.kind == Kind::kReduce) return reduce();
  const int num_blocks = static_cast<int>(owner_.size());
  check(action.microbatch >= 0 && action.microbatch < shape_.num_microbatches && action.block >= 0 && action.block < num_blocks,
        "rank {}: {} is outside {} microbatches and {} blocks", rank_, action.to_string(), shape_.num_microbatches, num_blocks);
  check(holds(action.block), "rank {}: {} is of a block that rank {} holds", rank_, action.to_string(),
        owner_[static_cast<size_t>(action.block)]);
  switch (action.kind) {
    case Kind::kForward:
      return forward(action);
    case Kind::kBackwardInput:
      return backward_input(action);
    case Kind::kBackwardWeight:
      return backward_weight(action);
    case Kind::kSendActivation:
      return send(action, Done::kForward, action.block + 1, &State::sent_activation);
    case Kind::kSendGradient:
      return send(action, Done::kBackwardInput, action.block - 1, &State::sent_gradient);
    case Kind::kReceiveActivation:
      return receive(action, action.block - 1, &State::has_input);
    case Kind::kReceiveGradient:
      return receive(action, action.block + 1, &State::has_gradient);
    case Kind::kStartReduce:
      return start_reduce(action);
    case Kind::kReduce:
      return;
  }
}

void RankVerifier::forward(const Action& action) {
  if (action.block > 0) expect_input(action, action.block - 1, Done::kForward, &State::has_input);
  advance(action, Done::kNothing, Done::kForward);
  int& next = next_forward_[static_cast<size_t>(action.block)];
  check(action.microbatch == next, "rank {}: {} comes before F of microbatch {}: out of the order of {}", rank_,
        action.to_string(), next, shape_.sequence_chunks > 1 ? "chunks and microbatches" : "microbatches");
  ++next;
  stash_bytes_ += costs_.of(shape_, action.microbatch, action.block).stash_bytes;
  facts_.peak_stashes = std::max(facts_.peak_stashes, ++num_stashes_);
  facts_.peak_stash_bytes = std::max(facts_.peak_stash_bytes, stash_bytes_);
}

void RankVerifier::backward_input(const Action& action) {
  if (action.block + 1 < static_cast<int>(owner_.size())) {
    expect_input(action, action.block + 1, Done::kBackwardInput, &State::has_gradient);
  }
  advance(action, Done::kForward, Done::kBackwardInput);
  const int later = action.microbatch + 1;
  check(later % shape_.sequence_chunks == 0 || at(later, action.block).done >= Done::kBackwardInput,
        "rank {}: {} comes before B of microbatch {}, the next chunk of its sequence", rank_, action.to_string(), later);
}

void RankVerifier::backward_weight(const Action& action) {
  advance(action, Done::kBackwardInput, Done::kBackwardWeight);
  int& count = next_weight_[static_cast<size_t>(action.block)];
  const int next = shape_.gradient_order(count);
  check(action.microbatch == next, "rank {}: {} comes before W of microbatch {}: gradients would be summed in another order",
        rank_, action.to_string(), next);
  ++count;
  ++num_finished_;
  --num_stashes_;
  stash_bytes_ -= costs_.of(shape_, action.microbatch, action.block).stash_bytes;
}

void RankVerifier::start_reduce(const Action& action) {
  const auto& [buckets, when] = shape_.reductions;
  const auto bucket =
      std::find_if(buckets.begin(), buckets.end(), [&](const ReductionPlan::Blocks& b) { return b.first == action.block; });
  check(bucket != buckets.end(), "rank {}: {} is of no bucket of gradients", rank_, action.to_string());
  int& started = num_started_[static_cast<size_t>(bucket - buckets.begin())];
  const bool once = when == ReductionPlan::When::kOnce;
  check(started < (once ? 1 : shape_.num_microbatches / shape_.sequence_chunks), "rank {}: {} is doubled", rank_,
        action.to_string());
  const int done = once ? shape_.num_microbatches : (started + 1) * shape_.sequence_chunks,
            microbatch = shape_.gradient_order(done - 1);
  check(action.microbatch == microbatch, "rank {}: {} comes before that of microbatch {}", rank_, action.to_string(), microbatch);
  for (int b = bucket->first; b < bucket->end; ++b) {
    check(holds(b) && next_weight_[static_cast<size_t>(b)] >= done, "rank {}: {} comes before W(microbatch {}, block {})", rank_,
          action.to_string(), microbatch, b);
  }
  ++started;
}

// Of this rank's buckets.
void RankVerifier::expect_all_started() const {
  const auto& [buckets, when] = shape_.reductions;
  for (size_t i = 0; i < buckets.size(); ++i) {
    const int sums = when == ReductionPlan::When::kOnce ? 1 : shape_.num_microbatches / shape_.sequence_chunks;
    check(!holds(buckets[i].first) || num_started_[i] == sums, "rank {}: {} of {} sums of blocks {} to {} are started", rank_,
          num_started_[i], sums, buckets[i].first, buckets[i].end - 1);
  }
}

void RankVerifier::reduce() {
  check(num_finished_ == int64_t{shape_.num_microbatches} * num_own_, "rank {}: the reduction comes before the last W", rank_);
  expect_all_started();
  for (int m = 0; m < shape_.num_microbatches; ++m) {
    for (int b = 0; b < static_cast<int>(owner_.size()); ++b) {
      if (!holds(b)) continue;
      const bool sends_output = b + 1 < static_cast<int>(owner_.size()) && !holds(b + 1);
      check(!sends_output || at(m, b).sent_activation, "rank {}: what F(microbatch {}, block {}) makes is never sent", rank_, m,
            b);
      check(b == 0 || holds(b - 1) || at(m, b).sent_gradient, "rank {}: what B(microbatch {}, block {}) makes is never sent",
            rank_, m, b);
    }
  }
  reduced_ = true;
}

void RankVerifier::send(const Action& action, Done after, int neighbour, bool State::*sent) {
  expect_peer(action, neighbour);
  State& state = at(action.microbatch, action.block);
  check(state.done >= after, "rank {}: {} comes before what it sends is computed", rank_, action.to_string());
  check(!(state.*sent), "rank {}: {} is doubled", rank_, action.to_string());
  state.*sent = true;
  ++facts_.messages_sent;
  facts_.bytes_sent += costs_.bytes_of_message(shape_, action.microbatch);
}

void RankVerifier::receive(const Action& action, int neighbour, bool State::*received) {
  expect_peer(action, neighbour);
  State& state = at(action.microbatch, action.block);
  check(!(state.*received), "rank {}: {} is doubled", rank_, action.to_string());
  state.*received = true;
  facts_.peak_receives = std::max(facts_.peak_receives, ++num_receives_);
  ++facts_.messages_received;
  facts_.bytes_received += costs_.bytes_of_message(shape_, action.microbatch);
}

void RankVerifier::expect_peer(const Action& action, int neighbour) const {
  check(neighbour >= 0 && neighbour < static_cast<int>(owner_.size()), "rank {}: {} crosses the end of the model", rank_,
        action.to_string());
  const int owner = owner_[static_cast<size_t>(neighbour)];
  check(owner != rank_, "rank {}: {} is about block {}, which the rank holds itself", rank_, action.to_string(), neighbour);
  check(action.peer == owner, "rank {}: {} names a wrong peer: block {} is on rank {}", rank_, action.to_string(), neighbour,
        owner);
}

void RankVerifier::expect_input(const Action& action, int neighbour, Done least, bool State::*received) {
  if (holds(neighbour)) {
    check(at(action.microbatch, neighbour).done >= least, "rank {}: {} comes before its input from block {}", rank_,
          action.to_string(), neighbour);
    return;
  }
  State& state = at(action.microbatch, action.block);
  check(state.*received, "rank {}: {} comes before its input from block {} is received", rank_, action.to_string(), neighbour);
  // It is read once; a second reading is found by `advance`.
  if (state.done < least) --num_receives_;
}

void RankVerifier::advance(const Action& action, Done from, Done to) {
  Done& done = at(action.microbatch, action.block).done;
  check(done == from, "rank {}: {} is out of order or doubled", rank_, action.to_string());
  done = to;
}

RankFacts RankVerifier::finish() const {
  check(reduced_, "rank {}: the program has no reduction", rank_);
  return facts_;
}

}  // namespace longspan
