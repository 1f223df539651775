#include "core/kernels/cpu/cpu.h"

namespace longspan::cpu {

namespace {

class CpuElementwise final : public Elementwise {
 public:
  CpuElementwise(CpuLevel level, size_t cache_bytes) : level_(level), cache_bytes_(cache_bytes) {}

 private:
  void do_add(const Context& context, const Tensor& a, const Tensor& b, const Tensor& sum) const override {
    with_element_type<Elementwise>(a.dtype(), [&]<class T>(std::type_identity<T>) {
      const T *as = a.data<T>(), *bs = b.data<T>();
      T* sums = sum.data<T>();
      // what is updated in place is in cache already
      const Stores stores = sums == as || sums == bs ? Stores::kCached : stores_of_call(3 * sum.num_bytes(), cache_bytes_);
      for_elements(context, a.num_elements(), [&](int64_t i, int64_t count) {
        vector_loops<T>(level_).add(count, as + i, bs + i, sums + i, stores);
      });
    });
  }

  void do_accumulate(const Context& context, const Tensor& x, const Tensor& sum) const override {
    with_element_type<Elementwise>(x.dtype(), [&]<class T>(std::type_identity<T>) {
      const T* xs = x.data<T>();
      float* sums = sum.data<float>();
      for_elements(context, x.num_elements(), [&](int64_t i, int64_t count) {
        vector_loops<T>(level_).accumulate(count, xs + i, sums + i);
      });
    });
  }

  void do_convert(const Context& context, const Tensor& from, const Tensor& to) const override {
    for (const Tensor& t : {from, to}) {
      expect_supported(t.dtype(), {DType::kFloat32, DType::kBFloat16}, "cpu", kName);
    }
    const Stores stores =
        from.raw() == to.raw() ? Stores::kCached : stores_of_call(from.num_bytes() + to.num_bytes(), cache_bytes_);
    if (from.dtype() == to.dtype()) {
      with_element_type<Elementwise>(from.dtype(), [&]<class T>(std::type_identity<T>) {
        const T* source = from.data<T>();
        T* target = to.data<T>();
        for_elements(context, from.num_elements(), [&](int64_t i, int64_t count) {
          vector_loops<T>(level_).copy(count, source + i, target + i, stores);
          vector_loops<T>(level_).fence();
        });
      });
      return;
    }
    const VectorLoops<bfloat16>& loops = vector_loops<bfloat16>(level_);
    for_elements(context, from.num_elements(), [&](int64_t i, int64_t count) {
      if (from.dtype() == DType::kBFloat16) {
        loops.load(count, from.data<bfloat16>() + i, to.data<float>() + i, stores);
      } else {
        loops.store(count, from.data<float>() + i, to.data<bfloat16>() + i, stores);
      }
    });
  }

  void do_add_bias(const Context& context, const Tensor& bias, const Tensor& y) const override {
    with_element_type<Elementwise>(y.dtype(), [&]<class T>(std::type_identity<T>) {
      const T* biases = bias.data<T>();
      T* ys = y.data<T>();
      const int64_t n = y.size(1);
      for_rows(context, y.size(0), n, [&](int64_t begin, int64_t count) {
        const VectorLoops<T>& loops = vector_loops<T>(level_);
        for (int64_t r = begin; r < begin + count; ++r) loops.add(n, ys + r * n, biases, ys + r * n, Stores::kCached);
      });
    });
  }

  void do_accumulate_rows(const Context& context, const Tensor& x, const Tensor& sum) const override {
    with_element_type<Elementwise>(x.dtype(), [&]<class T>(std::type_identity<T>) {
      const int64_t n = x.size(1);
      const T* xs = x.data<T>();
      sum_over_rows(context, level_, x.size(0), n, sum.data<float>(), [&](int64_t first, int64_t rows, float* part) {
        vector_loops<T>(level_).sum_columns({rows, n, xs + first * n, nullptr, nullptr, part});
      });
    });
  }

  CpuLevel level_;
  size_t cache_bytes_;
};

}  // namespace

std::shared_ptr<const Elementwise> make_elementwise(CpuLevel level, size_t cache_bytes) {
  return std::make_shared<CpuElementwise>(level, cache_bytes);
}

}  // namespace longspan::cpu
