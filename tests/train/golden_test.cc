// The golden models (golden_case.h) on every mesh and layout, and at every level of the processor.
#include <gtest/gtest.h>

#include <algorithm>

#include "model/decoder.h"
#include "parallel/comm/backends.h"
#include "tests/support/tensors.h"
#include "tests/train/golden_case.h"
#include "train/formats/huggingface.h"
#include "train/rank_context.h"

namespace longspan::test {
namespace {

GoldenArithmetic at(CpuLevel level, GoldenArithmetic arithmetic) {
  arithmetic.resources = [level] { return RankResources{.cpu_level = level}; };
  return arithmetic;
}

class GoldenTest : public testing::TestWithParam<const char*> {};

TEST_P(GoldenTest, OneRank) {
  expect_golden(GetParam(), {1, 1, LayoutType::kContiguous, Form::kBatchOfTwo});
  expect_golden(GetParam(), {1, 1, LayoutType::kZigzag, Form::kTwoDocuments});
  expect_golden(GetParam(), {1, 1, LayoutType::kZigzag, Form::kTwoMicrobatches});
}

TEST_P(GoldenTest, ContextRanks) {
  for (const int ranks : {2, 3, 4}) {
    for (const auto layout : {LayoutType::kContiguous, LayoutType::kZigzag, LayoutType::kStriped}) {
      expect_golden(GetParam(), {1, ranks, layout, ranks == 3 ? Form::kTwoDocuments : Form::kBatchOfTwo});
    }
  }
  expect_golden(GetParam(), {1, 2, LayoutType::kZigzag, Form::kTwoDocuments});
  expect_golden(GetParam(), {1, 4, LayoutType::kStriped, Form::kTwoDocuments});
  expect_golden(GetParam(), {1, 3, LayoutType::kZigzag, Form::kBatchOfTwo});
}

TEST_P(GoldenTest, DataAndContextRanks) {
  for (const auto layout : {LayoutType::kContiguous, LayoutType::kZigzag, LayoutType::kStriped}) {
    expect_golden(GetParam(), {2, 2, layout, Form::kBatchOfTwo});
  }
}

TEST_P(GoldenTest, TensorRanks) {
  expect_golden(GetParam(), {.data = 1, .context = 1, .layout = LayoutType::kZigzag, .form = Form::kBatchOfTwo, .tensor = 2});
  expect_golden(GetParam(),
                {.data = 1, .context = 1, .layout = LayoutType::kZigzag, .form = Form::kTwoMicrobatches, .tensor = 3});
  expect_golden(GetParam(), {.data = 1, .context = 2, .layout = LayoutType::kStriped, .form = Form::kTwoDocuments, .tensor = 2});
}

TEST_P(GoldenTest, PipelineRanks) {
  for (const PipelineSchedule schedule : kPipelineSchedules) {
    GoldenMesh mesh = {.data = 1, .context = 1, .layout = LayoutType::kZigzag, .form = Form::kTwoMicrobatches, .pipeline = 2};
    mesh.schedule.schedule = schedule;
    if (schedule == PipelineSchedule::kInterleaved) mesh.schedule.chunks_per_stage = 2;
    expect_golden(GetParam(), mesh);
  }
  expect_golden(GetParam(), {.data = 1,
                             .context = 1,
                             .layout = LayoutType::kZigzag,
                             .form = Form::kTwoDocuments,
                             .pipeline = 2,
                             .schedule = {.sequence_chunks = 3}});
  expect_golden(
      GetParam(),
      {.data = 1, .context = 2, .layout = LayoutType::kStriped, .form = Form::kTwoDocuments, .tensor = 2, .pipeline = 2});
}

TEST_P(GoldenTest, SharedState) {
  using Sharding = RunSpec::Sharding;
  for (const auto sharding : {Sharding::kOptimizer, Sharding::kGradients, Sharding::kWeights}) {
    GoldenMesh mesh = {.data = 2, .context = 2, .layout = LayoutType::kZigzag, .form = Form::kBatchOfTwo, .tensor = 2};
    mesh.sharding = sharding;
    expect_golden(GetParam(), mesh);
    mesh.pipeline = 2;
    expect_golden(GetParam(), mesh);
  }
}

TEST_P(GoldenTest, EveryLevel) {
  for (const CpuLevel level : supported_cpu_levels()) {
    SCOPED_TRACE(name(level));
    const GoldenMesh mesh = {1, 2, LayoutType::kZigzag, Form::kTwoDocuments};
    if (level != detect_cpu_level()) expect_golden(GetParam(), mesh, at(level, {}));
    expect_golden(GetParam(), mesh, at(level, in_bfloat16()));
  }
}

// Through the key-value cache, a piece of uneven length at a time; each piece's last logits against the expected ones.
TEST_P(GoldenTest, LogitsWithACache) {
  const std::string model = GetParam();
  RankContext rank(DType::kFloat32, {});
  Context& context = rank.context();
  const auto alone = make_self_communicator();
  Decoder decoder(read_huggingface_config(golden(model)).spec, *alone, 64);
  decoder.parameters().materialize(context, ParameterSet::Purpose::kInference);
  const HuggingFaceWeights weights(golden(model));
  for (const auto& p : decoder.parameters().all()) weights.read_into(p->name, p->master);
  const SafetensorsFile file(golden(model) + "/expected_logits.safetensors");
  const int64_t length = file.info("logits").shape.at(1), vocabulary = file.info("logits").shape.at(2);
  std::vector<int32_t> tokens(static_cast<size_t>(2 * length));
  file.read("tokens", {2, length}, DType::kInt32, tokens.data());
  for (int64_t row = 0; row < 2; ++row) {
    auto memories = decoder.empty_memories(context, length);
    for (int64_t begin = 0, piece = 1; begin < length; begin += piece, piece = piece % 7 + 3) {
      const int64_t end = std::min(begin + piece, length);
      const Tensor ids = context.empty({end - begin}, DType::kInt32);
      std::copy_n(tokens.data() + row * length + begin, end - begin, ids.data<int32_t>());
      const auto got = values(decoder.continue_from(context, ids, memories));
      std::vector<double> want(static_cast<size_t>(vocabulary));
      file.read_elements("logits", (row * length + end - 1) * vocabulary, vocabulary, DType::kFloat64, want.data());
      ASSERT_LT(relative_error(got, want), 1e-5) << "row " << row << ", token " << end - 1;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenTest,
                         testing::Values("llama", "llama_llama3rope", "llama_linear_tied", "llama_yarn", "mistral", "qwen2",
                                         "qwen3"),
                         [](const auto& i) { return std::string(i.param); });

}  // namespace
}  // namespace longspan::test
