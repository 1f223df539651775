// Verification: a mesh that computes what one rank computes passes, and each of many planted errors is found, with the
// tensor and the rank where it went wrong.
#include "train/verify.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "attention/exchanged_heads.h"
#include "parallel/tensor/head_split.h"
#include "tests/support/folder.h"
#include "tests/train/faulty_kernels.h"
#include "tests/train/verified_run.h"
#include "train/data/dataset.h"
#include "train/verify_compare.h"

namespace longspan {
namespace {

using test::expect_agreement;
using test::kEveryRank;
using test::Kernels;
using test::Plants;
using test::small_run;
using test::verified;

TEST(VerifyShape, KeepsWhatAMeshCouldGetWrong) {
  RunSpec run;
  run.name = "large";
  run.seed = 7;
  run.output_directory = "runs/large";
  run.model = ModelSpec{};
  run.model.vocabulary_size = 128256;
  run.model.hidden_size = 4104;
  run.model.num_layers = 32;
  run.model.num_heads = 32;
  run.model.num_kv_heads = 8;
  run.model.head_dim = 136;
  run.model.qk_norm = ModelSpec::QkNorm::kYes;
  run.model.rope.scaling = RopeScalingType::kLlama3;
  run.model_folder = "models/large";
  run.data.sequence_length = 1000003;
  run.data.packing = Packing::kStream;
  run.mesh = {.pipeline = 1, .data = 2, .context = 4, .tensor = 1};
  run.layout = LayoutType::kStriped;
  run.global_batch_sequences = 48;
  run.micro_batch_sequences = 4;
  const RunSpec small = shrunk(run);
  EXPECT_EQ(small.model.num_heads, 8);
  EXPECT_EQ(small.model.num_kv_heads, 2);
  EXPECT_EQ(small.model.head_dim % 16, 8);
  EXPECT_EQ(small.model.hidden_size % 16, 8);
  EXPECT_EQ(small.model.qk_norm, ModelSpec::QkNorm::kYes);
  EXPECT_EQ(small.model.rope.scaling, RopeScalingType::kLlama3);
  EXPECT_EQ(small.data.sequence_length % 8, 1000003 % 8);
  EXPECT_LE(small.data.sequence_length, 600);
  EXPECT_EQ(small.data.packing, Packing::kStream);
  EXPECT_EQ(small.mesh.num_ranks(), 8);
  EXPECT_EQ(small.layout, LayoutType::kStriped);
  EXPECT_EQ(small.micro_batch_sequences, 2);
  EXPECT_EQ(small.global_batch_sequences, 8);  // two microbatches of two on two data ranks
  EXPECT_EQ(small.seed, 7u);
  EXPECT_EQ(small.model_folder + small.output_directory, "");
  const std::vector<std::string> lines = what_was_shrunk(run, small);
  EXPECT_EQ(lines.front(), "model.num_layers 32 -> 3");
  EXPECT_NE(std::find(lines.begin(), lines.end(), "training.micro_batch_sequences 4 -> 2"), lines.end());

  run.mesh.tensor = 3;
  run.model.mlp_size = 688;
  EXPECT_EQ(shrunk(run).model.mlp_size % 3, 688 % 3);
  EXPECT_EQ(shrunk(run).model.vocabulary_size % 3, run.model.vocabulary_size % 3);
  run.mesh.tensor = 1;

  run.model.num_heads = 64;
  run.model.num_kv_heads = 4;
  EXPECT_EQ(shrunk(run).model.num_heads, 32);
  EXPECT_EQ(shrunk(run).model.num_kv_heads, 2);
  EXPECT_EQ(shrunk(run).model.head_dim, 24);
  run.model.num_kv_heads = 1;
  EXPECT_EQ(shrunk(run).model.num_heads, 64);
  EXPECT_EQ(shrunk(run).model.num_kv_heads, 1);
}

// What a rank of the tensor axis exchanges with which others, by the sizes of all its parts.
std::vector<int64_t> parts_of_heads(const RunSpec& run, int exchanging) {
  std::vector<int64_t> parts;
  for (int t = 0; t < run.mesh.tensor; ++t) {
    const HeadSplit split = split_heads(run.model.num_heads, run.model.num_kv_heads, run.mesh.tensor, t);
    const auto exchanged = exchanged_heads(split.q.size(), static_cast<int64_t>(split.kv_of.size()), exchanging);
    parts.push_back(split.repeats());
    parts.push_back(split.counted_kv.size() == split.kv.size());
    parts.push_back(exchanged.replicated);
    const auto size = [](const std::vector<HeadRange>& rank) { return rank.back().end - rank.front().begin; };
    const auto [least, most] = std::ranges::minmax(exchanged.queries, {}, size);
    parts.push_back(size(most) - size(least));
  }
  return parts;
}

// Heads that divide, in the large model or the small one alone, would hide what only the others can get wrong.
TEST(VerifyShape, KeepsHeadsThatDoNotDivide) {
  struct Heads {
    int64_t queries, keys;
    int tensor, context;
  };
  for (const Heads& heads : {Heads{6, 6, 1, 4}, Heads{6, 3, 1, 4}, Heads{6, 2, 1, 4}, Heads{10, 10, 1, 4}, Heads{12, 6, 1, 4},
                             Heads{64, 64, 1, 4}, Heads{64, 8, 1, 4}, Heads{28, 4, 1, 8}, Heads{40, 40, 2, 3},
                             Heads{30, 15, 2, 4}, Heads{96, 8, 3, 4}, Heads{56, 28, 3, 4}}) {
    for (const auto& [scheme, exchanging] : {std::pair{ContextScheme::kRing, 1}, {ContextScheme::kAllToAll, heads.context}}) {
      RunSpec run = small_run(1, heads.context);
      run.context.scheme = scheme;
      run.mesh.tensor = heads.tensor;
      run.model.num_heads = heads.queries;
      run.model.num_kv_heads = heads.keys;
      const RunSpec small = shrunk(run);
      SCOPED_TRACE(fmt::format("{} of {} heads, {}: {} of {}", heads.queries, heads.keys, run.mesh.to_string(),
                               small.model.num_heads, small.model.num_kv_heads));
      EXPECT_EQ(parts_of_heads(small, exchanging), parts_of_heads(run, exchanging));
      EXPECT_LT(small.model.num_kv_heads, std::max(3, 2 * heads.tensor * exchanging));
      EXPECT_EQ(small.model.num_heads / small.model.num_kv_heads, heads.queries / heads.keys);
    }
  }
}

// Ranks with one head each cannot take a wrong group: of ten heads over four ranks, shrunk, two of them still have two.
TEST(Verify, SeesAnErrorOfHeadsThatDoNotDivide) {
  RunSpec run = small_run(1, 4);
  run.context.scheme = ContextScheme::kAllToAll;
  run.model.num_heads = run.model.num_kv_heads = 10;
  const auto found = [&](int rank) {
    const auto kernels = test::with_fault<BlockAttention, test::UsesTheNextGroup>();
    return verified(run, DType::kFloat64, {.rank = rank, .faults = {}, .kernels = kernels}).difference;
  };
  EXPECT_NE(found(3).find(", attention of model.layers.0, "), std::string::npos) << found(3);
  EXPECT_EQ(found(2), "") << "it has one head";
}

// Edges must fall inside shares and between them, or a wrong edge could not be seen.
TEST(VerifyShape, MakesDocumentsWithEdgesInManyPlaces) {
  const test::Folder folder;
  RunSpec small = shrunk(small_run(1, 4));
  std::string path;
  {
    const SyntheticDocuments documents(small, folder.path()), again(small, folder.path());
    path = documents.folder();
    small.data.sources = {{.files = {path}}};
    const Dataset data = open_dataset(small.data, small.seed, small.model.vocabulary_size, Order::kShuffled);
    small.data.sources = {{.files = {again.folder()}}};
    EXPECT_EQ(open_dataset(small.data, small.seed, small.model.vocabulary_size, Order::kShuffled).fingerprint(),
              data.fingerprint());
    EXPECT_GT(data.sequence(0).documents.size(), 2u);
    EXPECT_GE(data.total_tokens(), 2 * small.data.sequence_length);
  }
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_THROW(SyntheticDocuments(small, folder / "nowhere"), Error);
}

TEST(VerifyCompare, MeasuresAgainstTheLargest) {
  const std::vector<double> expected = {1, -4, 2}, got = {1, -4, 2.5};
  const TensorDifference difference = compare_elements(got, expected, largest_magnitude(expected), 0.1);
  EXPECT_EQ(difference.largest, 0.125);
  EXPECT_EQ(difference.first, 2);
  EXPECT_EQ(difference.num_off, 1);
  EXPECT_EQ(compare_elements(got, expected, 4, 0.125).first, -1);
  const std::vector<double> nothing = {0, 0}, something = {0, 1e-300}, bad = {NAN, INFINITY};
  EXPECT_EQ(compare_elements(nothing, nothing, 0, 0).first, -1);
  EXPECT_EQ(compare_elements(something, nothing, 0, 1).first, 1);
  EXPECT_EQ(compare_elements(bad, bad, largest_magnitude(bad), 1).num_off, 2);
}

class VerifyLevel : public testing::TestWithParam<CpuLevel> {};

TEST_P(VerifyLevel, AgreesWithOneRankInEveryPrecision) {
  RunSpec run = small_run(1, 3);
  run.compute_dtype = DType::kBFloat16;
  run.model.head_dim = 64;
  run.data.sequence_length = 131;
  run.layout = LayoutType::kStriped;
  expect_agreement(run, {.cpu_level = GetParam()});
  run.mesh.data = run.mesh.context = run.global_batch_sequences = 2;
  run.layout = LayoutType::kZigzag;
  run.data.packing = Packing::kStream;
  expect_agreement(run, {.cpu_level = GetParam()});
}

INSTANTIATE_TEST_SUITE_P(Levels, VerifyLevel, testing::ValuesIn(supported_cpu_levels()),
                         [](const auto& i) { return std::string(name(i.param)); });

// The same on both sides, and still no agreement.
TEST(Verify, DoesNotTakeNotANumberForAnAnswer) {
  const Kernels kernels = test::with_fault<Loss, test::ScalesTheGradient>(std::nan(""));
  const VerifyReport report =
      verified(small_run(1, 2), DType::kFloat64, {}, {.num_threads = 1, .memory = nullptr, .kernels = kernels});
  EXPECT_EQ(
      report.difference.find("rank 0, gradient of lm_head.weight by microbatch 0, [0, 0]: nan where one rank has nan"),
      0u)
      << report.difference;
  EXPECT_EQ(report.largest, INFINITY);
}

// The cause, not that a peer has gone.
TEST(Verify, EndsWithTheErrorOfARank) {
  try {
    verified(small_run(1, 3), DType::kFloat64, {.rank = 1, .faults = {.fail_at = 5}, .kernels = nullptr});
    FAIL() << "no error";
  } catch (const CommError& error) {
    EXPECT_NE(std::string(error.what()).find("rank 1: send_recv 5 was made to fail"), std::string::npos)
        << error.what();
  }
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
  EXPECT_GT(report.largest, 0.01);
}

// What only parts of which travel is seen in what comes of it.
TEST(VerifySchemes, ErrorIsFoundInTheFirstLayer) {
  const auto expect_found = [](ContextScheme scheme, const char* tensor) {
    RunSpec run = small_run(1, 4);
    run.context.scheme = scheme;
    run.data.packing = Packing::kStream;  // every first token is seen
    for (const CommFaults& faults : {CommFaults{.corrupt_byte_of = 1}, CommFaults{.keep_own_of = 2}}) {
      const VerifyReport report = verified(run, DType::kFloat64, {.rank = 1, .faults = faults, .kernels = nullptr});
      EXPECT_NE(report.difference.find(tensor), std::string::npos) << name(scheme) << ": " << report.difference;
    }
  };
  expect_found(ContextScheme::kAllToAll, ", attention of model.layers.0, ");
  expect_found(ContextScheme::kAllGather, "rank 1, attention of model.layers.0, ");
  expect_found(ContextScheme::kHybrid, ", attention of model.layers.0, ");
  expect_found(ContextScheme::kDoubleRing, "s of model.layers.0 from rank ");
}

// Of a size at which all is shrunk: 16 query heads share a key head, and of four key heads two are left.
RunSpec large_run() {
  RunSpec run = small_run(1, 3);
  run.model.vocabulary_size = 1000;
  run.model.hidden_size = 256;
  run.model.num_layers = 4;
  run.model.num_heads = 64;
  run.model.num_kv_heads = 4;
  run.model.head_dim = 72;
  run.model.mlp_size = 688;
  run.data.sequence_length = 1000;
  run.layout = LayoutType::kStriped;
  return run;
}

struct CpuError {
  const char* name;
  Kernels kernels;
  const char* tensor;
  RunSpec run;
};

void PrintTo(const CpuError& error, std::ostream* out) { *out << error.name; }

class VerifyCpuError : public testing::TestWithParam<CpuError> {};

TEST_P(VerifyCpuError, IsFoundInFloat32) {
  const VerifyReport report =
      verified(GetParam().run, DType::kFloat32, {.rank = 1, .faults = {}, .kernels = GetParam().kernels});
  const std::string begin = fmt::format("rank 1, {}, ", GetParam().tensor);
  EXPECT_EQ(report.difference.substr(0, begin.size()), begin) << report.difference;
  EXPECT_GT(report.largest, 0.01);
}

// A query head that takes the keys of another group: in float64, too.
TEST(Verify, SeesAWrongGroupAmongManyQueryHeads) {
  const VerifyReport report = verified(
      large_run(), DType::kFloat64,
      {.rank = kEveryRank, .faults = {}, .kernels = test::with_fault<BlockAttention, test::UsesTheNextGroup>()});
  EXPECT_EQ(report.difference.find("rank 0, attention of model.layers.0, "), 0u) << report.difference;
}

// What rounding to bfloat16 hides, float32 shows.
TEST(Verify, SeesInFloat32WhatRoundingHides) {
  using What = test::RoundsEveryHop::What;
  RunSpec run = large_run();
  run.compute_dtype = DType::kBFloat16;
  const std::vector<std::pair<Kernels, const char*>> errors = {
      {test::with_cpu_fault<BlockAttention, test::RoundsEveryHop>(What::kOutput), "attention of model.layers.0"},
      {test::with_cpu_fault<BlockAttention, test::RoundsEveryHop>(What::kOutputAndLse), "attention of model.layers.0"},
      {test::with_cpu_fault<BlockAttention, test::LosesKeyGradients>(), "gradient of the output of model.layers."},
  };
  for (const auto& [kernels, tensor] : errors) {
    const Plants plants = {.rank = kEveryRank, .faults = {}, .kernels = kernels};
    const VerifyReport fine = verified(run, DType::kFloat32, plants), coarse = verified(run, DType::kBFloat16, plants);
    EXPECT_NE(fine.difference.find(tensor), std::string::npos) << fine.difference;
    EXPECT_GT(fine.largest, 20 * verify_tolerance(DType::kFloat32));
    std::cout << "in bfloat16: " << coarse.largest << ", in float32: " << fine.largest << "\n";
  }
}

// On one rank alone: every rank must still come to the comparison.
TEST(Verify, NamesWhereNotANumberBegins) {
  const auto expect = [](const Plants& plants, const std::string& begin) {
    const VerifyReport report = verified(small_run(1, 3), DType::kFloat64, plants);
    EXPECT_EQ(report.difference.substr(0, begin.size()), begin) << report.difference;
    EXPECT_EQ(report.largest, INFINITY);
  };
  expect({.rank = 1, .faults = {}, .kernels = test::with_fault<BlockAttention, test::GivesNotANumber>()},
         "rank 1, attention of model.layers.0, microbatch 0, token ");
  expect({.rank = 1, .faults = {}, .kernels = nullptr, .nan_in_sum = 3},
         "rank 1, gradient of model.layers.1.self_attn.o_proj.weight after the reduction, [2, 26]: nan where one rank has ");
  expect({.rank = 1, .faults = {}, .kernels = test::with_fault<OptimizerKernels, test::NormIsNotANumber>()},
         "rank 1, norm of the gradients, of the global batch: nan where one rank has ");
}

// With two microbatches on each rank.
TEST(Verify, NamesThePlaceInAMeshOfTwoAxes) {
  RunSpec run = small_run(2, 2);
  run.global_batch_sequences = 4;
  const int products = 1 + 2 * 7;  // the head's, and those of each layer
  const Kernels kernels = test::with_fault<LinearAlgebra, test::AddsAProduct>(products + 1, 2);
  const VerifyReport report = verified(run, DType::kFloat64, {.rank = 3, .faults = {}, .kernels = kernels});
  const std::string begin =
      "rank 3 (data 1, context 1), gradient of model.layers.1.mlp.gate_proj.weight by microbatch 1, [0, 0]: ";
  EXPECT_EQ(report.difference.substr(0, begin.size()), begin) << report.difference;
  EXPECT_NE(report.difference.find("as if this rank's part of the sum were counted 2 times"), std::string::npos);

  run.mesh.context = 1;
  const VerifyReport apart = verified(
      run, DType::kFloat64, {.rank = 1, .faults = {}, .kernels = test::with_fault<BlockAttention, test::SkipsAHop>(1)});
  EXPECT_EQ(
      apart.difference.find("rank 1 (data 1, context 0), attention of model.layers.1, microbatch 0, token 0, element 0: "),
      0u)
      << apart.difference;
}

using test::with_fault;

// Rank 3 is data 0, context 1, tensor 1: each error is its own, or that of a sum in which it counts.
TEST(Verify, NamesThePlaceOnATensorAxis) {
  const auto expect = [](const Plants& plants, const std::string& begin, const std::string& remark = "") {
    RunSpec run = small_run(1, 2);
    run.mesh.tensor = 2;
    const VerifyReport report = verified(run, DType::kFloat64, plants);
    EXPECT_EQ(report.difference.substr(0, begin.size()), begin) << report.difference;
    EXPECT_NE(report.difference.find(remark), std::string::npos) << report.difference;
  };
  const auto kernels = [](Kernels k) { return Plants{3, {}, std::move(k)}; };
  const std::string rank = "rank 3 (context 1, tensor 1), ";
  expect(kernels(with_fault<BlockAttention, test::SkipsAHop>(0)), rank + "attention of model.layers.0, ");
  expect(kernels(with_fault<Rotary, test::TurnsByTheNextPosition>()), rank + "queries of model.layers.0, ");
  expect(kernels(with_fault<LinearAlgebra, test::AddsAProduct>(0, 0)), rank + "gradient of lm_head.weight by microbatch 0, ",
         "this rank's part of the sum is nothing");
  expect(kernels(with_fault<LinearAlgebra, test::AddsAProduct>(0, 2)), rank + "gradient of lm_head.weight by microbatch 0, ",
         "as if this rank's part of the sum were counted 2 times");
}

// What arrives at a stage is seen in what comes of it.
TEST(Verify, NamesTheStageOfAPipeline) {
  RunSpec run = small_run(1, 1);
  run.mesh.pipeline = 2;
  const auto found = [&](int rank) {
    return verified(run, DType::kFloat64, {.rank = rank, .faults = {.corrupt_byte_of = 0}, .kernels = nullptr}).difference;
  };
  EXPECT_EQ(found(1).find("rank 1 (pipeline 1, context 0), queries of model.layers.1, "), 0u) << found(1);
  EXPECT_EQ(found(0).find("rank 0 (pipeline 0, context 0), gradient of the output of model.embed_tokens, "), 0u) << found(0);
}

// Rank 1 of three. Transfers of a layer: forward K V, K V; backward K V, dK dV, K V, dK dV, and dK dV home. Then four of the
// sum of gradients, of which rank 1 first sends its part of the first piece.
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
      {"HopSkipped", kernels(with_fault<BlockAttention, test::SkipsAHop>(1)), "attention of model.layers.0"},
      {"DocumentEdge", kernels(with_fault<BlockAttention, test::SeesBeyondTheEdge>()), "attention of model.layers.0"},
      {"WrongGroup", kernels(with_fault<BlockAttention, test::UsesTheNextGroup>()), "attention of model.layers.0"},
      {"WrongPosition", kernels(with_fault<Rotary, test::TurnsByTheNextPosition>()), "queries of model.layers.0"},
      {"ScaleOfTheGradient", kernels(with_fault<Loss, test::ScalesTheGradient>(2.0)),
       "gradient of lm_head.weight by microbatch 0"},
      {"GradientOfTheHeadTwice", kernels(with_fault<LinearAlgebra, test::AddsAProduct>(0, 2)),
       "gradient of lm_head.weight by microbatch 0"},
      {"GradientTwice", kernels(with_fault<LinearAlgebra, test::AddsAProduct>(2, 2)),
       "gradient of model.layers.1.mlp.up_proj.weight by microbatch 0"},
      {"GradientLeftOut", kernels(with_fault<LinearAlgebra, test::AddsAProduct>(5, 0)),
       "gradient of model.layers.1.self_attn.k_proj.weight by microbatch 0"},
      {"ReducedTwice", comm({.send_twice_of = 28}), "gradient of model.embed_tokens.weight after the reduction"},
      // All ranks have these sums alike.
      {"PredictedTokensCountedTwice", comm({.count_twice_of = 0}), "scale of the gradients", 0},
      {"LossTwice", comm({.count_twice_of = 1}), "loss", 0},
  };
}

INSTANTIATE_TEST_SUITE_P(Planted, VerifyError, testing::ValuesIn(planted_errors()),
                         [](const auto& i) { return std::string(i.param.name); });

std::vector<CpuError> cpu_errors() {
  RunSpec small = small_run(1, 3);
  small.layout = LayoutType::kStriped;
  const auto group = test::with_cpu_fault<BlockAttention, test::UsesTheNextGroup>();
  const auto edge = test::with_cpu_fault<BlockAttention, test::SeesBeyondTheEdge>();
  const auto hop = test::with_cpu_fault<BlockAttention, test::SkipsAHop>(1);
  const auto product = test::with_cpu_fault<LinearAlgebra, test::AddsAProduct>(5, 0);
  return {
      {"WrongGroup", group, "attention of model.layers.0", small},
      {"WrongGroupShrunk", group, "attention of model.layers.0", large_run()},
      {"DocumentEdge", edge, "attention of model.layers.0", small},
      {"DocumentEdgeShrunk", edge, "attention of model.layers.0", large_run()},
      {"HopSkipped", hop, "attention of model.layers.0", small},
      {"GradientLeftOut", product, "gradient of model.layers.1.self_attn.k_proj.weight by microbatch 0", small},
  };
}

INSTANTIATE_TEST_SUITE_P(Planted, VerifyCpuError, testing::ValuesIn(cpu_errors()),
                         [](const auto& i) { return std::string(i.param.name); });

}  // namespace
}  // namespace longspan
