// Attention in double precision, written out plainly once more: the numbers themselves, and how large what is summed up in
// each of them is, which errors are measured against. Indices of queries and keys are places in the tensors.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "core/tensor/tensor.h"

namespace longspan::test {

struct Result {
  std::vector<double> output, lse, dq, dk, dv;  // in the shapes of the tensors, row-major
};

// Calls visit(name, part of a, part of b ...) for each of the five.
template <class Visit, class... Results>
void for_each_part(Visit visit, Results&... results) {
  visit("O", results.output...);
  visit("LSE", results.lse...);
  visit("dQ", results.dq...);
  visit("dK", results.dk...);
  visit("dV", results.dv...);
}

struct ExactProblem {
  int64_t num_queries = 0, num_keys = 0, num_heads = 0, num_kv_heads = 0, head_dim = 0;
  double scale = 1;
  std::vector<double> q, k, v, dy;
  std::vector<std::pair<int64_t, int64_t>> seen;  // by query: the keys [first, second)
};

struct Exact {
  Result value;
  // The root of the sum of the squares of the terms, such as p v for O: what relative errors e of each term by itself make of
  // the sum is e times this. It stays where the sum cancels, as ds = p (dO v - delta) does in a row of one key.
  Result spread;
  // The same with each term times 1 + |LSE| + the magnitudes summed up in its score: so many roundings are in its p.
  Result float_spread;
};

enum class Extent { kValue, kAll };
Exact exact_attention(const ExactProblem& problem, Extent extent = Extent::kAll);

}  // namespace longspan::test
