// Meshes that cannot work are refused by name, with the nearest that can, before anything is allocated.
#include "train/check_mesh.h"

#include <gtest/gtest.h>

#include "parallel/comm/backends.h"
#include "tests/core/expect_error.h"
#include "train/train.h"

namespace longspan {
namespace {

RunSpec run_of(const MeshShape& mesh) {
  RunSpec spec;
  spec.model.num_layers = 6;
  spec.data.sequence_length = 100;
  spec.global_batch_sequences = 12;
  spec.mesh = mesh;
  return spec;
}

std::string problem(const RunSpec& spec, int64_t num_ranks, MeshUse use = MeshUse::kTraining) {
  std::string text;
  for (const FieldProblem& found : mesh_problems(spec, num_ranks, use)) text += found.field + ": " + found.what + "\n";
  return text;
}
std::string problem(const RunSpec& spec) { return problem(spec, spec.mesh.product()); }

TEST(CheckMesh, WhatWorksPasses) {
  for (const MeshShape& mesh : {MeshShape{}, MeshShape{.pipeline = 8}, MeshShape{.data = 12}, MeshShape{.context = 101},
                                MeshShape{.tensor = 4}, MeshShape{.pipeline = 2, .data = 3, .context = 5, .tensor = 4}}) {
    EXPECT_EQ(problem(run_of(mesh)), "") << mesh.to_string();
    EXPECT_NO_THROW(check_mesh(run_of(mesh), mesh.num_ranks()));
  }
}

TEST(CheckMesh, NamesTheNearestDegree) {
  EXPECT_EQ(problem(run_of({.context = 0})), "mesh.context: is 0, which is not a number of ranks; use 1 or more\n");
  EXPECT_EQ(
      problem(run_of({.tensor = 5})),
      "mesh.tensor: is 5, more than can share this model's 4 heads, 688 inner columns and 256 entries of the vocabulary; the "
      "nearest that works is 4\n");
  EXPECT_EQ(problem(run_of({.pipeline = 9})),
            "mesh.pipeline: is 9, more than the 8 blocks of this model (6 layers, the embedding and the head); the nearest that "
            "works is 8\n");
}

// What is suggested works with what is kept.
TEST(CheckMesh, NamesStagesThatWorkWithTheirChunks) {
  const auto of = [](int stages, int chunks) {
    RunSpec spec = run_of({.pipeline = stages});
    spec.pipeline.chunks_per_stage = chunks;
    return problem(spec);
  };
  EXPECT_EQ(of(4, 2), "");
  EXPECT_EQ(of(4, 3),
            "pipeline.chunks_per_stage: is 3, and 3 chunks on each of 4 stages are more than the 8 blocks of this model (6 "
            "layers, the embedding and the head); the nearest that works is 2\n");
  EXPECT_EQ(of(9, 3),
            "mesh.pipeline: is 9, more than the 8 blocks of this model (6 layers, the embedding and the head); the nearest "
            "that works is 2 with pipeline.chunks_per_stage 3\n");
  EXPECT_EQ(of(2, 3), "");
  EXPECT_NE(of(9, 9).find("the nearest that works is 8 with pipeline.chunks_per_stage 1\n"), std::string::npos);
  EXPECT_EQ(of(8, 1), "");
}

TEST(CheckMesh, NamesTheNearestBatch) {
  RunSpec spec = run_of({.data = 5});
  EXPECT_EQ(
      problem(spec),
      "training.global_batch_sequences: is 12, not a multiple of mesh.data 5 x training.micro_batch_sequences 1; the nearest "
      "that is: 10 or 15; or keep it and set mesh.data 4\n");
  EXPECT_EQ(problem(spec, 5, MeshUse::kInference), "") << "an evaluation divides no batch";
  spec.global_batch_sequences = 3;
  spec.micro_batch_sequences = 2;
  EXPECT_EQ(
      problem(spec),
      "training.global_batch_sequences: is 3, not a multiple of mesh.data 5 x training.micro_batch_sequences 2; the nearest "
      "that is: 10\n");
}

TEST(CheckMesh, NamesAnAxisThatMakesTheRanksRight) {
  const auto of = [](const MeshShape& mesh, int64_t ranks) { return problem(run_of(mesh), ranks); };
  EXPECT_EQ(
      of({.data = 2, .context = 2}, 6),
      "mesh: pipeline 1 x data 2 x context 2 x tensor 1 has 4 ranks, but this run has 6: start it with 4, or set mesh.context "
      "3\n");
  EXPECT_NE(of({.data = 2, .context = 3}, 9).find("set mesh.data 3\n"), std::string::npos);
  EXPECT_NE(of({.data = 2, .context = 2}, 3).find("or leave mesh out\n"), std::string::npos);
  EXPECT_NE(of({.data = 65536, .context = 65536}, 1).find("4294967296 ranks"), std::string::npos);
}

TEST(CheckMesh, EveryProblemIsNamed) {
  const RunSpec spec = run_of({.pipeline = 9, .data = 5, .context = 101, .tensor = 5});
  EXPECT_EQ(mesh_problems(spec, 7).size(), 4u);
}

// Neither data nor an output folder are there; they would be the next complaint.
TEST(CheckMesh, TrainingAndEvaluationAskBeforeAnythingElse) {
  const auto refused = [](const RunSpec& spec, const char* part, bool trains) {
    test::expect_error(ErrorKind::kConfiguration, {part}, [&] {
      run_in_process(spec.mesh.num_ranks(), [&](Communicator& world) {
        TrainObserver silent;
        if (trains) {
          train(spec, world, {}, silent, [] { return false; });
        } else {
          evaluate(spec, world, {}, silent);
        }
      });
    });
  };
  RunSpec spec = run_of({.tensor = 5});
  refused(spec, "mesh.tensor: is 5", true);
  spec.evaluation.data = spec.data;
  refused(spec, "mesh.tensor: is 5", false);
  refused(run_of({.data = 5}), "is 12, not a multiple of mesh.data 5", true);
}

}  // namespace
}  // namespace longspan
