#include "tests/attention/exact_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace longspan::test {

namespace {

// A sum of products: its value, the sum of the squares of the terms and of their magnitudes.
struct Sum {
  double value = 0, squares = 0, magnitudes = 0;
};

Sum dot(const double* a, const double* b, int64_t n) {
  Sum sum;
  for (int64_t d = 0; d < n; ++d) {
    const double term = a[d] * b[d];
    sum.value += term;
    sum.squares += term * term;
    sum.magnitudes += std::abs(term);
  }
  return sum;
}

// A factor of a row: its value, its square as terms, and how many roundings are in it.
struct Factor {
  double value, squares, weight;
};

class Pass {
 public:
  Pass(const ExactProblem& x, Extent extent, Exact& exact)
      : x_(x), extent_(extent), exact_(exact), sum_of_keys_(static_cast<size_t>(x.head_dim)) {}

  void attend(int64_t head, int64_t query) {
    const auto [begin, end] = x_.seen[static_cast<size_t>(query)];
    if (begin >= end) return;
    q_row_ = (query * x_.num_heads + head) * x_.head_dim;
    kv_head_ = head / (x_.num_heads / x_.num_kv_heads);
    take_scores(begin, end);
    forward(begin, end, head * x_.num_queries + query);
    backward(begin, end);
  }

 private:
  int64_t kv_row(int64_t key) const { return (key * x_.num_kv_heads + kv_head_) * x_.head_dim; }

  // The row at `offset` of a part += factor x.
  void add(std::vector<double> Result::*part, int64_t offset, const Factor& factor, const double* __restrict x) {
    double* __restrict value = (exact_.value.*part).data() + offset;
    for (int64_t d = 0; d < x_.head_dim; ++d) value[d] += factor.value * x[d];
    if (extent_ == Extent::kAll) add_spread(part, offset, factor, x);
  }
  void add_spread(std::vector<double> Result::*part, int64_t offset, const Factor& factor, const double* __restrict x) {
    double* __restrict spread = (exact_.spread.*part).data() + offset;
    double* __restrict float_spread = (exact_.float_spread.*part).data() + offset;
    const double weighted = factor.weight * factor.weight * factor.squares;
    for (int64_t d = 0; d < x_.head_dim; ++d) {
      const double square = x[d] * x[d];
      spread[d] += factor.squares * square;
      float_spread[d] += weighted * square;
    }
  }

  void take_scores(int64_t begin, int64_t end) {
    p_.clear();
    weights_.clear();
    for (int64_t j = begin; j < end; ++j) {
      const Sum sum = dot(x_.q.data() + q_row_, x_.k.data() + kv_row(j), x_.head_dim);
      p_.push_back(x_.scale * sum.value);
      weights_.push_back(1 + std::abs(x_.scale) * sum.magnitudes);
    }
  }

  // Scores become p.
  void forward(int64_t begin, int64_t end, int64_t at) {
    const double top = *std::max_element(p_.begin(), p_.end());
    double sum = 0;
    for (const double s : p_) sum += std::exp(s - top);
    const double lse = top + std::log(sum);
    const auto place = static_cast<size_t>(at);
    exact_.value.lse[place] = lse;
    for (int64_t j = begin; j < end; ++j) {
      const auto r = static_cast<size_t>(j - begin);
      const double p = p_[r] = std::exp(p_[r] - lse), weight = weights_[r] += std::abs(lse);
      exact_.spread.lse[place] += p * p;
      exact_.float_spread.lse[place] += weight * weight * p * p;
      add(&Result::output, q_row_, {p, p * p, weight}, x_.v.data() + kv_row(j));
    }
  }

  void backward(int64_t begin, int64_t end) {
    const double *q = x_.q.data() + q_row_, *dy = x_.dy.data() + q_row_;
    const Sum delta = dot(exact_.value.output.data() + q_row_, dy, x_.head_dim);
    std::fill(sum_of_keys_.begin(), sum_of_keys_.end(), 0);
    double weight = 1;
    for (int64_t j = begin; j < end; ++j) {
      const auto r = static_cast<size_t>(j - begin);
      const double *k = x_.k.data() + kv_row(j), p = p_[r], factor = p * x_.scale;
      const Sum dp = dot(dy, x_.v.data() + kv_row(j), x_.head_dim);
      const double ds = factor * (dp.value - delta.value), square = factor * factor;
      add(&Result::dq, q_row_, {ds, square * dp.squares, weights_[r]}, k);
      add(&Result::dk, kv_row(j), {ds, square * (dp.squares + delta.squares), weights_[r]}, q);
      add(&Result::dv, kv_row(j), {p, p * p, weights_[r]}, dy);
      weight = std::max(weight, weights_[r]);
      for (int64_t d = 0; d < x_.head_dim; ++d) sum_of_keys_[static_cast<size_t>(d)] += factor * k[d];
    }
    // All the row shares delta.
    if (extent_ == Extent::kAll) add_spread(&Result::dq, q_row_, {0, delta.squares, weight}, sum_of_keys_.data());
  }

  const ExactProblem& x_;
  Extent extent_;
  Exact& exact_;
  int64_t q_row_ = 0, kv_head_ = 0;
  std::vector<double> p_, weights_, sum_of_keys_;
};

}  // namespace

Exact exact_attention(const ExactProblem& problem, Extent extent) {
  Exact exact;
  const auto resize = [&](Result& result, double lse) {
    result.output.assign(problem.q.size(), 0);
    result.dq.assign(problem.q.size(), 0);
    result.dk.assign(problem.k.size(), 0);
    result.dv.assign(problem.v.size(), 0);
    result.lse.assign(static_cast<size_t>(problem.num_heads * problem.num_queries), lse);
  };
  resize(exact.value, -std::numeric_limits<double>::infinity());
  resize(exact.spread, 0);
  resize(exact.float_spread, 0);
  Pass pass(problem, extent, exact);
  for (int64_t head = 0; head < problem.num_heads; ++head) {
    for (int64_t query = 0; query < problem.num_queries; ++query) pass.attend(head, query);
  }
  for_each_part(
      [](const char*, std::vector<double>& a, std::vector<double>& b) {
        for (double& x : a) x = std::sqrt(x);
        for (double& x : b) x = std::sqrt(x);
      },
      exact.spread, exact.float_spread);
  return exact;
}

}  // namespace longspan::test
