#include <cmath>
#include <numeric>
#include <vector>

#include "core/kernels/cpu/cpu.h"

namespace longspan::cpu {

namespace {

class CpuOptimizer final : public OptimizerKernels {
 public:
  explicit CpuOptimizer(CpuLevel level) : level_(level) {}

 private:
  template <class T>
  static AdamWElements<T> prepare(const AdamWOptions& o) {
    const double bias1 = 1.0 - std::pow(o.beta1, o.step), bias2 = 1.0 - std::pow(o.beta2, o.step);
    AdamWElements<T> elements{};
    elements.gradient_scale = static_cast<float>(o.gradient_scale);
    elements.beta1 = static_cast<float>(o.beta1);
    elements.beta2 = static_cast<float>(o.beta2);
    elements.one_minus_beta1 = static_cast<float>(1.0 - o.beta1);
    elements.one_minus_beta2 = static_cast<float>(1.0 - o.beta2);
    elements.rate = static_cast<float>(o.learning_rate / bias1);
    elements.decay = static_cast<float>(o.learning_rate * o.weight_decay);
    elements.root_correction = static_cast<float>(1.0 / std::sqrt(bias2));
    elements.epsilon = static_cast<float>(o.epsilon);
    return elements;
  }

  void do_adamw(const Context& context, const AdamWOptions& options, const Tensor& gradient,
                const Tensor& master, const Tensor& first_moment, const Tensor& second_moment,
                const Tensor& value) const override {
    with_element_type<OptimizerKernels>(value.dtype(), [&]<class T>(std::type_identity<T>) {
      const AdamWElements<T> common = prepare<T>(options);
      const float* g = gradient.data<float>();
      float *w = master.data<float>(), *m = first_moment.data<float>(), *v = second_moment.data<float>();
      T* copy = value.data<T>();
      for_elements(context, value.num_elements(), [&](int64_t i, int64_t count) {
        AdamWElements<T> part = common;
        part.n = count;
        part.gradient = g + i;
        part.master = w + i;
        part.first_moment = m + i;
        part.second_moment = v + i;
        part.value = copy + i;
        vector_loops<T>(level_).adamw(part);
      });
    });
  }

  double do_sum_of_squares(const Context& context, std::span<const Tensor> xs) const override {
    double sum = 0;
    for (const Tensor& x : xs) sum += sum_of_one(context, x);
    return sum;
  }

  double sum_of_one(const Context& context, const Tensor& x) const {
    constexpr int64_t kBlock = 65536;  // fixed, so that the sum's order is
    const int64_t n = x.num_elements(), blocks = (n + kBlock - 1) / kBlock;
    std::vector<double> sums(static_cast<size_t>(blocks));
    with_element_type<OptimizerKernels>(x.dtype(), [&]<class T>(std::type_identity<T>) {
      const T* xs = x.data<T>();
      parallel_for(context, blocks, 1, [&](int64_t begin, int64_t end) {
        for (int64_t b = begin; b < end; ++b) {
          const int64_t first = b * kBlock, count = std::min(kBlock, n - first);
          sums[static_cast<size_t>(b)] = vector_loops<T>(level_).sum_of_squares(count, xs + first);
        }
      });
    });
    return std::accumulate(sums.begin(), sums.end(), 0.0);
  }

  CpuLevel level_;
};

}  // namespace

std::shared_ptr<const OptimizerKernels> make_optimizer(CpuLevel level) {
  return std::make_shared<CpuOptimizer>(level);
}

}  // namespace longspan::cpu
