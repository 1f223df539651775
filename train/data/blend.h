// Blend: which source each sequence comes from.
//
// Sequence n goes to the source j that is furthest behind its share: the greatest weight_j (n + 1) - count_j,
// where count_j is what j had before and weights sum to 1; the lowest j where several are equal. So counts
// follow the weights at every moment, to within one sequence or two. The choice is made in order; counts are
// kept at intervals, so that any place is found again quickly.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace longspan {

class Blend {
 public:
  Blend() = default;
  explicit Blend(const std::vector<double>& weights);  // positive and finite

  struct Choice {
    size_t source = 0;
    int64_t number = 0;  // of the sequence among those of its source
  };
  Choice choose(int64_t number) const;

 private:
  size_t furthest_behind(int64_t number, const std::vector<int64_t>& counts) const;

  std::vector<double> weights_;
  mutable std::vector<std::vector<int64_t>> counts_;  // counts_[k]: before sequence k kInterval
};

}  // namespace longspan
