#include "train/data/blend.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/base/error.h"

namespace longspan {

namespace {
constexpr int64_t kInterval = 1024;
}

Blend::Blend(const std::vector<double>& weights) : weights_(weights) {
  check(!weights.empty(), "a blend needs at least one source");
  for (const double weight : weights)
    check(std::isfinite(weight) && weight > 0, "a source has the weight {}", weight);
  const double sum = std::accumulate(weights_.begin(), weights_.end(), 0.0);
  for (double& weight : weights_) weight /= sum;
  counts_.push_back(std::vector<int64_t>(weights_.size(), 0));
}

size_t Blend::furthest_behind(int64_t number, const std::vector<int64_t>& counts) const {
  size_t best = 0;
  double greatest = 0;
  for (size_t j = 0; j < weights_.size(); ++j) {
    const double behind = weights_[j] * static_cast<double>(number + 1) - static_cast<double>(counts[j]);
    if (j == 0 || behind > greatest) {
      best = j;
      greatest = behind;
    }
  }
  return best;
}

Blend::Choice Blend::choose(int64_t number) const {
  check(number >= 0, "sequence {} does not exist", number);
  if (weights_.size() == 1) return {.source = 0, .number = number};
  const auto wanted = static_cast<size_t>(number / kInterval);
  auto known = std::min(wanted, counts_.size() - 1);
  std::vector<int64_t> counts = counts_[known];
  for (int64_t n = static_cast<int64_t>(known) * kInterval; n < number; ++n) {
    if (n % kInterval == 0 && static_cast<size_t>(n / kInterval) == counts_.size()) counts_.push_back(counts);
    ++counts[furthest_behind(n, counts)];
  }
  const size_t source = furthest_behind(number, counts);
  return {.source = source, .number = counts[source]};
}

}  // namespace longspan
