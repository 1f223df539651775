#include "train/data/sequence_order.h"

#include <fmt/core.h>

#include <limits>

#include "core/base/error.h"
#include "core/base/random.h"

namespace longspan {

SequenceOrder::SequenceOrder(int64_t group_size, uint64_t seed, const std::string& name)
    : group_size_(group_size), half_bits_(1), seed_(seed), name_(name) {
  check(group_size >= 1, "a group of {} sequences has no order", group_size);
  while ((int64_t{1} << (2 * half_bits_)) < group_size && half_bits_ < 31) ++half_bits_;
}

int64_t SequenceOrder::operator()(int64_t number) const {
  constexpr uint64_t kRounds = 4;
  check(number >= 0 && number <= std::numeric_limits<int64_t>::max() - group_size_, "sequence {} is out of range", number);
  const int64_t group = number / group_size_;
  const RandomStream random(seed_, fmt::format("{}/order {}", name_, group));
  const uint64_t mask = (uint64_t{1} << half_bits_) - 1;
  auto place = static_cast<uint64_t>(number % group_size_);
  do {
    uint64_t left = place >> half_bits_, right = place & mask;
    for (uint64_t round = 0; round < kRounds; ++round) {
      const uint64_t mixed = left ^ (random.bits(right * kRounds + round) & mask);
      left = right;
      right = mixed;
    }
    place = left << half_bits_ | right;
  } while (place >= static_cast<uint64_t>(group_size_));
  return group * group_size_ + static_cast<int64_t>(place);
}

}  // namespace longspan
