// How exact block attention is, and how exact it has to be.
//
// bf16: the rms error of O, LSE, dQ, dK and dV, each as a whole and against attention in double precision over the unrounded
// inputs, is at most 1.5 times that of an exact softmax over inputs rounded to bfloat16.
//
// That is no measure where a result hardly depends on the inputs: over one key dQ is 0 whatever they are, while any sum of terms
// in bfloat16 has an error. A case names the parts in which errors of inputs cancel so; there the measure is what rounding each
// term to bfloat16 makes of the sum (exact_attention.h, spread), and that this is more is checked, too. Nor is it one where a
// result is made of a few independent numbers: O of queries that see all keys alike is one number for each dim of a value, whose
// error may be small by chance. There one case is held to the larger of both measures, and all such cases of a table together,
// each over its spread, to the plain one.
//
// fp32: the rms error is at most 2e-6 of the rms of the numbers, or of their spread where terms cancel. A float cannot hold a
// score of hundreds so well: its p is off by as many roundings as are in it, and what these make of the sums is allowed.
#pragma once

#include <map>
#include <set>
#include <string>

#include "tests/attention/attention_cases.h"

namespace longspan::test {

struct AccuracyCase {
  std::string name;
  Problem problem;
  void (*shape)(const Inputs&) = nullptr;  // changes the random inputs
  bool whole = true, pieces = true;        // with the keys at once, and as three hops
  std::set<std::string> cancels = {};      // parts, such as "dQ", in which errors of inputs cancel
  std::set<std::string> few_numbers = {};  // parts made of so few numbers that several cases have to be taken together
};

// Over one key no gradient reaches scores; over two, what reaches one leaves the other.
inline std::set<std::string> parts_that_cancel(int64_t num_keys) {
  return num_keys <= 2 ? std::set<std::string>{"dQ", "dK"} : std::set<std::string>{};
}

// The largest figures of several cases, by level and precision and by part of the result: for bf16 the error over that of
// rounded inputs, for fp32 the error itself.
class AccuracyTable {
 public:
  // Runs the case at every level in both precisions, in one piece and in several; too large an error fails the test.
  void expect_accurate(const AccuracyCase& one, uint64_t seed);
  // Prints the figures; fails the test where all cases together have too large an error.
  void conclude(const std::string& title) const;

 private:
  struct Entry {
    void enter(double one, const std::string& name);
    double figure = 0;
    std::string where;
  };
  using Entries = std::map<std::string, Entry>;  // by part
  struct Squares {
    double error = 0, of_rounded_inputs = 0;
  };
  struct Level {
    Entries worst, beside_terms;
    std::map<std::string, Squares> together;
  };
  struct Errors {
    double error, of_rounded_inputs, spread;
  };
  void take_bfloat16(const AccuracyCase& one, const std::string& level, const std::string& part, const Errors& e);

  std::map<std::string, Level> levels_;
};

}  // namespace longspan::test
