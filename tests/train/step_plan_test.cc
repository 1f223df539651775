// What a plan says of a step, against the step: bytes that ranks send, parameters that they hold, operations; and what it answers
// for worlds that are not here.
#include "train/plan/step_plan.h"

#include <gtest/gtest.h>

#include <map>

#include "core/base/error.h"
#include "core/nn/parameter.h"
#include "tests/train/history.h"
#include "train/plan/held_parameters.h"

namespace longspan::test {
namespace {

using namespace history;

RunSpec even_run(const Folder& folder, const MeshShape& mesh) {
  RunSpec spec = small_run(folder, "");
  spec.output_directory = "";
  spec.data.sequence_length = 96;
  spec.mesh = mesh;
  spec.num_steps = 1;
  return spec;
}

PlanTarget target_of(const RunSpec& spec, int per_host = 8) {
  return {.host_of_rank = equal_hosts(spec.mesh.num_ranks(), per_host)};
}

double planned(const StepPlan& plan, const std::string& group) {
  double bytes = 0;
  for (const Traffic& traffic : plan.traffic) bytes += traffic.group == group ? traffic.bytes : 0;
  return bytes;
}

// What a rank sends in a run, by group; what it hands to sums of a group, and the elements that it holds.
struct Seen {
  std::map<std::string, double> sent, summed;
  int64_t parameters = 0;
};
std::vector<Seen> seen_by_ranks(const RunSpec& spec) {
  struct Elements final : TrainObserver {
    void on_gradients(const Context&, int64_t, const ParameterSet& parameters) override { count = parameters.num_elements(); }
    int64_t count = 0;
  };
  std::vector<Seen> seen_by(static_cast<size_t>(spec.mesh.num_ranks()));
  run_in_process(spec.mesh.num_ranks(), [&](Communicator& plain) {
    const auto log = std::make_shared<CommLog>();
    const auto world = make_recording_communicator(plain, log);
    Elements elements;
    train(spec, *world, {}, elements, [] { return false; });
    Seen& seen = seen_by[static_cast<size_t>(plain.rank())];
    seen.parameters = elements.count;
    for (const CommRecord& record : log->records()) {
      const auto bytes = static_cast<double>(record.bytes_sent);
      if (record.kind == CommRecord::Kind::kSendRecvPosted) seen.sent[record.what] += bytes;
      if (record.kind == CommRecord::Kind::kAllReduce) seen.summed[record.what] += bytes;
    }
  });
  return seen_by;
}
Seen seen_in_run(const RunSpec& spec) { return seen_by_ranks(spec).front(); }

constexpr const char* kHeldAlike = "gradients of what ranks hold alike, summed";
double planned_alike(const std::vector<Traffic>& traffic) {
  double bytes = 0;
  for (const Traffic& t : traffic) bytes += t.what == kHeldAlike ? t.bytes : 0;
  return bytes;
}

// Of each rank's bytes in a sum of all of `ranks`, a ring sends as many.
double ring_sum(int ranks) { return 2.0 * (ranks - 1) / ranks; }

TEST(StepPlan, BytesAreThoseOfAStep) {
  const Folder folder;
  for (const MeshShape& mesh : {MeshShape{.context = 2}, MeshShape{.context = 4}, MeshShape{.tensor = 2}, MeshShape{.tensor = 4},
                                MeshShape{.data = 2, .context = 2, .tensor = 2}}) {
    for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
      SCOPED_TRACE(fmt::format("{} {}", mesh.to_string(), name(dtype)));
      RunSpec spec = even_run(folder, mesh);
      spec.compute_dtype = dtype;
      spec.model.qk_norm = ModelSpec::QkNorm::kYes;
      spec.model.bias = ModelSpec::Bias::kQkv;
      const StepPlan plan = plan_step(spec, target_of(spec));
      const Seen seen = seen_in_run(spec);
      EXPECT_EQ(parameters_held(spec.model, {0, 1, 2, 3}, mesh.tensor, 0), seen.parameters);
      EXPECT_DOUBLE_EQ(planned(plan, "context"), seen.sent.contains("context") ? seen.sent.at("context") : 0);
      // Of the head's softmax, three numbers a token go in a collective.
      const double rows = 96.0 / mesh.context * static_cast<double>(spec.global_batch_sequences) / mesh.data;
      const double softmax = (mesh.tensor - 1) * 3 * rows * sizeof(float);
      const double collectives = softmax + planned_alike(plan.traffic);
      EXPECT_DOUBLE_EQ(planned(plan, "tensor"), mesh.tensor == 1 ? 0 : seen.sent.at("tensor") + collectives);
      const double ranks = mesh.data * mesh.context;
      if (ranks == 1) continue;
      EXPECT_NEAR(planned(plan, "replicas"), seen.sent.at("replicas"), 2000) << "but for gaps";
    }
  }
}

// Sums that are collectives, on every rank of pipelines and of tensor axes that hold key heads twice: with buckets of one block
// and with one of all, where gradients are shared or not.
TEST(StepPlan, SumsOfWhatIsHeldTwiceAreThoseOfAStep) {
  const Folder folder;
  for (const MeshShape& mesh : {MeshShape{.tensor = 4}, MeshShape{.data = 2, .tensor = 2}, MeshShape{.pipeline = 2},
                                MeshShape{.pipeline = 2, .context = 2, .tensor = 2}, MeshShape{.pipeline = 3, .data = 2}}) {
    for (const auto sharding : {RunSpec::Sharding::kNone, RunSpec::Sharding::kGradients}) {
      for (const int64_t bucket_elements : {int64_t{1}, StateShare{}.bucket_elements}) {
        SCOPED_TRACE(fmt::format("{}, state {}, {}", mesh.to_string(), static_cast<int>(sharding), bucket_elements));
        RunSpec spec = even_run(folder, mesh);
        spec.model.num_kv_heads = 1;
        spec.model.qk_norm = ModelSpec::QkNorm::kYes;
        spec.model.bias = ModelSpec::Bias::kQkv;
        spec.model.tie_embeddings = ModelSpec::Tie::kYes;
        spec.sharding = sharding;
        spec.bucket_elements = bucket_elements;
        const StepPlan plan = plan_step(spec, target_of(spec));
        const std::vector<Seen> seen_by = seen_by_ranks(spec);
        for (int rank = 0; rank < mesh.num_ranks(); ++rank) {
          const int stage = plan.map.coordinate_of(rank, Axis::kPipeline);
          const std::vector<Traffic> traffic = traffic_of(spec, plan.pipeline.program.shape.placement.blocks_of(stage), 0);
          const Seen& seen = seen_by[static_cast<size_t>(rank)];
          const auto summed = [&](const char* group) { return seen.summed.contains(group) ? seen.summed.at(group) : 0; };
          // Beside gradients, the ranks of a tensor axis agree on four numbers of a step, and on its norm if they have all parts.
          const double numbers = mesh.pipeline > 1 ? 4 : 5;
          const double alike = mesh.tensor > 1 ? summed("tensor") - numbers * sizeof(double) : 0;
          EXPECT_DOUBLE_EQ(planned_alike(traffic), ring_sum(mesh.tensor) * alike) << "stage " << stage;
        }
      }
    }
  }
}

TEST(StepPlan, SharedStateMovesPiecesAndValues) {
  const Folder folder;
  RunSpec spec = even_run(folder, {.data = 4});
  spec.sharding = RunSpec::Sharding::kOptimizer;
  spec.compute_dtype = DType::kBFloat16;
  // Weights are gathered once before the first step, too.
  const auto sent_in_second_step = [](RunSpec run) {
    const double one = seen_in_run(run).sent.at("replicas");
    run.num_steps = 2;
    return seen_in_run(run).sent.at("replicas") - one;
  };
  const StepPlan plan = plan_step(spec, target_of(spec));
  EXPECT_NEAR(planned(plan, "replicas"), sent_in_second_step(spec), 2000) << "but for gaps between parameters";
  RunSpec gradients = spec;
  gradients.sharding = RunSpec::Sharding::kGradients;
  gradients.global_batch_sequences *= 2;
  EXPECT_NEAR(planned(plan_step(gradients, target_of(gradients)), "replicas"), sent_in_second_step(gradients), 4000);
  ASSERT_EQ(plan.traffic.size(), 2u);
  EXPECT_DOUBLE_EQ(plan.traffic[0].bytes, 2 * plan.traffic[1].bytes) << "sums in fp32, values in bf16";
}

RunSpec large_run(const MeshShape& mesh) {
  RunSpec spec;
  spec.model = {.vocabulary_size = 128256, .hidden_size = 4096, .num_layers = 32, .num_heads = 32, .num_kv_heads = 8,
                .head_dim = 128, .mlp_size = 14336,
                .rope = {}};
  spec.compute_dtype = DType::kBFloat16;
  spec.data.sequence_length = 1 << 20;
  spec.mesh = mesh;
  spec.global_batch_sequences = 16;
  return spec;
}

TEST(StepPlan, WorkAddsUp) {
  for (const MeshShape& mesh : {MeshShape{}, MeshShape{.context = 8}, MeshShape{.data = 2, .context = 4, .tensor = 2}}) {
    RunSpec spec = large_run(mesh);
    spec.data.sequence_length = 1 << 16;
    const StepPlan plan = plan_step(spec, target_of(spec));
    EXPECT_NEAR(plan.critical_flop() * mesh.num_ranks() / plan.step_flop, 1, 1e-3) << "zigzag is even";
    EXPECT_NEAR(plan.imbalance, 1, 1e-3);
    EXPECT_DOUBLE_EQ(plan.pipeline.facts.bubble, 0);
  }
  RunSpec uneven = large_run({.context = 8});
  uneven.layout = LayoutType::kContiguous;
  EXPECT_NEAR(plan_step(uneven, target_of(uneven)).imbalance, 15.0 / 8, 1e-3) << "the last of eight shares";
}

TEST(StepPlan, AnswersForWorldsThatAreNotHere) {
  RunSpec spec = large_run({.pipeline = 4, .data = 2, .context = 16, .tensor = 8});
  PlanTarget target = target_of(spec);
  target.processor.device = DeviceType::kCuda;
  target.memory_bytes = 80'000'000'000;
  const StepPlan plan = plan_step(spec, target);
  EXPECT_EQ(plan.map.num_hosts(), 128);
  EXPECT_TRUE(plan.map.stays_on_host(Axis::kTensor));
  EXPECT_EQ(plan.map.ranks_per_host(Axis::kContext), 1);
  const Placement& placement = plan.pipeline.program.shape.placement;
  EXPECT_EQ(placement.num_blocks(), 34);
  for (int stage = 0; stage < 4; ++stage) EXPECT_NEAR(static_cast<double>(placement.blocks_of(stage).size()), 8.5, 1.5) << stage;
  EXPECT_GT(plan.pipeline.facts.bubble, 0);
  EXPECT_EQ(plan.pipeline.facts.ranks.size(), 4u);
  EXPECT_GT(planned(plan, "pipeline"), 0);
}

TEST(StepPlan, ChunksOfASequenceMakeTheBubbleSmaller) {
  RunSpec spec = large_run({.pipeline = 4});
  spec.global_batch_sequences = 1;
  PlanTarget target = target_of(spec);
  const StepPlan whole = plan_step(spec, target);
  EXPECT_GT(whole.pipeline.facts.bubble, 0.7);
  spec.pipeline.sequence_chunks = 8;
  const StepPlan chunks = plan_step(spec, target);
  EXPECT_LT(chunks.pipeline.facts.bubble, 0.6);
  EXPECT_LT(chunks.critical_flop(), whole.critical_flop());
}

TEST(StepPlan, SaysWhatDoesNotFit) {
  RunSpec spec = large_run({.context = 8});
  PlanTarget target = target_of(spec);
  target.memory_bytes = 1'000'000'000;
  EXPECT_NE(plan_step(spec, target).problem.find("of the model need at least"), std::string::npos);
  EXPECT_EQ(plan_step(spec, target).longest_sequence, 0);
  target.memory_bytes = 400'000'000'000;
  const StepPlan plan = plan_step(spec, target);
  EXPECT_NE(plan.problem.find("lower data.sequence_length to at most"), std::string::npos) << plan.problem;
  ASSERT_GT(plan.longest_sequence, 0);
  spec.data.sequence_length = plan.longest_sequence;
  EXPECT_EQ(plan_step(spec, target).problem, "");
  ++spec.data.sequence_length;
  EXPECT_NE(plan_step(spec, target).problem, "");
  target.memory_bytes = 0;
  EXPECT_EQ(plan_step(spec, target).problem, "") << "nothing is known";
}

// One rank, which has more pairs of queries and keys than 64 bits count.
TEST(StepPlan, LongSequencesDoNotOverflow) {
  for (const LayoutType layout : {LayoutType::kZigzag, LayoutType::kArea}) {
    for (const int ranks : {1, 2}) {
      RunSpec spec = large_run({.context = ranks});
      spec.layout = layout;
      spec.data.sequence_length = int64_t{1} << 32;
      const double half = plan_step(spec, target_of(spec)).step_flop;
      spec.data.sequence_length *= 2;
      const StepPlan plan = plan_step(spec, target_of(spec));
      EXPECT_NEAR(plan.step_flop / half, 4, 1e-3);
      EXPECT_NEAR(plan.critical_flop() * ranks / plan.step_flop, 1, 1e-3);
      EXPECT_NEAR(plan.imbalance, 1, 1e-6);
      EXPECT_EQ(plan.idle_ranks, 0);
      for (const Traffic& traffic : plan.traffic) EXPECT_GT(traffic.bytes, 0) << traffic.what;
      EXPECT_GT(plan.pipeline.facts.ranks.front().peak_stash_bytes, 0);
    }
  }
  RunSpec endless = large_run({});
  endless.data.sequence_length = int64_t{1} << 40;
  endless.micro_batch_sequences = endless.global_batch_sequences = 1 << 20;
  try {
    plan_step(endless, target_of(endless));
    FAIL() << "its stashes have more bytes than can be counted";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("more bytes in a step than 64 bits count"), std::string::npos) << error.what();
  }
}

TEST(StepPlan, RefusesWhatTrainingRefuses) {
  const RunSpec spec = large_run({.tensor = 33});
  try {
    plan_step(spec, target_of(spec));
    FAIL() << "33 ranks share 32 heads";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kConfiguration);
    EXPECT_NE(std::string(error.what()).find("the nearest that works is 32"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace longspan::test
