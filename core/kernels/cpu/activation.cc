#include "core/kernels/cpu/cpu.h"

namespace longspan::cpu {

namespace {

class CpuActivation final : public Activation {
 public:
  CpuActivation(CpuLevel level, size_t cache_bytes) : level_(level), cache_bytes_(cache_bytes) {}

 private:
  void do_swiglu_forward(const Context& context, const Tensor& gate, const Tensor& up,
                         const Tensor& y) const override {
    with_element_type<Activation>(y.dtype(), [&]<class T>(std::type_identity<T>) {
      const T *gates = gate.data<T>(), *ups = up.data<T>();
      T* ys = y.data<T>();
      const Stores stores = stores_of_call(3 * y.num_bytes(), cache_bytes_);
      for_elements(context, y.num_elements(), [&](int64_t i, int64_t count) {
        vector_loops<T>(level_).swiglu(count, gates + i, ups + i, ys + i, stores);
      });
    });
  }

  void do_swiglu_backward(const Context& context, const Tensor& dy, const Tensor& gate, const Tensor& up,
                          const Tensor& dgate, const Tensor& dup) const override {
    with_element_type<Activation>(dy.dtype(), [&]<class T>(std::type_identity<T>) {
      const T *dys = dy.data<T>(), *gates = gate.data<T>(), *ups = up.data<T>();
      T *dgates = dgate.data<T>(), *dups = dup.data<T>();
      const Stores stores = stores_of_call(5 * dy.num_bytes(), cache_bytes_);
      for_elements(context, dy.num_elements(), [&](int64_t i, int64_t count) {
        vector_loops<T>(level_).swiglu_gradient(
            {count, dys + i, gates + i, ups + i, dgates + i, dups + i, stores});
      });
    });
  }

  CpuLevel level_;
  size_t cache_bytes_;
};

}  // namespace

std::shared_ptr<const Activation> make_activation(CpuLevel level, size_t cache_bytes) {
  return std::make_shared<CpuActivation>(level, cache_bytes);
}

}  // namespace longspan::cpu
