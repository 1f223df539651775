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
};

}  // namespace

std::shared_ptr<const Loss> make_loss() {
  return std::make_shared<ReferenceLoss>();
}

}  // namespace longspan::reference
