// Every mesh computes what one rank computes: activations, losses and every gradient, to the tolerance of each precision.
#include "tests/train/verified_run.h"

namespace longspan {
namespace {

using test::expect_agreement;
using test::small_run;

class VerifyMesh : public testing::TestWithParam<int> {};

TEST_P(VerifyMesh, AgreesWithOneRank) {
  for (const auto layout : {LayoutType::kContiguous, LayoutType::kZigzag, LayoutType::kStriped}) {
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
  RunSpec run = small_run(2, 2);
  run.sharding = RunSpec::Sharding::kOptimizer;
  expect_agreement(run);
  run.mesh.tensor = 2;
  expect_agreement(run);
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

// Every way in which eight ranks can be a mesh; in double precision, each gradient to 1e-11.
class VerifyFactors : public testing::TestWithParam<LayoutType> {};

TEST_P(VerifyFactors, OfEightAgreeWithOneRank) {
  int num_meshes = 0;
  for (int data = 1; data <= 8; data *= 2) {
    for (int context = 1; data * context <= 8; context *= 2) {
      RunSpec run = small_run(data, context);
      run.mesh.tensor = 8 / data / context;
      run.layout = GetParam();
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
  EXPECT_EQ(num_meshes, 10);
}

INSTANTIATE_TEST_SUITE_P(Layouts, VerifyFactors,
                         testing::Values(LayoutType::kContiguous, LayoutType::kZigzag, LayoutType::kStriped),
                         [](const auto& i) { return std::string(name(i.param)); });

}  // namespace
}  // namespace longspan
