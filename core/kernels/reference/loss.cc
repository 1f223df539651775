#include <algorithm>
#include <cmath>
#include <limits>

#include "core/kernels/reference/reference.h"

namespace longspan::reference {

namespace {

double log_sum_exp(const double* logits, int64_t n) {
  double most = -std::numeric_limits<double>::infinity(), sum = 0;
  for (int64_t i = 0; i < n; ++i) most = std::max(most, logits[i]);
  for (int64_t i = 0; i < n; ++i) sum += std::exp(logits[i] - most);
  return most + std::log(sum);
}

// The largest of no logits. A slice without others counts as empty: e^(logit - most) would be that of -inf + inf.
constexpr double kNone = -std::numeric_limits<double>::infinity();

class ReferenceLoss final : public Loss {
  void do_cross_entropy(const Context&, const Tensor& logits, const Tensor& targets, double gradient_scale,
                        const Tensor& losses, const Tensor& dlogits) const override {
    const double* all = elements<Loss>(logits);
    double* loss = elements<Loss>(losses);
    double* gradients = dlogits.defined() ? elements<Loss>(dlogits) : nullptr;
    const int32_t* target = targets.data<int32_t>();
    const int64_t tokens = logits.size(0), vocabulary = logits.size(1);
    for (int64_t t = 0; t < tokens; ++t) {
      expect_target(target[t], t, vocabulary);
      const double* row = all + t * vocabulary;
      const bool counts = target[t] != kNoTarget;
      const double total = counts ? log_sum_exp(row, vocabulary) : 0;
      loss[t] = counts ? total - row[target[t]] : 0;
      for (int64_t i = 0; gradients && i < vocabulary; ++i) {
        const double hit = i == target[t] ? 1 : 0;
        gradients[t * vocabulary + i] = counts ? gradient_scale * (std::exp(row[i] - total) - hit) : 0;
      }
    }
  }

  void do_partial(const Context&, const VocabularySlice& slice, const Tensor& logits, const Tensor& targets,
                  const Tensor& parts) const override {
    const double* all = elements<Loss>(logits);
    double* part = elements<Loss>(parts);
    const int32_t* target = targets.data<int32_t>();
    const int64_t tokens = logits.size(0), held = logits.size(1);
    for (int64_t t = 0; t < tokens; ++t) {
      expect_target(target[t], t, slice.size);
      const double* row = all + t * held;
      double most = -std::numeric_limits<double>::infinity(), sum = 0;
      for (int64_t i = 0; i < held; ++i) most = std::max(most, row[i]);
      const bool empty = std::all_of(row, row + held, [](double logit) { return logit == kNone; });
      for (int64_t i = 0; i < held && !empty; ++i) sum += std::exp(row[i] - most);
      const int64_t place = target[t] - slice.first;
      part[t] = most;
      part[tokens + t] = sum;
      part[2 * tokens + t] = target[t] != kNoTarget && place >= 0 && place < held ? row[place] : 0;
    }
  }

  void do_combine(const Context&, const VocabularySlice& slice, const Tensor& parts, const Tensor& targets,
                  const Tensor& losses, const Tensor& totals) const override {
    const double* part = elements<Loss>(parts);
    double* loss = elements<Loss>(losses);
    double* total = elements<Loss>(totals);
    const int32_t* target = targets.data<int32_t>();
    const int64_t ranks = parts.size(0), tokens = parts.size(2);
    for (int64_t t = 0; t < tokens; ++t) {
      expect_target(target[t], t, slice.size);
      const auto at = [&](int64_t rank, int64_t which) { return part[(rank * 3 + which) * tokens + t]; };
      double most = -std::numeric_limits<double>::infinity(), sum = 0, logit = 0;
      for (int64_t r = 0; r < ranks; ++r) most = std::max(most, at(r, 0));
      for (int64_t r = 0; r < ranks; ++r) {
        if (at(r, 1) != 0 || most == kNone) sum += at(r, 1) * std::exp(at(r, 0) - most);
      }
      for (int64_t r = 0; r < ranks; ++r) logit += at(r, 2);
      total[t] = most;
      total[tokens + t] = sum;
      loss[t] = target[t] == kNoTarget ? 0 : std::log(sum) + (most - logit);
    }
  }

  void do_gradient(const Context&, const VocabularySlice& slice, const Tensor& logits, const Tensor& targets,
                   double gradient_scale, const Tensor& totals, const Tensor& dlogits) const override {
    const double* all = elements<Loss>(logits);
    const double* total = elements<Loss>(totals);
    double* gradients = elements<Loss>(dlogits);
    const int32_t* target = targets.data<int32_t>();
    const int64_t tokens = logits.size(0), held = logits.size(1);
    for (int64_t t = 0; t < tokens; ++t) {
      expect_target(target[t], t, slice.size);
      const double* row = all + t * held;
      for (int64_t i = 0; i < held; ++i) {
        const double hit = slice.first + i == target[t] ? 1 : 0, probability = std::exp(row[i] - total[t]) / total[tokens + t];
        gradients[t * held + i] = target[t] == kNoTarget ? 0 : gradient_scale * (probability - hit);
      }
    }
  }
};

}  // namespace

std::shared_ptr<const Loss> make_loss() {
  return std::make_shared<ReferenceLoss>();
}

}  // namespace longspan::reference
