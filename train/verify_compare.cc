#include "train/verify_compare.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/base/error.h"

namespace longspan {

namespace {

double dot(std::span<const double> a, std::span<const double> b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace

double largest_magnitude(std::span<const double> values) {
  double largest = 0;
  for (const double v : values) largest = std::max(largest, std::abs(v));
  return largest;
}

TensorDifference compare_elements(std::span<const double> got, std::span<const double> expected, double scale,
                                  double tolerance) {
  check(got.size() == expected.size(), "{} elements are compared with {}", got.size(), expected.size());
  TensorDifference difference;
  for (size_t i = 0; i < got.size(); ++i) {
    const double distance = std::abs(got[i] - expected[i]);
    double relative = distance == 0 ? 0 : distance / scale;
    if (!std::isfinite(relative)) relative = std::numeric_limits<double>::infinity();
    difference.largest = std::max(difference.largest, relative);
    if (relative <= tolerance) continue;
    if (difference.num_off++ > 0) continue;
    difference.first = static_cast<int64_t>(i);
    difference.got = got[i];
    difference.expected = expected[i];
  }
  return difference;
}

Multiple as_multiple_of(std::span<const double> error, std::span<const double> part) {
  const double square = dot(part, part), size = dot(error, error);
  if (!(square > 0) || !(size > 0) || !std::isfinite(square) || !std::isfinite(size)) return {};
  const double factor = dot(error, part) / square;
  double rest = 0;
  for (size_t i = 0; i < error.size(); ++i) rest += std::pow(error[i] - factor * part[i], 2);
  return {.factor = factor, .residual = std::sqrt(rest / size)};
}

}  // namespace longspan
