// Schedules: every generated program is sound, keeps what it should, and waits as long as the literature
// says.
#include "parallel/pipeline/schedules.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "parallel/pipeline/simulation.h"
#include "parallel/pipeline/verifier.h"
#include "tests/parallel/comm_support.h"

namespace longspan {
namespace {

using Schedule = PipelineSchedule;

PipelineShape shape_of(int ranks, int chunks, int microbatches, int sequence_chunks = 1, int blocks_per_chunk = 1) {
  const std::vector<double> costs(static_cast<size_t>(ranks * chunks * blocks_per_chunk), 1.0);
  return {
      .placement = place_blocks(costs, ranks, chunks), .num_microbatches = microbatches, .sequence_chunks = sequence_chunks};
}

// Whether the schedule is defined, by the rules in the header.
bool defined(Schedule schedule, int ranks, int chunks, int microbatches, int sequence_chunks) {
  if (microbatches % sequence_chunks != 0) return false;
  if (schedule == Schedule::kGPipe) return true;
  if (schedule != Schedule::kInterleaved) return chunks == 1;
  const int group = (ranks + sequence_chunks - 1) / sequence_chunks * sequence_chunks;
  return chunks == 1 || microbatches % group == 0;
}

PipelineCosts uneven_costs(const PipelineShape& shape) {
  PipelineCosts costs{.blocks = {}, .seconds_per_message = 0.3};
  for (int b = 0; b < shape.placement.num_blocks(); ++b) {
    costs.blocks.push_back({1.0 + b % 3, 2.0 + b % 2, b % 4 == 1 ? 0.0 : 0.7});
  }
  return costs;
}

void expect_sound_over(int sequence_chunks) {
  for (Schedule schedule : kPipelineSchedules) {
    int num_sound = 0;
    for (int ranks = 1; ranks <= 8; ++ranks) {
      for (int chunks = 1; chunks <= 4; ++chunks) {
        for (int microbatches = 1; microbatches <= 32; ++microbatches) {
          const PipelineShape shape = shape_of(ranks, chunks, microbatches, sequence_chunks);
          const std::string what =
              fmt::format("{}: {} ranks, {} chunks, {} microbatches", name(schedule), ranks, chunks, microbatches);
          try {
            const PipelineProgram program = make_pipeline_program(schedule, shape);
            verify_pipeline(program);
            EXPECT_TRUE(defined(schedule, ranks, chunks, microbatches, sequence_chunks)) << what;
            ++num_sound;
          } catch (const Error& error) {
            EXPECT_EQ(error.kind(), ErrorKind::kConfiguration) << what << ": " << error.what();
            EXPECT_FALSE(defined(schedule, ranks, chunks, microbatches, sequence_chunks)) << what << ": " << error.what();
          }
        }
      }
    }
    EXPECT_GT(num_sound, 0);
  }
}

TEST(Schedules, AllAreSound) {
  expect_sound_over(1);
}
TEST(Schedules, AllAreSoundOverChunksOfSequences) {
  expect_sound_over(2);
  expect_sound_over(4);
}

TEST(Schedules, SoundWithUnevenBlocksAndCosts) {
  for (Schedule schedule : kPipelineSchedules) {
    for (int ranks : {1, 2, 3, 5}) {
      for (int microbatches : {5, 15, 30}) {
        PipelineShape shape = shape_of(ranks, 1, microbatches, 1, 3);
        shape.placement = place_blocks(std::vector<double>(static_cast<size_t>(3 * ranks + 2), 1.0), ranks);
        const PipelineCosts costs = uneven_costs(shape);
        verify_pipeline(make_pipeline_program(schedule, shape, costs), costs);
      }
    }
  }
  PipelineShape v = shape_of(4, 1, 8);
  v.placement = place_blocks(std::vector<double>(8, 1.0), 4, 2, ChunkOrder::kVShape);
  verify_pipeline(make_pipeline_program(Schedule::kGPipe, v));
}

TEST(Schedules, UndefinedOnesNameTheNearest) {
  const auto refusal = [](Schedule schedule, const PipelineShape& shape) {
    return test::message_of<Error>([&] { make_pipeline_program(schedule, shape); });
  };
  EXPECT_TRUE(test::contains(refusal(Schedule::kInterleaved, shape_of(4, 2, 9)), "multiple of 4 microbatches, not 9; use 8"));
  EXPECT_TRUE(test::contains(refusal(Schedule::kInterleaved, shape_of(4, 2, 1)), "use 4"));
  EXPECT_TRUE(test::contains(refusal(Schedule::kOneForwardOneBackward, shape_of(2, 2, 4)), "1 chunk a rank, not 2"));
  EXPECT_TRUE(test::contains(refusal(Schedule::kZeroBubble, shape_of(2, 3, 4)), "1 chunk a rank, not 3"));
  EXPECT_TRUE(test::contains(refusal(Schedule::kGPipe, shape_of(2, 1, 7, 4)), "use 8"));
  PipelineShape v = shape_of(2, 1, 4);
  v.placement = place_blocks(std::vector<double>(4, 1.0), 2, 2, ChunkOrder::kVShape);
  EXPECT_TRUE(test::contains(refusal(Schedule::kInterleaved, v), "chunk 2 is on rank 1; use rank 0"));
}

TEST(Schedules, OneRankDoesWhatASingleStageDoes) {
  EXPECT_EQ(make_pipeline_program(Schedule::kOneForwardOneBackward, shape_of(1, 1, 3, 1, 4)).ranks.front(),
            single_stage_program(3, 4));
}

// Of equal blocks, F = 1, B = 2, W = 1.5 and messages that take no time.
constexpr double kF = 1, kB = 2, kW = 1.5;

PipelineFacts facts_of(Schedule schedule, const PipelineShape& shape) {
  const PipelineCosts costs{.blocks = {{kF, kB, kW, 100}}};
  return verify_pipeline(make_pipeline_program(schedule, shape, costs), costs);
}

// The textbooks' (P - 1)(F + B + W), but for the W of a chunk's first block, which others need not wait for:
// a gradient leaves as soon as it is there.
TEST(Schedules, WaitAsLongAsTheyShould) {
  for (int p = 1; p <= 8; ++p) {
    for (int m : {p, 2 * p, 4 * p}) {
      for (int blocks : {1, 3}) {
        const double stage = blocks * (kF + kB + kW), waits = (p - 1) * (stage - kW);
        EXPECT_NEAR(facts_of(Schedule::kGPipe, shape_of(p, 1, m, 1, blocks)).makespan_seconds, m * stage + waits, 1e-9);
        const PipelineFacts facts = facts_of(Schedule::kOneForwardOneBackward, shape_of(p, 1, m, 1, blocks));
        EXPECT_NEAR(facts.makespan_seconds, m * stage + waits, 1e-9);
        EXPECT_NEAR(facts.bubble, waits / (m * stage + waits), 1e-9);
        for (int chunks = 2; chunks <= 4; ++chunks) {  // each as large as a whole stage above
          const PipelineFacts interleaved = facts_of(Schedule::kInterleaved, shape_of(p, chunks, m, 1, blocks));
          EXPECT_NEAR(interleaved.makespan_seconds, m * chunks * stage + waits, 1e-9);
        }
      }
    }
  }
}

// Only the way to the last rank and back is waited for, once.
TEST(Schedules, ForwardsAloneKeepAllRanksBusy) {
  for (int ranks = 1; ranks <= 8; ++ranks) {
    for (int chunks = 1; chunks <= 4; ++chunks) {
      for (int microbatches = 1; microbatches <= 32; ++microbatches) {
        const PipelineShape shape = shape_of(ranks, chunks, microbatches);
        const PipelineProgram program = make_forward_program(shape);
        const std::string what = fmt::format("{} ranks, {} chunks, {} microbatches", ranks, chunks, microbatches);
        EXPECT_TRUE(simulate(program, {}, SendMode::kRendezvous).finished) << what;
        PipelineCosts costs{.blocks = {}};
        for (int b = 0; b < shape.placement.num_blocks(); ++b) costs.blocks.push_back({1, 1, 1});
        const Simulation done = simulate(program, costs, SendMode::kAsynchronous);
        ASSERT_TRUE(done.finished) << what;
        EXPECT_EQ(done.busy_seconds(0), chunks * microbatches) << what;
        if (microbatches % ranks == 0 || chunks == 1) {
          EXPECT_EQ(done.makespan_seconds, chunks * microbatches + ranks - 1) << what;
        }
      }
    }
  }
}

TEST(Schedules, ZeroBubbleFillsTheBubbleWithW) {
  // With W no longer than F, else the stashes of 1F1B are too few for it.
  for (const BlockCosts& cost : {BlockCosts{1, 1, 1}, BlockCosts{1.5, 2, 1}, BlockCosts{1, 2, 0.5}}) {
    for (int p = 1; p <= 8; ++p) {
      for (int m : {2 * p, 4 * p}) {
        const PipelineShape shape = shape_of(p, 1, m);
        const double seconds =
            verify_pipeline(make_pipeline_program(Schedule::kZeroBubble, shape, {.blocks = {cost}}), {.blocks = {cost}})
                .makespan_seconds;
        const double f = cost.forward_seconds, b = cost.backward_input_seconds, w = cost.backward_weight_seconds;
        EXPECT_LE(seconds, m * (f + b + w) + (p - 1) * (f + b - w) + 1e-9) << p << " ranks, " << m;  // Qi et al. 2024, table 2
      }
    }
  }
}

TEST(Schedules, ZeroBubbleIsNeverSlowerThanOneForwardOneBackward) {
  for (int ranks = 1; ranks <= 8; ++ranks) {
    for (int microbatches = 1; microbatches <= 16; ++microbatches) {
      const PipelineShape shape = shape_of(ranks, 1, microbatches, 1, 3);
      const PipelineCosts costs = uneven_costs(shape);
      const auto seconds = [&](Schedule s) {
        return verify_pipeline(make_pipeline_program(s, shape, costs), costs).makespan_seconds;
      };
      EXPECT_LE(seconds(Schedule::kZeroBubble), seconds(Schedule::kOneForwardOneBackward) + 1e-9);
    }
  }
}

// Planned for equal blocks; measured, no two are.
TEST(Schedules, ZeroBubbleIsPlannedAgainByOtherCosts) {
  int num_faster = 0;
  for (int ranks = 2; ranks <= 6; ++ranks) {
    for (int microbatches : {1, ranks, 3 * ranks}) {
      const PipelineShape shape = shape_of(ranks, 1, microbatches, 1, 3);
      const PipelineCosts equal{.blocks = {{1, 1, 1, 100}}};
      const PipelineProgram planned = make_pipeline_program(Schedule::kZeroBubble, shape, equal);
      EXPECT_EQ(replan_zero_bubble(planned, equal).program.ranks, planned.ranks) << "was the fastest already";
      PipelineCosts measured{.blocks = {}};
      for (int b = 0; b < 3 * ranks; ++b) {
        measured.blocks.push_back({0.5 + b * 7 % 11 * 0.1, 0.5 + b * 5 % 13 * 0.15, b * 3 % 7 * 0.15, 100});
      }
      const Replanned again = replan_zero_bubble(planned, measured);
      const PipelineFacts before = verify_pipeline(planned, measured), after = verify_pipeline(again.program, measured);
      EXPECT_EQ(again.bubble_before, before.bubble);
      EXPECT_EQ(again.bubble, after.bubble);
      EXPECT_LE(after.makespan_seconds, before.makespan_seconds);
      num_faster += after.makespan_seconds < 0.99 * before.makespan_seconds;
      for (size_t r = 0; r < before.ranks.size(); ++r) {
        EXPECT_LE(after.ranks[r].peak_stash_bytes, before.ranks[r].peak_stash_bytes) << ranks << " ranks, on rank " << r;
      }
    }
  }
  EXPECT_GE(num_faster, 3);
}

TEST(Schedules, KeepAsManyStashesAsTheyShould) {
  for (int p = 1; p <= 8; ++p) {
    for (int n : {1, 2, 4}) {
      const int m = 8 * n, blocks = 2;
      const auto peak = [&](Schedule schedule, int rank) {
        const RankFacts facts = facts_of(schedule, shape_of(p, 1, m, n, blocks)).ranks[static_cast<size_t>(rank)];
        EXPECT_EQ(facts.peak_stash_bytes, 100 * facts.peak_stashes);
        return facts.peak_stashes;
      };
      for (int rank = 0; rank < p; ++rank) {
        EXPECT_EQ(peak(Schedule::kGPipe, rank), blocks * m);
        EXPECT_EQ(peak(Schedule::kOneForwardOneBackward, rank), blocks * std::min(m, p - 1 - rank + n));
        EXPECT_LE(peak(Schedule::kZeroBubble, rank), blocks * (p - 1 + n));
      }
    }
  }
}

TEST(Schedules, ChunksOfOneSequenceKeepLessAndWaitLess) {
  // One sequence, whole or in 8 chunks that cost an eighth each.
  const auto facts = [](int n) {
    const PipelineCosts costs{.blocks = {{kF / n, kB / n, kW / n, 800 / n}}};
    return verify_pipeline(make_pipeline_program(Schedule::kOneForwardOneBackward, shape_of(4, 1, 2 * n, n), costs), costs);
  };
  const PipelineFacts whole = facts(1), chunked = facts(8);
  EXPECT_LT(chunked.makespan_seconds, 0.7 * whole.makespan_seconds);
  EXPECT_LT(chunked.ranks[0].peak_stash_bytes, whole.ranks[0].peak_stash_bytes);
}

TEST(Schedules, MoveOneMessageEachWayForEachMicrobatchAndBoundary) {
  const int p = 4, v = 2, m = 8;
  const PipelineShape shape = shape_of(p, v, m);
  const PipelineCosts costs{.message_bytes = {10}};
  const PipelineFacts facts = verify_pipeline(make_pipeline_program(Schedule::kInterleaved, shape, costs), costs);
  int64_t bytes = 0;
  for (const RankFacts& rank : facts.ranks) {
    EXPECT_EQ(rank.bytes_sent, 10 * rank.messages_sent);
    EXPECT_EQ(rank.bytes_received, 10 * rank.messages_received);
    bytes += rank.bytes_sent;
  }
  EXPECT_EQ(bytes, 10 * 2 * m * (p * v - 1));
}

}  // namespace
}  // namespace longspan
