// Ranks that share the optimizer's state: the same losses as ranks that each keep all of it, less memory, and checkpoints that
// fit every mesh.
#include <gtest/gtest.h>

#include "tests/train/history.h"
#include "train/checkpoint.h"
#include "train/verify.h"
#include "train/verify_shape.h"

namespace longspan::test {
namespace {

using namespace history;

RunSpec sharing(RunSpec spec) {
  spec.sharding = RunSpec::Sharding::kOptimizer;
  return spec;
}

void expect_near(const std::vector<double>& got, const std::vector<double>& want, double tolerance) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], want[i], tolerance * want[i]) << "step " << i + 1;
}

// With two ranks a sum has one order. What is left is the norm, which counts where gradients are clipped.
TEST(SharedState, TwoRanksTakeTheSameStepsToTheLastBit) {
  const Folder folder;
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    RunSpec spec = small_run(folder, fmt::format("all_{}", name(dtype)));
    spec.compute_dtype = dtype;
    spec.optimizer.gradient_clip = 0;
    spec.num_steps = 6;
    const History all = run(spec, 2, 1);
    ASSERT_EQ(all.losses.size(), 6u);
    spec.output_directory = folder / fmt::format("shared_{}", name(dtype));
    EXPECT_EQ(run(sharing(spec), 2, 1).losses, all.losses) << name(dtype);
  }
}

TEST(SharedState, EveryMeshTakesTheSameSteps) {
  const Folder folder;
  RunSpec spec = small_run(folder, "");
  spec.output_directory = "";
  spec.compute_dtype = DType::kFloat64;
  spec.num_steps = 5;
  const std::vector<double> one = run(spec, 1, 1).losses;
  for (const auto& [data, context] : {std::pair{1, 2}, {2, 2}, {4, 1}, {1, 3}, {4, 2}}) {
    expect_near(run(sharing(spec), data, context).losses, one, 1e-11);
  }
}

TEST(SharedState, IsDividedAmongTheRanks) {
  const Folder folder;
  const auto bytes = [&](RunSpec spec, int ranks, MemoryTag tag) {
    struct Last final : TrainObserver {
      void on_step(const StepReport& report) override { by_tag = report.memory_bytes_by_tag; }
      std::array<int64_t, kNumMemoryTags> by_tag{};
    };
    spec.output_directory = "";
    spec.num_steps = 1;
    spec.mesh.data = ranks;
    std::array<int64_t, kNumMemoryTags> found{};
    run_in_process(ranks, [&](Communicator& world) {
      Last last;
      train(spec, world, {}, last, [] { return false; });
      if (world.rank() == 0) found = last.by_tag;
    });
    return static_cast<double>(found[static_cast<size_t>(tag)]);
  };
  RunSpec spec = small_run(folder, "");
  for (const int ranks : {2, 4}) {
    const double all = bytes(spec, ranks, MemoryTag::kOptimizer), shared = bytes(sharing(spec), ranks, MemoryTag::kOptimizer);
    EXPECT_NEAR(shared, all / ranks, 0.02 * all) << "moments";
  }
  spec.compute_dtype = DType::kBFloat16;
  const double all = bytes(spec, 4, MemoryTag::kWeights), shared = bytes(sharing(spec), 4, MemoryTag::kWeights);
  const double masters = bytes(spec, 4, MemoryTag::kGradients);  // as large
  EXPECT_NEAR(all - shared, 0.75 * masters, 0.02 * masters) << "master weights";
}

// Each rank writes and reads its own; what is written by some number of ranks is read by another.
TEST(SharedState, CheckpointsFitEveryMesh) {
  const Folder folder;
  RunSpec spec = small_run(folder, "whole");
  spec.compute_dtype = DType::kFloat64;
  spec.num_steps = 8;
  const std::vector<double> whole = run(spec, 1, 1).losses;
  const std::pair<int, int> meshes[] = {{1, 1}, {2, 1}, {1, 3}, {2, 2}};
  for (const auto& [data, context] : meshes) {
    for (const bool shares : {false, true}) {
      RunSpec stopped = small_run(folder, fmt::format("{}_{}_{}", data, context, shares));
      stopped.compute_dtype = DType::kFloat64;
      stopped.num_steps = 8;
      std::vector<double> losses = run(sharing(stopped), data, context, 3).losses;
      const auto checkpoints = list_checkpoints(stopped.output_directory);
      ASSERT_EQ(checkpoints.size(), 1u);
      for (int rank = 0; rank < data * context; ++rank) {
        EXPECT_TRUE(std::filesystem::exists(fmt::format("{}/tensors_{:05}.bin", checkpoints[0].path, rank))) << rank;
      }
      const History rest = shares ? run(sharing(stopped), 4, 1) : run(stopped, 2, 2);
      losses.insert(losses.end(), rest.losses.begin(), rest.losses.end());
      expect_near(losses, whole, 1e-11);
    }
  }
}

TEST(SharedState, AnUnsoundPartIsNoticedByAllRanks) {
  const Folder folder;
  RunSpec spec = sharing(small_run(folder, "broken"));
  spec.num_steps = 4;
  spec.checkpoint.interval_steps = 2;
  run(spec, 2, 1);
  const std::string newest = list_checkpoints(spec.output_directory).front().path;
  {
    std::fstream file(newest + "/tensors_00001.bin", std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(1000);
    file.put('!');
    file.put('?');
  }
  spec.num_steps = 6;
  const History rest = run(spec, 2, 1);
  EXPECT_EQ(rest.losses.size(), 4u) << "from the checkpoint before";
  EXPECT_NE(rest.notes.find("rank 1: "), std::string::npos) << rest.notes;
  EXPECT_NE(rest.notes.find("tensors_00001.bin"), std::string::npos) << rest.notes;
}

TEST(SharedState, AgreesWithOneRank) {
  const Folder folder;
  RunSpec spec = sharing(small_run(folder, ""));
  spec.output_directory = "";
  spec.mesh = {.pipeline = 1, .data = 2, .context = 2, .tensor = 1};
  spec.num_steps = 1;
  const OneRank one_rank(spec, DType::kFloat64, {});
  run_in_process(4, [&](Communicator& world) {
    const VerifyReport report = one_rank.compare(world, {});
    EXPECT_EQ(report.difference, "");
    EXPECT_GT(report.num_tensors, 20);
  });
}

// Of G bytes of gradients each rank sends its part of the sum, of V bytes of values the parts that the others lack.
TEST(SharedState, MovesTheBytesOfItsFormula) {
  constexpr int kRanks = 4;
  const Folder folder;
  RunSpec spec = sharing(small_run(folder, ""));
  spec.output_directory = "";
  spec.mesh.data = kRanks;
  spec.compute_dtype = DType::kBFloat16;
  const auto sent = [&](int64_t steps) {
    spec.num_steps = steps;
    return bytes_sent_by_ranks(spec).front();
  };
  struct Elements final : TrainObserver {
    void on_gradients(const Context&, int64_t, const ParameterSet& parameters) override {
      count = static_cast<size_t>(parameters.gradients().num_elements());
    }
    size_t count = 0;
  };
  size_t elements = 0;
  spec.num_steps = 1;
  run_in_process(kRanks, [&](Communicator& world) {
    Elements own;
    train(spec, world, {}, own, [] { return false; });
    if (world.rank() == 0) elements = own.count;
  });
  EXPECT_EQ(sent(3) - sent(2), elements * (sizeof(float) + sizeof(bfloat16)) * (kRanks - 1) / kRanks);
}

}  // namespace
}  // namespace longspan::test
