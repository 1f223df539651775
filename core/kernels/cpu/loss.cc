#include <algorithm>
#include <cmath>
#include <limits>

#include "core/kernels/cpu/cpu.h"

namespace longspan::cpu {

namespace {

constexpr float kNone = -std::numeric_limits<float>::infinity();

// A slice without entries, or whose logits are all -inf: e^(logit - most) would be that of -inf + inf.
bool is_empty(int64_t n, const float* logits, float most) {
  return most == kNone && std::all_of(logits, logits + n, [](float logit) { return logit == kNone; });
}

class CpuLoss final : public Loss {
 public:
  explicit CpuLoss(CpuLevel level) : level_(level) {}

 private:
  void do_cross_entropy(const Context& context, const Tensor& logits, const Tensor& targets,
                        double gradient_scale, const Tensor& losses, const Tensor& dlogits) const override {
    expect_supported(logits.dtype(), {DType::kFloat32}, "cpu", kName);
    const DType dtype = dlogits.defined() ? dlogits.dtype() : DType::kFloat32;
    with_element_type<Loss>(dtype, [&]<class T>(std::type_identity<T>) {
      const float* all = logits.data<float>();
      const int32_t* target = targets.data<int32_t>();
      float* loss = losses.data<float>();
      T* gradients = dlogits.defined() ? dlogits.data<T>() : nullptr;
      const int64_t n = logits.size(1);
      for_rows(context, logits.size(0), n, [&](int64_t begin, int64_t count) {
        for (int64_t t = begin; t < begin + count; ++t) {
          expect_target(target[t], t, n);
          T* gradient = gradients ? gradients + t * n : nullptr;
          if (target[t] == kNoTarget) {
            loss[t] = 0;
            if (gradient) std::fill_n(gradient, n, T{});
          } else {
            vector_loops<T>(level_).cross_entropy(
                {n, all + t * n, target[t], static_cast<float>(gradient_scale), loss + t, gradient});
          }
        }
      });
    });
  }

  void do_partial(const Context& context, const VocabularySlice& slice, const Tensor& logits, const Tensor& targets,
                  const Tensor& parts) const override {
    expect_supported(logits.dtype(), {DType::kFloat32}, "cpu", kName);
    const float* all = logits.data<float>();
    const int32_t* target = targets.data<int32_t>();
    float* part = parts.data<float>();
    const int64_t tokens = logits.size(0), n = logits.size(1);
    for_rows(context, tokens, n, [&](int64_t begin, int64_t count) {
      for (int64_t t = begin; t < begin + count; ++t) {
        expect_target(target[t], t, slice.size);
        const int64_t place = target[t] - slice.first;
        float most = -std::numeric_limits<float>::infinity();
        const double sum = n > 0 ? vector_loops<float>(level_).softmax_sum(n, all + t * n, &most) : 0;
        part[t] = most;
        part[tokens + t] = is_empty(n, all + t * n, most) ? 0 : static_cast<float>(sum);
        part[2 * tokens + t] = target[t] != kNoTarget && place >= 0 && place < n ? all[t * n + place] : 0;
      }
    });
  }

  void do_combine(const Context& context, const VocabularySlice& slice, const Tensor& parts, const Tensor& targets,
                  const Tensor& losses, const Tensor& totals) const override {
    expect_supported(parts.dtype(), {DType::kFloat32}, "cpu", kName);
    const float* part = parts.data<float>();
    const int32_t* target = targets.data<int32_t>();
    float *loss = losses.data<float>(), *total = totals.data<float>();
    const int64_t ranks = parts.size(0), tokens = parts.size(2);
    for_rows(context, tokens, 3 * ranks, [&](int64_t begin, int64_t count) {
      for (int64_t t = begin; t < begin + count; ++t) {
        expect_target(target[t], t, slice.size);
        const auto at = [&](int64_t rank, int64_t which) { return part[(rank * 3 + which) * tokens + t]; };
        float most = -std::numeric_limits<float>::infinity();
        double sum = 0, logit = 0;
        for (int64_t r = 0; r < ranks; ++r) most = at(r, 0) > most ? at(r, 0) : most;
        for (int64_t r = 0; r < ranks; ++r) {
          if (at(r, 1) != 0 || most == kNone) sum += at(r, 1) * std::exp(static_cast<double>(at(r, 0)) - most);
        }
        for (int64_t r = 0; r < ranks; ++r) logit += at(r, 2);
        total[t] = most;
        total[tokens + t] = static_cast<float>(sum);
        loss[t] = target[t] == kNoTarget ? 0 : static_cast<float>(std::log(sum) + (most - logit));
      }
    });
  }

  void do_gradient(const Context& context, const VocabularySlice& slice, const Tensor& logits, const Tensor& targets,
                   double gradient_scale, const Tensor& totals, const Tensor& dlogits) const override {
    expect_supported(logits.dtype(), {DType::kFloat32}, "cpu", kName);
    with_element_type<Loss>(dlogits.dtype(), [&]<class T>(std::type_identity<T>) {
      const float *all = logits.data<float>(), *total = totals.data<float>();
      const int32_t* target = targets.data<int32_t>();
      T* gradients = dlogits.data<T>();
      const int64_t tokens = logits.size(0), n = logits.size(1);
      for_rows(context, tokens, n, [&](int64_t begin, int64_t count) {
        for (int64_t t = begin; t < begin + count; ++t) {
          expect_target(target[t], t, slice.size);
          T* gradient = gradients + t * n;
          if (target[t] == kNoTarget) {
            std::fill_n(gradient, n, T{});
            continue;
          }
          const int64_t place = target[t] - slice.first;
          const bool held = place >= 0 && place < n;
          const double most = total[t], sum = total[tokens + t], logit = held ? all[t * n + place] : 0;
          vector_loops<T>(level_).softmax_gradient(
              {n, all + t * n, total[t], static_cast<float>(gradient_scale / sum), gradient});
          if (held) gradient[place] = T(static_cast<float>(gradient_scale * (std::exp(logit - most) / sum - 1.0)));
        }
      });
    });
  }

  CpuLevel level_;
};

}  // namespace

std::shared_ptr<const Loss> make_loss(CpuLevel level) {
  return std::make_shared<CpuLoss>(level);
}

}  // namespace longspan::cpu
