// The attention kernels of the cuda backend, run in the emulator, against the reference: random problems and hard ones, each
// under many schedules.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/attention/attention_cases.h"
#include "tests/support/emulated_cuda.h"
#include "tests/support/reference_context.h"
#include "tests/support/simt/scheduler.h"
#include "tests/support/tensors.h"

namespace longspan::test {
namespace {

constexpr uint64_t kNumSeeds = 10;
// p and ds are rounded to bfloat16, as where a processor multiplies it (context_makers.h); powers of two are exact to 2^-22.
constexpr Rounding kBFloat16Rounding = {.output = 1.0 / 256, .gradient = 2.0 / 256, .lse = 1e-6};

void expect_reference(const Problem& problem, DType dtype, uint64_t input_seed, std::vector<int64_t> cuts,
                      uint64_t num_seeds = kNumSeeds) {
  SCOPED_TRACE(fmt::format("{} {}", describe(problem), name(dtype)));
  const Context reference = make_context(DType::kFloat64), device = emulated_cuda_context(dtype);
  const Inputs inputs = make_inputs(device, problem, dtype, input_seed);
  const auto intervals = visible(problem, input_seed);
  const Result want = attend(reference, as_double(reference, inputs), intervals, {0, problem.num_keys});
  for (uint64_t seed = 1; seed <= num_seeds; ++seed) {
    simt::options() = {};
    simt::options().seed = seed;
    SCOPED_TRACE(seed);
    expect_near(attend(device, inputs, intervals, cuts), want, 3e-6, dtype == DType::kBFloat16 ? kBFloat16Rounding : Rounding{});
    if (testing::Test::HasFailure()) return;
  }
}

TEST(EmulatedAttention, RandomProblems) {
  const RandomStream random(9, "problems");
  constexpr int64_t kHeadDims[] = {1, 5, 8, 24, 40, 64, 64, 72, 96, 100, 128, 128, 160, 192, 256};
  uint64_t n = 0;
  const auto draw = [&](int64_t bound) { return static_cast<int64_t>(random.below(n++, static_cast<uint64_t>(bound))); };
  for (uint64_t i = 0; i < 12; ++i) {
    const int64_t num_kv_heads = 1 + draw(2);
    const Problem problem = {.num_queries = 1 + draw(100),
                             .num_keys = 1 + draw(130),
                             .num_heads = num_kv_heads * (1 + draw(2)),
                             .num_kv_heads = num_kv_heads,
                             .head_dim = kHeadDims[draw(std::size(kHeadDims))],
                             .kind = static_cast<Problem::Kind>(draw(5))};
    std::vector<int64_t> cuts = {0, draw(problem.num_keys + 1), draw(problem.num_keys + 1), problem.num_keys};
    std::sort(cuts.begin(), cuts.end());
    expect_reference(problem, draw(3) == 0 ? DType::kFloat32 : DType::kBFloat16, i, cuts, 3);
    if (HasFailure()) return;
  }
}

TEST(EmulatedAttention, HeadsForMatrices) {
  for (const int64_t head_dim : {64, 96, 128}) {
    for (const auto kind : {Problem::Kind::kCausal, Problem::Kind::kDocuments, Problem::Kind::kFull}) {
      const bool common = head_dim != 96 && kind != Problem::Kind::kFull;
      expect_reference(
          {.num_queries = 130, .num_keys = 140, .num_heads = 2, .num_kv_heads = 1, .head_dim = head_dim, .kind = kind},
          DType::kBFloat16, 1, {0, 90, 140}, common ? kNumSeeds : 2);
      if (HasFailure()) return;
    }
  }
}

// Forward by matrix instructions, backward without.
TEST(EmulatedAttention, WideHeads) {
  for (const int64_t head_dim : {192, 256}) {
    expect_reference({.num_queries = 66, .num_keys = 70, .num_heads = 1, .num_kv_heads = 1, .head_dim = head_dim},
                     DType::kBFloat16, 1, {0, 40, 70}, 2);
    if (HasFailure()) return;
  }
}

// Of heads above 64, with the fewest queries that two tiles a warp are for, and one less.
TEST(EmulatedAttention, PlainAndMatricesOfWideHeads) {
  for (const int64_t num_queries : {64, 65}) {
    expect_reference({.num_queries = num_queries, .num_keys = 70, .num_heads = 1, .num_kv_heads = 1, .head_dim = 128},
                     DType::kBFloat16, 5, {0, 70}, 3);
    expect_reference({.num_queries = num_queries, .num_keys = 70, .num_heads = 1, .num_kv_heads = 1, .head_dim = 100},
                     DType::kBFloat16, 5, {0, 70}, 3);
    expect_reference({.num_queries = num_queries, .num_keys = 70, .num_heads = 1, .num_kv_heads = 1, .head_dim = 130},
                     DType::kFloat32, 5, {0, 70}, 2);
    if (HasFailure()) return;
  }
}

TEST(EmulatedAttention, Float32) {
  expect_reference({.num_queries = 70, .num_keys = 100, .num_heads = 2, .num_kv_heads = 1, .head_dim = 64}, DType::kFloat32, 2,
                   {0, 100});
}

TEST(EmulatedAttention, PlainBFloat16) {
  expect_reference({.num_queries = 40, .num_keys = 70, .num_heads = 2, .num_kv_heads = 1, .head_dim = 20}, DType::kBFloat16, 2,
                   {0, 70});
}

// Of one key dq and dk are 0, and there is nothing to compare; accuracy_test.cc holds them to the size of their terms.
TEST(EmulatedAttention, OneQueryAndTwoKeys) {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    expect_reference(
        {.num_queries = 1, .num_keys = 2, .num_heads = 1, .num_kv_heads = 1, .head_dim = 64, .kind = Problem::Kind::kFull}, dtype,
        3, {0, 2});
  }
}

}  // namespace
}  // namespace longspan::test
