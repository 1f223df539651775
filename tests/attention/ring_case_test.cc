// Hundreds of random problems of ring attention, at every level, against double precision. A fuzz target takes the same way
// with the choices of a fuzzer (tests/fuzz/attention.cc).
#include "tests/attention/ring_case.h"

#include <gtest/gtest.h>

#include "core/base/random.h"

namespace longspan {
namespace {

class RingCases : public testing::TestWithParam<int> {};

TEST_P(RingCases, AgreeWithTheReference) {
  constexpr int kCases = 50;
  for (int i = 0; i < kCases; ++i) {
    const RandomStream random(static_cast<uint64_t>(GetParam() * kCases + i), "ring cases");
    uint64_t next = 0;
    const test::RingCase ring = test::draw_ring_case([&](uint64_t bound) { return random.below(next++, bound); });
    ASSERT_EQ(test::find_ring_error(ring), "");
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, RingCases, testing::Range(0, 8));

}  // namespace
}  // namespace longspan
