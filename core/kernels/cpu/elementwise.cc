#include <cstring>

#include "core/kernels/cpu/cpu.h"

namespace longspan::cpu {

namespace {

class CpuElementwise final : public Elementwise {
 public:
  explicit CpuElementwise(CpuLevel level) : level_(level) {}

 private:
  void do_add(const Context& context, const Tensor& a, const Tensor& b, const Tensor& sum) const override {
    with_element_type<Elementwise>(a.dtype(), [&]<class T>(std::type_identity<T>) {
      const T *as = a.data<T>(), *bs = b.data<T>();
      T* sums = sum.data<T>();
      for_elements(context, a.num_elements(), [&](int64_t i, int64_t count) {
        vector_loops<T>(level_).add(count, as + i, bs + i, sums + i);
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
    if (from.dtype() == to.dtype()) {
      const size_t width = size_bytes(from.dtype());
      const auto* source = static_cast<const uint8_t*>(from.raw());
      auto* target = static_cast<uint8_t*>(to.raw());
      for_elements(context, from.num_elements(), [&](int64_t i, int64_t count) {
        const size_t offset = static_cast<size_t>(i) * width;
        std::memmove(target + offset, source + offset, static_cast<size_t>(count) * width);
      });
      return;
    }
    const VectorLoops<bfloat16>& loops = vector_loops<bfloat16>(level_);
    for_elements(context, from.num_elements(), [&](int64_t i, int64_t count) {
      if (from.dtype() == DType::kBFloat16) {
        loops.load(count, from.data<bfloat16>() + i, to.data<float>() + i);
      } else {
        loops.store(count, from.data<float>() + i, to.data<bfloat16>() + i);
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
        for (int64_t r = begin; r < begin + count; ++r) loops.add(n, ys + r * n, biases, ys + r * n);
      });
    });
  }

  void do_accumulate_rows(const Context& context, const Tensor& x, const Tensor& sum) const override {
    with_element_type<Elementwise>(x.dtype(), [&]<class T>(std::type_identity<T>) {
      const int64_t rows = x.size(0), n = x.size(1);
      const T* xs = x.data<T>();
      float* sums = sum.data<float>();
      for_columns(context, rows, n, [&](int64_t begin, int64_t count) {
        vector_loops<T>(level_).sum_columns({rows, count, n, xs + begin, nullptr, nullptr, sums + begin});
      });
    });
  }

  CpuLevel level_;
};

}  // namespace

std::shared_ptr<const Elementwise> make_elementwise(CpuLevel level) {
  return std::make_shared<CpuElementwise>(level);
}

}  // namespace longspan::cpu
