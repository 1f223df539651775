// How one tensor of a mesh's run compares with the same of one rank's.
#pragma once

#include <cstdint>
#include <span>

namespace longspan {

struct TensorDifference {
  double largest = 0;            // |got - expected| over `scale`; infinite where a number is not finite
  int64_t first = -1;            // the first element that is off by more than the tolerance; -1: none
  int64_t num_off = 0;           // how many are
  double got = 0, expected = 0;  // the first one's
};

double largest_magnitude(std::span<const double> values);

// Both of one size; `scale` is the largest magnitude of the whole tensor that `expected` is of.
TensorDifference compare_elements(std::span<const double> got, std::span<const double> expected, double scale,
                                  double tolerance);

// The m for which error = m * part to within a hundredth, if there is one: an error that looks like one rank's part of
// a sum, taken once too often (m = 1) or not at all (m = -1). `residual`: how far from it, relative to the error.
struct Multiple {
  double factor = 0, residual = 1;
};
Multiple as_multiple_of(std::span<const double> error, std::span<const double> part);

}  // namespace longspan
