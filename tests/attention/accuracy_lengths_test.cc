// How exact kernels are at every length, on the CPU and in the emulator (tests/attention/accuracy.h says what is held to what).
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/attention/accuracy.h"

namespace longspan {
namespace {

using Kind = test::Problem::Kind;

TEST(Accuracy, OfEveryLengthTo257) {
  test::AccuracyTable table;
  for (int64_t n = 1; n <= 257; ++n) {
    if (test::context_makers().front().slow && n > 3 && n % 64 > 1) continue;
    const int64_t num_heads = std::max<int64_t>(2, 512 / n / 2 * 2);  // a few short rows say little
    table.expect_accurate({.name = fmt::format("{}", n),
                           .problem = {n, n, num_heads, num_heads / 2, 8, n % 2 ? Kind::kCausal : Kind::kFull},
                           .whole = n / 2 % 2 == 0,
                           .pieces = n / 2 % 2 == 1,
                           .cancels = test::parts_that_cancel(n)},
                          static_cast<uint64_t>(n));
  }
  table.conclude("lengths 1 to 257");
}

}  // namespace
}  // namespace longspan
