// Block attention at every level, on a problem of ring attention that the bytes choose, beside double precision. No error is
// allowed here: every problem that is drawn is one that the house can have.
#include <vector>

#include "tests/attention/ring_case.h"
#include "tests/fuzz/contract.h"

// More would take seconds with what a fuzzer and the sanitizers add.
constexpr int64_t kMostProducts = 500'000;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace longspan;
  size_t next = 0;
  const auto byte = [&]() -> uint64_t { return next < size ? data[next++] : 0; };
  const test::RingCase ring = test::draw_ring_case([&](uint64_t bound) {
    const uint64_t low = byte();
    return (bound > 256 ? low + 256 * byte() : low) % bound;
  });
  int64_t pairs = 0;
  for (const IndexInterval& keys : ring.visible) pairs += keys.end - keys.begin;
  if (pairs * ring.num_heads * ring.head_dim > kMostProducts) return 0;
  const std::string error = test::find_ring_error(ring);
  if (!error.empty()) fuzz::finding(error);
  return 0;
}
