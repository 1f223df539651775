// Every mesh computes what one rank computes: activations, losses and every gradient, to the tolerance of each precision.
#include "tests/train/verified_run.h"

namespace longspan {
namespace {

using test::expect_agreement;
using test::small_run;

class VerifyMesh : public testing::TestWithParam<int> {};

TEST_P(VerifyMesh, AgreesWithOneRank) {
  for (const auto layout : {LayoutType::kContiguous, LayoutType::kZigzag, LayoutType::kStriped, LayoutType::kArea}) {
    for (const auto packing : {Packing::kDocuments, Packing::kStream}) {
      RunSpec run = small_run(1, GetParam());
      run.layout = layout;
      run.data.packing = packing;
      run.data.sequence_length = 53;  // divides by no number of ranks
      expect_agreement(run);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(ContextRanks, VerifyMesh, testing::Values(1, 2, 3, 4, 8));

class VerifyScheme : public testing::TestWithParam<ContextScheme> {};

TEST_P(VerifyScheme, AgreesWithOneRank) {
  for (const int ranks : {2, 3, 4}) {
    RunSpec run = small_run(1, ranks);
    run.context.scheme = GetParam();
    run.data.sequence_length = 53;
    run.compute_dtype = ranks == 4 ? DType::kBFloat16 : DType::kFloat32;
    expect_agreement(run);
    run.layout = LayoutType::kStriped;
    run.data.packing = Packing::kStream;
    run.mesh.data = run.micro_batch_sequences = 2;
    run.global_batch_sequences = 8;
    expect_agreement(run);
    run.layout = LayoutType::kArea;
    run.data.packing = Packing::kDocuments;
    expect_agreement(run);
  }
}

INSTANTIATE_TEST_SUITE_P(Schemes, VerifyScheme,
                         testing::Values(ContextScheme::kRing, ContextScheme::kAllToAll, ContextScheme::kAllGather,
                                         ContextScheme::kHybrid, ContextScheme::kDoubleRing),
                         [](const auto& i) { return std::string(name(i.param)); });

TEST(Verify, AgreesOnEveryKindOfModel) {
  RunSpec run = small_run(2, 2);
  expect_agreement(run);
  run.global_batch_sequences = 8;
  run.micro_batch_sequences = 2;
  expect_agreement(run);
  run.model.tie_embeddings = ModelSpec::Tie::kYes;
  expect_agreement(run);
  run.model.qk_norm = ModelSpec::QkNorm::kYes;
  expect_agreement(run);
  run.model.bias = ModelSpec::Bias::kQkv;
  run.model.rope.scaling = RopeScalingType::kYarn;
  run.model.rope.factor = 4;
  expect_agreement(run);
  run.compute_dtype = DType::kBFloat16;
  run.model.num_kv_heads = 1;
  expect_agreement(run);
}

// Heads that do not divide, key heads that several ranks hold, tokens that do not divide into pieces.
TEST(Verify, AgreesOnATensorAxis) {
  RunSpec run = small_run(1, 1);
  run.data.sequence_length = 53;
  for (const int tensor : {2, 3, 4}) {
    run.mesh.tensor = tensor;
    expect_agreement(run);
  }
  run.mesh = {.pipeline = 1, .data = 2, .context = 3, .tensor = 2};
  run.global_batch_sequences = 4;
  run.model.tie_embeddings = ModelSpec::Tie::kYes;
  run.model.bias = ModelSpec::Bias::kQkv;
  run.model.qk_norm = ModelSpec::QkNorm::kYes;
  expect_agreement(run);
  run.model.num_heads = 6;  // of groups of two, cut in the middle
  run.model.num_kv_heads = 3;
  run.mesh = {.pipeline = 1, .data = 1, .context = 2, .tensor = 4};
  run.compute_dtype = DType::kBFloat16;
  expect_agreement(run);
}

// Each rank looks at the elements that it keeps.
TEST(Verify, AgreesWhereRanksShareState) {
  using Sharding = RunSpec::Sharding;
  for (const auto sharding : {Sharding::kOptimizer, Sharding::kGradients, Sharding::kWeights}) {
    SCOPED_TRACE(static_cast<int>(sharding));
    RunSpec run = small_run(2, 2);
    run.sharding = sharding;
    run.global_batch_sequences = 4;
    run.bucket_elements = 1000;
    expect_agreement(run);
    run.mesh.tensor = 2;
    expect_agreement(run);
    run.mesh = {.pipeline = 2, .data = 2, .context = 2, .tensor = 2};
    run.model.tie_embeddings = ModelSpec::Tie::kYes;
    expect_agreement(run);
    run.pipeline = {.schedule = PipelineSchedule::kInterleaved, .chunks_per_stage = 2};
    expect_agreement(run);
  }
}

// Scores that all but ignore positions: the gradient of a key's bias is then nothing but rounding.
TEST(Verify, AllowsForSumsThatCancel) {
  RunSpec run = small_run(1, 4);
  run.model.bias = ModelSpec::Bias::kQkv;
  run.model.rope.scaling = RopeScalingType::kLinear;
  run.model.rope.factor = 1e6;
  expect_agreement(run);
}

// Hardly anything to attend to, ranks without a token, and gradients of queries that are nothing but rounding.
TEST(Verify, AgreesOnVeryShortSequences) {
  for (const int64_t length : {2, 3, 5}) {
    RunSpec run = small_run(1, 8);
    run.data.sequence_length = length;
    expect_agreement(run);
  }
}

// Every schedule, with stages of one block and of several, and chunks of sequences.
TEST(Verify, AgreesOnAPipelineAxis) {
  RunSpec run = small_run(1, 1);
  run.data.sequence_length = 53;
  run.global_batch_sequences = 8;
  run.model.num_layers = 6;
  for (const PipelineSchedule schedule : kPipelineSchedules) {
    SCOPED_TRACE(name(schedule));
    run.pipeline = {.schedule = schedule, .chunks_per_stage = schedule == PipelineSchedule::kInterleaved ? 2 : 1};
    run.model.tie_embeddings = run.model.tie_embeddings == ModelSpec::Tie::kYes ? ModelSpec::Tie::kNo : ModelSpec::Tie::kYes;
    for (const int stages : {2, 4}) {
      run.mesh = {.pipeline = stages};
      expect_agreement(run);
    }
    run.pipeline.sequence_chunks = 2;
    expect_agreement(run);
    run.pipeline.sequence_chunks = 1;
    run.mesh = {.pipeline = 2, .data = 2, .context = 2, .tensor = 2};
    expect_agreement(run);
  }
}

// Every way in which eight ranks can be a mesh; in double precision, each gradient to 1e-11.
class VerifyFactors : public testing::TestWithParam<LayoutType> {};

TEST_P(VerifyFactors, OfEightAgreeWithOneRank) {
  int num_meshes = 0;
  for (int pipeline = 1; pipeline <= 8; pipeline *= 2) {
    for (int data = 1; pipeline * data <= 8; data *= 2) {
      for (int context = 1; pipeline * data * context <= 8; context *= 2) {
        RunSpec run = small_run(data, context);
        run.mesh.pipeline = pipeline;
        run.mesh.tensor = 8 / pipeline / data / context;
        run.layout = GetParam();
        run.model.num_layers = 7;
        run.model.num_heads = 8;
        run.model.num_kv_heads = 4;
        run.data.sequence_length = 53;
        run.global_batch_sequences = 2 * data;
        SCOPED_TRACE(run.mesh.to_string());
        const VerifyReport report = test::verified(run, DType::kFloat64);
        EXPECT_EQ(report.difference, "");
        EXPECT_LE(report.largest, 1e-11) << report.where;
        ++num_meshes;
      }
    }
  }
  EXPECT_EQ(num_meshes, 20);
}

INSTANTIATE_TEST_SUITE_P(Layouts, VerifyFactors,
                         testing::Values(LayoutType::kContiguous, LayoutType::kZigzag, LayoutType::kStriped, LayoutType::kArea),
                         [](const auto& i) { return std::string(name(i.param)); });

}  // namespace
}  // namespace longspan
