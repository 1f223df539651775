// A plan as its readers meet it: the map of a mesh, and what is said where something is not known.
#include "launcher/plan_text.h"

#include <gtest/gtest.h>

namespace longspan {
namespace {

TEST(PlanText, ShowsWhereRanksLie) {
  EXPECT_EQ(format_mesh_map(MeshMap({.data = 2, .context = 2, .tensor = 2}, equal_hosts(8, 4))),
            "mesh: pipeline 1 x data 2 x context 2 x tensor 2, 8 ranks on 2 hosts\n"
            "  host 0: ranks 0-3; data 0; context 0-1; tensor 0-1\n"
            "  host 1: ranks 4-7; data 1; context 0-1; tensor 0-1\n"
            "  data     2 ranks, across hosts\n"
            "  context  2 ranks, on one host\n"
            "  tensor   2 ranks, on one host\n");
  const std::string wide = format_mesh_map(MeshMap({.tensor = 4}, equal_hosts(4, 2)));
  EXPECT_NE(wide.find("tensor   4 ranks, across hosts, 2 neighbours on each: this axis moves most, lower mesh.tensor to 2\n"),
            std::string::npos) << wide;
  EXPECT_EQ(format_mesh_map(MeshMap({.context = 4}, {0, 1, 0, 1})),
            "mesh: pipeline 1 x data 1 x context 4 x tensor 1, 4 ranks on 2 hosts\n"
            "  host 0: ranks 0,2; context 0-1\n"
            "  host 1: ranks 1,3; context 2-3\n"
            "  context  4 ranks, across hosts, 2 neighbours on each\n");
}

// Neighbouring places need not be neighbours on an axis.
TEST(PlanText, NamesTheCoordinatesThatAHostHas) {
  const std::string text = format_mesh_map(MeshMap({.data = 2, .context = 3}, equal_hosts(6, 4)));
  EXPECT_NE(text.find("  host 1: ranks 4-5; data 1; context 1-2\n"), std::string::npos) << text;
  const std::string apart = format_mesh_map(MeshMap({.data = 3, .context = 3}, {0, 0, 1, 1, 2, 2, 2, 2, 3}));
  EXPECT_NE(apart.find("  host 1: ranks 2-3; data 0-1; context 0,2\n"), std::string::npos) << apart;
}

TEST(PlanText, IsShortForManyHosts) {
  const std::string text = format_mesh_map(MeshMap({.context = 1024}, equal_hosts(1024, 8)));
  EXPECT_NE(text.find("  ...\n  host 127: ranks 1016-1023; context 1016-1023\n"), std::string::npos) << text;
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 7);
  std::vector<int> dealt(1024);
  for (int rank = 0; rank < 1024; ++rank) dealt[static_cast<size_t>(rank)] = rank % 8;
  EXPECT_LT(format_mesh_map(MeshMap({.context = 1024}, dealt)).size(), 1000u) << "many runs of ranks are cut";
}

RunSpec small_run(const MeshShape& mesh) {
  RunSpec spec;
  spec.mesh = mesh;
  spec.data.sequence_length = 4096;
  spec.global_batch_sequences = 8;
  return spec;
}

std::string text_of(const RunSpec& spec, int64_t memory_bytes, const PlanRate& rate) {
  const PlanTarget target = {.host_of_rank = equal_hosts(spec.mesh.num_ranks(), 8), .memory_bytes = memory_bytes};
  return format_plan(spec, plan_step(spec, target), memory_bytes, rate);
}

TEST(PlanText, NamesTheSchedule) {
  RunSpec spec = small_run({.pipeline = 2});
  const auto says = [&](const std::string& text) {
    return text_of(spec, 0, {}).find("schedule: " + text + ", bubble ") != std::string::npos;
  };
  spec.pipeline.schedule = PipelineSchedule::kZeroBubble;
  EXPECT_TRUE(says("zero bubble (pipeline.schedule ZERO_BUBBLE), 8 microbatches"));
  spec.pipeline = {.schedule = PipelineSchedule::kOneForwardOneBackward, .sequence_chunks = 4};
  EXPECT_TRUE(says("1F1B (pipeline.schedule ONE_F_ONE_B), 8 microbatches of 4 chunks of their sequences"));
  spec.pipeline = {.schedule = PipelineSchedule::kInterleaved, .chunks_per_stage = 2};
  EXPECT_TRUE(says("interleaved (pipeline.schedule INTERLEAVED), 8 microbatches, 2 chunks of blocks a stage"));
}

TEST(PlanText, SaysWhatIsNotKnownAndInventsNothing) {
  const std::string text = text_of(small_run({}), 0, {});
  EXPECT_NE(text.find("together"), std::string::npos);
  EXPECT_NE(text.find("what there is, is not known"), std::string::npos) << text;
  EXPECT_NE(text.find("whether it fits is not known"), std::string::npos) << text;
  EXPECT_EQ(text.find("at least 0"), std::string::npos) << "no seconds without a rate";
  EXPECT_NE(text.find("sent by a rank in a step:\n  nothing\n"), std::string::npos) << text;
}

TEST(PlanText, DividesByTheRateThatItNames) {
  const RunSpec spec = small_run({.context = 2});
  const double flop = plan_step(spec, {.host_of_rank = {0, 0}}).critical_flop();
  const std::string text = text_of(spec, 1'000'000'000'000, {flop / 4, "a rate of tests"});
  EXPECT_NE(text.find("at least 4 s: "), std::string::npos) << text;
  EXPECT_NE(text.find("a rate of tests"), std::string::npos) << text;
  EXPECT_NE(text.find("fits; on this mesh sequences of up to "), std::string::npos) << text;
  EXPECT_NE(text.find("context    RING: keys, values and their gradients"), std::string::npos) << text;
}

TEST(PlanText, DrawsThePipeline) {
  const std::string text = text_of(small_run({.pipeline = 2}), 0, {});
  EXPECT_NE(text.find("schedule: 1F1B (pipeline.schedule ONE_F_ONE_B), 8 microbatches, bubble "), std::string::npos) << text;
  EXPECT_NE(text.find("  stage 0: embedding, layers 0-"), std::string::npos) << text;
  EXPECT_NE(text.find(", head; at most "), std::string::npos) << text;
  EXPECT_NE(text.find("\n  stage 1  "), std::string::npos) << text;
  EXPECT_EQ(text.find("bubble ", text.find("  stage 1  ")), std::string::npos) << "once: " << text;
  EXPECT_NE(text.find("pipeline   outputs and gradients between stages"), std::string::npos) << text;
}

}  // namespace
}  // namespace longspan
