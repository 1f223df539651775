// How exact block attention is, and how exact it has to be.
//
// bf16: the rms error of O, LSE, dQ, dK and dV, each against attention in double precision over the unrounded inputs, is at
// most 1.5 times that of an exact softmax over inputs rounded to bfloat16. That measure fails where the result hardly depends
// on the inputs: over one key, dQ is 0 whatever they are, and LSE has no error where scores are small, while any sum of terms
// in bfloat16 has one. There the measure is what rounding each term to bfloat16 makes of the sum, if that is more
// (exact_attention.h, spread); in ordinary cases it is not.
//
// fp32: the rms error is at most 2e-6 of the rms of the numbers, or of their spread where terms cancel. A float cannot hold a
// score of hundreds so well: its p is off by as many roundings as are in it, and what these make of the sums is allowed.
#pragma once

#include <map>
#include <string>

#include "tests/attention/attention_cases.h"

namespace longspan::test {

struct AccuracyCase {
  std::string name;
  Problem problem;
  void (*shape)(const Inputs&) = nullptr;  // changes the random inputs
  bool whole = true, pieces = true;        // with the keys at once, and as three hops
};

// The largest figures of several cases, by level and precision and by part of the result: for bf16 the error over that of
// rounded inputs, for fp32 the error itself.
class AccuracyTable {
 public:
  // Runs the case at every level in both precisions, in one piece and in several; too large an error fails the test.
  void expect_accurate(const AccuracyCase& one, uint64_t seed);
  void print(const std::string& title) const;

 private:
  struct Entry {
    double figure = 0;
    std::string where;
  };
  std::map<std::string, std::map<std::string, Entry>> worst_;
};

}  // namespace longspan::test
