#include "tests/mpi/device_meshes.h"

#include <filesystem>

#include "tests/train/device_resources.h"
#include "train/verify.h"
#include "train/verify_shape.h"

namespace longspan::test {

namespace {

RunSpec small_run() {
  RunSpec run;
  run.model.vocabulary_size = 40;
  run.model.hidden_size = 16;
  run.model.num_layers = 1;
  run.model.num_heads = 4;
  run.model.num_kv_heads = 2;
  run.model.head_dim = 8;
  run.model.mlp_size = 24;
  run.data.sequence_length = 48;
  return run;
}

void check_mesh(const RunSpec& run, Communicator& world, int ordinal) {
  RunSpec small = shrunk(run);
  const SyntheticDocuments documents(small, std::filesystem::temp_directory_path());
  small.data.sources = {{.files = {documents.folder()}}};
  const RankResources resources = device_resources(DType::kFloat32, ordinal);
  const VerifyReport report = OneRank(small, DType::kFloat32, resources).compare(world, resources);
  check(report.difference.empty(), "{}: {}", run.mesh.to_string(), report.difference);
}

}  // namespace

void check_meshes(Communicator& world, int ordinal) {
  RunSpec run = small_run();
  run.mesh = {.context = world.size()};
  check_mesh(run, world, ordinal);
  for (const auto scheme : {ContextScheme::kAllToAll, ContextScheme::kAllGather, ContextScheme::kHybrid}) {
    run.context.scheme = scheme;
    check_mesh(run, world, ordinal);
  }
  run = small_run();
  run.mesh = {.tensor = world.size()};
  check_mesh(run, world, ordinal);
  run.mesh = {.data = world.size()};
  run.global_batch_sequences = world.size();
  check_mesh(run, world, ordinal);
  for (const auto sharding : {RunSpec::Sharding::kOptimizer, RunSpec::Sharding::kGradients, RunSpec::Sharding::kWeights}) {
    run.sharding = sharding;
    check_mesh(run, world, ordinal);
  }
  run = small_run();
  run.mesh = {.pipeline = world.size()};
  run.model.num_layers = 2;
  run.model.tie_embeddings = ModelSpec::Tie::kYes;
  run.global_batch_sequences = 2;
  check_mesh(run, world, ordinal);
  run.pipeline.sequence_chunks = 2;
  check_mesh(run, world, ordinal);
}

}  // namespace longspan::test
