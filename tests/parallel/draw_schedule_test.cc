// Schedules as text.
#include "parallel/pipeline/draw_schedule.h"

#include <gtest/gtest.h>

#include "parallel/pipeline/schedules.h"
#include "tests/parallel/comm_support.h"

namespace longspan {
namespace {

TEST(DrawSchedule, ShowsWhoDoesWhatWhen) {
  const PipelineShape shape{.placement = place_blocks({1, 1}, 2), .num_microbatches = 2};
  const PipelineCosts costs{.blocks = {{1, 1, 1, 10}}, .message_bytes = {8}};
  EXPECT_EQ(draw_schedule(make_pipeline_program(PipelineSchedule::kOneForwardOneBackward, shape, costs), costs),
            "stage 0  F0F1..B0  ..B1    waits 25.0 %\n"
            "stage 1  ..F0B0  F1B1  ..  waits 25.0 %\n"
            "bubble 25.0 %, 8 s\n"
            "stage 0  at most 2 stashes (20 bytes), sends 2 messages (16 bytes)\n"
            "stage 1  at most 1 stashes (10 bytes), sends 2 messages (16 bytes)\n");
  EXPECT_EQ(
      draw_schedule(make_pipeline_program(PipelineSchedule::kGPipe, shape, costs), costs, {.max_columns = 6}).substr(0, 36),
      "stage 0  F0F1.....  waits 25.0 %\nsta");
}

TEST(DrawSchedule, ShowsWApartWhereItIs) {
  const PipelineShape shape{.placement = place_blocks({1, 1, 1, 1}, 2), .num_microbatches = 4};
  const PipelineCosts costs;
  const std::string text = draw_schedule(make_pipeline_program(PipelineSchedule::kZeroBubble, shape, costs), costs);
  EXPECT_TRUE(test::contains(text, "W0")) << text;
}

TEST(DrawSchedule, NamesChunksOfModelsAndSequences) {
  const PipelineShape interleaved{.placement = place_blocks({1, 1, 1, 1}, 2, 2), .num_microbatches = 2};
  const std::string chunks = draw_schedule(make_pipeline_program(PipelineSchedule::kInterleaved, interleaved), {});
  EXPECT_TRUE(test::contains(chunks, "F0.0F1.0F0.2F1.2")) << chunks;
  const PipelineShape sequences{.placement = place_blocks({1, 1}, 2), .num_microbatches = 4, .sequence_chunks = 2};
  const std::string text = draw_schedule(make_pipeline_program(PipelineSchedule::kOneForwardOneBackward, sequences), {});
  EXPECT_TRUE(test::contains(text, "F0:0F0:1B0:1")) << text;
}

}  // namespace
}  // namespace longspan
