// Random tensors and comparisons for tests.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "core/base/random.h"
#include "core/runtime/context.h"

namespace longspan::test {

// Normal numbers drawn from (seed, name): the same on any rank. Floating dtypes; contiguous.
inline Tensor random_tensor(const Context& context, const Shape& shape, DType dtype, uint64_t seed,
                            const std::string& name, double scale = 1) {
  Tensor t = context.empty(shape, dtype);
  const RandomStream random(seed, name);
  for (int64_t i = 0; i < t.num_elements(); ++i) {
    const double x = scale * random.normal(static_cast<uint64_t>(i));
    if (dtype == DType::kFloat64) t.data<double>()[i] = x;
    if (dtype == DType::kFloat32) t.data<float>()[i] = static_cast<float>(x);
    if (dtype == DType::kBFloat16) t.data<bfloat16>()[i] = bfloat16(static_cast<float>(x));
  }
  return t;
}

inline std::vector<double> values(const Tensor& t) {
  std::vector<double> v(static_cast<size_t>(t.num_elements()));
  for (size_t i = 0; i < v.size(); ++i) {
    if (t.dtype() == DType::kFloat64) v[i] = t.data<double>()[i];
    if (t.dtype() == DType::kFloat32) v[i] = static_cast<double>(t.data<float>()[i]);
    if (t.dtype() == DType::kBFloat16) v[i] = static_cast<double>(static_cast<float>(t.data<bfloat16>()[i]));
  }
  return v;
}

inline double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

// Norm of the difference over the norm of what is expected; infinite where sizes differ or a number is not finite.
inline double relative_error(const std::vector<double>& got, const std::vector<double>& expected) {
  if (got.size() != expected.size()) return INFINITY;
  double difference = 0;
  for (size_t i = 0; i < got.size(); ++i) difference += (got[i] - expected[i]) * (got[i] - expected[i]);
  const double norm = dot(expected, expected);
  if (!std::isfinite(difference)) return INFINITY;
  return norm == 0 ? std::sqrt(difference) : std::sqrt(difference / norm);
}

}  // namespace longspan::test
