// Kernel family: sums, copies and conversions. All tensors contiguous.
#pragma once

#include "core/runtime/context.h"

namespace longspan {

class Elementwise {
 public:
  static constexpr const char* kName = "elementwise";
  virtual ~Elementwise() = default;

  // sum = a + b; one shape, one dtype; sum may be a or b.
  void add(const Context& context, const Tensor& a, const Tensor& b, const Tensor& sum) const;
  // sum += x; sum in the accumulator, x in the compute dtype or the accumulator.
  void accumulate(const Context& context, const Tensor& x, const Tensor& sum) const;
  // to = from, rounded to the dtype of `to`; floating dtypes only.
  void convert(const Context& context, const Tensor& from, const Tensor& to) const;
  // y[r] += bias for each row; y [rows, n], bias [n], one dtype.
  void add_bias(const Context& context, const Tensor& bias, const Tensor& y) const;
  // sum[n] += the sum over rows of x [rows, n]; sum in the accumulator; the same bits for any thread count.
  void accumulate_rows(const Context& context, const Tensor& x, const Tensor& sum) const;

 private:
  virtual void do_add(const Context&, const Tensor& a, const Tensor& b, const Tensor& sum) const = 0;
  virtual void do_accumulate(const Context&, const Tensor& x, const Tensor& sum) const = 0;
  virtual void do_convert(const Context&, const Tensor& from, const Tensor& to) const = 0;
  virtual void do_add_bias(const Context&, const Tensor& bias, const Tensor& y) const = 0;
  virtual void do_accumulate_rows(const Context&, const Tensor& x, const Tensor& sum) const = 0;
};

}  // namespace longspan
