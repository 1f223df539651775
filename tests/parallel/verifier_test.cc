// The verifier: planted faults are rejected by name.
#include "parallel/pipeline/verifier.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "parallel/pipeline/reductions.h"
#include "parallel/pipeline/schedules.h"
#include "tests/parallel/comm_support.h"

namespace longspan {
namespace {

using Kind = Action::Kind;

// Two ranks, two blocks each, three microbatches, 1F1B.
PipelineProgram good(int sequence_chunks = 1) {
  const PipelineShape shape{.placement = place_blocks(std::vector<double>(4, 1.0), 2),
                            .num_microbatches = 3 * sequence_chunks,
                            .sequence_chunks = sequence_chunks};
  return make_pipeline_program(PipelineSchedule::kOneForwardOneBackward, shape);
}

size_t place_of(const Program& program, const Action& action) {
  const auto found = std::find(program.begin(), program.end(), action);
  EXPECT_NE(found, program.end()) << action.to_string();
  return static_cast<size_t>(found - program.begin());
}

void drop(Program& program, const Action& action) {
  program.erase(program.begin() + static_cast<std::ptrdiff_t>(place_of(program, action)));
}

void swap(Program& program, const Action& a, const Action& b) {
  std::swap(program[place_of(program, a)], program[place_of(program, b)]);
}

void expect_rejected(const PipelineProgram& program, const std::string& reason) {
  const std::string message = test::message_of<Error>([&] { verify_pipeline(program); });
  EXPECT_TRUE(test::contains(message, reason)) << "expected: " << reason << "\ngot: " << message;
}

const Action kSend1{Kind::kSendActivation, 1, 1, 1}, kSend2{Kind::kSendActivation, 2, 1, 1};
const Action kReceive1{Kind::kReceiveActivation, 1, 2, 0}, kReceive2{Kind::kReceiveActivation, 2, 2, 0};
const Action kGradient1{Kind::kSendGradient, 1, 2, 0};

TEST(Verifier, AcceptsWhatItShould) {
  verify_pipeline(good());
  verify_pipeline(good(4));
}

TEST(Verifier, DroppedActionsAreNamed) {
  PipelineProgram program = good();
  drop(program.ranks[0], kSend1);
  expect_rejected(program, "rank 0: what F(microbatch 1, block 1) makes is never sent");
  program = good();
  drop(program.ranks[1], kGradient1);
  expect_rejected(program, "rank 1: what B(microbatch 1, block 2) makes is never sent");
  program = good();
  drop(program.ranks[1], kReceive1);
  expect_rejected(program, "rank 1: F(microbatch 1, block 2) comes before its input from block 1 is received");
  program = good();
  drop(program.ranks[1], {Kind::kForward, 1, 2});
  expect_rejected(program, "rank 1: F(microbatch 1, block 3) comes before its input from block 2");
  program = good();
  drop(program.ranks[0], {Kind::kBackwardWeight, 2, 0});
  expect_rejected(program, "rank 0: the reduction comes before the last W");
  program = good();
  program.ranks[1].pop_back();
  expect_rejected(program, "rank 1: the program has no reduction");
  program = good();
  program.ranks.pop_back();
  expect_rejected(program, "1 programs for 2 pipeline ranks");
}

TEST(Verifier, SwappedActionsAreNamed) {
  PipelineProgram program = good();
  swap(program.ranks[0], {Kind::kForward, 1, 1}, kSend1);
  expect_rejected(program, "rank 0: SEND_ACTIVATION(microbatch 1, block 1, to rank 1) comes before what it sends is computed");
  program = good();
  swap(program.ranks[1], {Kind::kBackwardInput, 0, 3}, {Kind::kBackwardWeight, 0, 3});
  expect_rejected(program, "rank 1: W(microbatch 0, block 3) is out of order or doubled");
  program = good();
  swap(program.ranks[0], {Kind::kBackwardWeight, 0, 0}, {Kind::kBackwardWeight, 1, 0});
  expect_rejected(program, "rank 0: W(microbatch 1, block 0) is out of order");
}

TEST(Verifier, SumsInAnotherOrderAreNamed) {
  const PipelineShape shape{.placement = place_blocks({1, 1}, 2), .num_microbatches = 2};
  PipelineProgram program = make_pipeline_program(PipelineSchedule::kGPipe, shape);
  Program& last = program.ranks[1];
  drop(last, {Kind::kBackwardWeight, 0, 1});
  last.insert(last.end() - 1, {Kind::kBackwardWeight, 0, 1});
  expect_rejected(program,
                  "rank 1: W(microbatch 1, block 1) comes before W of microbatch 0: gradients would be "
                  "summed in another order");
}

TEST(Verifier, DoubledActionsAreNamed) {
  for (const auto& [rank, action] : std::vector<std::pair<size_t, Action>>{
           {0, kSend1}, {1, kReceive1}, {1, kGradient1}, {0, {Kind::kForward, 1, 0}}, {1, {Kind::kBackwardInput, 2, 3}}}) {
    PipelineProgram program = good();
    Program& own = program.ranks[rank];
    own.insert(own.begin() + static_cast<std::ptrdiff_t>(place_of(own, action)), action);
    expect_rejected(program, fmt::format("rank {}: {} is ", rank, action.to_string()));
    expect_rejected(program, "doubled");
  }
  PipelineProgram program = good();
  program.ranks[0].push_back({Kind::kReduce});
  expect_rejected(program, "rank 0: REDUCE comes after the reduction");
}

TEST(Verifier, WrongPeersAndBlocksAreNamed) {
  PipelineProgram program = good();
  program.ranks[0][place_of(program.ranks[0], kSend1)].peer = 0;
  expect_rejected(program,
                  "rank 0: SEND_ACTIVATION(microbatch 1, block 1, to rank 0) names a wrong peer: block 2 is on rank 1");
  program = good();
  program.ranks[0][place_of(program.ranks[0], {Kind::kForward, 0, 1})].block = 2;
  expect_rejected(program, "rank 0: F(microbatch 0, block 2) is of a block that rank 1 holds");
  program = good();
  program.ranks[0][place_of(program.ranks[0], kSend1)].block = 0;
  expect_rejected(program,
                  "rank 0: SEND_ACTIVATION(microbatch 1, block 0, to rank 1) is about block 1, which the "
                  "rank holds itself");
  program = good();
  program.ranks[1][place_of(program.ranks[1], kReceive1)].microbatch = 7;
  expect_rejected(program, "rank 1: RECEIVE_ACTIVATION(microbatch 7, block 2, from rank 0) is outside 3 microbatches");
  program = good();
  program.ranks[1].insert(program.ranks[1].begin(), {Kind::kReceiveGradient, 0, 3, 0});
  expect_rejected(program, "crosses the end of the model");
}

TEST(Verifier, ReorderedMessagesAreNamed) {
  const PipelineShape shape{.placement = place_blocks({1, 1}, 2), .num_microbatches = 3};
  PipelineProgram program = make_pipeline_program(PipelineSchedule::kGPipe, shape);
  // Both receives before either is read, so that the rank alone sees nothing wrong.
  Program& last = program.ranks[1];
  const Action first{Kind::kReceiveActivation, 1, 1, 0}, second{Kind::kReceiveActivation, 2, 1, 0};
  drop(last, second);
  last.insert(last.begin() + static_cast<std::ptrdiff_t>(place_of(last, first)), second);
  expect_rejected(program,
                  "rank 1: RECEIVE_ACTIVATION(microbatch 2, block 1, from rank 0) is out of order: it meets "
                  "SEND_ACTIVATION(microbatch 1, block 0, to rank 1) of rank 0");
}

TEST(Verifier, OrderOfMicrobatchesAndChunksIsHeldTo) {
  PipelineProgram program = good();
  for (Program& own : program.ranks) {
    for (Action& action : own) {
      if (action.kind == Kind::kReduce || action.microbatch == 0) continue;
      action.microbatch = 3 - action.microbatch;  // 1 and 2 change places
    }
  }
  expect_rejected(program, "rank 0: F(microbatch 2, block 0) comes before F of microbatch 1: out of the order of microbatches");
  program = good(2);
  for (Action& action : program.ranks[0]) {
    if (action.kind == Kind::kForward && action.microbatch < 2) action.microbatch = 1 - action.microbatch;
  }
  expect_rejected(program, "rank 0: F(microbatch 1, block 0) comes before F of microbatch 0: out of the order of chunks");
  // Backward in the order of a schedule without chunks.
  program = make_pipeline_program(PipelineSchedule::kGPipe, {.placement = single_rank_placement(1), .num_microbatches = 2});
  program.shape.sequence_chunks = 2;
  expect_rejected(program, "rank 0: B(microbatch 0, block 0) comes before B of microbatch 1, the next chunk of its sequence");
}

TEST(Verifier, DeadlocksAreNamed) {
  PipelineProgram program;
  const auto move_before = [&](size_t rank, const Action& action, const Action& before) {
    drop(program.ranks[rank], action);
    Program& own = program.ranks[rank];
    own.insert(own.begin() + static_cast<std::ptrdiff_t>(place_of(own, before)), action);
  };
  program = make_pipeline_program(PipelineSchedule::kGPipe, {.placement = place_blocks({1, 1}, 2), .num_microbatches = 2});
  // Rank 0 sends its second output only after it has got the first gradient; rank 1, by GPipe, wants both
  // first.
  const Action send{Kind::kSendActivation, 1, 0, 1};
  drop(program.ranks[0], send);
  program.ranks[0].insert(program.ranks[0].end() - 1, send);
  expect_rejected(program,
                  "deadlock with sends under way until they are received: rank 0 at B(microbatch 0, block 0), rank 1 at "
                  "F(microbatch 1, block 1)");
  // Both send before they post their receives: only a buffer helps.
  program = make_pipeline_program(PipelineSchedule::kOneForwardOneBackward,
                                  {.placement = place_blocks({1, 1}, 2), .num_microbatches = 2});
  move_before(0, {Kind::kReceiveGradient, 0, 0, 1}, {Kind::kReceiveGradient, 1, 0, 1});
  move_before(1, {Kind::kReceiveActivation, 1, 1, 0}, {Kind::kForward, 1, 1});
  expect_rejected(program,
                  "deadlock with sends that nothing buffers: rank 0 at SEND_ACTIVATION(microbatch 1, block "
                  "0, to rank 1), "
                  "rank 1 at SEND_GRADIENT(microbatch 0, block 1, to rank 0)");
}

TEST(Verifier, CountsReceivesThatAreNotYetRead) {
  PipelineProgram program = good();
  EXPECT_EQ(verify_pipeline(program).ranks[1].peak_receives, 1);
  Program& last = program.ranks[1];
  for (const Action& receive : {kReceive2, kReceive1}) {
    drop(last, receive);
    last.insert(last.begin() + 1, receive);
  }
  EXPECT_EQ(verify_pipeline(program).ranks[1].peak_receives, 3);
}

// Blocks 0 and 1 in one bucket of rank 0, blocks 2 and 3 in buckets of their own.
PipelineProgram with_sums(ReductionPlan::When when, int sequence_chunks = 1) {
  PipelineProgram program = good(sequence_chunks);
  program.shape.reductions = {.buckets = {{0, 2}, {2, 3}, {3, 4}}, .when = when};
  for (Program& own : program.ranks) own = with_reductions(own, program.shape);
  return program;
}

TEST(Verifier, SumsBeginInEverySchedule) {
  for (const PipelineSchedule schedule : kPipelineSchedules) {
    for (const int ranks : {1, 2, 4}) {
      for (const int sequence_chunks : {1, 2}) {
        for (const auto when : {ReductionPlan::When::kOnce, ReductionPlan::When::kEachMicrobatch}) {
          PipelineShape shape{.placement = place_blocks(std::vector<double>(4, 1.0), ranks),
                              .num_microbatches = 4,
                              .sequence_chunks = sequence_chunks};
          PipelineProgram program = make_pipeline_program(schedule, shape);
          for (int b = 0; b < 4; ++b) program.shape.reductions.buckets.push_back({b, b + 1});
          program.shape.reductions.when = when;
          size_t starts = 0;
          for (Program& own : program.ranks) {
            const size_t before = own.size();
            own = with_reductions(own, program.shape);
            starts += own.size() - before;
          }
          verify_pipeline(program);
          EXPECT_EQ(starts, when == ReductionPlan::When::kOnce ? 4u : 16u / static_cast<size_t>(sequence_chunks))
              << "whole sequences";
        }
      }
    }
  }
}

TEST(Verifier, SumsAtTheWrongTimeAreNamed) {
  using When = ReductionPlan::When;
  const Action start{Kind::kStartReduce, 2, 0}, weight{Kind::kBackwardWeight, 2, 0}, other{Kind::kStartReduce, 2, 3};
  verify_pipeline(with_sums(When::kOnce));
  verify_pipeline(with_sums(When::kEachMicrobatch, 2));
  PipelineProgram program = with_sums(When::kOnce);
  swap(program.ranks[0], start, weight);
  expect_rejected(program, "rank 0: START_REDUCE(microbatch 2, block 0) comes before W(microbatch 2, block 0)");
  program = with_sums(When::kOnce);
  drop(program.ranks[0], start);
  expect_rejected(program, "rank 0: 0 of 1 sums of blocks 0 to 1 are started");
  program = with_sums(When::kOnce);
  program.ranks[0].insert(program.ranks[0].end() - 1, start);
  expect_rejected(program, "rank 0: START_REDUCE(microbatch 2, block 0) is doubled");
  program = with_sums(When::kOnce);
  program.ranks[1][place_of(program.ranks[1], other)].microbatch = 1;
  expect_rejected(program, "rank 1: START_REDUCE(microbatch 1, block 3) comes before that of microbatch 2");
  program = with_sums(When::kOnce);
  program.ranks[0][place_of(program.ranks[0], start)].block = 1;
  expect_rejected(program, "rank 0: START_REDUCE(microbatch 2, block 1) is of no bucket of gradients");
  program = with_sums(When::kOnce);
  program.ranks[1].push_back(start);
  expect_rejected(program, "rank 1: START_REDUCE(microbatch 2, block 0) comes after the reduction");
  program = with_sums(When::kEachMicrobatch);
  drop(program.ranks[1], other);
  expect_rejected(program, "rank 1: 2 of 3 sums of blocks 3 to 3 are started");
  program = with_sums(When::kEachMicrobatch);
  swap(program.ranks[1], {Kind::kStartReduce, 0, 2}, {Kind::kStartReduce, 1, 2});
  expect_rejected(program, "rank 1: START_REDUCE(microbatch 1, block 2) comes before that of microbatch 0");
}

}  // namespace
}  // namespace longspan
