// Ranks dealt to hosts in any order: they take other places in the mesh, and every place does what it did.
#include <gtest/gtest.h>

#include "tests/train/history.h"
#include "train/verify.h"

namespace longspan::test {
namespace {

using namespace history;

// Every rank of eight on a host.
const std::vector<int> kOneHost(8, 0), kInTurn = {0, 1, 0, 1, 0, 1, 0, 1}, kUneven = {1, 0, 0, 1, 0, 0, 0, 1};

struct Steps {
  std::vector<double> losses, gradient_norms;
};

Steps run_on(const RunSpec& spec, const std::vector<int>& hosts) {
  struct Norms final : TrainObserver {
    void on_step(const StepReport& r) override {
      run.losses.push_back(r.loss);
      run.gradient_norms.push_back(r.grad_norm);
    }
    Steps run;
  };
  Steps result;
  run_in_process(spec.mesh.num_ranks(), [&](Communicator& world) {
    world.place_on_hosts(hosts);
    Norms norms;
    train(spec, world, {}, norms, [] { return false; });
    if (world.rank() == 0) result = norms.run;
  });
  return result;
}

TEST(Hosts, ChangeNoBitOfARun) {
  const Folder folder;
  for (const MeshShape& mesh :
       {MeshShape{.context = 8}, MeshShape{.data = 4, .context = 2}, MeshShape{.data = 2, .context = 2, .tensor = 2}}) {
    for (const auto sharding : {RunSpec::Sharding::kNone, RunSpec::Sharding::kOptimizer}) {
      SCOPED_TRACE(mesh.to_string());
      RunSpec spec = small_run(folder, "");
      spec.output_directory = "";
      spec.mesh = mesh;
      spec.sharding = sharding;
      spec.num_steps = 4;
      const Steps one_host = run_on(spec, kOneHost);
      ASSERT_EQ(one_host.losses.size(), 4u);
      for (const std::vector<int>& hosts : {kInTurn, kUneven}) {
        const Steps run = run_on(spec, hosts);
        EXPECT_EQ(run.losses, one_host.losses);
        EXPECT_EQ(run.gradient_norms, one_host.gradient_norms);
      }
    }
  }
}

// Both copies of a tied table are summed between the stages, wherever these are.
TEST(Hosts, ChangeNoBitOfAPipelineWithATiedTable) {
  const Folder folder;
  for (const MeshShape& mesh : {MeshShape{.pipeline = 4, .data = 2}, MeshShape{.pipeline = 2, .data = 2, .tensor = 2}}) {
    for (const auto sharding : {RunSpec::Sharding::kNone, RunSpec::Sharding::kOptimizer, RunSpec::Sharding::kGradients,
                                RunSpec::Sharding::kWeights}) {
      SCOPED_TRACE(fmt::format("{}, state {}", mesh.to_string(), static_cast<int>(sharding)));
      RunSpec spec = small_run(folder, "");
      spec.output_directory = "";
      spec.model.tie_embeddings = ModelSpec::Tie::kYes;
      spec.data.sequence_length = 41;
      spec.mesh = mesh;
      spec.sharding = sharding;
      spec.bucket_elements = 3000;
      spec.num_steps = 3;
      const Steps one_host = run_on(spec, kOneHost);
      ASSERT_EQ(one_host.losses.size(), 3u);
      for (const std::vector<int>& hosts : {kInTurn, kUneven}) {
        const Steps run = run_on(spec, hosts);
        EXPECT_EQ(run.losses, one_host.losses);
        EXPECT_EQ(run.gradient_norms, one_host.gradient_norms);
      }
    }
  }
}

TEST(Hosts, MayChangeBetweenCheckpoints) {
  const Folder folder;
  for (const auto sharding : {RunSpec::Sharding::kNone, RunSpec::Sharding::kOptimizer}) {
    RunSpec spec = small_run(folder, "");
    spec.output_directory = "";
    spec.mesh = {.data = 2, .context = 2, .tensor = 2};
    spec.sharding = sharding;
    spec.optimizer.schedule = ScheduleType::kConstant;
    spec.num_steps = 4;
    const std::vector<double> whole = run_on(spec, kOneHost).losses;
    spec.output_directory = folder / (sharding == RunSpec::Sharding::kNone ? "all" : "shared");
    spec.num_steps = 2;
    std::vector<double> losses = run_on(spec, kInTurn).losses;
    spec.num_steps = 4;
    const std::vector<double> rest = run_on(spec, kUneven).losses;
    losses.insert(losses.end(), rest.begin(), rest.end());
    EXPECT_EQ(losses, whole);
  }
}

TEST(Hosts, AreKnownToTheComparisonWithOneRank) {
  const Folder folder;
  RunSpec spec = small_run(folder, "");
  spec.output_directory = "";
  spec.mesh = {.data = 2, .context = 4};
  spec.num_steps = 1;
  const OneRank one_rank(spec, DType::kFloat64, {});
  for (const std::vector<int>& hosts : {kInTurn, kUneven}) {
    run_in_process(8, [&](Communicator& world) {
      world.place_on_hosts(hosts);
      const VerifyReport report = one_rank.compare(world, {});
      EXPECT_EQ(report.difference, "");
      EXPECT_GT(report.num_tensors, 20);
    });
  }
}

}  // namespace
}  // namespace longspan::test
