// Whole runs on meshes with a tensor axis: the steps of one rank, alone and with other axes, and checkpoints that every mesh
// reads.
#include <gtest/gtest.h>

#include "tests/train/history.h"
#include "train/checkpoint.h"

namespace longspan::test {
namespace {

using namespace history;

RunSpec double_run(const Folder& folder, const std::string& output, MeshShape mesh) {
  RunSpec spec = small_run(folder, output);
  if (output.empty()) spec.output_directory = "";
  spec.compute_dtype = DType::kFloat64;
  spec.mesh = mesh;
  spec.num_steps = 5;
  return spec;
}

History run_on_mesh(const RunSpec& spec, int stop_after = 0) {
  History result;
  run_in_process(spec.mesh.num_ranks(), [&](Communicator& world) {
    Collect collect;
    const bool asked = world.rank() + 1 == world.size();  // one rank's wish stops all
    const auto stop = [&] { return asked && stop_after > 0 && static_cast<int>(collect.losses.size()) + 1 >= stop_after; };
    const TrainOutcome outcome = train(spec, world, {}, collect, stop);
    if (world.rank() == 0) result = {outcome, collect.losses, collect.evaluations, collect.notes};
  });
  return result;
}

void expect_near(const std::vector<double>& got, const std::vector<double>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-11 * want[i]) << "step " << i + 1;
}

// The norm clips in every step, so it is that of the whole model, each element once.
TEST(TensorRun, EveryMeshTakesTheStepsOfOneRank) {
  const Folder folder;
  for (const bool tied : {false, true}) {
    const auto with = [&](MeshShape mesh) {
      RunSpec spec = double_run(folder, "", mesh);
      spec.optimizer.gradient_clip = 0.1;
      spec.model.qk_norm = ModelSpec::QkNorm::kYes;
      spec.model.bias = ModelSpec::Bias::kQkv;
      if (tied) spec.model.tie_embeddings = ModelSpec::Tie::kYes;
      return spec;
    };
    const std::vector<double> one = run_on_mesh(with({})).losses;
    ASSERT_EQ(one.size(), 5u);
    for (const MeshShape& mesh : {MeshShape{.tensor = 2}, MeshShape{.tensor = 3}, MeshShape{.tensor = 4},
                                  MeshShape{.context = 2, .tensor = 2}, MeshShape{.data = 2, .context = 2, .tensor = 2}}) {
      SCOPED_TRACE(mesh.to_string());
      expect_near(run_on_mesh(with(mesh)).losses, one);
      RunSpec sharing = with(mesh);
      sharing.sharding = RunSpec::Sharding::kOptimizer;
      expect_near(run_on_mesh(sharing).losses, one);
    }
  }
}

TEST(TensorRun, CheckpointsGoFromMeshToMesh) {
  const Folder folder;
  const std::vector<double> whole = run_on_mesh(double_run(folder, "", {})).losses;
  const MeshShape meshes[] = {
      {}, {.tensor = 2}, {.tensor = 3}, {.data = 2, .tensor = 4}, {.context = 3}, {.context = 2, .tensor = 2}};
  for (size_t i = 0; i + 1 < std::size(meshes); ++i) {
    SCOPED_TRACE(meshes[i].to_string() + " to " + meshes[i + 1].to_string());
    RunSpec first = double_run(folder, fmt::format("run_{}", i), meshes[i]);
    if (i % 2 == 1) first.sharding = RunSpec::Sharding::kOptimizer;
    std::vector<double> losses = run_on_mesh(first, 2).losses;
    ASSERT_EQ(losses.size(), 2u);
    RunSpec second = first;
    second.mesh = meshes[i + 1];
    second.sharding = RunSpec::Sharding::kNone;
    const History rest = run_on_mesh(second);
    losses.insert(losses.end(), rest.losses.begin(), rest.losses.end());
    expect_near(losses, whole);
  }
}

TEST(TensorRun, EvaluatesAsOneRankDoes) {
  const Folder folder;
  const auto with = [&](MeshShape mesh) {
    RunSpec spec = double_run(folder, "", mesh);
    spec.evaluation.data = spec.data;
    spec.evaluation.interval_steps = 5;
    return spec;
  };
  const std::vector<double> one = run_on_mesh(with({})).evaluations;
  ASSERT_EQ(one.size(), 1u);
  expect_near(run_on_mesh(with({.context = 2, .tensor = 3})).evaluations, one);
}

TEST(TensorRun, HoldsItsPartOfTheWeights) {
  const Folder folder;
  const auto weights = [&](MeshShape mesh) {
    RunSpec spec = double_run(folder, "", mesh);
    spec.num_steps = 1;
    return static_cast<double>(bytes_of_ranks(spec, MemoryTag::kWeights).front());
  };
  const double all = weights({});
  EXPECT_NEAR(weights({.tensor = 2}), all / 2, 0.03 * all);
  EXPECT_NEAR(weights({.tensor = 4}), all / 4, 0.05 * all) << "two key heads are held by two ranks each";
}

}  // namespace
}  // namespace longspan::test
