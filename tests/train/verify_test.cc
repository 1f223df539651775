// Verification: a mesh that computes what one rank computes passes, and each of many planted errors is found, with the tensor and
// the rank where it went wrong.
#include "train/verify.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <mutex>

#include "parallel/comm/backends.h"
#include "tests/support/folder.h"
#include "tests/train/faulty_kernels.h"
#include "train/verify_shape.h"

namespace longspan {
namespace {

using test::Kernels;

// Of a size at which nothing is shrunk, so that the numbers of transfers are known.
RunSpec small_run(int data, int context) {
  RunSpec run;
  run.model.vocabulary_size = 40;
  run.model.hidden_size = 16;
  run.model.num_layers = 2;
  run.model.num_heads = 4;
  run.model.num_kv_heads = 2;
  run.model.head_dim = 8;
  run.model.mlp_size = 24;
  run.data.sequence_length = 48;
  run.mesh = {.pipeline = 1, .data = data, .context = context, .tensor = 1};
  run.global_batch_sequences = data;
  return run;
}

// What the mesh's ranks are given, rank by rank.
struct Plants {
  int rank = 0;
  CommFaults faults;
  std::shared_ptr<const KernelSet> kernels;
};

VerifyReport verified(const RunSpec& run, DType dtype, const Plants& plants = {}) {
  const test::Folder folder;
  RunSpec small = shrunk(run);
  const SyntheticDocuments documents(small, folder.path());
  small.data.sources = {{.files = {documents.folder()}}};
  const OneRank one_rank(small, dtype, {});
  std::vector<VerifyReport> reports(static_cast<size_t>(small.mesh.num_ranks()));
  run_in_process(small.mesh.num_ranks(), [&](Communicator& inner) {
    const bool faulty = inner.rank() == plants.rank;
    const auto world = make_faulty_communicator(inner, faulty ? plants.faults : CommFaults{});
    reports[static_cast<size_t>(inner.rank())] =
        one_rank.compare(*world, {.num_threads = 1, .memory = nullptr, .kernels = faulty ? plants.kernels : nullptr});
  });
  for (const VerifyReport& report : reports) {
    EXPECT_EQ(report.difference, reports[0].difference);
    EXPECT_EQ(report.where, reports[0].where);
  }
  return reports[0];
}

void expect_agreement(const RunSpec& run) {
  SCOPED_TRACE(fmt::format("{} {} packing {}", run.mesh.to_string(), name(run.layout), static_cast<int>(run.data.packing)));
  for (const DType dtype : {DType::kFloat64, run.compute_dtype}) {
    const VerifyReport report = verified(run, dtype);
    EXPECT_EQ(report.difference, "");
    EXPECT_LE(report.largest, verify_tolerance(dtype)) << report.where;
    EXPECT_GT(report.num_tensors, 20 * run.mesh.num_ranks());
  }
}

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

struct PlantedError {
  const char* name;
  Plants plants;
  const char* tensor;  // that the report names
  int rank = 1;        // and the rank
};

void PrintTo(const PlantedError& error, std::ostream* out) { *out << error.name; }

class VerifyError : public testing::TestWithParam<PlantedError> {};

TEST_P(VerifyError, IsFound) {
  RunSpec run = small_run(1, 3);
  run.layout = LayoutType::kStriped;
  const VerifyReport report = verified(run, DType::kFloat64, GetParam().plants);
  const std::string begin = fmt::format("rank {}, {}, ", GetParam().rank, GetParam().tensor);
  EXPECT_EQ(report.difference.substr(0, begin.size()), begin) << report.difference;
}

using test::with_fault;

// Rank 1 of three. Transfers of a layer: forward K V, K V; backward K V (hop 1), dK dV, K V (hop 2), dK dV, and dK dV home.
std::vector<PlantedError> planted_errors() {
  const auto comm = [](const CommFaults& faults, int rank = 1) { return Plants{rank, faults, nullptr}; };
  const auto kernels = [](Kernels k) { return Plants{1, {}, std::move(k)}; };
  return {
      {"WrongHop", comm({.send_earlier_of = 2}), "keys of model.layers.0 from rank 0", 2},
      {"HopThatDidNotMove", comm({.keep_own_of = 3}), "values of model.layers.0 from rank 2"},
      {"StaleBuffer", comm({.deliver_stale_of = 1}), "values of model.layers.0 from rank 0"},
      {"StaleBufferInTheSecondLayer", comm({.deliver_stale_of = 4}), "keys of model.layers.1 from rank 0"},
      {"SwappedKeysAndValues", comm({.swap_with_next_of = 0}), "keys of model.layers.0 from rank 0"},
      {"CorruptByte", comm({.corrupt_byte_of = 0}), "keys of model.layers.0 from rank 0"},
      {"CorruptByteInBackward", comm({.corrupt_byte_of = 8}), "keys of model.layers.1 in backward from rank 0"},
      {"GradientOfKeysNotReturned", comm({.deliver_stale_of = 16}), "gradient of the output of model.layers.0"},
      {"GradientOfValuesNotReturned", comm({.keep_own_of = 17}), "gradient of the output of model.layers.0"},
      // Sums for rank 2 and rank 0 pass here; it shows where they come home.
      {"GradientOfKeysTwice", kernels(with_fault<Elementwise, test::AddsArrivalsTwice>()),
       "gradient of the output of model.layers.0", 2},
      {"HopSkipped", kernels(with_fault<BlockAttention, test::SkipsAHop>(1)), "output of model.layers.0"},
      {"DocumentEdge", kernels(with_fault<BlockAttention, test::SeesBeyondTheEdge>()), "output of model.layers.0"},
      {"WrongGroup", kernels(with_fault<BlockAttention, test::UsesTheNextGroup>()), "output of model.layers.0"},
      {"WrongPosition", kernels(with_fault<Rotary, test::TurnsByTheNextPosition>()), "queries of model.layers.0"},
      {"ScaleOfTheGradient", kernels(with_fault<Loss, test::ScalesTheGradient>(2.0)),
       "gradient of lm_head.weight by microbatch 0"},
      {"GradientOfTheHeadTwice", kernels(with_fault<LinearAlgebra, test::AccumulatesTwice>(0, 1)),
       "gradient of lm_head.weight by microbatch 0"},
      {"GradientTwice", kernels(with_fault<LinearAlgebra, test::AccumulatesTwice>(2, 1)),
       "gradient of model.layers.1.mlp.up_proj.weight by microbatch 0"},
      {"ReducedTwice", comm({.count_twice_of = 1}), "gradient of model.embed_tokens.weight after the reduction"},
      // All ranks have these sums alike.
      {"PredictedTokensCountedTwice", comm({.count_twice_of = 0}), "scale of the gradients", 0},
      {"LossTwice", comm({.count_twice_of = 2}), "loss", 0},
  };
}

INSTANTIATE_TEST_SUITE_P(Planted, VerifyError, testing::ValuesIn(planted_errors()),
                         [](const auto& i) { return std::string(i.param.name); });

}  // namespace
}  // namespace longspan
