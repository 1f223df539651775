// The attention kernels of the cuda backend on the device of this program, with tensors in its own memory, against the reference.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include "tests/attention/attention_cases.h"
#include "tests/support/device_under_test.h"
#include "tests/support/reference_context.h"

namespace longspan::test {
namespace {

// As kernels_emulated_test.cc.
constexpr Rounding kBFloat16Rounding = {.output = 1.0 / 256, .gradient = 2.0 / 256, .lse = 1e-6};

void expect_reference(const Problem& problem, DType dtype, uint64_t seed, const std::vector<int64_t>& cuts) {
  SCOPED_TRACE(fmt::format("{} {}", describe(problem), name(dtype)));
  const Context reference = make_context(DType::kFloat64), device = exact_device_context(dtype);
  const Inputs inputs = make_inputs(device.host(), problem, dtype, seed);
  const auto intervals = visible(problem, seed);
  const Result want = attend(reference, as_double(reference, inputs), intervals, {0, problem.num_keys});
  expect_near(attend(device, to_device(device, inputs), intervals, cuts), want, 3e-6,
              dtype == DType::kBFloat16 ? kBFloat16Rounding : Rounding{});
}

TEST(DeviceAttention, EveryKindOfMaskAndHead) {
  uint64_t seed = 0;
  std::vector<int64_t> head_dims = {64, 5, 1, 24, 72, 96, 128, 160, 192, 256};
  int64_t num_queries = 130, num_keys = 200;
  if (device_is_emulated()) {
    head_dims.resize(2);
    num_queries = 30, num_keys = 100;
  }
  for (const int64_t head_dim : head_dims) {
    for (const auto kind : {Problem::Kind::kCausal, Problem::Kind::kDocuments, Problem::Kind::kFull}) {
      for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
        const Problem problem = {.num_queries = num_queries,
                                 .num_keys = num_keys,
                                 .num_heads = 4,
                                 .num_kv_heads = 2,
                                 .head_dim = head_dim,
                                 .kind = kind};
        expect_reference(problem, dtype, ++seed, {0, 90, 90, num_keys});
        if (HasFailure()) return;
      }
    }
  }
}

TEST(DeviceAttention, LongerThanManyTiles) {
  const int64_t length = device_is_emulated() ? 300 : 2000;
  for (const int64_t head_dim : {64, 128}) {
    for (const auto kind : {Problem::Kind::kCausal, Problem::Kind::kDocuments}) {
      const Problem problem = {
          .num_queries = length, .num_keys = length, .num_heads = 2, .num_kv_heads = 1, .head_dim = head_dim, .kind = kind};
      expect_reference(problem, DType::kBFloat16, 77, {0, length / 2, length});
      if (HasFailure()) return;
    }
  }
}

}  // namespace
}  // namespace longspan::test
